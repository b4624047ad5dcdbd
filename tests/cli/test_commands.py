"""Each command hands its arguments on and prints what it gets; the work is tested elsewhere."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.cli.output import table
from danlu.config import Recipe, describe, load_recipe
from danlu.runs import Summary

SUMMARY = Summary(
    name="x",
    model="m",
    method="lora",
    steps=3,
    epochs=1,
    records=2,
    train_seconds=75,
    first_loss=2.5,
    last_loss=0.5,
)


class Calls(list[tuple[tuple[Any, ...], dict[str, Any]]]):
    """A function that remembers how it was called."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.append((arguments, options))
        return self.answer


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, **functions: Any) -> None:
    """Put functions in place of a module that would load torch."""
    fake = ModuleType(module)
    for name, function in functions.items():
        setattr(fake, name, function)
    monkeypatch.setitem(sys.modules, module, fake)


def test_train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    train = Calls(SimpleNamespace(path=Path("runs/x"), summary=SUMMARY))
    stand_in(monkeypatch, "danlu.training.run", train=train)
    assert run(["train", "sft-lora", "name=x", "training.epochs=1", "--resume"]) == 0
    [((recipe,), options)] = train
    assert (recipe.name, recipe.training.epochs) == ("x", 1)
    assert options["resume"] is True
    assert options["overwrite"] is False
    out, err = capsys.readouterr()
    assert out == "loss: 2.500 → 0.500\n3 steps in 1 min 15 s\n"
    assert "danlu chat runs/x" in err
    assert run(["train", "sft-lora", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["last_loss"] == 0.5
    assert train[1][1]["overwrite"] is True


def test_an_interrupted_run_says_so_by_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    train = Calls(SimpleNamespace(path=Path("runs/x"), summary=None))
    stand_in(monkeypatch, "danlu.training.run", train=train)
    assert run(["train", "sft-lora"]) == 130
    monkeypatch.setenv("RANK", "1")  # not the first process: it has no summary and no say
    assert run(["train", "sft-lora"]) == 0


@dataclass
class Row:
    task_type: str
    records: int
    branches: int
    tokens: int
    supervised_tokens: int
    loss_share: float
    dropped: dict[str, int]


def test_dry_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plan = SimpleNamespace(
        rows=lambda: [Row("推理/常识", 1200, 1300, 50000, 9000, 0.75, {"overlong": 3})],
        as_dict=lambda: {"steps": 30},
        records=1200,
        eval_records=20,
        rejected=1,
        steps=30,
        device="cpu",
        unique_tokens_per_step=640.4,
        packs_per_step=1.25,
        shared_share=0.4,
        train_seconds=7800,
        memory_bytes=4.2e9,
        total_parameters=134e6,
        model="m",
        notes=("a note",),
    )
    stand_in(monkeypatch, "danlu.training.estimate", dry_run=Calls(plan))
    assert run(["train", "sft-lora", "--dry-run"]) == 0
    out = capsys.readouterr().out
    for text in (
        "推理/常识",
        "1,200",
        "75%",
        "3 overlong",
        "20 held out",
        "1 rows that are no records",
        "30 steps on cpu",
        "640 tokens",
        "40% of the work",
        "2 h 10 min",
        "4.2 GB",
        "a note",
    ):
        assert text in out
    assert run(["train", "sft-lora", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"steps": 30}


def test_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    paths = (Path("runs/x/report.html"), Path("runs/x/loss.png"))
    monkeypatch.setattr("danlu.runs.write_report", Calls(paths))
    assert run(["report", "runs/x"]) == 0
    assert capsys.readouterr().out == "runs/x/report.html\nruns/x/loss.png\n"
    assert run(["report", "runs/x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "report": "runs/x/report.html",
        "loss": "runs/x/loss.png",
    }


def test_chat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_chat, answers_to = Calls(0), Calls({"prompt": "是谁？", "answer": "丹炉"})
    stand_in(monkeypatch, "danlu.serving.terminal", run_chat=run_chat, answers_to=answers_to)
    arguments = ["chat", "runs/x", "runs/y", "--prompt", "是谁？", "--greedy", "--system", "s"]
    assert run([*arguments, "--max-new-tokens", "9", "--beside", "z", "--capture", "logs"]) == 0
    [((models,), options)] = run_chat
    assert (models, options["prompt"], options["system"]) == (["runs/x", "runs/y"], "是谁？", "s")
    assert (options["sampling"].greedy, options["sampling"].max_new_tokens) == (True, 9)
    assert (options["beside"], options["capture"]) == ("z", Path("logs"))
    monkeypatch.setenv("MY_KEY", "sk-1")
    assert run([*arguments, "--json", "--key-variable", "MY_KEY"]) == 0
    assert json.loads(capsys.readouterr().out) == {"prompt": "是谁？", "answer": "丹炉"}
    [((models, prompt), options)] = answers_to
    assert (models, prompt, options["key"]) == (["runs/x", "runs/y"], "是谁？", "sk-1")


def test_quickstart(monkeypatch: pytest.MonkeyPatch) -> None:
    quickstart = Calls(1)
    stand_in(monkeypatch, "danlu.quickstart.run", quickstart=quickstart)
    assert run(["quickstart", "--runs-dir", "there", "training.epochs=1"]) == 1
    assert quickstart == [(("there",), {"settings": ["training.epochs=1"]})]


def test_recipe_list_and_show(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["recipe", "list"]) == 0
    out = capsys.readouterr().out
    assert "sft-lora" in out
    assert "LoRA" in out
    assert run(["recipe", "show", "sft-full", "training.epochs=1"]) == 0
    path = tmp_path / "my.yaml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_recipe(path) == load_recipe("sft-full", ["training.epochs=1"])
    assert run(["recipe", "show", "sft-full", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["path"] for row in rows] == [row.path for row in describe(load_recipe("sft-full"))]
    assert set(rows[0]) >= {"path", "value", "default", "meaning", "source"}


def test_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formats"]) == 0
    out = capsys.readouterr().out
    assert run(["formats", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"danlu", "alpaca", "sharegpt", "openai"} <= {row["name"] for row in rows}
    for row in rows:
        assert f"{row['name']}: {row['summary']}" in out


def test_models(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from danlu.runs import RunDirectory

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DANLU_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.scan_cache_dir", Calls(SimpleNamespace(repos=[])))
    converted = tmp_path / "home" / "models" / "other-123"
    converted.mkdir(parents=True)
    (converted / "config.json").touch()
    with RunDirectory.create("runs/mine") as made:
        made.finish(SUMMARY)
    assert run(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["builtin:smollm2-135m-instruct"]["state"] == "converted on first use"
    assert rows[str(converted)]["kind"] == "folder"
    assert rows["runs/mine"]["state"] == "finished"
    assert rows["runs/mine"]["summary"] == "lora on m"
    assert run(["models"]) == 0
    assert "runs/mine" in capsys.readouterr().out


def test_explain_hands_its_settings_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from danlu.cli import explain

    data = tmp_path / "my.jsonl"
    rows = [
        {"id": "a", "task_type": "x/y", "prompt": "1", "completion": "2"},
        {"id": "b", "task_type": "x/z", "prompt": "1", "completion": "3"},
    ]
    data.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    shown = Calls(None)
    monkeypatch.setattr(explain, "_show", shown)
    assert (
        run(["explain", str(data), "-m", "m", "--template", "chatml", "sequences.turns=last"]) == 0
    )
    recipe, records, as_json, no_color = shown[0][0]
    assert isinstance(recipe, Recipe)
    assert (recipe.model.path, recipe.model.template) == ("m", "chatml")
    assert recipe.sequences.turns == "last"
    assert [record.id for record in records] == ["a", "b"]
    assert (as_json, no_color) == (False, False)
    for option, value in (("--record", "b"), ("--task-type", "x/z")):
        assert run(["explain", str(data), option, value, "--json"]) == 0
        assert [record.id for record in shown[-1][0][1]] == ["b"]
    assert run(["explain", str(data), "--limit", "1"]) == 0
    assert [record.id for record in shown[-1][0][1]] == ["a"]
    assert run(["explain", str(data), "--record", "c"]) == 2
    assert "no record has the id 'c'. Allowed: a, b." in capsys.readouterr().err
    assert run(["explain", str(data), "--task-type", "x/yy"]) == 2
    assert "Did you mean 'x/y'?" in capsys.readouterr().err


def test_tables_keep_wide_characters_apart(capsys: pytest.CaptureFixture[str]) -> None:
    table(["name", "n"], [("丹炉", 1), ("abcd", 22), (None, None)], right=["n"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines] == ["name   n", "丹炉   1", "abcd  22", ""]

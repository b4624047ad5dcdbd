"""What the user is told beside the result: the template's notes, and files that are not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.cli.passed_over import note_passed_over
from tests.tiny_models import tiny_llama

ROW = {"id": "one", "task_type": "furnace/name", "prompt": "Who?", "completion": "The furnace."}


@pytest.fixture
def model(tmp_path: Path, tiny_tokenizer: Any) -> str:
    """A folder with a tokenizer and a config, and no weights."""
    folder = tmp_path / "model"
    tiny_tokenizer.save_pretrained(folder)
    tiny_llama().config.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with one data file and two files of other kinds."""
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    (folder / "my.jsonl").write_text(json.dumps(ROW) + "\n", "utf-8")
    (folder / "README.md").write_text("About the data.")
    (folder / "more" / "scan.pdf").touch()
    return folder


def expected(data: Path) -> str:
    names = (data / "README.md", data / "more" / "scan.pdf")
    return f"passed over, being no data files: {names[0]}, {names[1]}\n"


def test_explain_tells_what_it_passes_over(
    data: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", str(data), "--model", model, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["record"] == "one"
    assert expected(data) in err
    assert run(["explain", str(data / "my.jsonl"), "--model", model, "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_explain_tells_the_templates_notes(
    data: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, before the branches, and on stderr, so that JSON stays JSON."""
    arguments = ["explain", str(data / "my.jsonl"), "--model", model, "--json"]
    assert run([*arguments, "--template", "baichuan"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["record"] == "one"
    assert err.count("The tokenizer has no token <reserved_106> or <reserved_107>") == 1
    assert "List it in model.new_tokens" in err


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_dry_run_tells_what_it_passes_over(
    data: Path, model: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"model.path={model}", "training.device=cpu", "data.eval_share=0"]
    command = ["train", "sft-lora", f"data.train={data}", *arguments, "--dry-run", *options]
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert err.count(expected(data)) == 1
    if options:
        assert json.loads(out)["records"] == 1
    else:
        assert "1 records to train on" in out
    assert run([*command, f"data.train={data / 'my.jsonl'}"]) == 0
    assert "passed over" not in capsys.readouterr().err


def test_a_dry_run_looks_at_evaluation_data_too(
    data: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"data.train={data / 'my.jsonl'}", f"data.eval={data}", "data.eval_share=0"]
    arguments = [f"model.path={model}", "training.device=cpu", "--dry-run"]
    assert run(["train", "sft-lora", *settings, *arguments]) == 0
    assert expected(data) in capsys.readouterr().err


def test_training_tells_what_it_passes_over(
    data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the model is looked for, which has no weights here."""
    settings = [f"data.train={data}", f"runs_dir={tmp_path / 'runs'}", f"model.path={model}"]
    assert run(["train", "sft-lora", *settings, "training.device=cpu"]) == 2
    assert capsys.readouterr().err.startswith(expected(data))


def test_many_files_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    note_passed_over([f"{number}.png" for number in range(1205)])
    assert capsys.readouterr().err == (
        "passed over, being no data files: 0.png, 1.png, 2.png, 3.png, 4.png and 1,200 more\n"
    )
    note_passed_over([])
    assert capsys.readouterr().err == ""

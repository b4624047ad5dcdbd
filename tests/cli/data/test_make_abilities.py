"""``danlu data make`` for abilities: from the command line to versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from danlu.cli.main import run
from danlu.workshop.produce.expectation import expectation_of
from danlu.workshop.produce.measures import said as said_in
from danlu.workshop.store.store import Store
from tests.workshop.produce.endpoint_server import Does, said, serving

Told = Callable[..., tuple[str, str]]


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Told:
    """Run a command that must succeed (or fail with a code), and return what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    prompts = ("Which planet has most moons?", "哪条河最长？", "Name a soup.", "How old is Rome?")
    rows = [
        {"task_type": "a/b", "question": prompt, "answer": f"Number {n}"}
        for n, prompt in enumerate(prompts)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "q.jsonl").write_text(text, "utf-8")

    def run_it(*words: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert run(["data", "make", *words]) == code
        return capsys.readouterr()

    return run_it


def checked(name: str) -> int:
    """Check every record of a version against what it expects, and count them."""
    records = list(Store().find(name).records())
    for record in records:
        assert record.meta["expectations"]
        for row in record.meta["expectations"]:
            assert expectation_of(row).problem(said_in(record.messages[-1])) is None
    return len(records)


@pytest.mark.parametrize(
    "words",
    [
        ("rag", "--eval-share", "0.5"),
        ("tools", "--count", "24", "--eval-share", "0.5"),
        ("tools", "q.jsonl", "--count", "12", "--case", "no_call", "--eval-share", "0.5"),
        ("long-context", "--length", "500", "--each", "2", "--eval-share", "0.5"),
        ("topics", "--eval-share", "0.2"),
        ("system", "--kind", "form", "--eval-share", "0.2"),
        ("robustness", "q.jsonl", "--eval-share", "0.5"),
        ("knowledge", "--entities", "4"),
    ],
    ids=lambda words: words[0],
)
def test_training_and_evaluation_sets_share_no_prompt(words: tuple[str, ...], told: Told) -> None:
    _, err = told(*words, "-n", "made")
    assert "made-train = v" in err
    assert "made-eval = v" in err
    assert checked("made-eval") > 0
    train = list(Store().find("made-train").records())
    assert train
    if words[0] != "knowledge":  # It asks what it taught, in the same words too.
        asked = {str(record.messages[:-1]) for record in train}
        evaluation = Store().find("made-eval").records()
        assert asked.isdisjoint({str(record.messages[:-1]) for record in evaluation})
    _, err = told(*words, "-n", "made")
    assert err.count("which was there already") == 2


def test_one_dataset_and_json(told: Told) -> None:
    out, _ = told(
        "long-context", "--length", "400", "--kind", "passkey", "--depth", "0.5", "--json"
    )
    found = json.loads(out)
    assert found["task_types"]["long_context/passkey"]["records"] == 4
    out, _ = told("knowledge", "--entities", "2", "--naming", "tokens", "--json")
    found = json.loads(out)
    assert found["new_tokens"] == ["<entity-1>", "<entity-2>"]
    assert found["eval"]["task_types"]["knowledge/rephrased"]["records"] == 12
    out, err = told("knowledge", "--entities", "2", "--naming", "tokens")
    assert out.endswith("model:\n  new_tokens:\n  - <entity-1>\n  - <entity-2>\n")
    assert "for the recipe" in err


def test_lengths_in_tokens(told: Told, tiny_tokenizer, tmp_path: Path) -> None:
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    told("long-context", "--length", "900", "--each", "1", "--tokens", "model", "-n", "long")
    for record in Store().find("long").records():
        text = record.messages[0].content or ""
        count = len(tiny_tokenizer(text, add_special_tokens=False)["input_ids"])
        assert 600 < count == record.meta["made"]["length"] <= 900


def test_a_model_says_it_otherwise(told: Told, tmp_path: Path) -> None:
    def script(body, time_):
        old = said(body).rpartition("\n\n")[2]
        return Does(f"So: {old}" if old.isascii() else "Nothing was found.")

    with serving(script) as server:
        model = ("--url", server.url, "-m", "strong")
        _, err = told("rag", "--case", "nothing", *model, "-n", "rag", "--rejects", "r.jsonl")
        assert "spent:" in err
        assert "14 not taken: rewording: another language" in err
        assert len((tmp_path / "r.jsonl").read_text("utf-8").splitlines()) == 14
        _, err = told("tools", "--count", "6", "--language", "en", *model, "-n", "calls")
        assert checked("calls") == 6
    answers = [record.messages[-1].content or "" for record in Store().find("rag").records()]
    assert sum(answer.startswith("So: ") for answer in answers) == 14


def test_mistakes_are_told(told: Told, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"name": "f"}]', "utf-8")
    for words, reason in (
        (("rag", "--policy", "nothing=guess"), "it is decline or own_knowledge"),
        (("rag", "--policy", "nothing"), "it must be NAME=VALUE"),
        (("rag", "q.jsonl"), "no question with a passage"),
        (("rag", "--url", "http://localhost:1/v1"), "name the model"),
        (("tools", "--tools", "t.json"), "a model must write the requests"),
        (("tools", "--eval-share", "1"), "from 0 to below 1"),
        (("long-context", "--length", "10"), "no room"),
        (("long-context", "none.md"), "none.md"),
        (("robustness", "q.jsonl", "--kind", "typo"), "typo"),
        (("knowledge", "--relations", "none.yaml"), "no such file of relations"),
        (("knowledge", "--facts", "9"), "there are 5 relations"),
    ):
        _, err = told(*words, code=2)
        assert reason in err.replace("\n", " ")
        assert "Traceback" not in err

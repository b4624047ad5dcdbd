"""``danlu data make`` with the built-in model: each maker that asks a model, from end to end.

What a model of 135 million parameters makes is poor, and much of it is not taken; but nothing
stops, every given record has its fate, and what was answered once is not asked again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from danlu.cli.data.make import group
from danlu.cli.main import run
from danlu.workshop.produce.in_process import InProcess
from danlu.workshop.store.store import Store

MODEL = "builtin:smollm2-135m-instruct"
CASES: dict[str, tuple[str, ...]] = {
    "answer": ("one.jsonl", "--samples", "2", "--choose", "judge", "--reasks", "0"),
    "self-instruct": ("seeds.jsonl", "--count", "1", "--language", "en", "--most-rounds", "1"),
    "evolve": ("seeds.jsonl", "--way", "deepen", "--way", "rephrase"),
    "constraints": ("one.jsonl", "--kind", "max_characters"),
    "doc2qa": ("doc.txt", "--questions", "1"),
    "doc2conv": ("doc.txt", "--turns", "2"),
    "summarise": ("doc.txt", "--length", "7", "--reasks", "1"),
    "decompose": ("one.jsonl", "--most-steps", "2"),
    "similarity-pairs": ("asked.jsonl",),
    "rag": ("facts.jsonl", "--case", "answered", "--case", "nothing"),
    "tools": ("--count", "3", "--language", "en"),
}
DOCUMENT = (
    "Li built the tower in 1765, and it was the tallest of the town. "
    "It fell in a storm, and nobody built it again."
)
USUAL = ("-m", MODEL, "--max-new-tokens", "16", "--cache", "requests.sqlite", "-n", "made")


@pytest.fixture(scope="module")
def builtin() -> InProcess:
    return InProcess.load(MODEL, progress=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builtin: InProcess) -> Path:
    """A folder with little of everything, where the model is loaded already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    monkeypatch.setattr(InProcess, "load", lambda path, **how: builtin)
    asked = [
        {"id": "1", "messages": [{"role": "user", "content": "Name three fruits."}]},
        {"id": "2", "messages": [{"role": "user", "content": "铁是什么？"}]},
    ]
    seeds = [
        {"id": "3", "prompt": "Explain how bread is baked.", "completion": "Knead, wait, bake."},
        {"id": "4", "prompt": "Say good morning in Spanish.", "completion": "Buenos días."},
    ]
    facts = [{"id": "5", "question": "Who built it?", "answer": "Li", "passage": "Li built it."}]
    for name, rows in (("one", asked[1:]), ("asked", asked), ("seeds", seeds), ("facts", facts)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        Path(f"{name}.jsonl").write_text(text, "utf-8")
    Path("doc.txt").write_text(DOCUMENT, "utf-8")
    return tmp_path


def test_every_maker_that_asks_a_model_is_here() -> None:
    commands: Any = typer.main.get_command(group)
    asking = {
        name
        for name, command in commands.commands.items()
        if any("--model" in parameter.opts for parameter in command.params)
    }
    assert asking == set(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_it_runs_from_end_to_end(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "make", name, *CASES[name], *USUAL]
    assert run(words) == 0
    spent = re.search(r"spent: ([\d,]+) tokens", capsys.readouterr().err)
    assert spent is not None
    assert int(spent[1].replace(",", "")) > 0
    [version] = [one for one in Store().versions() if Store().names_of(one)]
    assert version.id == Store().find("made").id
    given = {row["id"] for path in CASES[name][:1] if path.endswith("l") for row in rows_of(path)}
    assert given <= {entry.id for entry in version.ledger()}
    # In another store nothing is there but the answers, and they are enough.
    assert run([*words, "--store", "other"]) == 0
    assert "spent: 0 tokens" in capsys.readouterr().err
    assert Store("other").find("made").manifest.content == version.manifest.content


def rows_of(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]

"""``danlu data dedup``, ``novelty``, ``select`` and ``mix``: from the options to the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from danlu.cli.main import run

Told = Callable[..., tuple[str, str]]

TAXONOMY = """\
chat:
  talk: Talk.
review:
  sentiment:
    closed_labels: [good, bad]
"""


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Told:
    """Run a command that must succeed (or fail with a code), and return what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    rows = [
        ("a1", "Name a tree, please", "An oak tree.", "chat/talk"),
        ("a2", "name a tree, please!", "An oak tree!", "chat/talk"),
        ("a3", "给我讲一个故事吧", "从前有座山。", "chat/talk"),
        ("a4", "給我講一個故事吧", "从前有座山。", "chat/talk"),
        ("b1", "A fine film", "good", "review/sentiment"),
        ("b2", "What a bore it was", "good", "review/sentiment"),
    ]
    lines = [
        json.dumps(dict(zip(("id", "prompt", "completion", "task_type"), row, strict=True)))
        for row in rows
    ]
    Path("own.jsonl").write_text("\n".join(lines), "utf-8")
    Path("types.yaml").write_text(TAXONOMY, "utf-8")

    def run_it(*words: str, code: int = 0) -> tuple[str, str]:
        assert run(["data", *words]) == code
        return capsys.readouterr()

    run_it("import", "own.jsonl", "--taxonomy", "types.yaml", "-n", "mine")
    return run_it


def ids(told: Told, data: str) -> list[str]:
    out, _ = told("show", data, "--json")
    return [json.loads(line)["id"] for line in out.splitlines()]


def test_dedup(told: Told) -> None:
    _, err = told("dedup", "mine", "-n", "clean")
    assert "2 dropped: near duplicate" in err
    assert ids(told, "clean") == ["a1", "a3", "b1", "b2"]
    out, _ = told("ledger", "clean", "--id", "a4", "--json")
    row = json.loads(out)
    assert (row["rule"], row["value"], row["limit"], row["partner"]) == (
        *("near duplicate", 1.0, 0.8, "a3"),
    )
    told("dedup", "mine", "--exact", "-n", "exact")
    assert len(ids(told, "exact")) == 6
    # The taxonomy says that the answers of reviews are labels.
    told("dedup", "mine", "--on", "answer", "--keep", "longest", "-n", "answers")
    assert ids(told, "answers") == ["a1", "a3", "b1", "b2"]


def test_novelty(told: Told) -> None:
    told("novelty", "mine", "-n", "new")
    assert ids(told, "new") == ["a1", "a3", "b1", "b2"]
    told("novelty", "mine", "--pool", "new", "-n", "none")
    assert ids(told, "none") == []
    assert "must be between 0 and 1" in told("novelty", "mine", "--limit", "1", code=2)[1]


def test_select(told: Told) -> None:
    told("select", "mine", "--count", "1", "--of", "chat=2", "-n", "few")
    assert len(ids(told, "few")) == 3
    Path("ifd.jsonl").write_text(
        "\n".join(
            json.dumps({"id": name, "score": score})
            for name, score in zip(
                ("a1", "a2", "a3", "a4", "b1", "b2"), (0.2, 1.4, 0.9, 0.5, 0.1, 0.3), strict=True
            )
        ),
        "utf-8",
    )
    options = ("--by", "difficulty", "--share", "0.5", "--most", "1", "--scores", "ifd.jsonl")
    told("select", "mine", *options, "-n", "hard")
    assert ids(told, "hard") == ["a3", "a4", "b2"]
    assert "needs a count (--count) or a share" in told("select", "mine", code=2)[1]
    assert "must be a whole number" in told("select", "mine", "--of", "chat=x", code=2)[1]


def test_mix(told: Told) -> None:
    options = ("--by", "area", "--to", "chat:review=1:3", "--repeats", "3")
    out, _ = told("mix", "mine", *options, "-n", "mixed")
    assert [line.split() for line in out.splitlines()[-3:]] == [
        ["area", "asked", "achieved", "share", "records", "repeats"],
        ["chat", "2", "2", "25.0%", "2", "1.00"],
        ["review", "6", "6", "75.0%", "6", "3.00"],
    ]
    found = ids(told, "mixed")
    assert [name for name in found if name.startswith("b")] == [
        *("b1", "b1#2", "b1#3", "b2", "b2#2", "b2#3"),
    ]
    _, err = told("mix", "mine", "--to", "chat/talk=9", "--repeats", "2", "-n", "more")
    assert "chat/talk: less than asked, bound by repeats 2" in err
    assert "must be NAME=VALUE" in told("mix", "mine", "--to", "chat", code=2)[1]
    assert "given twice" in told("mix", "mine", "--to", "a=1", "--to", "a=2", code=2)[1]
    assert "Did you mean 'chat/talk'?" in told("mix", "mine", "--to", "chat/tal=2", code=2)[1]

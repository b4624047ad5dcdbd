"""``danlu data check``: what it prints, and the versions it makes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.records import write_records
from tests.workshop.checks.trying import chat, chinese, english

BAD = [chat("empty", "q", ""), chat("空", "问", " "), chat("leak", "What is hot?", "Iron.")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    write_records([*english(40), *chinese(40), *BAD], tmp_path / "a.jsonl")
    write_records([chat("e", "what is HOT?", "Fire.")], tmp_path / "eval.jsonl")
    return tmp_path


def test_verdicts_and_findings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", "a.jsonl", "--findings", "out/f.jsonl"]) == 0
    out, err = capsys.readouterr()
    [line] = [one for one in out.splitlines() if "fault" in one]
    assert line.split()[:3] == ["a/b", "structure", "fault"]
    assert "2 of 3 records: a turn has no text and calls no tool." in line
    assert "not run: truncation: Name a model" in err
    assert "2 findings in out/f.jsonl" in err
    rows = [json.loads(one) for one in (folder / "out" / "f.jsonl").read_text("utf-8").splitlines()]
    assert [row["record_id"] for row in rows] == ["empty", "空"]
    assert not (folder / "datasets").exists()


def test_json_and_choices(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "check", "a.jsonl", "--only", "structure", "--only", "leakage", "--json"]
    assert run([*words, "--evaluation", "eval.jsonl"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["findings"] == {"structure.empty_turn": 2, "leakage.whole_prompt": 1}
    assert {one["check"] for one in told["verdicts"]} == {"structure", "leakage"}
    assert run(["data", "check", "a.jsonl", "--skip", "structure", "--all"]) == 0
    assert "写作/故事" in capsys.readouterr().out
    assert run(["data", "check", "a.jsonl", "--only", "struct"]) == 2
    assert "no check 'struct'. Did you mean 'structure'?" in capsys.readouterr().err


def test_settings(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "check", "a.jsonl", "--only", "lengths", "--json"]
    assert run([*words, "lengths.one_size_share=0.1", "lengths.wide_spread=999"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "attention" in {one["state"] for one in told["verdicts"]}
    assert run([*words, "lengths.one_size=0.1"]) == 2
    assert "lengths.one_size: lengths has no setting" in capsys.readouterr().err
    assert run([*words, "sequences.max_lenth=7"]) == 2
    assert "max_length" in capsys.readouterr().err


def test_drop_makes_a_version(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "check", "a.jsonl", "--drop", "structure", "--tag", "leakage.whole_prompt"]
    words += ["--evaluation", "eval.jsonl", "--name", "clean"]
    assert run([*words, "--findings", "f.jsonl"]) == 0
    err = capsys.readouterr().err
    assert "2 dropped: structure.empty_turn" in err
    assert "1 edited: leakage.whole_prompt" in err
    assert "3 findings in f.jsonl" in err
    assert run(["data", "show", "clean", "--tag", "check:leakage.whole_prompt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "leak"
    assert run(words) == 0
    assert "which was there already" in capsys.readouterr().err
    assert run(["data", "check", "clean", "--drop", "monotony"]) == 2
    assert "speaks of a task type as a whole" in capsys.readouterr().err


def test_taxonomy_and_schemas(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "types.yaml").write_text("a:\n  b:\n    closed_labels: [Iron]\n", "utf-8")
    (folder / "schemas.json").write_text('{"a/b": {"type": "object"}}', "utf-8")
    words = ["data", "check", "a.jsonl", "--json", "--taxonomy", "types.yaml"]
    assert run([*words, "--only", "choice", "--only", "json", "--schemas", "schemas.json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert found == {"json.not_json": 1}
    (folder / "schemas.json").write_text("[]", "utf-8")
    assert run([*words, "--schemas", "schemas.json"]) == 2
    assert "schemas.json: must be a JSON object" in capsys.readouterr().err
    assert run([*words, "--schemas", "none.json"]) == 2
    assert "the schemas cannot be read" in capsys.readouterr().err


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", "--list"]) == 0
    out = capsys.readouterr().out
    assert "structure.empty_turn" in out
    assert "monotony.answer_share" in out
    assert run(["data", "check", "--list", "--json", "--only", "leakage"]) == 0
    [told] = json.loads(capsys.readouterr().out)
    assert [rule["name"] for rule in told["rules"]] == ["whole_prompt", "overlap"]
    assert run(["data", "check"]) == 2
    assert "name the data to check" in capsys.readouterr().err


def test_who_looks_at_records(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Counted:
        def __init__(self, count: int) -> None:
            asked.append(count)

        def map(self, function: Any, items: Iterable[Any]) -> Iterator[Any]:
            return map(function, items)

    monkeypatch.setattr("danlu.workshop.execution.processes.Processes", Counted)
    check = ["data", "check", "a.jsonl", "--json"]
    told = []
    for words in ([], ["--processes", "3"], ["--processes", "1"]):
        assert run([*check, *words]) == 0
        told.append(capsys.readouterr().out)
    assert told == [told[0]] * 3
    assert asked == [3]
    monkeypatch.setattr("danlu.workshop.execution.processes.BYTES_EACH", 1)
    monkeypatch.setattr("danlu.workshop.execution.processes.cores", lambda: 2)
    assert run([*check, "--name", "checked", "--drop", "structure.empty_turn"]) == 0
    assert asked == [3, 2]
    own = folder / "own.py"
    own.write_text("def check_nothing(record):\n    return None\n")
    assert run([*check, f"own.file={own}"]) == 0
    assert asked == [3, 2]
    assert run([*check, f"own.file={own}", "--processes", "2"]) == 2
    assert "with own.file one process looks at all records" in capsys.readouterr().err

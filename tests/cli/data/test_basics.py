"""``danlu data import``, ``list``, ``log``, ``show``, ``stats``: what they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from danlu.cli.main import run

ROWS = [
    {"instruction": "把“电脑”翻成英文。", "input": "", "output": "computer", "task_type": "译/词"},
    {"instruction": "Name a metal.", "input": "", "output": "Iron.", "tags": ["robustness"]},
    {"instruction": "Name a gas.", "input": "", "output": "Neon " * 200},
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_text(text, "utf-8")
    return tmp_path


def test_import_tells_what_it_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "import", "a.jsonl", "--name", "mine"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines == [
        ["task", "type", "records", "characters", "kept"],
        ["unlabelled/a", "2", "1,029", "2"],
        ["译/词", "1", "18", "1"],
        ["all", "3", "1,047", "3"],
    ]
    assert err.startswith("mine = v")
    assert run(["data", "import", "a.jsonl", "--name", "mine"]) == 0
    assert "which was there already: 3 records" in capsys.readouterr().err
    assert run(["data", "import", "a.jsonl", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["records"], told["is_new"], told["name"]) == (3, False, None)


def test_options_of_import(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "b.csv").write_text("题目,答案\n一加一？,二\nbad\n", "utf-8")
    (folder / "types.yaml").write_text("math:\n  sums: Sums.\n", "utf-8")
    words = ["data", "import", "b.csv", "--column", "prompt=题目", "--column", "completion=答案"]
    words += ["--task-type", "math/sums", "--taxonomy", "types.yaml", "--tag", "x", "--tag", "y"]
    assert run(words) == 2
    assert "b.csv:3: the row has 1 fields" in capsys.readouterr().err
    assert run([*words, "--on-bad-record", "skip", "--store", "elsewhere", "-n", "sums"]) == 0
    assert "1 rows were no records: elsewhere/versions/v" in capsys.readouterr().err
    assert run(["data", "show", "sums", "--store", "elsewhere", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["task_type"], record["tags"]) == ("math/sums", ["x", "y"])
    assert run(["data", "import", "b.csv", "--column", "prompt"]) == 2
    assert "'prompt' is not PART=COLUMN" in capsys.readouterr().err
    assert run(["data", "import", "b.csv", "--taxonomy", "type.yaml"]) == 2
    assert "type.yaml: there is no such taxonomy file" in capsys.readouterr().err


def test_list_and_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "list"]) == 0
    assert "no dataset has a name" in capsys.readouterr().err
    assert run(["data", "log"]) == 0
    assert "no version" in capsys.readouterr().err
    run(["data", "import", "a.jsonl", "--name", "mine"])
    run(["data", "import", "a.jsonl", "--name", "mine", "--limit", "2"])
    capsys.readouterr()
    assert run(["data", "list", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["name"], row["number"], row["records"], row["task_types"]) == ("mine", 2, 2, 2)
    assert run(["data", "log"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "mine" in lines[1]
    assert "a.jsonl" in lines[1]
    assert "mine" not in lines[2]
    assert run(["data", "log", "mine@1", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["records"], row["names"]) == (3, [])
    assert run(["data", "log", "mime"]) == 2
    assert "Did you mean 'mine'?" in capsys.readouterr().err


def test_show_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    def ids(*words: str) -> list[str]:
        assert run(["data", "show", "a.jsonl", "--json", *words]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [json.loads(line)["messages"][1]["content"][:4] for line in lines]

    assert ids() == ["comp", "Iron", "Neon"]
    assert ids("--text", "電腦") == ["comp"]
    assert ids("--text", "ＭＥＴＡＬ") == ["Iron"]
    assert ids("-t", "unlabelled/*", "--max-length", "100") == ["Iron"]
    assert ids("--min-length", "100") == ["Neon"]
    assert ids("--tag", "robustness") == ["Iron"]
    assert ids("--tag", "robustness", "--text", "gas") == []
    assert ids("--limit", "1") == ["comp"]
    drawn = {seed: ids("--sample", "1", "--seed", seed) for seed in "0123456789"}
    assert drawn["3"] == ids("--sample", "1", "--seed", "3")
    assert len({one[0] for one in drawn.values()}) > 1
    assert run(["data", "show", "a.jsonl", "--limit", "1"]) == 0
    assert "there are more" in capsys.readouterr().err


def test_show_draws_chinese_right(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"instruction": "天地玄黄" * 40, "input": "", "output": "宇宙洪荒" * 400}
    (folder / "b.jsonl").write_text(json.dumps(row), "utf-8")
    assert run(["data", "show", "b.jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(cell_len(line) for line in lines) <= 100
    # 160 characters of two columns beside a margin of 13: 43 to a line.
    assert [len(line) for line in lines[1:5]] == [13 + 43, 13 + 43, 13 + 43, 13 + 31]
    assert lines[1].startswith("  user       天地玄黄")
    assert "… 1,000 characters …" in " ".join(line.strip() for line in lines)
    assert run(["data", "show", "b.jsonl", "--whole"]) == 0
    shown = "".join(line.strip() for line in capsys.readouterr().out.splitlines())
    assert shown.count("宇宙洪荒") > 370  # some are broken between lines


def test_stats(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "stats", "a.jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [
        "unlabelled/a",
        "2",
        "66.7%",
        "2",
        "1,029",
        "11",
        "11",
        "13",
        "5",
        "5",
        "1,000",
    ]
    assert lines[2].split() == ["译/词", "1", "33.3%", "1", "18", "10", "10", "10", "8", "8", "8"]
    assert lines[4:] == ["tags: robustness 1", "sources: a.jsonl 3"]
    assert run(["data", "stats", "a.jsonl", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["all"]["answer_characters"] == {"p5": 5, "p50": 8, "p95": 1000, "max": 1000}
    assert told["task_types"]["译/词"]["records"] == 1


def test_revise(capsys: pytest.CaptureFixture[str]) -> None:
    run(["data", "import", "a.jsonl", "--name", "mine"])
    capsys.readouterr()
    run(["data", "show", "mine", "--json", "--limit", "1"])
    record = json.loads(capsys.readouterr().out)
    words = ["data", "revise", "mine", "--id", record["id"]]
    assert run([*words, "--message", "1=新=1", "-n", "mine"]) == 0
    assert "1 edited: by hand" in capsys.readouterr().err
    run(["data", "show", "mine", "--id", record["id"], "--json"])
    assert json.loads(capsys.readouterr().out)["messages"][0]["content"] == "新=1"
    assert run(words) == 2
    assert "say --message NUMBER=TEXT" in capsys.readouterr().err
    assert run([*words, "--answer", "one=x"]) == 2
    assert "must be NUMBER=TEXT" in capsys.readouterr().err
    assert run([*words, "--message", "99=x"]) == 2
    assert "no number 99" in capsys.readouterr().err
    for wrong in ("{", "[1]", '{"messages": {"x": "y"}}', '{"messages": {"1": 2}}', '{"more": {}}'):
        Path("texts.json").write_text(wrong)
        assert run([*words, "--texts", "texts.json"]) == 2
        assert '{"messages": {"2": TEXT}' in capsys.readouterr().err
    assert run([*words, "--texts", "none.json"]) == 2
    capsys.readouterr()
    Path("texts.json").write_text('{"messages": {"1": "二"}}', "utf-8")
    assert run([*words, "--texts", "texts.json", "-n", "mine", "--if-at", "v0123456789abcdef"]) == 2
    assert "What was made is kept as v" in capsys.readouterr().err

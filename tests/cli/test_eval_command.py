"""``danlu eval`` from the command line: what a new user types, and what goes wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.evaluation.asking.local import LocalModel
from danlu.evaluation.table import visible
from tests.evaluation.scripted import scripted
from tests.workshop.produce.endpoint_server import Does, said, serving

SUITE = """
items: items.jsonl
task_types:
  know/sums: {scorer: numeric, also: [length]}
  zh/label: {scorer: classification, labels: [正面, 负面], critical: true}
"""
ITEMS = [
    {"id": "a", "task_type": "know/sums", "prompt": "1 + 1 =", "reference": 2},
    {"id": "b", "task_type": "know/sums", "prompt": "2 + 2 =", "reference": 4},
    {"id": "c", "task_type": "zh/label", "prompt": "好看吗？好看！", "reference": "正面"},
]
ANSWERS = {"1 + 1 =": "2", "2 + 2 =": "<b>5</b>\x1b[31m", "好看吗？好看！": "我不知道"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ITEMS)
    (folder / "items.jsonl").write_text(rows, "utf-8")
    (folder / "suite.yaml").write_text(SUITE, "utf-8")

    def load(model: str, cache: Any, **options: Any) -> LocalModel:
        return scripted(ANSWERS, cache)[0]

    monkeypatch.setattr(LocalModel, "load", load)
    return folder


def test_the_table_of_a_suite(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "mine", "--model", "m"]) == 0
    out, err = capsys.readouterr()
    shown = [" ".join(line.split()) for line in out.splitlines()]
    assert shown == [
        "task type items scored score 95 % interval scorer also",
        "all 3 2 (66 %) none",
        "know 2 2 0.500",
        "sums 2 2 0.500 0.095 to 0.905 numeric length 2.5",
        "zh 1 0 (0 %) none",
        "label * 1 0 (0 %) none classification "
        "1 not read, accuracy 0, macro_f1 0, micro_f1 0, unread 1",
    ]
    assert "1 item has no score; missing is not 0" in err
    assert "with those at the lowest, all would be 0.250" in err


def test_one_answer_of_ten_is_no_perfect_score(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine answers give no number, the tenth is right: the mean of what was read is 1."""
    items = [
        {"id": f"i{k}", "task_type": "know/sums", "prompt": f"{k}?", "reference": 2}
        for k in range(10)
    ]
    rows = "".join(json.dumps(row) + "\n" for row in items)
    (place / "items.jsonl").write_text(rows, "utf-8")
    stakes = "  know/sums: {scorer: numeric}\n"
    (place / "suite.yaml").write_text(f"items: items.jsonl\ntask_types:\n{stakes}", "utf-8")
    for k in range(10):
        monkeypatch.setitem(ANSWERS, f"{k}?", "I do not know" if k else "2")
    assert run(["eval", "mine", "--model", "m"]) == 0
    out, err = capsys.readouterr()
    leaf = " ".join(out.splitlines()[-1].split())
    assert leaf == "sums 10 1 (10 %) (1.000) (0.207 to 1.000) numeric 9 not read"
    assert "all would be 0.100" in err
    assert run(["eval", "list", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["evaluations"]
    assert (row["items"], row["scored"]) == (10, 1)


def test_the_same_as_json_and_again_without_asking(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", "run", "mine", "-m", "m", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["results"]["know/sums"]["score"] == 0.5
    assert found["score"] is None
    assert found["results"]["zh/label"]["failures"] == {"not_read": 1}
    assert run(["eval", "score", "evals/mine-m", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == found["results"]
    assert run(["eval", "mine", "-m", "m", "--name", "again"]) == 0
    assert "3 of 3 answers were known" in capsys.readouterr().err
    assert run(["eval", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["path"] for row in listed["evaluations"]] == ["evals/again", "evals/mine-m"]
    assert "general" in listed["suites"]
    assert run(["eval", "list"]) == 0
    assert "finished" in capsys.readouterr().out


def test_items_are_shown_with_their_answers_as_text(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["eval", "mine", "-m", "m"])
    capsys.readouterr()
    assert run(["eval", "show", "mine-m", "--wrong", "3", "--missing", "3"]) == 0
    out = capsys.readouterr().out
    assert "answer: <b>5</b>\\x1b[31m" in out
    assert "\x1b" not in out
    assert "classification: missing (not_read: it gives no label)" in out
    assert "reference: 正面" in out
    assert run(["eval", "show", "evals/mine-m", "--item", "a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["score"] == 1.0
    assert run(["eval", "show", "evals/mine-m"]) == 0
    assert "sums" in capsys.readouterr().out


def test_an_endpoint_is_asked_with_the_key_of_the_environment(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-key-123")
    with serving(lambda body, time_: Does("正面" if "好看" in said(body) else "2")) as server:
        command = ["eval", "mine", "--model", "strong", "--endpoint", server.url]
        assert run([*command, "--key-variable", "MY_KEY", "--json"]) == 0
        assert server.headers[0]["Authorization"] == "Bearer secret-key-123"
        assert {body["temperature"] for body in server.bodies} == {0.0}
    found = json.loads(capsys.readouterr().out)
    assert found["score"] == 0.75
    kept = b"".join(path.read_bytes() for path in Path("evals").rglob("*") if path.is_file())
    assert b"secret-key-123" not in kept


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["eval", "generel", "-m", "m"], "Did you mean 'general'"),
        (["eval", "mine"], "Missing option '--model'"),
        (["eval", "mine", "-m", "m", "--samples", "3", "--temperature", "0"], "all the same"),
        (["eval", "mine", "-m", "m", "--samples", "0"], "--samples"),
        (["eval", "show", "nowhere"], "there is no evaluation here"),
        (["eval", "score", "nowhere"], "there is no evaluation here"),
        (["eval", "plain-text", "-m", "x", "--endpoint", "http://127.0.0.1:1/v1"], "log-probab"),
        (["eval", "make-suite", "none.jsonl", "--out", "s"], "none.jsonl"),
    ],
)
def test_what_goes_wrong_is_told_without_a_traceback(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert run(words) == 2
    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err


def test_a_suite_made_of_data_is_asked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"prompt": text, "completion": "是" if n % 2 else "否"}
        for n, text in enumerate("天地玄黄宇宙")
    ]
    Path("held.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    assert run(["eval", "make-suite", "held.jsonl", "--out", "made"]) == 0
    out, err = capsys.readouterr()
    assert "classification" in out
    assert "danlu eval made --model M" in err
    assert run(["eval", "make-suite", "held.jsonl", "--out", "made2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "made2"


def test_control_characters_are_shown_and_chinese_and_emoji_stay() -> None:
    assert visible("a\tb\n中文👩‍🔬") == "a\tb\n中文👩‍🔬"
    assert visible("\x07\x9b\u202e") == "\\x07\\x9b\\u202e"

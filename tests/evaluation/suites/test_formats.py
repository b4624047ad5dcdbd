"""Other people's files as they are; the rows are written for these tests, in their forms."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.scorers import make_scorer
from danlu.evaluation.suites import load_suite

ALIGNBENCH = {
    "question_id": 7,
    "category": "数学计算",
    "subcategory": "初等数学",
    "question": "三加四是多少？",
    "reference": "三加四等于七。",
}
MT_BENCH = {"question_id": 81, "category": "Writing", "turns": ["Write a line.", "Now shorter."]}
GSM8K = {"question": "Two boxes of 600 pens?", "answer": "2 * 600 = <<2*600=1200>>1200\n#### 1,200"}
HUMANEVAL = {
    "task_id": "Test/0",
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}


def file_of(folder: Path, *rows: dict[str, Any], name: str = "others.jsonl") -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / name).write_text(text, "utf-8")
    return folder / name


def test_alignbench(tmp_path: Path) -> None:
    suite = load_suite(file_of(tmp_path, ALIGNBENCH))
    [item] = suite.items
    assert (item.id, item.task_type) == ("alignbench-7", "数学计算/初等数学")
    assert item.reference == "三加四等于七。"
    assert suite.task_types["数学计算/初等数学"].scorer == "judge"


def test_mt_bench_turns_go_on_from_each_other(tmp_path: Path) -> None:
    first, second = load_suite(file_of(tmp_path, MT_BENCH)).items
    assert (first.id, first.task_type, first.follows) == ("mt_bench-81-1", "mt_bench/writing", None)
    assert (second.follows, second.cluster) == ("mt_bench-81-1", first.cluster)
    assert second.messages == ({"role": "user", "content": "Now shorter."},)


def test_gsm8k(tmp_path: Path) -> None:
    suite = load_suite(file_of(tmp_path, GSM8K))
    [item] = suite.items
    assert item.reference == "1,200"
    [stakes] = suite.task_types.values()
    assert make_scorer(stakes.scorer).score("That makes 1200 pens.", item.reference).value == 1.0


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("```python\ndef double(x):\n    return 2 * x\n```", 1.0),
        ("```python\ndef double(x):\n    return x\n```", 0.0),
        ("    return x + x\n", 1.0),
    ],
)
def test_humaneval_takes_whole_functions_and_bodies(
    tmp_path: Path, answer: str, value: float
) -> None:
    [item] = load_suite(file_of(tmp_path, HUMANEVAL)).items
    try:
        assert make_scorer("unit_tests").score(answer, item.reference).value == value
    except EvaluationError as error:
        pytest.skip(f"code cannot be guarded here: {error}")


MMLU = (
    '"What is 2 + 2?",3,4,5,6,B\n"Which is a gas, at 20 °C?",iron,"neon, a noble gas",tin,lead,B\n'
)
CEVAL = "id,question,A,B,C,D,answer\n0,中国的首都是____。,上海,北京,广州,深圳,B\n"


def test_multiple_choice_with_and_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "elementary.csv").write_text(MMLU, "utf-8")
    (tmp_path / "geography.csv").write_text(CEVAL, "utf-8")
    one, two = load_suite(tmp_path / "elementary.csv").items
    assert (one.id, one.task_type) == ("elementary-1", "choice/elementary")
    assert two.reference == {
        "answer": "B",
        "options": {"A": "iron", "B": "neon, a noble gas", "C": "tin", "D": "lead"},
    }
    assert "A. 3\nB. 4" in str(one.messages[0]["content"])
    assert str(one.messages[0]["content"]).endswith("letter of the right option only.")
    [chinese] = load_suite(tmp_path / "geography.csv").items
    assert chinese.id == "geography-0"
    assert str(chinese.messages[0]["content"]).endswith("只回答正确选项的字母。")
    scorer = make_scorer("choice")
    assert scorer.score("选B。", chinese.reference).value == 1.0


def test_options_up_to_j_are_those_of_the_question(tmp_path: Path) -> None:
    options = {letter: f"option {letter}" for letter in "ABCDEF"}
    row = {"question": "Which?", **options, "answer": "F"}
    [item] = load_suite(file_of(tmp_path, row)).items
    assert make_scorer("choice").score("F", item.reference).value == 1.0
    assert make_scorer("choice").score("I think F.", item.reference).value == 1.0


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", '"Q",1,2,3,4,E\n', r"a.csv:1: the answer is 'E'; it must be one of A, B, C, D"),
        ("a.csv", '"Q",1,2,3,4,A\n"Q",1,2,A\n', r"a.csv:2: has 4 columns, and there are 6"),
        ("a.jsonl", '{"question": "Q", "answer": "12"}\n', r"a.jsonl:1: the answer has no ####"),
        ("a.jsonl", '{"category": "c", "turns": "t"}\n', r"a.jsonl:1: turns is 't'"),
        ("a.jsonl", '{"what": 1}\n', r"a.jsonl: this is neither a suite"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(EvaluationError, match=told):
        load_suite(tmp_path / name)


def test_a_suite_takes_other_peoples_files_and_says_otherwise_how_they_are_scored(
    tmp_path: Path,
) -> None:
    file_of(tmp_path, ALIGNBENCH, ALIGNBENCH | {"question_id": 8})
    (tmp_path / "suite.yaml").write_text(
        "items: {path: others.jsonl, format: alignbench, limit: 1, task_type: zh/all}\n"
        "task_types: {zh/all: {scorer: rouge}}\n",
        "utf-8",
    )
    suite = load_suite(tmp_path)
    assert [item.task_type for item in suite.items] == ["zh/all"]
    assert suite.task_types["zh/all"].scorer == "rouge"
    assert suite.name == tmp_path.name
    (tmp_path / "suite.yaml").write_text("items: {path: others.jsonl, format: alignbnch}\n")
    with pytest.raises(EvaluationError, match=r"alignbnch: no such format\. Did you"):
        load_suite(tmp_path)

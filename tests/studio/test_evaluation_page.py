"""The page of evaluations says what ``danlu compare`` says, and shows answers as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from danlu.evaluation.compared import compare_evaluations
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.suites import shipped_suites
from danlu.evaluation.summary import summarise
from danlu.studio import evaluations
from tests.evaluation.versions import Answer, right_or_wrong, write_evaluation
from tests.studio.client import entered

BAIT = "<img src=x onerror=alert(1)>"
REST = "，出门的时候记得带上雨伞和外套，路上小心。"
SAFE = "&lt;img src=x onerror=alert(1)&gt;"
TYPES = ["news/topic", "qa/short", "问答/释义"]


def write(path: Path, model: str, answers: dict[str, list[Answer]], **more: object) -> None:
    """Write an evaluation with the summary that ``danlu eval`` would write."""
    write_evaluation(path, model, answers, finished=False, **more)  # type: ignore[arg-type]
    with EvalDirectory.resume(path) as directory:
        if more.get("suite") != "half":
            directory.finish(summarise(directory, list(directory.scores()), 1.0))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    before = {name: right_or_wrong(30, 40) for name in TYPES}
    before["qa/short"][3] = (f"今天下雨{REST}", 1.0)
    worse = {**before, "问答/释义": right_or_wrong(8, 40)}
    worse["qa/short"] = [*before["qa/short"]]
    worse["qa/short"][3] = (f"今天下雪{BAIT}{REST}", 0.0)
    better = {**before, "news/topic": right_or_wrong(40, 40)}
    write(folder / "evals" / "v1", "runs/v1", before, started=1)
    write(folder / "evals" / "v2", "runs/v2", worse, started=2)
    write(folder / "evals" / "v3", BAIT, better, started=3)
    write(folder / "evals" / "begun", "runs/v4", before, started=4, suite="half")
    return folder


def rows_of(text: str) -> list[str]:
    """The task types of the matrix, in its order."""
    return re.findall(r'<tr data-row><th scope="row">(.*?)</th>', text)


def test_the_matrix_has_scores_intervals_items_and_the_verdicts_of_compare(root: Path) -> None:
    client, _ = entered(root)
    text = client.get("/evaluation").text
    assert rows_of(text) == ["问答/释义", "qa/short", "news/topic"]
    a, b = (EvalDirectory.open(root / "evals" / name) for name in ("v1", "v2"))
    for leaf in compare_evaluations(a, b).comparison.task_types:
        difference = f"{leaf.difference:+.3f}".replace("-", "−")
        assert f">{difference} {leaf.verdict.value}<" in text, leaf.name
    summary = a.summary()
    assert summary is not None
    short = summary.task_types["qa/short"]
    assert f"<b>{short.score:.3f}</b>" in text
    assert f"{short.low:.3f}–{short.high:.3f} · 40 items" in text
    assert BAIT not in text
    assert SAFE in text
    assert "interrupted" in text


def test_baseline_columns_order_and_task_type_are_in_the_address(root: Path) -> None:
    client, _ = entered(root)

    def columns(**query: str) -> tuple[list[str], list[str]]:
        part = client.get("/evaluation", params=query, headers={"hx-target": "matrix"}).text
        assert "<html" not in part
        return re.findall(r'<span class="under">(v\d)', part), rows_of(part)

    assert columns() == (["v1", "v3", "v2"], ["问答/释义", "qa/short", "news/topic"])
    assert columns(base="v3", sort="name") == (["v3", "v2", "v1"], TYPES)
    assert columns(base="v3", **{"with": "v1"})[0] == ["v3", "v1"]
    assert columns(base="v3", **{"with": "v1"})[1][0] == "news/topic"  # where v1 is worse
    part = client.get("/evaluation?base=v1", headers={"hx-target": "matrix"}).text
    assert '<input type="hidden" name="with" value="v1">' in part  # stays, once another is it
    assert columns(task_type="问答")[1] == ["问答/释义"]
    assert "No task type fits." in client.get("/evaluation?task_type=none").text
    assert "danlu eval half --model MODEL" in client.get("/evaluation?suite=half").text


def test_a_case_shows_both_answers_their_difference_and_the_reference(root: Path) -> None:
    client, _ = entered(root)
    query = {"a": "v1", "b": "v2", "task_type": "qa/short"}
    text = client.get("/evaluation/cases", params=query).text
    assert text.count('class="card case"') == 1
    assert f'今天下<mark class="of-a">雨</mark>{REST}<' in text
    assert f'今天下<mark class="of-b">雪{SAFE}</mark>{REST}<' in text
    assert BAIT not in text
    assert "qa/short 3？" in text
    assert re.search(r"Reference</h3><div[^>]*>right</div>", text)
    assert "lost: 1" in text
    assert "same score: 39" in text


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"task_type": "问答/释义"}, 20),
        ({"task_type": "问答/释义", "first": "20"}, 2),
        ({"moved": "gained"}, 0),
        ({"moved": "gained", "b": "v3"}, 10),
        ({"moved": "same", "task_type": "qa/short"}, 20),
        ({"moved": "all", "first": "100"}, 20),
        ({"item": "news/topic-7"}, 1),
        ({"item": "nothing"}, 0),
    ],
)
def test_which_cases_are_shown_is_in_the_address(
    root: Path, query: dict[str, str], count: int
) -> None:
    client, _ = entered(root)
    whole = {"a": "v1", "b": "v2", **query}
    part = client.get("/evaluation/cases", params=whole, headers={"hx-target": "cases"}).text
    assert part.count('class="card case"') == count
    assert ("No case fits." in part) == (count == 0)


def test_a_score_of_some_items_stands_in_parentheses(tmp_path: Path) -> None:
    answers: list[Answer] = [("right", 1.0), ("right", 1.0), ("?", None)]
    write(tmp_path / "evals" / "a", "m", {"qa/short": answers})
    client, _ = entered(tmp_path)
    text = client.get("/evaluation").text
    assert "<b>(1.000)</b>" in text
    assert "2 of 3 items scored" in text


def test_names_lead_to_evaluations_of_the_workspace_only(root: Path) -> None:
    client, _ = entered(root)
    for name in ("../evals/v1", "none", ""):
        assert client.get("/evaluation/cases", params={"a": "v1", "b": name}).status_code == 404


def test_what_cannot_be_compared_or_read_is_told(tmp_path: Path) -> None:
    write(tmp_path / "evals" / "a", "m", {"qa/short": right_or_wrong(3, 6)}, started=1)
    write(tmp_path / "evals" / "b", "n", {"qa/long": right_or_wrong(3, 6)}, started=2)
    (tmp_path / "evals" / "c").mkdir()
    (tmp_path / "evals" / "c" / "eval.json").write_text("{")
    client, _ = entered(tmp_path)
    text = client.get("/evaluation").text
    assert "no prompt has a score in both versions" in text
    assert "c: " in text
    assert rows_of(text) == ["qa/long", "qa/short"]


def test_a_comparison_is_made_anew_when_scores_change(tmp_path: Path) -> None:
    for name, right in (("a", 3), ("b", 5)):
        write(tmp_path / "evals" / name, name, {"qa/short": right_or_wrong(right, 6)})
    a, b = (EvalDirectory.open(tmp_path / "evals" / name) for name in "ab")
    assert evaluations.compared(a, b) is evaluations.compared(a, b)
    before = evaluations.compared(a, b)
    rows = [row.model_copy(update={"value": 0.0}) for row in b.scores()]
    b.write_scores(rows)
    assert evaluations.compared(a, b).overall.difference < before.overall.difference


def test_an_empty_workspace_says_what_to_type_in_both_languages(tmp_path: Path) -> None:
    client, _ = entered(tmp_path)
    assert "<code>danlu eval general --model MODEL</code>" in client.get("/evaluation").text
    assert "general" in shipped_suites()
    client, _ = entered(tmp_path, **{"accept-language": "zh"})
    assert "还没有评测过任何模型" in client.get("/evaluation").text

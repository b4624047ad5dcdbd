"""Two evaluations compared in full: found by what a user types, explained, and shown."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.cli.main import run
from danlu.errors import EvaluationError
from danlu.evaluation.compared import compare_evaluations
from danlu.evaluation.comparison import CompareSettings
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.finding import find_pair
from danlu.evaluation.pages import comparison_page
from danlu.evaluation.schema import TypeStakes
from danlu.evaluation.training_data import training_change
from danlu.runs import RunDirectory
from tests.evaluation.versions import right_or_wrong, write_evaluation, write_run

TYPES = ["news/topic", "reviews/sentiment", "问答/释义"]
QUICK = CompareSettings(resamples=300)
EVIL = "<script>alert('丹')</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}"


def records(**changed: str) -> list[dict[str, Any]]:
    """100 records of each task type; those of ``damaged`` have every answer changed."""
    return [
        {
            "prompt": f"{name} 第 {k} 题",
            "completion": "wrong label" if name == changed.get("damaged") else f"label {k % 4}",
            "task_type": name,
        }
        for name in TYPES
        for k in range(100)
    ]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs on equal data but for one damaged task type, and their evaluations."""
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/v1"), records())
    write_run(Path("runs/v2"), records(damaged="news/topic"), losses={"news/topic": 1.4})
    before = {name: right_or_wrong(48) for name in TYPES}
    after = {**before, "news/topic": right_or_wrong(20), "问答/释义": right_or_wrong(48, first=1)}
    write_evaluation(Path("evals/v1"), "runs/v1", before, run="runs/v1")
    write_evaluation(Path("evals/v2"), "runs/v2", after, run="runs/v2")
    return tmp_path


def opened(a: str = "evals/v1", b: str = "evals/v2") -> tuple[EvalDirectory, EvalDirectory]:
    return EvalDirectory.open(a), EvalDirectory.open(b)


def test_the_damaged_task_type_is_found_and_its_data_named_first(world: Path) -> None:
    found = compare_evaluations(*opened(), settings=QUICK)
    verdicts = {leaf.name: leaf.verdict.value for leaf in found.comparison.task_types}
    assert verdicts["news/topic"] == "worse"
    assert "worse" not in (verdicts["reviews/sentiment"], verdicts["问答/释义"])
    (why,) = found.explanations
    assert (why.task_type, why.causes[0].kind) == ("news/topic", "own data")
    assert why.causes[0].evidence.startswith("records: 100 edited, of 100")
    assert found.headline().startswith("B is worse in 1 of 3 task types: news/topic.")
    assert found.notes == ()
    case = found.regressions[0]
    assert (case.a.text, case.b.text, case.reference) == ("right", "wrong", "right")
    assert case.asked.endswith("？")


def test_a_planted_ten_point_drop_among_thirty_and_its_cause(tmp_path: Path) -> None:
    """The other 29 differ by noise alone; the data of two changed, and one of them fell."""
    rng = np.random.default_rng(7)
    names = [f"area{k % 6}/skill{k}" for k in range(30)]
    fell, touched = "area2/skill8", "area0/skill0"

    def answers(drop: dict[str, float]) -> dict[str, list[tuple[str, float]]]:
        found = {}
        for name in names:
            again = np.random.default_rng(names.index(name))
            right = again.random(250) < 0.8
            right ^= rng.random(250) < 0.02  # answers that waver
            right[np.flatnonzero(right)[: round(250 * drop.get(name, 0.0))]] = False
            found[name] = [("x", float(one)) for one in right]
        return found

    def trained(edited: dict[str, int]) -> list[dict[str, Any]]:
        return [
            {
                "prompt": f"{name} {k}",
                "completion": "other" if k < edited.get(name, 0) else "label",
                "task_type": name,
            }
            for name in names
            for k in range(20)
        ]

    for side, drop, edited in (("a", {}, {}), ("b", {fell: 0.1}, {fell: 12, touched: 2})):
        path = write_run(tmp_path / f"run-{side}", trained(edited))
        write_evaluation(tmp_path / side, side, answers(drop), run=str(path))
    found = compare_evaluations(*opened(tmp_path / "a", tmp_path / "b"), settings=QUICK)
    moved = [leaf for leaf in found.comparison.task_types if leaf.verdict.moved]
    assert [leaf.name for leaf in moved] == [fell]
    assert moved[0].difference == pytest.approx(-0.1, abs=0.04)
    assert found.explanations[0].causes[0].kind == "own data"
    assert found.explanations[0].causes[0].strength == 0.6


def test_what_changed_is_told_per_task_type(world: Path) -> None:
    runs = [RunDirectory.open(Path(f"runs/v{k}")) for k in (1, 2)]
    found = training_change(*runs)
    news = found.task_types["news/topic"]
    assert (news.change.added, news.change.removed, news.change.changed) == (0, 0, 100)
    assert (news.before.last_loss, news.after.last_loss) == (0.5, 1.4)
    assert news.shares == pytest.approx((1 / 3, 1 / 3))
    assert news.change.before.answer_length == 7
    assert found.task_types["问答/释义"].change.changed == 0
    assert found.settings == {}


def test_repeats_shares_and_settings(tmp_path: Path) -> None:
    more = [*records(), *records()[:50]]
    first = write_run(tmp_path / "v1", records())
    second = write_run(tmp_path / "v2", more, settings={"learning_rate": 1e-3, "device": "cuda"})
    found = training_change(RunDirectory.open(first), RunDirectory.open(second))
    news = found.task_types["news/topic"]
    assert (news.change.added, news.change.after.duplicates) == (50, 50)
    assert news.shares == pytest.approx((1 / 3, 150 / 350))
    assert found.settings == {"training.learning_rate": (2e-4, 1e-3)}  # a device is none


def test_a_run_that_went_on_has_the_earlier_data_too(tmp_path: Path) -> None:
    first = write_run(tmp_path / "v1", records()[:200])
    second = write_run(tmp_path / "v2", records()[200:], base=str(first))
    found = training_change(RunDirectory.open(first), RunDirectory.open(second))
    assert found.runs == (("v1",), ("v1", "v2"))
    change = found.task_types["问答/释义"].change
    assert (change.before, change.after.records, change.added) == (None, 100, 100)
    assert found.task_types["news/topic"].change.changed == 0
    assert found.settings == {}


def test_an_untrained_model_is_the_base(world: Path) -> None:
    write_evaluation(
        Path("evals/v0"),
        "builtin:smollm2-135m-instruct",
        {name: right_or_wrong(10) for name in TYPES},
    )
    found = compare_evaluations(*opened("evals/v0", "evals/v1"), settings=QUICK)
    assert {leaf.verdict.value for leaf in found.comparison.task_types} == {"better"}
    assert {one.causes[0].kind for one in found.explanations} == {"own data"}
    assert "100 added" in found.explanations[0].causes[0].evidence
    write_evaluation(Path("evals/x"), "other", {name: right_or_wrong(10) for name in TYPES})
    unknown = compare_evaluations(*opened("evals/x", "evals/v1"), settings=QUICK)
    assert unknown.training is None
    assert any("what it was trained on is unknown" in note for note in unknown.notes)


def test_data_that_are_gone_or_changed_are_said(world: Path) -> None:
    Path("runs/v1.jsonl").unlink()
    found = compare_evaluations(*opened(), settings=QUICK)
    assert any("cannot be read any more" in note for note in found.notes)
    write_run(Path("runs/v3"), records())
    import os

    os.utime("runs/v3.jsonl", (4e9, 4e9))
    change = training_change(*(RunDirectory.open(Path("runs/v3")) for _ in range(2)))
    assert any("was written after v3 began" in note for note in change.notes)


def test_of_several_samples_the_telling_one_is_shown(tmp_path: Path) -> None:
    steady = [[("right", 1.0), ("right", 1.0)]] * 3
    write_evaluation(tmp_path / "a", "a", {"a/b": steady})
    write_evaluation(tmp_path / "b", "b", {"a/b": [[("right", 1.0), ("错", 0.0)], *steady[1:]]})
    found = compare_evaluations(*opened(tmp_path / "a", tmp_path / "b"), settings=QUICK)
    (case,) = found.regressions
    assert (case.sample, case.b.text, case.move.b) == (1, "错", 0.5)


def test_a_missing_score_is_an_error_and_never_0(world: Path) -> None:
    answers = {name: right_or_wrong(48) for name in TYPES}
    answers["news/topic"][3] = ("?", None)
    write_evaluation(Path("evals/v9"), "runs/v9", answers)
    with pytest.raises(EvaluationError, match=r"no score for 1 of 180 .*--missing count"):
        compare_evaluations(*opened("evals/v1", "evals/v9"), settings=QUICK)
    assert run(["compare", "evals/v1", "evals/v9", "--missing", "count"]) == 0


# What a user types -----------------------------------------------------------------------


def test_runs_are_found_by_name_and_the_newest_is_taken(world: Path) -> None:
    newer = {name: right_or_wrong(48) for name in TYPES}
    write_evaluation(Path("evals/v2-again"), "runs/v2", newer, run="runs/v2", started=2)
    write_evaluation(Path("evals/v2-half"), "runs/v2", newer, started=3, finished=False)
    a, b = find_pair("runs/v1", "./runs/v2/", suite="tasks")
    assert (a.name, b.name) == ("v1", "v2-again")
    assert find_pair("v1", "v2")[1].name == "v2"  # the folder's own name comes first


@pytest.mark.parametrize(
    ("names", "suite", "said"),
    [
        (("runs/v1", "runs/v3"), None, r"Did you mean .*v.*danlu eval SUITE --model runs/v3"),
        (
            ("runs/v1", "runs/v2"),
            "other",
            r"not been asked other .*SUITE --model runs/v1 \(SUITE: ",
        ),
        (("evals/v1", "evals/v2"), "other", "is of the suite tasks, not of other"),
        (("evals/v1", "evals/half"), None, r"is interrupted; the same command .*danlu eval"),
        (("runs/v1", "evals/general"), None, "there is no suite to compare"),
    ],
)
def test_what_is_missing_is_said_with_the_command(
    world: Path, names: tuple[str, str], suite: str | None, said: str
) -> None:
    answers = {name: right_or_wrong(48) for name in TYPES}
    write_evaluation(Path("evals/half"), "h", answers, finished=False)
    write_evaluation(Path("evals/general"), "g", answers, suite="general")
    with pytest.raises(EvaluationError, match=said):
        find_pair(*names, suite=suite)


def test_the_command_tells_all_of_it(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "runs/v1", "runs/v2", "--html", "out/c.html", "--resamples", "200"]) == 0
    out = capsys.readouterr().out
    assert "B is worse in 1 of 3 task types: news/topic." in out
    assert re.search(r"1\.00 +own data +records: 100 edited, of 100", out)
    assert "Regressions: 29, the first 5" in out
    assert Path("out/c.html").read_text("utf-8").count("<article") > 5
    assert run(["compare", "runs/v1", "runs/v2", "--json", "--resamples", "200"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["headline"].startswith("B is worse in 1 of 3")
    assert told["explanations"][0]["causes"][0]["kind"] == "own data"
    assert told["comparison"]["settings"]["resamples"] == 200


# The page --------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Collects what a browser would make of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))


def page_of(tmp_path: Path, text: str) -> str:
    """A page in which every text of a model or of a suite is ``text``."""
    stakes = {text.replace("/", "") + "/x": TypeStakes(scorer="exact")}
    name = next(iter(stakes))
    for side, score in (("a", 1.0), ("b", 0.0)):
        write_evaluation(
            tmp_path / side,
            f"{text}{side}",
            {name: [(f"{text} {side}", score)] * 12},
            stakes=stakes,
            prompts={name: [text] * 12},
            suite=text,
        )
    found = compare_evaluations(*opened(tmp_path / "a", tmp_path / "b"), settings=QUICK)
    return comparison_page(found)


def test_html_in_answers_prompts_and_names_stays_text(tmp_path: Path) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "plain").mkdir()
    evil, plain = page_of(tmp_path / "evil", EVIL), page_of(tmp_path / "plain", "plain text")
    tags = Tags(evil).tags
    assert [tag for tag, _ in tags].count("script") == 1
    assert "img" not in {tag for tag, _ in tags}
    assert not [name for _, of in tags for name in of if name.startswith("on")]
    assert "&lt;script&gt;alert" in evil
    assert "{{ 7*7 }}" in evil
    shapes = [[tag for tag, _ in Tags(one).tags if tag != "mark"] for one in (evil, plain)]
    assert shapes[0] == shapes[1]


def test_the_page_asks_nothing_of_any_host(world: Path) -> None:
    page = comparison_page(compare_evaluations(*opened(), settings=QUICK))
    for _, of in Tags(page).tags:
        for name in ("src", "href", "action"):
            assert (of.get(name) or "data:").startswith("data:")
    assert "default-src 'none'" in page
    assert not re.search(r"url\((?!data:)|@import|fetch\(|XMLHttpRequest", page)


def test_chinese_differences_are_marked_by_the_character(tmp_path: Path) -> None:
    for side, text, score in (("a", "今天下雨。", 1.0), ("b", "今天下雪。", 0.0)):
        write_evaluation(tmp_path / side, side, {"a/b": [(text, score)] * 12})
    page = comparison_page(
        compare_evaluations(*opened(tmp_path / "a", tmp_path / "b"), settings=QUICK)
    )
    assert '今天下<mark class="of-a">雨</mark>。' in page
    assert '今天下<mark class="of-b">雪</mark>。' in page

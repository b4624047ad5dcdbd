"""Two versions compared: by hand, under the null, with planted drops, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import numpy as np
import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.compare import compare
from danlu.evaluation.comparison import CompareSettings, Comparison, Node, Verdict
from danlu.evaluation.rows import ScoredRow, Stakes

QUICK = CompareSettings(resamples=1000)


def rows(scores: dict[str, Iterable[float | None]], clusters: int = 0) -> list[ScoredRow]:
    """Rows of each task type, numbered; every ``clusters`` of them share a cluster."""
    return [
        ScoredRow(f"{name} {k}", name, score, f"{name} {k // clusters}" if clusters else None)
        for name, values in scores.items()
        for k, score in enumerate(values)
    ]


def node(found: Comparison, name: str) -> Node:
    return next(one for one in found.overall.walk() if one.name == name)


def right(share: float, n: int = 100) -> list[float]:
    return [float(k < share * n) for k in range(n)]


def test_right_and_wrong_by_hand() -> None:
    """Of 21 prompts B alone has 7 right, A alone 1; Fagerland's table, p 0.0703."""
    a = rows({"math/sums": [1.0] * 2 + [0.0] * 19})
    b = rows({"math/sums": [1.0] + [0.0] + [1.0] * 7 + [0.0] * 12})
    found = compare(a, b, settings=QUICK).task_types[0]
    assert found.test == "mcnemar"
    assert found.difference == pytest.approx(6 / 21)
    assert (found.a.score, found.b.score) == pytest.approx((2 / 21, 8 / 21))
    assert (round(found.low, 3), round(found.high, 3)) == (0.026, 0.517)
    assert round(found.p, 4) == 0.0703
    assert found.verdict is Verdict.FEW
    assert found.smallest is not None
    assert found.smallest > 0.3
    middle = compare(a, b, settings=CompareSettings(mid_p=True, resamples=1000))
    assert middle.task_types[0].verdict is Verdict.BETTER


def test_the_mean_of_an_area_is_of_its_task_types() -> None:
    a = {"math/sums": right(0.5, 10), "math/proofs": right(0.5, 200), "talk/jokes": right(1, 50)}
    b = {"math/sums": right(1, 10), "math/proofs": right(0.5, 200), "talk/jokes": right(0, 50)}
    stakes = {"math/proofs": Stakes(weight=3, critical=True)}
    found = compare(rows(a), rows(b), stakes=stakes, settings=QUICK)
    assert node(found, "math").difference == pytest.approx(0.5 / 4)
    assert node(found, "all").difference == pytest.approx((0.5 + 0 - 1) / 5)
    assert node(found, "math").prompts == 210
    assert node(found, "math").critical
    assert not node(found, "talk").critical
    assert [one.name for one in found.overall.walk()] == [
        "all", "math", "math/proofs", "math/sums", "talk", "talk/jokes",
    ]  # fmt: skip
    assert node(found, "talk/jokes").verdict is Verdict.WORSE


def test_an_area_of_one_task_type_says_what_that_says() -> None:
    rng = np.random.default_rng(6)
    a, b = (dict.fromkeys(["math/sums"], rng.random(60) < share) for share in (0.5, 0.8))
    found = compare(rows(a), rows(b), settings=QUICK).overall
    whole, area, leaf = found.walk()
    for name in ("difference", "low", "high", "p", "smallest", "verdict", "test", "clusters"):
        assert getattr(whole, name) == getattr(area, name) == getattr(leaf, name), name


def test_scores_keep_their_units() -> None:
    """A judge's points from 1 to 5: the task type in points, its area in shares of the range."""
    a = {"talk/jokes": [1, 2, 3, 4] * 10}
    b = {"talk/jokes": [2, 3, 4, 5] * 10}
    stakes = {"talk/jokes": Stakes(low=1, high=5, margin=0.05)}
    found = compare(rows(a), rows(b), stakes=stakes, settings=QUICK)
    leaf, area = node(found, "talk/jokes"), node(found, "talk")
    assert (leaf.a.score, leaf.b.score, leaf.difference) == (2.5, 3.5, 1.0)
    assert leaf.margin == pytest.approx(0.2)
    assert (area.a.score, area.difference) == (0.375, 0.25)
    assert found.improvements[0].change == 0.25
    assert (found.improvements[0].a, found.improvements[0].b) == (1, 2)


def test_moves_are_sorted_by_size() -> None:
    a = rows({"a/b": [0.9, 0.5, 0.2, 0.4]})
    b = rows({"a/b": [0.1, 0.6, 0.2, 0.1]})
    found = compare(a, b, settings=QUICK)
    assert [move.prompt for move in found.regressions] == ["a/b 0", "a/b 3"]
    assert [move.prompt for move in found.improvements] == ["a/b 1"]
    assert found.regressions[0].change == pytest.approx(-0.8)


def world(rng: np.random.Generator, kind: str, n: int, drop: float = 0.0) -> Comparison:
    """30 task types in 6 areas; B loses ``drop`` in one of them."""
    a, b = {}, {}
    for k in range(30):
        name = f"area{k % 6}/skill{k // 6}"
        skill = rng.random(n)
        if kind == "right or wrong":
            a[name] = (rng.random(n) < 0.2 + 0.6 * (skill > 0.5)).astype(float)
            b[name] = (rng.random(n) < 0.2 + 0.6 * (skill > 0.5)).astype(float)
        else:
            a[name] = np.clip(skill + rng.normal(0, 0.2, n), 0, 1)
            b[name] = np.clip(skill + rng.normal(0, 0.2, n), 0, 1)
        if drop and name == "area2/skill3":
            lost = np.flatnonzero(b[name])[: round(drop * n)]
            b[name][lost] = 0
    return compare(rows(a), rows(b), settings=CompareSettings(resamples=2000))


@pytest.mark.parametrize("kind", ["right or wrong", "shades"])
def test_noise_is_called_a_difference_as_rarely_as_stated(kind: str) -> None:
    rng, called, areas, overall, inside = np.random.default_rng(0), 0, 0, 0, []
    for _ in range(60):
        found = world(rng, kind, 30)
        called += any(leaf.verdict.moved for leaf in found.task_types)
        areas += any(area.verdict.moved for area in found.overall.children)
        overall += found.overall.verdict.moved
        inside += [one.low <= 0 <= one.high for one in found.overall.walk()]
    # 3 are expected at most; more than 8 have a chance of 0.3 %.
    assert max(called, areas, overall) <= 8
    assert areas + overall >= 1
    assert 0.935 <= np.mean(inside) <= 0.97


def test_a_planted_drop_is_found_in_its_task_type_alone() -> None:
    rng, others = np.random.default_rng(1), 0
    for _ in range(5):
        found = world(rng, "right or wrong", 900, drop=0.2)  # of which half was right
        assert node(found, "area2/skill3").verdict is Verdict.WORSE
        assert node(found, "area2").differs
        others += sum(leaf.verdict.moved for leaf in found.task_types) - 1
    assert others <= 1


def test_a_ten_point_drop_is_found_where_versions_mostly_agree() -> None:
    a = {f"a{k % 3}/s{k}": right(0.7, 200) for k in range(30)}
    b = {name: list(scores) for name, scores in a.items()}
    b["a1/s7"][:20] = [0.0] * 20
    found = compare(rows(a), rows(b), settings=QUICK)
    assert [leaf.name for leaf in found.task_types if leaf.verdict.moved] == ["a1/s7"]
    assert {leaf.verdict for leaf in found.task_types} == {Verdict.WORSE, Verdict.SAME}
    assert len(found.regressions) == 20


def test_too_few_is_told_from_no_difference() -> None:
    rng = np.random.default_rng(2)
    for n, verdict in ((30, Verdict.FEW), (3000, Verdict.SAME)):
        a = rng.random(n) < 0.6
        b = np.where(rng.random(n) < 0.2, rng.random(n) < 0.6, a)
        found = compare(rows({"a/b": a.astype(float)}), rows({"a/b": b.astype(float)}))
        leaf = found.task_types[0]
        assert leaf.verdict is verdict
        assert (leaf.smallest <= leaf.margin) is (verdict is Verdict.SAME)


def test_one_document_proves_nothing() -> None:
    a, b = rows({"a/b": [0.0] * 40}, clusters=40), rows({"a/b": [1.0] * 40}, clusters=40)
    leaf = compare(a, b, settings=QUICK).task_types[0]
    assert (leaf.clusters, leaf.p, leaf.low, leaf.smallest) == (1, 1.0, None, None)
    assert leaf.verdict is Verdict.FEW


def test_questions_of_one_document_count_as_one() -> None:
    """60 questions, right or wrong by document: p is that of 6 documents, 2 / 2**6."""
    a = rows({"a/b": [0.0] * 60}, clusters=10)
    b = rows({"a/b": [1.0] * 60}, clusters=10)
    leaf = compare(a, b, settings=QUICK).task_types[0]
    assert (leaf.test, leaf.p) == ("sign-flip", 2 / 64)
    alone = compare(rows({"a/b": [0.0] * 60}), rows({"a/b": [1.0] * 60}), settings=QUICK)
    assert alone.task_types[0].p < 1e-15


def test_documents_shared_by_task_types_widen_their_area() -> None:
    """The same 40 documents in four task types: no more is known than from one of them."""
    rng = np.random.default_rng(3)
    effect = rng.normal(0, 0.1, 40)
    shared, apart = [], []
    for skill in range(4):
        for k in range(40):
            prompt, change = f"{skill} {k}", 0.5 + float(effect[k])
            shared.append(ScoredRow(prompt, f"a/s{skill}", change, cluster=str(k)))
            apart.append(ScoredRow(prompt, f"a/s{skill}", change))

    def before(after: list[ScoredRow]) -> list[ScoredRow]:
        return [ScoredRow(row.prompt, row.task_type, 0.5, row.cluster) for row in after]

    together = compare(before(shared), shared, settings=QUICK).overall
    single = compare(before(apart), apart, settings=QUICK).overall
    assert (together.clusters, single.clusters) == (40, 160)
    assert (together.high - together.low) / (single.high - single.low) == pytest.approx(2, rel=0.1)
    leaf = compare(before(shared), shared, settings=QUICK).task_types[0]
    assert together.high - together.low == pytest.approx(leaf.high - leaf.low, rel=0.1)


def test_a_task_type_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(4)
    scores = {name: rng.random(40) for name in ("a/b", "c/d")}
    later = {name: rng.random(40) for name in scores}
    both = compare(rows(scores), rows(later), settings=QUICK)
    assert both == compare(rows(scores), rows(later), settings=QUICK)
    alone = compare(rows({"c/d": scores["c/d"]}), rows({"c/d": later["c/d"]}), settings=QUICK)
    one, other = node(both, "c/d"), node(alone, "c/d")
    assert (one.low, one.high, one.p) == (other.low, other.high, other.p)
    reseeded = CompareSettings(resamples=1000, seed=1)
    assert both.overall != compare(rows(scores), rows(later), settings=reseeded).overall


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    a, b = rows({"a/b": right(0.5)}), rows({"a/b": right(0.4)})
    shuffled = [a[k] for k in rng.permutation(100)], [b[k] for k in rng.permutation(100)]
    one, two = compare(a, b, settings=QUICK), compare(*shuffled, settings=QUICK)
    assert one.overall == two.overall
    assert one.regressions == two.regressions


def test_missing_scores_are_counted_and_never_zero() -> None:
    a = rows({"a/b": [1.0, 1.0, 1.0, 1.0, None]})
    b = rows({"a/b": [1.0, None, 1.0, math.nan]})
    found = compare(a, b, settings=CompareSettings(incomplete="count", resamples=100)).overall
    assert (found.prompts, found.missing_a, found.missing_b) == (2, 0, 2)
    assert (found.only_a, found.only_b) == (1, 0)
    assert (found.a.score, found.b.score) == (1.0, 1.0)


def test_everything_is_json() -> None:
    found = compare(rows({"a/b": right(0.5)}), rows({"a/b": right(0.9)}), settings=QUICK)
    told = json.loads(json.dumps(found.as_dict()))
    assert told["overall"]["children"][0]["children"][0]["verdict"] == "better"
    assert told["settings"]["seed"] == 0


ONE = rows({"a/b": [1.0, 0.0]})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: compare([], ONE), "A has no scored rows"),
        (lambda: compare(ONE, []), "B has no scored rows"),
        (lambda: compare(ONE, rows({"a/b": [1.0, None]})), "B has no score for 1 of 2 prompts"),
        (lambda: compare(rows({"a/b": [1.0]}), ONE), "A was not asked 1 of 2 prompts: a/b 1"),
        (lambda: compare([*ONE, ONE[0]], ONE), "twice"),
        (lambda: compare(ONE, [ScoredRow("a/b 0", "a/c", 1.0), ONE[1]]), "a/b in A and a/c in B"),
        (lambda: compare(ONE, [ScoredRow("a/b 0", "a/b", 1.0, "x"), ONE[1]]), "cluster of the"),
        (lambda: compare([ScoredRow("p", "ab", 1.0)], ONE), "must be area/skill"),
        (lambda: compare(ONE, rows({"a/b": [1.0, 4.0]})), "outside 0 to 1, first 4 of a/b 1"),
        (lambda: compare(ONE, ONE, stakes={"a/d": Stakes()}), "Did you mean 'a/b'"),
        (lambda: compare(ONE, ONE, stakes={"a/b": Stakes(weight=0)}), "all weights"),
        (lambda: Stakes(weight=-1), "weight"),
        (lambda: CompareSettings(level=5), "level: is 5"),
        (lambda: CompareSettings(resamples=10), "at least 100"),
        (lambda: CompareSettings(seed=-1), "seed"),
        (lambda: CompareSettings(correction="by"), "allowed: bh, holm"),
        (lambda: CompareSettings(incomplete="drop"), "allowed: error, count"),
        (lambda: Stakes(margin=0), "margin"),
        (lambda: Stakes(low=1, high=1), "range"),
    ],
)  # fmt: skip
def test_what_is_refused(call, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        call()


def test_nothing_in_common_is_an_error_even_if_counted() -> None:
    counted = CompareSettings(incomplete="count")
    with pytest.raises(EvaluationError, match="no prompt has a score in both"):
        compare(rows({"a/b": [None]}), rows({"a/b": [1.0]}), settings=counted)

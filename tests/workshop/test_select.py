"""Selection within task types."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import DanluError, RecordError
from danlu.workshop.likeness.centres import k_centres
from danlu.workshop.likeness.vectors import text_vectors
from danlu.workshop.operations.given import Scores
from danlu.workshop.operations.select import Select
from tests.workshop.likeness import quiet, record


def entries(records, **settings):
    return {entry.id: entry for _, entry in Select(**settings).decide(records, quiet)}


def kept(records, **settings):
    return {entry.id for entry in entries(records, **settings).values() if entry.fate == "kept"}


def test_cosines_by_hand():
    """Of a-b, a-c and d: a is in two of three texts, every other feature in one."""
    vectors = text_vectors(["a b", "a c", "d"])
    common, rare = 1 + math.log(3 / 2), 1 + math.log(3)
    length = common**2 + 2 * rare**2  # a, b and the pair
    assert vectors.cosines(0) == pytest.approx([1, common**2 / length, 0])
    assert text_vectors(["今天天气好", "今天天气好。"]).cosines(0) == pytest.approx([1, 1])
    assert text_vectors(["", "a"]).cosines(0).tolist() == [0, 0]


@given(st.lists(st.text("abc d", max_size=8), min_size=1, max_size=8), st.integers(1, 8))
def test_centres_are_within_twice_the_best(texts, count):
    """The bound of Gonzalez holds of angles, which are a metric."""
    count = min(count, len(texts))
    vectors = text_vectors([f"x {text}" for text in texts])
    angles = np.arccos(
        np.clip(np.stack([vectors.cosines(number) for number in range(len(texts))]), -1, 1)
    )
    np.fill_diagonal(angles, 0)
    found = k_centres(vectors, count, np.arange(len(texts)))
    assert len(set(found.chosen.tolist())) == count
    radius = angles[found.chosen].min(0).max()
    best = min(
        angles[list(chosen)].min(0).max()
        for chosen in itertools.combinations(range(len(texts)), count)
    )
    assert radius <= 2 * best + 1e-4
    cosine = np.stack([vectors.cosines(one) for one in found.chosen])
    assert found.cosine == pytest.approx(np.maximum(cosine.max(0), found.cosine == 1), abs=1e-8)


def test_the_diverse_ones_are_kept():
    prompts = ["Name a tree", "Name a tree!", "Please name a tree", "炒饭怎么做", "炒饭怎么做？"]
    records = [record(number, prompt) for number, prompt in enumerate(prompts)]
    found = entries(records, count=2)
    chosen = {name for name, entry in found.items() if entry.fate == "kept"}
    assert len(chosen & {"r0", "r1", "r2"}) == len(chosen & {"r3", "r4"}) == 1
    for entry in found.values():
        if entry.fate == "dropped":
            assert entry.rule == "diversity"
            assert entry.partner in chosen
            assert entry.value >= entry.limit > 0.5


@given(st.permutations(list(range(9))), st.sampled_from(["diversity", "quality", "difficulty"]))
def test_the_order_of_records_does_not_matter(order, by):
    prompts = ["a b", "a b", "c d e", "c d", "f", "今天", "今天好", "", "g h"]
    records = [record(n, p, task_type=f"t/{n % 2}") for n, p in enumerate(prompts)]
    scores = Scores({f"r{number}": float(number // 3) for number in range(9)})
    settings = {"by": by, "share": 0.5, "scores": scores}
    assert entries([records[number] for number in order], **settings) == entries(
        records, **settings
    )


def test_never_across_task_types():
    """Poems have higher losses than choices, and still as many of each are kept."""
    records = [record(number, "x", task_type="t/poem") for number in range(4)]
    records += [record(number, "x", task_type="t/choice") for number in range(4, 8)]
    scores = Scores({f"r{number}": (9.0 if number < 4 else 1.0) + number for number in range(8)})
    assert kept(records, by="quality", share=0.5, scores=scores) == {"r0", "r1", "r4", "r5"}
    assert kept(records, by="difficulty", count=1, scores=scores) == {"r3", "r7"}
    assert kept(records, by="quality", count=1, counts={"t/poem": 3}, scores=scores) == {
        *("r0", "r1", "r2", "r4"),
    }
    assert kept(records, by="quality", counts={"t": 1}, scores=scores) == {"r0", "r4"}


def test_bounds_and_the_middle():
    records = [record(number, "x") for number in range(6)]
    scores = Scores({f"r{number}": number / 4 for number in range(6)})  # 0 to 1.25
    assert kept(records, by="difficulty", count=2, most=1.0, scores=scores) == {"r3", "r4"}
    assert kept(records, by="quality", count=2, prefer="middle", scores=scores) == {"r2", "r3"}
    found = entries(records, by="difficulty", count=2, most=1.0, scores=scores)
    assert (found["r5"].value, found["r5"].limit, found["r5"].detail) == (
        1.25,
        1.0,
        "out of bounds",
    )
    assert (found["r1"].rule, found["r1"].value, found["r1"].limit) == ("difficulty", 0.25, 0.75)


def test_no_task_type_is_lost_to_a_small_share():
    records = [record(number, "x", task_type=f"t/{number}") for number in range(3)]
    assert kept(records, share=0.01) == {"r0", "r1", "r2"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, r"needs a count \(--count\) or a share"),
        ({"count": 1, "share": 0.5}, r"needs a count \(--count\) or a share"),
        ({"share": 0.0}, "it must be above 0 and at most 1"),
        ({"count": -1}, "it must be at least 0"),
        ({"counts": {"t/a": -1}}, "t/a: the count is -1"),
    ],
)
def test_settings_that_cannot_be(settings, reason):
    with pytest.raises(DanluError, match=reason):
        Select(**settings)


def test_a_task_type_that_is_not_there():
    with pytest.raises(DanluError, match="no record is of 'c'; there are a, a/b"):
        kept([record(1, "x")], counts={"c": 1})


def test_scores_from_a_file(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text('{"id": "a", "score": 2.5, "more": 1}\n{"id": "b", "score": 3}\n', "utf-8")
    assert Scores.load(path) == Scores({"a": 2.5, "b": 3.0})
    assert Scores.load(path).settings() == Scores({"b": 3.0, "a": 2.5}).settings()
    assert Scores.load(path).settings() != Scores({"a": 2.5, "b": 3.1}).settings()
    for line, reason in [
        ("[]", "a line of scores is an object"),
        ('{"id": "a"}', "a line of scores is an object"),
        ('{"id": "a", "score": "high"}', "is 'high', no number"),
        ('{"id": "a", "score": NaN}', "no number"),
        ('{"id": "a", "score": 1}\n{"id": "a", "score": 2}', "has two scores"),
    ]:
        path.write_text(line, "utf-8")
        with pytest.raises(RecordError, match=reason):
            Scores.load(path)
    with pytest.raises(RecordError, match="cannot be read"):
        Scores.load(tmp_path / "none")
    assert json.dumps(Scores({"a": 1}).settings())

"""The data of the workshop's benchmarks, and what judges them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench import workshop
from bench.cases import NEAR_RECORDS, NEAR_SECONDS, NOVELTY_RECORDS, NOVELTY_SECONDS
from bench.varied import instructions, varied_instructions, varied_records
from bench.workshop import brute_near, brute_novelty, differences, timed
from danlu.workshop.likeness.text import fold
from danlu.workshop.operations.dedup import Dedup
from danlu.workshop.operations.novelty import Novelty

NOWHERE = Path("there/is/no/such/folder")


def test_goals() -> None:
    assert (NOVELTY_RECORDS, NOVELTY_SECONDS) == (50_000, 10)
    assert (NEAR_RECORDS, NEAR_SECONDS) == (100_000, 5)


def test_varied_instructions_are_the_same_for_a_seed() -> None:
    """They hold the originals, near-duplicates of them, and new ones."""
    name, originals = instructions(NOWHERE)
    assert name == "train.jsonl"
    made = varied_instructions(600, folder=NOWHERE)
    assert made == varied_instructions(600, folder=NOWHERE)
    assert made != varied_instructions(600, seed=7, folder=NOWHERE)
    assert len(made) == 600
    assert set(originals) <= set(made)
    folded = Counter(map(fold, made))
    assert len(set(made)) > len(folded) > len(originals)


def test_brute_force_agrees_on_a_few() -> None:
    records = varied_records(300, folder=NOWHERE)
    ours, by_hand = timed(Novelty(), records)[1], brute_novelty(records, 0.7)
    assert ours == by_hand
    assert 30 < len(ours) < 270
    near = timed(Dedup(on="prompt"), records)[1]
    assert near == brute_near(records, 0.8)
    assert 10 < len(near) < 270


@pytest.mark.parametrize(
    "other",
    [
        {"a": ("b", 0.9)},
        {"a": ("b", 0.9), "c": ("b", 0.8), "d": ("b", 0.8)},
        {"a": ("x", 0.9), "c": ("b", 0.8)},
        {"a": ("b", 0.91), "c": ("b", 0.8)},
    ],
)
def test_every_difference_counts(other: workshop.Found) -> None:
    found: workshop.Found = {"a": ("b", 0.9), "c": ("b", 0.8)}
    assert differences(found, dict(found)) == 0
    assert differences(found, other) == 1


def test_a_drop_that_is_not_so() -> None:
    assert not workshop.not_so("abcdefghij", "abcdefghijk", 0.9, 0.8)
    assert workshop.not_so("abcdefghij", "abcdefghijk", 0.91, 0.8)
    assert workshop.not_so("abcdefghij", "abcdefghijk", 0.9, 0.95)
    assert workshop.jaccard("是", "否") == 0.0

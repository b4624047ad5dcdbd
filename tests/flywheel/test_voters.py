"""Voters against one another: inverted, constant, honest, and those of whom nothing can be said."""

from __future__ import annotations

import random

import pytest
from scipy.stats import fisher_exact

from danlu.flywheel.voters import Ballot, by_state, fisher_lower, judge_voters, trusted


def ballots(votes: dict[str, str]) -> list[Ballot]:
    """Votes on items 0, 1 ..., one letter each: u, d, or - for none."""
    return [
        Ballot(str(item), voter, letter == "u")
        for voter, letters in votes.items()
        for item, letter in enumerate(letters)
        if letter != "-"
    ]


def states(votes: dict[str, str], **settings) -> dict[str, str]:
    return {name: one.state for name, one in judge_voters(ballots(votes), **settings).items()}


@pytest.mark.parametrize(
    "table", [(0, 5, 5, 0), (1, 9, 11, 3), (4, 4, 4, 4), (3, 0, 2, 0), (7, 1, 0, 9)]
)
def test_fisher_is_scipys(table: tuple[int, int, int, int]) -> None:
    a, b, c, d = table
    assert fisher_lower(*table) == pytest.approx(fisher_exact([[a, b], [c, d]], "less").pvalue)


MIXED = "ududdudduuuddudu"
INVERTED = MIXED.translate(str.maketrans("ud", "du"))


def test_one_who_votes_the_other_way_round_among_three() -> None:
    found = judge_voters(ballots({"a": MIXED, "b": MIXED, "c": INVERTED}))
    assert {name: one.state for name, one in found.items()} == {
        "a": "too_few",  # of two minds with c, and then only b is left
        "b": "too_few",
        "c": "inverted",
    }
    verdict = found["c"]
    assert (verdict.votes, verdict.shared, verdict.agreed) == (16, 16, 0)
    assert verdict.high < 0.25
    assert "agrees with the others on 0 of 16 (0% to 19%)" in verdict.words


def test_honest_voters_are_cleared_when_the_inverted_one_is_out() -> None:
    votes = dict.fromkeys("abcd", MIXED) | {"x": INVERTED, "y": INVERTED}
    found = judge_voters(ballots(votes))
    assert {name: one.state for name, one in found.items()} == {
        **dict.fromkeys("abcd", "fits"),
        "x": "inverted",
        "y": "inverted",
    }
    assert by_state(found.values())["inverted"] == 2


def test_of_two_who_contradict_each_other_nobody_can_say_who_is_right() -> None:
    assert states({"a": MIXED, "b": INVERTED}) == {"a": "too_few", "b": "too_few"}


def test_few_votes_say_nothing() -> None:
    short = {"a": MIXED[:9], "b": MIXED[:9], "c": INVERTED[:9]}
    found = judge_voters(ballots(short))
    assert {one.state for one in found.values()} == {"too_few"}
    assert "too few to tell (at least 10)" in found["c"].words
    assert (
        states({"a": MIXED[:9], "b": MIXED[:9], "c": INVERTED[:9]}, min_votes=8)["c"] == "inverted"
    )


def test_a_constant_voter_among_mixed_ones() -> None:
    votes = {"a": MIXED, "b": MIXED, "up": "u" * 16, "down": "d" * 16}
    found = judge_voters(ballots(votes))
    assert found["up"].state == "constant"
    assert found["down"].state == "constant"
    assert "all 16 votes are up" in found["up"].words
    assert found["a"].state in ("fits", "too_few")


def test_always_up_where_nearly_everything_is_good_says_nothing() -> None:
    good = "uuuuuuuuuduuuuuu"
    found = judge_voters(ballots({"a": good, "b": good, "up": "u" * 16}))
    assert found["up"].state == "unclear"
    assert "by chance in" in found["up"].words


def test_constant_votes_on_answers_that_nobody_else_saw() -> None:
    alone = "-" * 16
    votes = {"a": MIXED, "b": MIXED, "up": alone + "u" * 16, "few": alone * 2 + "u" * 4}
    found = states(votes)
    assert found["up"] == "constant"
    assert found["few"] == "too_few"
    assert states({"only": "u" * 50}) == {"only": "unclear"}  # there is nobody to be unlike


def test_a_harsh_voter_is_not_inverted() -> None:
    """Agrees on a fifth of the answers, since the others like nearly all; yet not inverted."""
    others = "u" * 18 + "d" * 12
    harsh = "u" * 4 + "d" * 26
    found = judge_voters(ballots({"a": others, "b": others, "harsh": harsh}))
    assert found["harsh"].state in ("fits", "unclear")


def test_false_calls_are_rare() -> None:
    """Over 60 honest crowds of 12 at a level of 5 %, at most a few hold a called voter."""
    called = 0
    for seed in range(60):
        rng = random.Random(seed)
        truth = [rng.random() < 0.6 for _ in range(30)]
        crowd = {
            f"v{k}": "".join("u" if t ^ (rng.random() < 0.25) else "d" for t in truth)
            for k in range(12)
        }
        crowd |= {"coin": "".join(rng.choice("ud") for _ in truth)}
        called += any(state in ("inverted", "constant") for state in states(crowd).values())
    assert called <= 6


def test_inverted_voters_are_found_among_noise() -> None:
    found = 0
    for seed in range(20):
        rng = random.Random(seed)
        truth = [rng.random() < 0.6 for _ in range(40)]

        def says(wrong: float, truth=truth, rng=rng) -> str:
            return "".join("u" if t ^ (rng.random() < wrong) else "d" for t in truth)

        crowd = {f"v{k}": says(0.15) for k in range(6)} | {"bad": says(0.9)}
        verdicts = states(crowd)
        found += verdicts.pop("bad") == "inverted"
        assert "inverted" not in verdicts.values()
    assert found >= 18


def test_votes_that_count() -> None:
    votes = ballots({"a": MIXED, "b": MIXED, "c": INVERTED, "up": "u" * 16})
    verdicts = judge_voters(votes)
    counted = trusted(votes, verdicts)
    assert {one.voter for one in counted} == {"a", "b"}
    flipped = trusted(votes, verdicts, inverted="flip", constant="keep")
    assert sum(one.up for one in flipped if one.voter == "c") == MIXED.count("u")
    assert len(trusted(votes, verdicts, inverted="keep", constant="keep")) == len(votes)
    nobody = [Ballot("1", "", True)]
    assert trusted(nobody, judge_voters(nobody)) == nobody

"""Votes: blind, in a stable order, kept at once, taken back, remembered; and what came of them."""

from collections import Counter
from pathlib import Path

import pytest

from danlu.errors import DanluError, EvaluationError
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.judging.calibrate import calibrated_share
from danlu.evaluation.store.database import EvalStore
from danlu.evaluation.store.votes import votes
from danlu.evaluation.voting.ballots import as_row, chosen, pair_ballots, paired, single_ballots
from danlu.evaluation.voting.labels import read_labels, voted_usable, voted_wins
from danlu.evaluation.voting.results import (
    agreement,
    agreements,
    pair_labels,
    pair_outcomes,
    single_labels,
    single_outcomes,
    voters,
)
from danlu.evaluation.voting.sitting import Sitting
from tests.evaluation.judging.judges import item, make

N = 12
ITEMS = [item(f"q{k}", f"第 {k} 题？", f"math/{'sums' if k % 2 else 'words'}") for k in range(N)]


@pytest.fixture(scope="module")
def evals(tmp_path_factory: pytest.TempPathFactory) -> list[EvalDirectory]:
    """A and B; they answer q0 alike, and B does not answer q1. C is A and B mixed."""
    folder = tmp_path_factory.mktemp("evals")
    a = make(folder, "a", ITEMS, [f"{k}" for k in range(N)])
    b = make(folder, "b", ITEMS, ["0", None, *(f"It is {k}." for k in range(2, N))])
    c = make(folder, "c", ITEMS, ["0", "1", *(f"It is {k}." for k in range(2, N))])
    return [a, b, c]


@pytest.fixture
def store(tmp_path: Path):
    with EvalStore(tmp_path / "store.sqlite") as opened:
        yield opened


def ballots_of(a: EvalDirectory, b: EvalDirectory, seed: int = 0):
    return pair_ballots(paired(a, b), (str(a.path), str(b.path)), seed)


def prefer(ballot, start: str):
    return "left" if ballot.left.text.startswith(start) else "right"


def test_ballots_are_blind_shuffled_and_in_one_order(evals) -> None:
    a, b, _ = evals
    first, swapped, other = ballots_of(a, b), ballots_of(b, a), ballots_of(a, b, seed=1)
    assert len(first) == N - 2  # q0 is answered alike, q1 by one only
    assert [x.left for x in first] == [x.left for x in swapped]
    assert [x.item for x in first] == [x.item for x in other]
    assert [x.item for x in first] != [x.item for x in sorted(first, key=lambda x: x.item.id)]
    sides = Counter(x.left.text.startswith("It") for x in first + other)
    assert min(sides.values()) >= 4
    assert [x.left for x in first] != [x.left for x in other]
    assert "a" not in as_row(first[0])
    assert set(as_row(first[0])) >= {"left", "right", "verdicts"}


def test_a_sitting_keeps_each_verdict_and_goes_on(evals, store) -> None:
    ballots = ballots_of(*evals[:2])
    ticks = iter(range(0, 1000, 5))
    sitting = Sitting(store, "ann", ballots, clock=lambda: next(ticks))
    assert sitting.current is ballots[0]
    sitting.decide("left")
    sitting.decide("skip")
    sitting.decide("tie")
    assert [one.verdict for one in votes(store)] == ["left", "skip", "tie"]
    assert votes(store)[0].seconds == 5
    again = Sitting(store, "ann", ballots)
    assert (again.done, again.total, again.current) == (2, N - 2, ballots[3])
    for _ in range(N - 5):
        again.decide("both_bad")
    assert again.current is ballots[1]  # the skipped one comes last
    again.decide("right")
    assert again.current is None
    with pytest.raises(EvaluationError, match="nothing left"):
        again.decide("left")
    assert Sitting(store, "bo", ballots).current is ballots[0]


def test_undo_goes_back_also_into_an_earlier_sitting(evals, store) -> None:
    ballots = ballots_of(*evals[:2])
    sitting = Sitting(store, "ann", ballots)
    assert not sitting.undo()
    for verdict in ("left", "right", "skip"):
        sitting.decide(verdict)
    assert sitting.undo()
    assert sitting.current is ballots[2]
    again = Sitting(store, "ann", ballots)
    assert again.undo()
    assert again.current is ballots[1]
    assert [one.verdict for one in votes(store)] == ["left"]
    with pytest.raises(EvaluationError, match=r"no such verdict\. Did you mean 'left'"):
        again.decide("lefft")  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="voter: has no name"):
        Sitting(store, " ", ballots)


def test_verdicts_on_identical_answers_are_remembered(evals, store) -> None:
    """C gives B's answers but in q1, which B has not answered: nothing is asked twice."""
    a, b, c = evals
    sitting = Sitting(store, "ann", ballots_of(a, b))
    while sitting.current:
        sitting.decide(prefer(sitting.current, "It"))
    other = Sitting(store, "ann", ballots_of(c, a, seed=7))
    assert other.current is None
    assert other.remembered == N - 2
    pairs = paired(c, a)
    found = pair_outcomes(pairs, pair_labels(pairs, votes(store)))
    assert found[""].losses == N - 2  # C's answers were preferred, and A stands second here


def voted(store: EvalStore, evals, says) -> None:
    """Let ann, bo and cy vote; ``says(voter, k)`` names the preferred beginning."""
    for name in ("ann", "bo", "cy"):
        sitting = Sitting(store, name, ballots_of(*evals[:2]))
        while ballot := sitting.current:
            start = says(name, int(ballot.item.id[1:]))
            sitting.decide("tie" if start is None else prefer(ballot, start))


def test_win_rates_by_task_type_by_what_most_say(evals, store) -> None:
    """B's answers begin with It. ann and bo prefer B but in q2; cy always A."""
    voted(store, evals, lambda name, k: "It" if name != "cy" and k != 2 else str(k))
    pairs = paired(*evals[:2])
    found = pair_outcomes(pairs, pair_labels(pairs, votes(store)))
    assert list(found) == ["", "math/sums", "math/words"]
    everything = found[""]
    assert (everything.wins, everything.ties, everything.losses) == (9, 0, 1)
    assert (everything.equal, everything.missing) == (0, 0)
    assert everything.rate.value == pytest.approx(9 / 10)
    assert found["math/sums"].wins == 5
    assert voted_wins(pairs, votes(store))["q2", 0] == 0
    missing = pair_outcomes(pairs, {})
    assert (missing[""].pairs, missing[""].missing) == (0, 10)


def test_agreement_by_hand_and_the_contrary_voter(evals, store) -> None:
    """ann and bo agree always, cy never: kappa 1, and -1 where both labels are even."""
    voted(store, evals, lambda name, k: "It" if (k < 7) != (name == "cy") else str(k))
    pairs = paired(*evals[:2])
    labels = pair_labels(pairs, votes(store))
    found = agreement(labels)
    assert found.cohen[("ann", "bo")] == (1.0, 10)
    assert found.cohen[("ann", "cy")] == (-1.0, 10)
    assert found.ballots == 10
    # Each row is (2, 1): (4 + 1 - 3) / 6 = 1/3 observed, 1/2 expected, so -1/3.
    assert found.fleiss == pytest.approx(-1 / 3)
    types = {one.subject: one.contest.item.task_type for one in pairs}
    assert list(agreements(labels, types)) == ["", "math/sums", "math/words"]
    ann, bo, cy = voters(votes(store), labels)
    assert cy.contrary
    assert (cy.kappa, cy.shared) == (-1.0, 10)
    assert not ann.contrary
    assert (bo.votes, bo.decided, bo.skipped) == (10, 10, 0)


def test_usable_or_not_of_one_evaluation(evals, store) -> None:
    ballots = single_ballots(evals[1], ["math/sums"])
    assert len(ballots) == 5
    assert ballots[0].right is None
    for name in ("ann", "bo"):
        sitting = Sitting(store, name, ballots)
        while ballot := sitting.current:
            good = ballot.item.id != "q3" and (name == "ann" or ballot.item.id != "q5")
            sitting.decide("usable" if good else "unusable")
    labels = single_labels({one.subject for one in ballots}, votes(store))
    found = single_outcomes(ballots, labels)["math/sums"]
    assert (found.usable, found.answers, found.undecided) == (3, 4, 1)
    people = voted_usable(evals[1], votes(store))
    assert people == {("q3", 0): False, ("q7", 0): True, ("q9", 0): True, ("q11", 0): True}
    judged = {(one.item.id, 0): True for one in ballots}
    assert calibrated_share(judged, people).cleared == (0, 1)
    with pytest.raises(EvaluationError, match="no such verdict"):
        Sitting(store, "cy", ballots).decide("left")


def test_a_task_type_that_is_not_there(evals) -> None:
    assert len(chosen(ITEMS, ["math/*"])) == N
    with pytest.raises(EvaluationError, match=r"no task type fits 'math/sum'\. Did you mean"):
        chosen(ITEMS, ["math/sum"])


def test_labels_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"item": "q1", "usable": true, "scores": {"helpful": 7}}\n\n{"item": "q2"}\n')
    found = read_labels(path)
    assert found.usable == {("q1", 0): True}
    assert found.scores == {"helpful": {("q1", 0): 7.0}}
    for text, said in (
        ('{"item": "q1"}\n{"item": "q1"}', 'labels.jsonl:2: labels "q1" again'),
        ('{"itm": "q1"}', "labels.jsonl:1: not a valid LabelRow"),
        ("", "holds no labels"),
    ):
        path.write_text(text)
        with pytest.raises(DanluError, match=said):
            read_labels(path)

"""Votes of a workspace: what is put to the vote, one person's sitting, and what came of it.

Ballots, verdicts and figures are those of ``danlu vote``: the same store, the same functions.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from glob import escape
from pathlib import Path

from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.judging.pairwise import Outcome
from danlu.evaluation.store.database import DEFAULT, VARIABLE, EvalStore
from danlu.evaluation.store.votes import Subject, Verdict, Vote, votes
from danlu.evaluation.voting import results
from danlu.evaluation.voting.ballots import Ballot, Paired, pair_ballots, paired, single_ballots
from danlu.evaluation.voting.sitting import Sitting
from danlu.studio.evaluations import EvalView
from danlu.studio.workspace import Workspace

VERDICT_KEYS: Mapping[Verdict, str] = {
    "left": "1",
    "right": "2",
    "tie": "t",
    "both_bad": "b",
    "usable": "y",
    "unusable": "n",
    "skip": "s",
}
"""The keys of the terminal."""
LONGEST_S = 24 * 3600.0
"""A ballot that was shown for longer has been forgotten, not thought about."""
HELD = 200
"""Sittings kept in memory."""


@dataclass(frozen=True)
class Poll:
    """What is put to the vote: the answers of one or two evaluations.

    Attributes:
        a: The earlier version, or the only one.
        b: The later; None for one.
        task_type: Only of it; empty for all.
        seed: Another seed, other sides.
        ballots: In their order.
        pairs: Of two evaluations, equal answers among them.
    """

    a: EvalView
    b: EvalView | None
    task_type: str
    seed: int
    ballots: tuple[Ballot, ...]
    pairs: tuple[Paired, ...]

    @property
    def equal(self) -> int:
        """How many pairs need no vote, because both answers are the same."""
        return sum(one.a == one.b for one in self.pairs)

    @property
    def address(self) -> dict[str, str]:
        """What names it in an address."""
        named = {"a": self.a.name, "b": self.b.name if self.b else "", "task_type": self.task_type}
        seed = {"seed": str(self.seed)} if self.seed else {}
        return {name: value for name, value in named.items() if value} | seed

    @property
    def command(self) -> str:
        """The command that goes on with it in a terminal."""
        names = [f"evals/{one.name}" for one in (self.a, self.b) if one]
        return " ".join(["danlu vote", *names])


def poll(a: EvalView, b: EvalView | None, task_type: str = "", seed: int = 0) -> Poll:
    """Make the ballots of one or two evaluations; what was made last is kept.

    Raises:
        EvaluationError: If nothing is answered in both, or there is no such task type.
    """
    directories = [one.directory for one in (a, b) if one]
    stamps = tuple((one.path.resolve(), _stamp(one)) for one in directories)
    pairs, ballots = _ballots(stamps, task_type, seed)
    return Poll(a, b, task_type, seed, ballots, pairs)


@lru_cache(maxsize=16)
def _ballots(
    stamps: tuple[tuple[Path, object], ...], task_type: str, seed: int
) -> tuple[tuple[Paired, ...], tuple[Ballot, ...]]:
    directories = [EvalDirectory(path) for path, _ in stamps]
    # Task types may hold what a pattern means something by.
    patterns = [escape(task_type)] if task_type else []
    if len(directories) == 1:
        return (), tuple(single_ballots(directories[0], patterns))
    pairs = paired(directories[0], directories[1], patterns)
    sources = [str(path) for path, _ in stamps]
    return tuple(pairs), tuple(pair_ballots(pairs, sources, seed))


def _stamp(directory: EvalDirectory) -> tuple[tuple[int, int], ...]:
    paths = [directory.path / name for name in ("items.jsonl", "answers.jsonl")]
    found = [path.stat() for path in paths if path.exists()]
    return tuple((one.st_mtime_ns, one.st_size) for one in found)


# The store ---------------------------------------------------------------------------------


@contextmanager
def opened(workspace: Workspace) -> Iterator[EvalStore]:
    """Open the store of votes: ``$DANLU_STORE``, else ``evals/store.sqlite`` of the workspace."""
    with EvalStore(_place(workspace)) as store:
        yield store


def _place(workspace: Workspace) -> str:
    given = os.environ.get(VARIABLE, "").strip() or DEFAULT
    return given if "://" in given else str(workspace.root / Path(given).expanduser())


@dataclass(frozen=True)
class Begun:
    """Evaluations that somebody has voted on.

    Attributes:
        names: Of them, one or two.
        verdicts: By voter, how many were cast on them.
    """

    names: tuple[str, ...]
    verdicts: Mapping[str, int]


def begun(workspace: Workspace, known: set[str]) -> list[Begun]:
    """Return what has been voted on, what was voted on last first.

    Args:
        workspace: Whose evaluations.
        known: Names of evaluations that are there; votes on others are left out.
    """
    place = _place(workspace)
    if "://" not in place and not Path(place).exists():
        return []
    with opened(workspace) as store:
        cast = votes(store)
    counts: dict[tuple[str, ...], Counter[str]] = {}
    for vote in reversed(cast):
        counts.setdefault(vote.sources, Counter())[vote.voter] += 1
    found = []
    for sources, of in counts.items():
        paths = [Path(one) for one in sources]
        names = tuple(path.name for path in paths)
        inside = all(path.is_relative_to(workspace.root) for path in paths)
        if inside and known.issuperset(names):
            found.append(Begun(names, dict(sorted(of.items()))))
    return found


# A sitting ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a voter stands.

    Attributes:
        ballot: To decide on; None at the end.
        done: Decided or skipped.
        total: Ballots.
        skipped: Of those done.
        said: The verdict just given; empty if none was, ``undone`` or ``nothing`` after an undo,
            ``elsewhere`` if the ballot had been decided in another window.
    """

    ballot: Ballot | None
    done: int
    total: int
    skipped: int
    said: str = ""

    @property
    def subject(self) -> str:
        """What names the ballot in a form."""
        return subject_text(self.ballot.subject) if self.ballot else ""


class Sittings:
    """Who votes on what now: what was skipped does not come again before the end.

    A voter who has voted elsewhere meanwhile, in a terminal say, sits down anew. Two windows of
    one voter share a sitting, and each verdict names its ballot, so neither can spoil the other's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[object, ...], _Held] = OrderedDict()

    def look(self, store: EvalStore, of: Poll, voter: str, *, again: bool = False) -> Place:
        """Return where a voter stands.

        Args:
            store: Where votes are kept.
            of: The ballots.
            voter: Who.
            again: At the end, ask what was skipped.
        """
        with self._sitting(store, of, voter, again=again) as held:
            return held.place()

    def decide(
        self,
        store: EvalStore,
        of: Poll,
        voter: str,
        subject: str,
        verdict: Verdict,
        seconds: float,
    ) -> Place:
        """Keep a verdict on a ballot, unless the voter has decided it elsewhere meanwhile.

        Args:
            store: Where.
            of: The ballots.
            voter: Who.
            subject: The ballot that the voter saw, as ``Place.subject``.
            verdict: Which.
            seconds: From showing to the verdict.

        Raises:
            EvaluationError: If the ballot does not take this verdict.
        """
        with self._sitting(store, of, voter) as held:
            current = held.sitting.current
            if current is None or subject_text(current.subject) != subject:
                return held.place("elsewhere")
            held.sitting.decide(verdict, seconds=min(max(seconds, 0.0), LONGEST_S))
            return held.place(verdict)

    def undo(self, store: EvalStore, of: Poll, voter: str) -> Place:
        """Take the voter's last verdict back."""
        with self._sitting(store, of, voter) as held:
            return held.place("undone" if held.sitting.undo() else "nothing")

    @contextmanager
    def _sitting(
        self, store: EvalStore, of: Poll, voter: str, *, again: bool = False
    ) -> Iterator[_Held]:
        key = (store.where, voter, of.a.name, of.b and of.b.name, of.task_type, of.seed)
        with self._lock:
            held = self._held.pop(key, None)
            known = held is not None and held.ballots is of.ballots
            if held is None or not known or held.cast != votes(store, voter=voter):
                held = _Held(of.ballots, Sitting(store, voter, of.ballots))
            if again and held.sitting.current is None:
                held = _Held(of.ballots, Sitting(store, voter, of.ballots))
            held.sitting.store = store
            try:
                yield held
            finally:
                held.cast = votes(store, voter=voter)
                self._held[key] = held
                while len(self._held) > HELD:
                    self._held.popitem(last=False)


@dataclass
class _Held:
    """A sitting, and the voter's votes as it knows them."""

    ballots: tuple[Ballot, ...]
    sitting: Sitting
    cast: list[Vote] = field(default_factory=list)

    def place(self, said: str = "") -> Place:
        own, voter = self.sitting, self.sitting.voter
        known = {ballot.subject for ballot in self.ballots}
        cast = votes(own.store, voter=voter)
        skipped = sum(one.verdict == "skip" and one.subject in known for one in cast)
        return Place(own.current, own.done, own.total, skipped, said)


def subject_text(subject: Subject) -> str:
    """Return what names a ballot in a form."""
    return "/".join(subject)


# What came of it ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What came of the votes on some answers, by task type and voter.

    Attributes:
        pairs: By task type, B's win rate; that of all under the empty name.
        singles: Of one evaluation, the share of usable answers instead.
        voters: Each person's figures.
        agreements: By task type, how far voters agree; that of all under the empty name.
    """

    pairs: Mapping[str, Outcome]
    singles: Mapping[str, results.Usable]
    voters: list[results.Voter]
    agreements: Mapping[str, results.Agreement]


def result(store: EvalStore, of: Poll) -> Result:
    """Count the votes on the ballots of a poll, as ``danlu vote --results`` does."""
    subjects = {one.subject: one.item.task_type for one in of.ballots}
    cast = [one for one in votes(store) if one.subject in subjects]
    pairs: Mapping[str, Outcome] = {}
    singles: Mapping[str, results.Usable] = {}
    labels: results.Labels
    if of.b:
        labels = results.pair_labels(of.pairs, cast)
        pairs = results.pair_outcomes(of.pairs, labels)
    else:
        labels = results.single_labels(subjects.keys(), cast)
        singles = results.single_outcomes(of.ballots, labels)
    agreements = results.agreements(labels, subjects)
    return Result(pairs, singles, results.voters(cast, labels), agreements)

"""People's verdicts: written, taken back, and read as they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from danlu.evaluation.store.database import EvalStore

Verdict = Literal["left", "right", "tie", "both_bad", "usable", "unusable", "skip"]
PAIR: tuple[Verdict, ...] = ("left", "right", "tie", "both_bad", "skip")
SINGLE: tuple[Verdict, ...] = ("usable", "unusable", "skip")


class Subject(NamedTuple):
    """What is voted on: two answers to a question, or one.

    Attributes:
        question: Key of the prompt.
        first: Key of an answer; of two the smaller.
        second: Key of the other; empty for one answer.
    """

    question: str
    first: str
    second: str = ""

    @classmethod
    def of(cls, question: str, *answers: str) -> Subject:
        """Bring a pair into its one form, whichever of the two comes first."""
        return cls(question, *sorted(answers))


@dataclass(frozen=True, slots=True)
class Vote:
    """One verdict of one person.

    Attributes:
        voter: Who.
        subject: On what.
        left: Key of the answer at the left; of one answer, its own.
        verdict: Which.
        task_type: Of the prompt.
        item: Its id in the suite.
        sources: Paths of the evaluations.
        seconds: From showing to the verdict.
    """

    voter: str
    subject: Subject
    left: str
    verdict: Verdict
    task_type: str
    item: str
    sources: tuple[str, ...] = field(default=())
    seconds: float = 0.0

    def better(self) -> str | None:
        """Return the key of the answer that it prefers; None for any other verdict."""
        if self.verdict not in ("left", "right"):
            return None
        right = self.subject.second if self.left == self.subject.first else self.subject.first
        return self.left if self.verdict == "left" else right


def cast(store: EvalStore, vote: Vote) -> None:
    """Write a vote, in place of an earlier one of the same person on the same answers."""
    from danlu.evaluation.store.tables import VoteRow, now

    row = {
        "voter": vote.voter,
        **vote.subject._asdict(),
        "verdict": _stored(vote),
        "left": vote.left,
        "task_type": vote.task_type,
        "item": vote.item,
        "sources": list(vote.sources),
        "seconds": round(vote.seconds, 2),
        "at": now(),
    }
    with store.writing() as session:
        store.upsert(session, VoteRow, ["voter", *Subject._fields], [row])


def take_back(store: EvalStore, voter: str, subject: Subject) -> bool:
    """Take a vote back; False if there is none."""
    from sqlalchemy import delete

    from danlu.evaluation.store.tables import VoteRow

    with store.writing() as session:
        done = session.execute(
            delete(VoteRow)
            .where(VoteRow.voter == voter)
            .where(VoteRow.question == subject.question)
            .where(VoteRow.first == subject.first)
            .where(VoteRow.second == subject.second)
            .returning(VoteRow.id)
        )
        return done.first() is not None


def votes(
    store: EvalStore,
    *,
    voter: str | None = None,
    questions: Collection[str] | None = None,
) -> list[Vote]:
    """Return votes in the order in which they were cast.

    Args:
        store: Where.
        voter: Only this one's.
        questions: Only on these prompts, by key.
    """
    from sqlalchemy import select

    from danlu.evaluation.store.tables import VoteRow

    asked = select(VoteRow).order_by(VoteRow.at, VoteRow.id)
    if voter is not None:
        asked = asked.where(VoteRow.voter == voter)
    with store.reading() as session:
        rows = list(session.scalars(asked))
    wanted = None if questions is None else set(questions)
    return [_vote(row) for row in rows if wanted is None or row.question in wanted]


def _stored(vote: Vote) -> str:
    """Say a verdict of the sides as one of the answers, which does not change with the sides."""
    better = vote.better()
    if better is None:
        return vote.verdict
    return "first" if better == vote.subject.first else "second"


def _vote(row: object) -> Vote:
    from danlu.evaluation.store.tables import VoteRow

    assert isinstance(row, VoteRow)
    subject = Subject(row.question, row.first, row.second)
    verdict: Verdict
    if row.verdict in ("first", "second"):
        better = row.first if row.verdict == "first" else row.second
        verdict = "left" if better == row.left else "right"
    else:
        verdict = row.verdict  # type: ignore[assignment]
    return Vote(
        row.voter,
        subject,
        row.left,
        verdict,
        row.task_type,
        row.item,
        tuple(row.sources),
        row.seconds,
    )

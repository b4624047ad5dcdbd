"""The tables of the store. A change of them is a new ``SCHEMA_VERSION``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = 1


class Moment(TypeDecorator[datetime]):
    """A time with its zone, also where the database keeps none: SQLite gets it in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Turn it into UTC."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Say that it is UTC."""
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Of all tables."""


class AboutRow(Base):
    """Facts about the store itself: its schema's version."""

    __tablename__ = "about"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class EvaluationRow(Base):
    """One evaluation, as its folder says; a copy to search in.

    Attributes:
        path: Of its folder, absolute.
        score: Of all task types together; None if there is none yet.
    """

    __tablename__ = "evaluations"

    path: Mapped[str] = mapped_column(String(1000), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), index=True)
    suite: Mapped[str] = mapped_column(String(255), index=True)
    suite_fingerprint: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(1000))
    model_fingerprint: Mapped[str] = mapped_column(String(200))
    run: Mapped[str | None] = mapped_column(String(1000))
    data_version: Mapped[str | None] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(20))
    score: Mapped[float | None]
    started_at: Mapped[datetime] = mapped_column(Moment)
    indexed_at: Mapped[datetime] = mapped_column(Moment, default=now)


class VoteRow(Base):
    """One verdict of one person on two answers, or on one.

    Attributes:
        voter: Who.
        question: Key of the prompt.
        first: Key of an answer; of two the smaller, so that a pair has one form.
        second: Key of the other; empty for a verdict on one answer.
        verdict: ``first``, ``second``, ``tie``, ``both_bad`` or ``skip``; of one answer ``usable``,
            ``unusable`` or ``skip``.
        left: Key of the answer that stood at the left.
        task_type: Of the prompt.
        item: Its id in the suite.
        sources: Paths of the evaluations that were voted on.
        seconds: From showing to the verdict.
    """

    __tablename__ = "votes"
    __table_args__ = (UniqueConstraint("voter", "question", "first", "second"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    voter: Mapped[str] = mapped_column(String(200), index=True)
    question: Mapped[str] = mapped_column(String(32), index=True)
    first: Mapped[str] = mapped_column(String(32))
    second: Mapped[str] = mapped_column(String(32))
    verdict: Mapped[str] = mapped_column(String(20))
    left: Mapped[str] = mapped_column(String(32))
    task_type: Mapped[str] = mapped_column(String(255), index=True)
    item: Mapped[str] = mapped_column(String(255))
    sources: Mapped[list[str]] = mapped_column(JSON)
    seconds: Mapped[float]
    at: Mapped[datetime] = mapped_column(Moment, default=now)


class JudgementRow(Base):
    """What a judge made of one answer in one dimension, or of two answers.

    Attributes:
        judge: Name of the model that judged.
        setup: Fingerprint of plan, prompts and sampling: another setup, another judgement.
        question: Key of the prompt.
        first: Key of the answer; of two, A's.
        second: B's; empty for one answer.
        dimension: Of one answer: its name, or ``usable``; of two: ``better``.
        value: The score; of two 1 if B is better, 0 if A, 0.5 for a tie; None if missing.
        why: The judge's explanation, or why there is no score.
        details: Repeats and the like.
    """

    __tablename__ = "judgements"
    __table_args__ = (
        UniqueConstraint("judge", "setup", "question", "first", "second", "dimension"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    judge: Mapped[str] = mapped_column(String(400), index=True)
    setup: Mapped[str] = mapped_column(String(32))
    question: Mapped[str] = mapped_column(String(32), index=True)
    first: Mapped[str] = mapped_column(String(32))
    second: Mapped[str] = mapped_column(String(32))
    dimension: Mapped[str] = mapped_column(String(100))
    task_type: Mapped[str] = mapped_column(String(255), index=True)
    item: Mapped[str] = mapped_column(String(255))
    sources: Mapped[list[str]] = mapped_column(JSON)
    value: Mapped[float | None]
    why: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(Moment, default=now)

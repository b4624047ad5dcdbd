"""What judges said, to be found by content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from danlu.evaluation.store.database import EvalStore

KEYS = ("judge", "setup", "question", "first", "second", "dimension")


@dataclass(frozen=True, slots=True)
class Judgement:
    """One of a judge's results; the attributes are those of ``tables.JudgementRow``."""

    judge: str
    setup: str
    question: str
    first: str
    second: str
    dimension: str
    task_type: str
    item: str
    sources: tuple[str, ...]
    value: float | None
    why: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def keep(store: EvalStore, judgements: Iterable[Judgement]) -> int:
    """Write judgements, in place of earlier ones of the same judge on the same; return how many."""
    from danlu.evaluation.store.tables import JudgementRow, now

    rows = [
        asdict(one) | {"why": _plain(one.why), "sources": list(one.sources), "at": now()}
        for one in judgements
    ]
    with store.writing() as session:
        store.upsert(session, JudgementRow, KEYS, rows)
    return len(rows)


def judgements(store: EvalStore, *, judge: str | None = None) -> list[Judgement]:
    """Return judgements in the order of the prompts' ids."""
    from sqlalchemy import select

    from danlu.evaluation.store.tables import JudgementRow

    asked = select(JudgementRow).order_by(JudgementRow.item, JudgementRow.id)
    if judge is not None:
        asked = asked.where(JudgementRow.judge == judge)
    names = [name for name in Judgement.__slots__ if name != "sources"]
    with store.reading() as session:
        return [
            Judgement(**{name: getattr(row, name) for name in names}, sources=tuple(row.sources))
            for row in session.scalars(asked)
        ]


def _plain(text: str) -> str:
    """Return text that every database takes: PostgreSQL no NUL, SQLite no half of a pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()

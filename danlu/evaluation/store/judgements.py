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

    many = 0
    with store.writing() as session:
        for one in judgements:
            row = asdict(one) | {"sources": list(one.sources), "at": now()}
            # PostgreSQL takes no NUL, SQLite no half of a surrogate pair.
            row["why"] = one.why.replace("\0", "").encode("utf-8", "replace").decode()
            store.upsert(session, JudgementRow, KEYS, row)
            many += 1
    return many


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

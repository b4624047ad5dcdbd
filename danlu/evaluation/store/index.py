"""The index of evaluations: what their folders say, to be searched without opening each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.store.database import EvalStore


@dataclass(frozen=True, slots=True)
class Indexed:
    """One evaluation in the index.

    Attributes:
        path: Of its folder.
        name: The folder's own name.
        suite: Name of the suite.
        model: Name of the model.
        run: The run directory it comes from.
        state: How far it was.
        score: Of all task types together.
    """

    path: str
    name: str
    suite: str
    model: str
    run: str | None
    state: str
    score: float | None


def index(store: EvalStore, directories: Iterable[EvalDirectory]) -> int:
    """Note evaluations as they are now; return how many."""
    from danlu.evaluation.store.tables import EvaluationRow, now

    rows = []
    for directory in directories:
        of, summary = directory.evaluation(), directory.summary()
        rows.append(
            {
                "path": str(directory.path.resolve()),
                "name": directory.name,
                "suite": of.suite,
                "suite_fingerprint": of.suite_fingerprint,
                "model": of.model.name,
                "model_fingerprint": of.model.fingerprint,
                "run": of.model.run,
                "data_version": of.model.data_version,
                "state": directory.state(),
                "score": summary.score if summary else None,
                "started_at": of.started_at,
                "indexed_at": now(),
            }
        )
    with store.writing() as session:
        store.upsert(session, EvaluationRow, ["path"], rows)
    return len(rows)


def indexed(store: EvalStore, *, suite: str | None = None) -> list[Indexed]:
    """Return evaluations, the newest first."""
    from sqlalchemy import select

    from danlu.evaluation.store.tables import EvaluationRow

    asked = select(EvaluationRow).order_by(EvaluationRow.started_at.desc(), EvaluationRow.path)
    if suite is not None:
        asked = asked.where(EvaluationRow.suite == suite)
    with store.reading() as session:
        return [
            Indexed(*(getattr(row, name) for name in Indexed.__slots__))
            for row in session.scalars(asked)
        ]

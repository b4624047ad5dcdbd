"""Judges that say what a function tells them, and an evaluation for them to judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.schema import AnswerRow, Evaluation, Item, ModelAsked, TypeStakes
from danlu.workshop.produce.request import Reply, Request, Unanswered

Says = Callable[[Request], str | Reply | Unanswered]


@dataclass
class Scripted:
    """Answers each request as ``says`` does, and keeps what it was asked."""

    says: Says
    requests: list[Request] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        return {"model": "scripted"}

    def ask(self, requests: Sequence[Request]) -> list[Reply | Unanswered]:
        self.requests += requests
        said = [self.says(one) for one in requests]
        return [Reply(one) if isinstance(one, str) else one for one in said]


def inside(request: Request, name: str) -> str:
    """Return the text in a fence of the first question."""
    text = request.messages[1].content or ""
    found = re.search(rf"^<({name}-[0-9a-f]{{12}})>\n(.*?)\n</\1>$", text, re.DOTALL | re.MULTILINE)
    assert found, text
    return found[2]


def item(id_: str, prompt: str, task_type: str = "math/sums", **more: Any) -> Item:
    return Item(
        id=id_, task_type=task_type, messages=({"role": "user", "content": prompt},), **more
    )


def answer(id_: str, text: str | None, sample: int = 0, **more: Any) -> AnswerRow:
    return AnswerRow(item=id_, text=text, sample=sample, **more)


def evaluation(name: str, items: Sequence[Item], **stakes: Any) -> Evaluation:
    return Evaluation(
        suite="small",
        suite_fingerprint="f",
        model=ModelAsked(name=name, fingerprint=name),
        sampling={"greedy": True},
        seeds=(0,),
        task_types={one.task_type: TypeStakes(scorer="judge", **stakes) for one in items},
        versions={},
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        state="finished",
    )


def make(
    folder: Path, name: str, items: Sequence[Item], texts: Sequence[str | None], **stakes: Any
) -> EvalDirectory:
    """Write an evaluation with one answer to each item."""
    with EvalDirectory.create(folder / name, evaluation(name, items, **stakes), items) as made:
        made.append_answers(answer(i.id, t) for i, t in zip(items, texts, strict=True))
    return made

"""AlignBench (Liu et al. 2023, arXiv:2311.18743): questions with references, for a judge."""

from __future__ import annotations

from danlu.evaluation.schema import Item, TypeStakes
from danlu.evaluation.suites.formats.foreign import JsonlFormat, Row, skill, text_of, user


def _items(row: Row, number: int, where: str, task_type: str | None) -> list[Item]:
    category = skill(text_of(row, "category", where))
    sub = skill(str(row.get("subcategory") or "all"))
    evidences = row.get("evidences")
    return [
        Item(
            id=f"alignbench-{row.get('question_id', number + 1)}",
            task_type=task_type or f"{category}/{sub}",
            messages=user(text_of(row, "question", where)),
            reference=text_of(row, "reference", where),
            context={"evidences": evidences} if evidences else {},
            source="AlignBench",
        )
    ]


def _stakes(task_type: str) -> TypeStakes:
    return TypeStakes(scorer="judge", also=("chrf", "length"))


ALIGNBENCH = JsonlFormat("alignbench", ("question", "category", "reference"), _items, _stakes)

"""GSM8K (Cobbe et al. 2021, arXiv:2110.14168): word problems; the answer follows ``####``."""

from __future__ import annotations

from danlu.errors import EvaluationError
from danlu.evaluation.schema import Item, TypeStakes
from danlu.evaluation.suites.formats.foreign import JsonlFormat, Row, text_of, user


def _items(row: Row, number: int, where: str, task_type: str | None) -> list[Item]:
    solution, mark, answer = text_of(row, "answer", where).rpartition("####")
    if not mark:
        raise EvaluationError("the answer has no #### before its number.", where=where)
    return [
        Item(
            id=f"gsm8k-{number + 1}",
            task_type=task_type or "math/gsm8k",
            messages=user(text_of(row, "question", where)),
            reference=answer.strip(),
            context={"solution": solution.strip()},
            source="GSM8K",
        )
    ]


def _stakes(task_type: str) -> TypeStakes:
    return TypeStakes(scorer="numeric", also=("length",), max_new_tokens=512)


GSM8K = JsonlFormat(
    "gsm8k", ("question", "answer"), _items, _stakes, absent=("category", "options", "A")
)

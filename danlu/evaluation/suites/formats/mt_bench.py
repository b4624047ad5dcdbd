"""MT-Bench questions (Zheng et al. 2023, arXiv:2306.05685): two turns each, for a judge.

Each turn is an item; the second goes on from the model's own first answer.
"""

from __future__ import annotations

from danlu.errors import EvaluationError
from danlu.evaluation.schema import Item, TypeStakes
from danlu.evaluation.suites.formats.foreign import JsonlFormat, Row, skill, text_of, user


def _items(row: Row, number: int, where: str, task_type: str | None) -> list[Item]:
    turns, references = row["turns"], row.get("reference") or []
    if not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
        raise EvaluationError(f"turns is {turns!r}; it must be a list of texts.", where=where)
    name = task_type or f"mt_bench/{skill(text_of(row, 'category', where))}"
    key = f"mt_bench-{row.get('question_id', number + 1)}"
    return [
        Item(
            id=f"{key}-{turn}",
            task_type=name,
            messages=user(text),
            reference=references[turn - 1] if turn <= len(references) else None,
            cluster=key,
            follows=f"{key}-{turn - 1}" if turn > 1 else None,
            source="MT-Bench",
        )
        for turn, text in enumerate(turns, start=1)
    ]


def _stakes(task_type: str) -> TypeStakes:
    return TypeStakes(scorer="judge", also=("length",))


MT_BENCH = JsonlFormat("mt_bench", ("category", "turns"), _items, _stakes)

"""HumanEval and files like it (Chen et al. 2021, arXiv:2107.03374): code to be gone on with."""

from __future__ import annotations

from danlu.evaluation.schema import Item, TypeStakes
from danlu.evaluation.suites.formats.foreign import JsonlFormat, Row, text_of, user

ASKED = "Complete this Python function. Answer with the whole function in a ```python block.\n\n"


def _items(row: Row, number: int, where: str, task_type: str | None) -> list[Item]:
    prompt, entry = text_of(row, "prompt", where), text_of(row, "entry_point", where)
    tests = f"{text_of(row, 'test', where)}\ncheck({entry})\n"
    return [
        Item(
            id=str(row.get("task_id", f"humaneval-{number + 1}")),
            task_type=task_type or "code/humaneval",
            messages=user(f"{ASKED}```python\n{prompt}```"),
            # The prompt stands before the code: it has the imports, a body alone goes on with it,
            # and a function that is given whole replaces it.
            reference={"tests": tests, "before": prompt.rstrip("\n") + "\n"},
            context={"entry_point": entry, "prompt": prompt},
            source="HumanEval",
        )
    ]


def _stakes(task_type: str) -> TypeStakes:
    return TypeStakes(scorer="unit_tests", also=("length",), max_new_tokens=512)


HUMANEVAL = JsonlFormat("humaneval", ("prompt", "test", "entry_point"), _items, _stakes)

"""Two evaluations' answers to the same prompts, side by side: what is judged and voted on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from danlu.errors import EvaluationError
from danlu.evaluation.schema import AnswerRow, Item


class Contest(NamedTuple):
    """Two answers to one item.

    Attributes:
        item: What was asked.
        a: Of the earlier version.
        b: Of the later.
    """

    item: Item
    a: AnswerRow
    b: AnswerRow


def contests(
    items: Sequence[Item],
    others: Sequence[Item],
    a: Sequence[AnswerRow],
    b: Sequence[AnswerRow],
) -> list[Contest]:
    """Pair the answers of two evaluations by item and sample, in the order of A's items.

    Args:
        items: What A was asked.
        others: What B was asked.
        a: A's answers.
        b: B's answers.

    Returns:
        Also pairs of which an answer is missing.

    Raises:
        EvaluationError: If they share no item, or an item of one id is not the same.
    """
    same = {item.id: item for item in others}
    of_a, of_b = _by_item(a), _by_item(b)
    found = []
    for item in items:
        other = same.get(item.id)
        if other is None:
            continue
        if (item.task_type, item.messages) != (other.task_type, other.messages):
            raise EvaluationError(
                "is another prompt in each evaluation: they were made from other suites.",
                where=f"item {item.id}",
            )
        one, two = of_a[item.id], of_b[item.id]
        found += [Contest(item, one[k], two[k]) for k in sorted(one.keys() & two.keys())]
    if not found:
        raise EvaluationError(
            "the two evaluations have no answered prompt in common; give two of one suite."
        )
    return found


def conversation_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return messages as a judge or a person reads them.

    Example:
        >>> said = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"})
        >>> print(conversation_text(said))
        [system]
        Be brief.
        <BLANKLINE>
        [user]
        2+2?
    """
    return "\n\n".join(f"[{m.get('role', '')}]\n{content_text(m)}" for m in messages)


def answer_text(answer: AnswerRow) -> str:
    """Return an answer as it is compared with another.

    Where it goes on with a conversation that the model itself has led, that stands before it: the
    other model has led another one.

    Raises:
        EvaluationError: If it is missing.
    """
    if answer.text is None:
        raise EvaluationError("the answer is missing.", where=f"item {answer.item}")
    if answer.asked is None:
        return answer.text
    return conversation_text([*answer.asked, {"role": "assistant", "content": answer.text}])


def content_text(message: Mapping[str, Any]) -> str:
    """Return what a message says; what is no text as JSON."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    rest = {key: value for key, value in message.items() if key not in ("role", "content")}
    return json.dumps(rest if content is None else content, ensure_ascii=False)


def _by_item(rows: Iterable[AnswerRow]) -> dict[str, dict[int, AnswerRow]]:
    found: dict[str, dict[int, AnswerRow]] = defaultdict(dict)
    for row in rows:
        found[row.item][row.sample] = row
    return found

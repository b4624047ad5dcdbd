"""A case worded by a model: said otherwise, about other things, denied, in the other language."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from danlu.workshop.likeness.text import has_han

Ask = Callable[[Sequence[str]], Sequence[str]]
"""Answers instructions, one by one."""

_WISHES = {
    False: (
        "Say this question in three other ways, one a line, with the same meaning: {}",
        "Write three questions of the same form about other things, one a line: {}",
        "Write this question so that it asks for the opposite: {}",
        "Translate this question into Chinese: {}",
    ),
    True: (
        "把下面的问题换三种说法，每行一种，意思不变：{}",
        "仿照下面的问题，写三个关于别的事物的问题，每行一个：{}",
        "把下面的问题改成问相反的意思：{}",
        "把下面的问题译成英语：{}",
    ),
}
_ANSWER = {
    False: "Answer this question in one short sentence: {}",
    True: "用一句话回答：{}",
}
_NUMBERED = re.compile(r"^\s*(?:[-*•]|\(?\d+[.)、]|\d+：)\s*")


def worded(question: str, ask: Ask) -> list[str]:
    """Let a model say a question in other ways.

    Args:
        question: The question.
        ask: Answers the instructions.
    """
    wishes = [wish.format(question) for wish in _WISHES[has_han(question)]]
    lines = [line for answer in ask(wishes) for line in lines_of(answer)]
    return [line for line in dict.fromkeys(lines) if line.casefold() != question.casefold()]


def answered(prompts: Sequence[str], ask: Ask) -> list[str]:
    """Let a model answer questions shortly."""
    return list(ask([_ANSWER[has_han(prompt)].format(prompt) for prompt in prompts]))


def lines_of(answer: str) -> list[str]:
    r"""Return the lines of an answer without numbers, bullets and quotes.

    Example:
        >>> lines_of('1. "Who rules Peru?"\n\n- Name it.')
        ['Who rules Peru?', 'Name it.']
    """
    lines = (_NUMBERED.sub("", line).strip().strip('"“”') for line in answer.splitlines())
    return [line for line in lines if line]

"""Asking a judge until it can be read, and the material that it is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from danlu.evaluation.contests import content_text, conversation_text
from danlu.evaluation.judging.reading import Read
from danlu.evaluation.schema import Failure, Item
from danlu.generation.interface import Sampling
from danlu.records.record import Message
from danlu.workshop.produce.common import Asking
from danlu.workshop.produce.prompts import Language, Prompts, language_of
from danlu.workshop.produce.request import Reply, Request, Unanswered

PROMPTS = Path(__file__).parent / "prompts"
REASKS = 2
SHOWN_CHARACTERS = 300

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Judge:
    """Who judges, and how it is asked.

    Attributes:
        asking: What answers.
        sampling: How its replies are drawn.
        repeats: How often each question is asked, with another seed each time.
        reasks: How often a reply that cannot be read is asked for again.
        prompts: How it is asked.
        without_reference: Show no reference answers.
    """

    asking: Asking
    sampling: Sampling = field(default_factory=lambda: Sampling(1024, greedy=True))
    repeats: int = 1
    reasks: int = REASKS
    prompts: Prompts = field(default_factory=lambda: Prompts(shipped=PROMPTS))
    without_reference: bool = False


@dataclass
class Question(Generic[T]):
    """One question to the judge, and what became of it.

    Attributes:
        messages: What is asked; grows with each time it is asked again.
        language: Of the question.
        sample: Tells repeats apart.
        item: Id of the item that is judged: each has draws of its own. Two equal answers to one
            item are asked about once.
        read: What was read; None if nothing.
        failure: Why nothing.
        asks: How often it was asked.
        reply: The last reply.
    """

    messages: tuple[Message, ...]
    language: Language
    sample: int = 0
    item: str = ""
    read: Read[T] | None = None
    failure: Failure | None = None
    asks: int = 0
    reply: str = ""


def ask_until_read(
    judge: Judge,
    questions: Sequence[Question[T]],
    read: Callable[[str], Read[T] | None],
    complaint: str,
) -> None:
    """Ask all questions, again where a reply cannot be read, and note what became of each.

    Args:
        judge: Who is asked.
        questions: What; changed in place.
        read: Reads a reply; None if it cannot.
        complaint: Name of the prompt that asks again.
    """
    open_ = list(questions)
    for left in range(judge.reasks, -1, -1):
        requests = [Request(one.messages, judge.sampling, one.sample, one.item) for one in open_]
        outcomes = judge.asking.ask(requests) if requests else []
        unread = []
        for question, outcome in zip(open_, outcomes, strict=True):
            question.asks += 1
            if isinstance(outcome, Unanswered):
                kind = "refused" if outcome.refused else "endpoint"
                question.failure = Failure(kind=kind, message=f"the judge: {outcome.reason}")
                continue
            question.reply = outcome.text
            # A reply that was cut off may end in half a number.
            question.read = read(outcome.text) if outcome.finished else None
            if question.read is None and left:
                _complain(judge, question, outcome, complaint)
                unread.append(question)
        open_ = unread
    for question in questions:
        if question.read is None and question.failure is None:
            shown = " ".join(question.reply.split())[-SHOWN_CHARACTERS:]
            question.failure = Failure(
                kind="not_read",
                message=f"the judge's reply could not be read, {question.asks} times; the last "
                f"ends: {shown!r}",
            )


def _complain(judge: Judge, question: Question[T], reply: Reply, complaint: str) -> None:
    [asked_again] = judge.prompts.render(complaint, question.language)
    if reply.text:
        said = (Message("assistant", reply.text), asked_again)
        question.messages = (*question.messages, *said)
        return
    # Two messages of the user in a row are refused by some templates.
    last = question.messages[-1]
    joined = replace(last, content=f"{last.content}\n\n{asked_again.content}")
    question.messages = (*question.messages[:-1], joined)


def reference_text(item: Item) -> str:
    r"""Return what was expected as text: several right answers one below another; else JSON.

    Example:
        >>> reference_text(Item(id="1", task_type="a/b", messages=(), reference=["Paris", "巴黎"]))
        'Paris\n巴黎'
    """
    reference = item.reference
    if reference is None or isinstance(reference, str):
        return reference or ""
    if isinstance(reference, list) and all(isinstance(one, str) for one in reference):
        return "\n".join(map(str, reference))
    return json.dumps(reference, ensure_ascii=False)


def item_language(item: Item) -> Language:
    """Return the language that an item is judged in: that of what the user said last."""
    users = [content_text(m) for m in item.messages if m.get("role") == "user"]
    return language_of(users[-1] if users else conversation_text(item.messages))

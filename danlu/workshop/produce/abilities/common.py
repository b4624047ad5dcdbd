"""What the makers of abilities share: phrasings, rewording, expectations, data made of nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import regex

from danlu.generation.interface import Sampling
from danlu.records import Message, Record, content_id
from danlu.workshop.produce.answer import final_answer, problem_of
from danlu.workshop.produce.common import Asking, Rejects, answer_of
from danlu.workshop.produce.expectation import (
    Expectation,
    characters,
    expectation_of,
    first_problem,
)
from danlu.workshop.produce.prompts import SHIPPED, Language, Prompts, language_of
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.store.decision import Operation, Progress
from danlu.workshop.store.store import Material, Store, no_progress
from danlu.workshop.store.version import Version

_BREAK = regex.compile(r"(?<=[。！？!?])\s*|(?<=\.)\s+(?=[\p{Lu}\p{Han}\"“])|\n")
DATA = Path(__file__).parent / "data"
SHORT_ANSWER = 30
"""Characters up to which an answer is taken for a value that another answer must name."""


def made_of_nothing(
    store: Store,
    operation: Operation,
    *,
    name: str | None = None,
    progress: Progress = no_progress,
) -> Version:
    """Make a version by an operation that needs no records."""
    material = Material(records=lambda _: iter(()), count=0, identity=[])
    return store.make(operation, material, name=name, progress=progress)


def phrase(
    prompts: Prompts, name: str, language: Language, chance: random.Random, /, **values: Any
) -> str:
    """Draw one of a file's phrasings, and fill it.

    Raises:
        PromptError: If the file is not there, or asks for a value that is not given.
    """
    line = chance.choice(prompts.lines(name, language))
    return prompts.phrase(line, f"{SHIPPED}/{language}/{name}", **values)


def expectations_of(record: Record) -> list[Expectation]:
    """Return what code can check of answers to a record: its own expectations, or what follows.

    Where it has none of its own, an answer must name the value that the record's answer comes to
    (boxed, behind ``####`` or "the answer is", or the whole answer if it is short), or else be in
    its language.

    Example:
        >>> from danlu.records import Message
        >>> said = (Message("user", "7 * 6?"), Message("assistant", "Easy. The answer is 42."))
        >>> expectations_of(Record("1", "a/b", said))
        [Expectation(kind='mentions', value='42')]
    """
    own = [expectation_of(row) for row in record.meta.get("expectations", ())]
    answer = answer_of(record)
    if own or not answer:
        return own
    value = final_answer(answer)
    if value and characters(value) <= SHORT_ANSWER:
        expected = Expectation("mentions", value)
        if expected.problem(answer) is None:
            return [expected]
    return [Expectation("language", language_of(answer))]


@dataclass
class Wish:
    """A text that code has written, to be said otherwise.

    Attributes:
        text: What is said.
        keep: What must stand in it, letter by letter.
        expectations: What it must be besides.
        put: Called with the new text.
        partner: Id of what it belongs to, for the list of rejects.
    """

    text: str
    keep: Sequence[str]
    put: Callable[[str], None]
    expectations: Sequence[Expectation] = ()
    partner: str | None = None


def reword(
    wishes: Sequence[Wish], asking: Asking, sampling: Sampling, prompts: Prompts, rejects: Rejects
) -> int:
    """Let a model say texts otherwise; what loses anything stays as code has written it.

    Returns:
        How many were reworded. The others are noted among the rejects.
    """
    requests = []
    for number, wish in enumerate(wishes):
        language = language_of(wish.text)
        messages = prompts.render("reword", language, text=wish.text, keep=list(wish.keep))
        requests.append(Request(messages, sampling, number))
    done = 0
    for wish, outcome in zip(wishes, asking.ask(requests), strict=True):
        if not isinstance(outcome, Reply):
            rejects.add("not reworded", outcome.reason, wish.partner)
            continue
        if rule := _fault(wish, outcome):
            rejects.add(rule, outcome.text, wish.partner)
            continue
        wish.put(outcome.text)
        done += 1
    return done


def _fault(wish: Wish, reply: Reply) -> str | None:
    if problem_of(reply):
        return "rewording: no usable text"
    if language_of(reply.text) != language_of(wish.text):
        return "rewording: another language"
    if any(value not in reply.text for value in wish.keep):
        return "rewording: a value is lost"
    if first_problem(wish.expectations, reply.text):
        return "rewording: not as expected"
    if characters(reply.text) > 3 * characters(wish.text) + 40:
        return "rewording: too long"
    return None


def with_tools(record: Record, tools: Sequence[Mapping[str, Any]]) -> Record:
    """Return a made record with tool declarations, which are then part of its id."""
    if not tools:
        return record
    declared = tuple(dict(tool) for tool in tools)
    return replace(record, id=content_id([record.id, declared]), tools=declared)


def sentences_of(text: str) -> list[str]:
    r"""Cut a text into sentences.

    Example:
        >>> sentences_of("It is 3.5 m. He left.\n走了。真的！")
        ['It is 3.5 m.', 'He left.', '走了。', '真的！']
    """
    return [piece.strip() for piece in _BREAK.split(text) if piece.strip()]


def talk(question: str, answer: str, system: str = "") -> tuple[Message, ...]:
    """Return a conversation of one turn."""
    head = (Message("system", system),) if system else ()
    return (*head, Message("user", question), Message("assistant", answer))


def distinct(records: Iterable[Record], taken: Iterable[str] = ()) -> Iterator[Record]:
    """Pass records on whose id was not there before."""
    seen = set(taken)
    for record in records:
        if record.id not in seen:
            seen.add(record.id)
            yield record


def by_turns(languages: Sequence[Language], count: int) -> Iterator[tuple[int, Language]]:
    """Number what is made, in each language in turn."""
    for number in range(count):
        yield number, languages[number % len(languages)]

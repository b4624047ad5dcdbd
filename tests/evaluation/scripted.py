"""A generator that says what a function tells it to, and a suite to ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from danlu.errors import TemplateError
from danlu.evaluation.asking.local import LocalModel
from danlu.evaluation.schema import Item, ModelAsked, TypeStakes
from danlu.evaluation.suites import Suite
from danlu.generation import Completion, Sampling
from danlu.records.record import Message
from danlu.workshop.produce.cache import RequestCache

Says = Callable[[str, int], str]
"""What the model says to the last message, given the seed."""


class Scripted:
    """Answers prompts, which are the numbers of conversations, in the reverse of their order."""

    context_tokens: int | None = None

    def __init__(self, says: Says) -> None:
        self.says = says
        self.conversations: list[tuple[Message, ...]] = []
        self.answered: list[str] = []
        self.limits: list[int] = []

    def encode(self, conversation: Any) -> list[int]:
        if conversation[-1].content == "unrenderable":
            raise TemplateError("the template refuses it.")
        self.conversations.append(tuple(conversation))
        longest = 10_000 if conversation[-1].content == "long" else 1
        return [len(self.conversations) - 1] * longest

    def answer_each(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seeds: Sequence[int] | None = None,
        limits: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, Completion]]:
        for place in reversed(range(len(prompts))):
            asked = self.conversations[prompts[place][0]][-1].content or ""
            self.answered.append(asked)
            self.limits.append(limits[place] if limits else sampling.max_new_tokens)
            text = self.says(asked, seeds[place] if seeds else sampling.seed)
            yield place, Completion(text, tuple(range(len(text.split()))), None, finished=True)


def scripted(
    says: Says | dict[str, str], cache: RequestCache | None = None, fingerprint: str = "w1"
) -> tuple[LocalModel, Scripted]:
    answers = says
    told: Says = (lambda text, seed: answers[text]) if isinstance(answers, dict) else answers
    generator = Scripted(told)
    return LocalModel(generator, ModelAsked(name="m", fingerprint=fingerprint), cache), generator


def asks(
    id_: str, prompt: str, reference: Any = None, task_type: str = "know/sums", **more: Any
) -> Item:
    message = {"role": "user", "content": prompt}
    return Item(id=id_, task_type=task_type, messages=(message,), reference=reference, **more)


def suite_of(*items: Item, **types: TypeStakes | str) -> Suite:
    """A suite; task types are named with __ for the slash, ``know/sums`` is scored exactly."""
    given = {
        name.replace("__", "/"): TypeStakes(scorer=of) if isinstance(of, str) else of
        for name, of in types.items()
    }
    used = {item.task_type for item in items}
    plain = {"know/sums": TypeStakes(scorer="exact")} if "know/sums" in used else {}
    return Suite("small", plain | given, tuple(items))


def lines(path: Path) -> int:
    return path.read_text("utf-8").count("\n") if path.exists() else 0

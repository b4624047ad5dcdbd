"""``evolve``: harder, rarer and otherwise worded tasks from those that are there.

The ways of Evol-Instruct (Xu et al. 2023, arXiv:2304.12244) for text, joined by two that keep the
thought and change the form: another wording of the same, and the same in another situation.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import regex

from danlu.errors import DanluError, did_you_mean
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.likeness.rouge import rouge_l
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.answer import problem_of
from danlu.workshop.produce.common import (
    Asking,
    Rejects,
    answer_message,
    is_answered,
    made_record,
    prompt_of,
    with_prompt,
)
from danlu.workshop.produce.expectation import words
from danlu.workshop.produce.prompts import Prompts, language_of
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.produce.unusable import unusable
from danlu.workshop.store.decision import Decision, Progress, keep, make

Way = Literal["deepen", "widen", "concretise", "rephrase", "translate"]
WAYS: tuple[Way, ...] = ("deepen", "widen", "concretise", "rephrase", "translate")
SAME_ANSWER: frozenset[Way] = frozenset({"rephrase"})
"""Ways after which the old answer is still right."""

COMPARING = Sampling(max_new_tokens=16, greedy=True)
SHORT_REFUSAL_WORDS = 80
"""Below so many words, an answer that is sorry is nothing but a refusal. Source: the paper."""

_LEAK = regex.compile(
    r"\b(?:given|new|rewritten|original|evolved|created) (?:task|prompt|wording)\b|#(?:given|new|"
    r"rewritten)|(?:给定|改写后|新|原)的?(?:任务|提示|说法)[:：]|改写(?:后|如下)",
    regex.I,
)
_SORRY = regex.compile(
    r"\b(?:sorry|i can(?:no|')t|unable to)\b|抱歉|对不起|无法(?:回答|提供|完成)", regex.I
)
_YES = regex.compile(r"\W*(?:yes|是|相同)", regex.I)


class _Draft(NamedTuple):
    """A new prompt, and what it was made from."""

    record: Record
    way: Way
    generation: int
    prompt: str


@dataclass(frozen=True)
class Evolve:
    """Makes new records from the prompts of the given ones.

    Attributes:
        asking: Who rewrites and answers.
        ways: Which ways are drawn from.
        each: How many ways are drawn for each record; no way twice.
        generations: How often what came out is evolved again.
        sampling: How prompts are rewritten.
        answering: How answers are drawn.
        compare: Ask whether the new task is really another one (``deepen``, ``widen``), or, where
            the answer is to be kept (``rephrase``), really the same one.
        novelty_limit: Highest ROUGE-L F1 between a new prompt and what it was made from.
        prompts: How it is asked.
        seed: Of the draws.
        rejects: What was eliminated is noted here.

    Raises:
        DanluError: If a way is not known, or a number out of range.
    """

    name: ClassVar[str] = "evolve"
    revision: ClassVar[int] = 2

    asking: Asking
    ways: tuple[Way, ...] = WAYS
    each: int = 1
    generations: int = 1
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=512))
    answering: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024))
    compare: bool = True
    novelty_limit: float = 0.95
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        for way in self.ways:
            if way not in WAYS:
                raise DanluError(f"there is no way {way!r} to evolve.{did_you_mean(way, WAYS)}")
        if not 1 <= self.each <= len(self.ways) or self.generations < 1:
            raise DanluError(
                f"each is {self.each} and generations {self.generations}; each is from 1 to the "
                f"number of ways ({len(self.ways)}), generations at least 1."
            )

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep the records, and add what came of them."""
        given = list(records)
        ids = {record.id for record in given}
        current = [record for record in given if prompt_of(record)]
        found: list[Record] = []
        for generation in range(1, self.generations + 1):
            drafts = self._drafts(current, generation)
            current = []
            for record in self._answered(self._other(drafts)):
                if record.id not in ids:
                    ids.add(record.id)
                    current.append(record)
            found += current
            progress(f"{self.name}: generations", generation, self.generations)
        for record in given:
            yield keep(record)
        for record in found:
            yield make(record, f"{self.name}: {record.meta['made']['way']}", _origin(record))

    def _drafts(self, records: Sequence[Record], generation: int) -> list[_Draft]:
        """Ask for new prompts, and keep those that pass the rules."""
        asked: list[tuple[Record, Way]] = []
        for record in records:
            chance = random.Random(f"{self.seed}/{generation}/{record.id}")
            ways = [way for way in self.ways if way not in SAME_ANSWER or is_answered(record)]
            asked += [(record, way) for way in chance.sample(ways, min(self.each, len(ways)))]
        requests = []
        for record, way in asked:
            prompt = prompt_of(record)
            messages = self.prompts.render(f"evolve/{way}", language_of(prompt), prompt=prompt)
            item = f"{generation}/{way}/{record.id}"
            requests.append(Request(messages, self.sampling, item=item))
        drafts = []
        for (record, way), outcome in zip(asked, self.asking.ask(requests), strict=True):
            if not isinstance(outcome, Reply):
                self.rejects.add("no prompt", outcome.reason, record.id)
            elif rule := self._fault(outcome, prompt_of(record)):
                self.rejects.add(f"eliminated: {rule}", outcome.text, record.id)
            else:
                drafts.append(_Draft(record, way, generation, outcome.text))
        return drafts

    def _fault(self, reply: Reply, old: str) -> str | None:
        """Say which rule a new prompt breaks; None if none."""
        new = reply.text
        if not reply.finished or not new:
            return "empty or cut off"
        if _LEAK.search(new) and not _LEAK.search(old):
            return "speaks of the rewriting"
        if language_of(new) != language_of(old):
            return "other language"
        if fold(new) == fold(old) or rouge_l(new, old) > self.novelty_limit:
            return "nothing new"
        if (rule := unusable(new)) and rule != unusable(old):
            return f"unusable: {rule}"
        return None

    def _other(self, drafts: Sequence[_Draft]) -> list[_Draft]:
        """Ask whether tasks are the same, where they must be, or must not be."""
        if not self.compare:
            return list(drafts)
        asked = [draft for draft in drafts if draft.way in ("deepen", "widen", "rephrase")]
        requests = []
        for draft in asked:
            old = prompt_of(draft.record)
            messages = self.prompts.render(
                "evolve/same", language_of(old), first=old, second=draft.prompt
            )
            requests.append(Request(messages, COMPARING))
        eliminated = set()
        for draft, outcome in zip(asked, self.asking.ask(requests), strict=True):
            if not isinstance(outcome, Reply):
                continue  # Nobody has said that it is wrong.
            is_same = _YES.match(outcome.text) is not None
            if is_same != (draft.way in SAME_ANSWER):
                rule = "the same task" if is_same else "another meaning"
                self.rejects.add(f"eliminated: {rule}", draft.prompt, draft.record.id)
                eliminated.add(id(draft))
        return [draft for draft in drafts if id(draft) not in eliminated]

    def _answered(self, drafts: Sequence[_Draft]) -> list[Record]:
        """Answer the new prompts; a prompt whose answer is none is eliminated."""
        open_ = [draft for draft in drafts if draft.way not in SAME_ANSWER]
        requests = []
        for draft in open_:
            messages = with_prompt(draft.record.messages, draft.prompt)
            if len(messages) == 1:
                messages = self.prompts.render(
                    "plain_answer", language_of(draft.prompt), prompt=draft.prompt
                )
            item = f"{draft.generation}/{draft.way}/{draft.record.id}"
            requests.append(Request(messages, self.answering, item=item))
        answers = dict(zip(map(id, open_), self.asking.ask(requests), strict=True))
        found = []
        for draft in drafts:
            asked = with_prompt(draft.record.messages, draft.prompt)
            if draft.way in SAME_ANSWER:
                found.append(self._record(draft, (*asked, draft.record.messages[-1])))
                continue
            outcome = answers[id(draft)]
            rule = answer_fault(outcome) if isinstance(outcome, Reply) else outcome.reason
            if rule or not isinstance(outcome, Reply):
                self.rejects.add(f"eliminated: {rule}", draft.prompt, draft.record.id)
            else:
                found.append(self._record(draft, (*asked, answer_message(outcome))))
        return found

    def _record(self, draft: _Draft, messages: Sequence[Message]) -> Record:
        how = {
            **self.asking.settings(),
            "from": draft.record.id,
            "way": draft.way,
            "generation": draft.generation,
        }
        record = draft.record
        return made_record(record.task_type, messages, self.name, how, tags=record.tags)


def answer_fault(reply: Reply) -> str | None:
    """Say what is wrong with the answer to a new task; None if nothing is.

    Example:
        >>> answer_fault(Reply("I'm sorry, I cannot see the garden.")), answer_fault(Reply("……"))
        ('a refusal', 'no words')
    """
    if problem_of(reply):
        return "no usable answer"
    if not words(reply.text):
        return "no words"
    if _SORRY.search(reply.text) and words(reply.text) < SHORT_REFUSAL_WORDS:
        return "a refusal"
    return None


def _origin(record: Record) -> str:
    return str(record.meta["made"]["from"])

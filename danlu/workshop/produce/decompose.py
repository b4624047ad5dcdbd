"""``decompose``: hard tasks answered in steps whose outputs feed the next.

As in least-to-most prompting (Zhou et al. 2022, arXiv:2205.10625): the model says by which steps a
task is solved, each step is asked with what the earlier ones gave, and the answer is put together
from all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import regex

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.records.source import check_task_type
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.answer import problem_of
from danlu.workshop.produce.common import (
    Asking,
    Rejects,
    answer_message,
    asked_in,
    is_answered,
    made_record,
    once,
    prompt_of,
    with_meta,
)
from danlu.workshop.produce.evolve import answer_fault
from danlu.workshop.produce.expectation import expectation_of
from danlu.workshop.produce.prompts import Language, Prompts, language_of
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.produce.unusable import unusable
from danlu.workshop.store.decision import Decision, Progress, edit, keep, make

FEWEST_STEPS = 2
_STEP = regex.compile(
    r"^[#*\s]*(?:(?:Step|第)\s*(?P<word>\d{1,2}|[一二三四五六七八九十])\s*步?|(?:步骤)\s*"
    r"(?P<zh>\d{1,2}|[一二三四五六七八九十])|(?P<bare>\d{1,2}))\s*\**[ \t]*[:：.、)）]\**[ \t]*",
    regex.M | regex.I,
)


class _Done(NamedTuple):
    """A step that was asked, and what came of it."""

    step: str
    prompt: str
    reply: Reply


@dataclass
class _Chain:
    """A task on its way through its steps."""

    record: Record
    task: str
    language: Language
    steps: list[str] = field(default_factory=list)
    done: list[_Done] = field(default_factory=list)
    final: Reply | None = None
    fault: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Decompose:
    """Answers records that end with a question by steps, and makes a record of each step.

    The record keeps its id and gets the answer put together from the steps; each step is a new
    record, whose prompt has the task and what the earlier steps gave. A task that the model gives
    no two steps, or of which a step is not answered, stays as it was, and the ledger says so.

    Attributes:
        asking: Who plans and answers.
        most_steps: Most steps that a plan may have.
        with_steps: Make records of the steps.
        step_type: Task type of the steps' records; empty is that of the task.
        again: Answer anew what is answered.
        planning: How plans are drawn.
        answering: How the steps and the whole are answered.
        prompts: How it is asked.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a number is out of range, or a record asks nothing.
    """

    name: ClassVar[str] = "decompose"
    revision: ClassVar[int] = 2

    asking: Asking
    most_steps: int = 6
    with_steps: bool = True
    step_type: str = ""
    again: bool = False
    planning: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=512))
    answering: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024))
    prompts: Prompts = field(default_factory=Prompts)
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.most_steps < FEWEST_STEPS:
            raise DanluError(f"most_steps is {self.most_steps}; it is at least {FEWEST_STEPS}.")
        if self.step_type:
            check_task_type(self.step_type)

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Answer what is not answered, by steps."""
        given = list(records)
        chains = self._planned([one for one in given if self.again or not is_answered(one)])
        open_ = [chain for chain in chains if not chain.fault]
        longest = max((len(chain.steps) for chain in open_), default=0)
        for number in range(longest):
            self._step([one for one in open_ if number < len(one.steps) and not one.fault])
            progress(f"{self.name}: steps", number + 1, longest)
        self._assemble([chain for chain in open_ if not chain.fault])
        by_id = {chain.record.id: chain for chain in chains}
        steps: list[Decision] = []
        for record in given:
            chain = by_id.get(record.id)
            if chain is None:
                yield keep(record, "answered already")
            elif chain.fault:
                self.rejects.add(chain.fault, chain.detail, record.id)
                yield keep(record, chain.fault)
            else:
                parts = [self._part(chain, k) for k in range(len(chain.steps))]
                detail = f"{len(chain.steps)} steps"
                yield edit(self._whole(chain, parts), self.name, len(parts), detail)
                steps += [
                    make(part, f"{self.name}: step", record.id, f"step {k} of {len(parts)}")
                    for k, part in enumerate(parts, start=1)
                ]
        if self.with_steps:
            yield from once(given, steps)

    # Asking ------------------------------------------------------------------------------

    def _planned(self, records: Sequence[Record]) -> list[_Chain]:
        """Ask for the steps of each task."""
        chains = [self._chain(record) for record in records]
        requests = []
        for chain in chains:
            messages = self.prompts.render(
                "decompose/plan", chain.language, task=chain.task, most=self.most_steps
            )
            requests.append(Request(messages, self.planning, item=chain.record.id))
        for chain, outcome in zip(chains, self.asking.ask(requests), strict=True):
            if not isinstance(outcome, Reply):
                chain.fault, chain.detail = "no plan", outcome.reason
                continue
            chain.steps = steps_in(outcome.text)
            chain.fault = self._fault(chain, outcome)
            chain.detail = outcome.text
        return chains

    def _chain(self, record: Record) -> _Chain:
        if not prompt_of(record):
            raise DanluError(
                "the record asks nothing: it has no message of the user.",
                where=f"record {record.id}",
            )
        # Of a conversation all that was said, since the last question may go on from it.
        task = "\n".join(one.content or "" for one in asked_in(record) if one.role != "system")
        return _Chain(record, task, language_of(task))

    def _fault(self, chain: _Chain, reply: Reply) -> str:
        """Say why a plan is none; empty if it is one."""
        count = len(chain.steps)
        if not reply.finished:
            return "no plan: cut off"
        if count < FEWEST_STEPS:
            return "no plan: fewer than two steps"
        if count > self.most_steps:
            return "no plan: too many steps"
        folded = {fold(step) for step in chain.steps}
        if len(folded) < count or fold(chain.task) in folded:
            return "no plan: a step twice, or the task itself"
        for step in chain.steps:
            rule = unusable(step)
            if rule and rule != "too short" and rule != unusable(chain.task):
                return f"no plan: {rule}"
        return ""

    def _step(self, chains: Sequence[_Chain]) -> None:
        """Ask the next step of each chain, with what the earlier ones gave."""
        prompts = [self._prompt(chain, "decompose/step") for chain in chains]
        requests = [
            self._request(chain, prompt) for chain, prompt in zip(chains, prompts, strict=True)
        ]
        for chain, prompt, outcome in zip(chains, prompts, self.asking.ask(requests), strict=True):
            if not isinstance(outcome, Reply):
                chain.fault, chain.detail = "a step without answer", outcome.reason
            elif rule := answer_fault(outcome):
                chain.fault, chain.detail = f"a step without answer: {rule}", outcome.text
            else:
                chain.done.append(_Done(chain.steps[len(chain.done)], prompt, outcome))

    def _assemble(self, chains: Sequence[_Chain]) -> None:
        """Ask for the answer, with what all steps gave."""
        requests = []
        for chain in chains:
            system = [one for one in chain.record.messages if one.role == "system"]
            requests.append(self._request(chain, self._prompt(chain, "decompose/whole"), system))
        for chain, outcome in zip(chains, self.asking.ask(requests), strict=True):
            if not isinstance(outcome, Reply):
                chain.fault, chain.detail = "no answer", outcome.reason
                continue
            expected = [expectation_of(r) for r in chain.record.meta.get("expectations", ())]
            rule = problem_of(outcome, expected) or answer_fault(outcome)
            if rule:
                chain.fault, chain.detail = "no usable answer", f"{rule}\n{outcome.text}"
            else:
                chain.final = outcome

    def _prompt(self, chain: _Chain, name: str) -> str:
        said = self.prompts.render(
            name,
            chain.language,
            task=chain.task,
            done=[(one.step, one.reply.text) for one in chain.done],
            step=chain.steps[len(chain.done)] if len(chain.done) < len(chain.steps) else "",
        )
        return said[-1].content or ""

    def _request(self, chain: _Chain, prompt: str, system: Sequence[Message] = ()) -> Request:
        messages = self.prompts.render("plain_answer", chain.language, prompt=prompt)
        item = f"{len(chain.done)}/{chain.record.id}"
        return Request((*system, messages[-1]) if system else messages, self.answering, item=item)

    # Records -----------------------------------------------------------------------------

    def _part(self, chain: _Chain, number: int) -> Record:
        done, record = chain.done[number], chain.record
        how = {
            **self.asking.settings(),
            "from": record.id,
            "step": number + 1,
            "steps": len(chain.steps),
        }
        messages = (Message("user", done.prompt), answer_message(done.reply))
        task_type = self.step_type or record.task_type
        return made_record(task_type, messages, self.name, how, tags=record.tags)

    def _whole(self, chain: _Chain, parts: Sequence[Record]) -> Record:
        assert chain.final is not None
        record = chain.record
        how = {
            "by": self.name,
            **self.asking.settings(),
            "steps": [{"step": one.step, "output": one.reply.text} for one in chain.done],
        }
        if self.with_steps:
            how["records"] = [part.id for part in parts]
        messages = (*asked_in(record), answer_message(chain.final))
        return replace(record, messages=messages, meta=with_meta(record.meta, how))


def steps_in(text: str) -> list[str]:
    r"""Read the steps of a plan, numbered with or without a word.

    Example:
        >>> steps_in("The steps:\n1. Find the price.\n2. Add the tax\n   of 8 %.")
        ['Find the price.', 'Add the tax\n   of 8 %.']
        >>> steps_in("**Step 1:** Read\n**Step 2:** Write"), steps_in("第一步：读\n步骤 2：写")
        (['Read', 'Write'], ['读', '写'])
    """
    marks = list(_STEP.finditer(text))
    # Numbered points within a step called so are no steps.
    named = [mark for mark in marks if not mark["bare"]]
    marks = named or marks
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    found = [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    return [step for step in found if step]

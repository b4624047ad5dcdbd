"""``robustness``: prompts as people mistype them, with the same answer.

Each variant has the tag ``robustness``, which keeps checks and cleaning from dropping it for just
what it is there to teach. No model is asked.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import ClassVar

from danlu.errors import DanluError, did_you_mean
from danlu.records import Record
from danlu.workshop.produce.abilities.common import SHORT_ANSWER, expectations_of, with_tools
from danlu.workshop.produce.abilities.perturb import PERTURBATIONS, Kind, perturbed
from danlu.workshop.produce.common import Rejects, answer_of, made_record, prompt_of, with_prompt
from danlu.workshop.produce.prompts import language_of
from danlu.workshop.store.decision import Decision, Progress, edit, keep, make

TAG = "robustness"
KINDS: tuple[Kind, ...] = tuple(PERTURBATIONS)


@dataclass(frozen=True)
class Robustness:
    """Makes mistyped variants of the last prompt of each record.

    Attributes:
        kinds: Ways to mistype that are drawn from.
        each: Variants of each record, each mistyped in another way.
        strength: How much is changed; 1 is one to three places in a line.
        task_types: Patterns of the task types that variants are made of. Leave out those that are
            about the letters themselves: spelling, counting characters.
        in_place: Edit each record, rather than add variants beside it.
        seed: Of the draws.
        rejects: Records in which nothing could be mistyped are noted here.

    Raises:
        DanluError: If a kind is not known, or a number out of range.
    """

    name: ClassVar[str] = "robustness"
    revision: ClassVar[int] = 1

    kinds: tuple[Kind, ...] = KINDS
    each: int = 1
    strength: float = 1.0
    task_types: tuple[str, ...] = ("*",)
    in_place: bool = False
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in PERTURBATIONS:
                raise DanluError(f"there is no kind {kind!r}.{did_you_mean(kind, KINDS)}")
        if not 1 <= self.each <= len(self.kinds):
            raise DanluError(f"each is {self.each}; it is from 1 to {len(self.kinds)}, the kinds.")
        if self.in_place and self.each != 1:
            raise DanluError("in place there is room for one variant: each must be 1.")
        if self.strength <= 0:
            raise DanluError(f"strength is {self.strength}; it must be above 0.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep each record and add its variants, or edit it."""
        given = list(records)
        ids = {record.id for record in given}
        for done, record in enumerate(given, 1):
            progress(self.name, done, len(given))
            variants = list(self._variants(record))
            if self.in_place and variants:
                kind, variant = variants[0]
                yield edit(replace(variant, id=record.id), f"{self.name}: {kind}")
                continue
            yield keep(record)
            for kind, variant in variants:
                if variant.id not in ids:
                    ids.add(variant.id)
                    yield make(variant, f"{self.name}: {kind}", record.id)

    def _variants(self, record: Record) -> Iterator[tuple[Kind, Record]]:
        prompt = prompt_of(record)
        if not prompt or not any(fnmatchcase(record.task_type, one) for one in self.task_types):
            return
        language = language_of(prompt)
        chance = random.Random(f"{self.seed}/{record.id}")
        kept = _values(record)
        count = 0
        for kind in chance.sample(self.kinds, len(self.kinds)):
            if count == self.each or language not in PERTURBATIONS[kind].languages:
                continue
            text = perturbed(prompt, kind, chance, kept, self.strength)
            if text != prompt:
                count += 1
                yield kind, self._variant(record, kind, text)
        if count < self.each:
            self.rejects.add("nothing to mistype", prompt, record.id, count, self.each)

    def _variant(self, record: Record, kind: Kind, text: str) -> Record:
        asked = with_prompt(record.messages, text)
        variant = made_record(
            record.task_type,
            (*asked, *record.messages[len(asked) :]),
            self.name,
            {"from": record.id, "kind": kind},
            tags=tuple(dict.fromkeys((*record.tags, TAG))),
            expectations=[one.as_dict() for one in expectations_of(record)],
        )
        variant = with_tools(variant, record.tools)
        return replace(variant, responses=record.responses, meta={**record.meta, **variant.meta})


def _values(record: Record) -> list[str]:
    """Return what a prompt must keep: what the answer is expected to name, or is."""
    found = []
    for expectation in expectations_of(record):
        value = expectation.value
        if expectation.kind in ("language", "calls", "matches"):
            continue
        found += list(value) if isinstance(value, tuple) else [str(value)]
    answer = answer_of(record).strip()
    if len(answer) <= SHORT_ANSWER:
        found.append(answer.strip(" .。"))
    return [value for value in found if len(value) > 1]

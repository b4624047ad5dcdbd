"""``system``: prompts where the system prompt matters, and where it must be ignored.

It matters where it orders a form that code can give an answer and check, or holds what is asked.
It is ignored where the question is about something else. No model is asked.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from danlu.errors import DanluError, did_you_mean
from danlu.records import Record
from danlu.workshop.produce.abilities.common import expectations_of, phrase, talk
from danlu.workshop.produce.abilities.material import fingerprint, is_plain, talk_material
from danlu.workshop.produce.common import Rejects, answer_of, made_record, once, prompt_of
from danlu.workshop.produce.expectation import Expectation
from danlu.workshop.produce.measures import mentions
from danlu.workshop.produce.prompts import LANGUAGES, Language, Prompts, language_of
from danlu.workshop.store.decision import Decision, Progress, keep, make
from danlu.workshop.store.settings import field_settings

SystemKind = Literal["form", "facts", "ignored"]
SYSTEM_KINDS: tuple[SystemKind, ...] = ("form", "facts", "ignored")


def _starts(answer: str, text: str) -> str:
    return f"{text}\n{answer}"


def _ends(answer: str, text: str) -> str:
    return f"{answer.rstrip()}\n{text}"


def _json(answer: str, text: str) -> str:
    return json.dumps({"answer": answer}, ensure_ascii=False)


def _tags(answer: str, text: str) -> str:
    return f"<answer>{answer.strip()}</answer>"


_FORMS: Mapping[str, tuple[Callable[[str, str], str], Callable[[str], Expectation]]] = {
    "starts_with": (_starts, lambda text: Expectation("starts_with", text)),
    "ends_with": (_ends, lambda text: Expectation("ends_with", text)),
    "json": (_json, lambda text: Expectation("json_keys", ("answer",))),
    "tags": (_tags, lambda text: Expectation("matches", r"(?s)\A\s*<answer>.*</answer>\s*\Z")),
}
"""By form: what it makes of an answer, and what is expected of one."""
_TEXTS = {"starts_with": "openings", "ends_with": "endings"}


@dataclass(frozen=True)
class SystemPrompts:
    """Makes system prompts for the records that are one question and its answer.

    Attributes:
        kinds: ``form``: the system prompt orders how answers look, and the record's answer is made
            so. ``facts``: it says who the assistant is and when it opens, which is asked.
            ``ignored``: it says so too, and the record's own question is asked, whose answer stays.
        each: Records of each kind for every record.
        area: First level of the task types of ``facts``; the others keep the record's own.
        prompts: How forms are ordered.
        seed: Of the draws.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a kind is not known, or a number out of range.
    """

    name: ClassVar[str] = "system"
    revision: ClassVar[int] = 1

    kinds: tuple[SystemKind, ...] = SYSTEM_KINDS
    each: int = 1
    area: str = "system"
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in SYSTEM_KINDS:
                raise DanluError(f"there is no kind {kind!r}.{did_you_mean(kind, SYSTEM_KINDS)}")
        if self.each < 1 or not self.kinds:
            raise DanluError("each must be at least 1; give a kind.")

    def settings(self) -> dict[str, Any]:
        """Return the settings, and what the shipped material is."""
        return field_settings(self) | {"material": fingerprint(LANGUAGES)}

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep the records, and add those with a system prompt."""
        given = list(records)
        yield from map(keep, given)
        yield from once(given, self._made_of(given, progress))

    def _made_of(self, given: Sequence[Record], progress: Progress) -> Iterator[Decision]:
        plain = [record for record in given if is_plain(record)]
        for done, record in enumerate(plain, 1):
            progress(self.name, done, len(plain))
            language = language_of(prompt_of(record))
            for kind in self.kinds:
                for number in range(self.each):
                    chance = random.Random(f"{self.seed}/{record.id}/{kind}/{number}")
                    made = self._made(kind, record, language, chance)
                    yield make(made, f"{self.name}: {kind}", record.id)

    def _made(
        self, kind: SystemKind, record: Record, language: Language, chance: random.Random
    ) -> Record:
        if kind == "form":
            return self._form(record, language, chance)
        profile = chance.choice(talk_material(language)["profiles"])
        slots = {
            name: chance.choice(values) for name, values in talk_material(language)["slots"].items()
        }
        system = profile["system"].format(**slots)
        if kind == "facts":
            one = chance.choice(profile["questions"])
            asked, answer = one["ask"], one["answer"].format(**slots)
            expected = [Expectation("mentions", one["value"].format(**slots))]
            return self._record(kind, record, system, asked, answer, expected)
        asked, answer = prompt_of(record), answer_of(record)
        said = f"{asked}\n{answer}"
        foreign = tuple(value for value in slots.values() if not mentions(said, value))
        expected = [*expectations_of(record), Expectation("mentions_none", foreign)]
        return self._record(kind, record, system, asked, answer, expected)

    def _form(self, record: Record, language: Language, chance: random.Random) -> Record:
        form = chance.choice(list(_FORMS))
        shape, expect = _FORMS[form]
        text = ""
        if form in _TEXTS:
            text = chance.choice(talk_material(language)[_TEXTS[form]])
        system = phrase(self.prompts, f"system/{form}", language, chance, text=text)
        answer = shape(answer_of(record), text)
        kept = [one for one in expectations_of(record) if one.problem(answer) is None]
        return self._record(
            "form", record, system, prompt_of(record), answer, [expect(text), *kept], form
        )

    def _record(
        self,
        kind: SystemKind,
        record: Record,
        system: str,
        asked: str,
        answer: str,
        expected: Iterable[Expectation],
        form: str = "",
    ) -> Record:
        how = {"from": record.id, "kind": kind}
        if form:
            how["form"] = form
        return made_record(
            f"{self.area}/facts" if kind == "facts" else record.task_type,
            talk(asked, answer, system),
            self.name,
            how,
            tags=() if kind == "facts" else record.tags,
            expectations=[one.as_dict() for one in expected],
        )

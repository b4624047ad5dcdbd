"""``topics``: dialogues that change the topic, and that come back to what was told before.

Joined from single questions of the records, where the second needs nothing of the first. An answer
to the new topic must not bring up the old one; what was told before the change must still be known
after it. No model is asked.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from danlu.errors import DanluError, did_you_mean
from danlu.records import Message, Record
from danlu.workshop.checks.history import depends_on_history
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.abilities.common import expectations_of, phrase
from danlu.workshop.produce.abilities.material import (
    content_of,
    counted,
    fingerprint,
    is_plain,
    talk_material,
    telling_words,
)
from danlu.workshop.produce.common import Rejects, answer_of, made_record, once, prompt_of
from danlu.workshop.produce.expectation import Expectation
from danlu.workshop.produce.prompts import LANGUAGES, Language, Prompts, language_of
from danlu.workshop.store.decision import Decision, Progress, keep, make
from danlu.workshop.store.settings import field_settings

Turn = Literal["switch", "return"]
TURNS: tuple[Turn, ...] = ("switch", "return")
_MOST_TRIES = 100
"""Records that are looked at for another topic."""


@dataclass(frozen=True)
class Topics:
    """Makes dialogues of the records that are one question and its answer.

    Attributes:
        kinds: ``switch`` ends with a question about something new; ``return`` with one about what
            was told before another topic came between.
        each: Dialogues of each kind for every record.
        most_before: Most topics before the last one, in a ``switch``, or between telling and
            asking, in a ``return``.
        area: First level of the task types.
        prompts: How topics are changed.
        seed: Of the draws.
        rejects: Records that cannot follow another topic are noted here.

    Raises:
        DanluError: If a kind is not known, or a number out of range.
    """

    name: ClassVar[str] = "topics"
    revision: ClassVar[int] = 1

    kinds: tuple[Turn, ...] = TURNS
    each: int = 1
    most_before: int = 2
    area: str = "dialogue"
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in TURNS:
                raise DanluError(f"there is no kind {kind!r}.{did_you_mean(kind, TURNS)}")
        if self.each < 1 or self.most_before < 1 or not self.kinds:
            raise DanluError("each and most_before must be at least 1; give a kind.")

    def settings(self) -> dict[str, Any]:
        """Return the settings, and what the shipped material is."""
        return field_settings(self) | {"material": fingerprint(LANGUAGES)}

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep the records, and add dialogues."""
        given = list(records)
        yield from map(keep, given)
        yield from once(given, self._made_of(given, progress))

    def _made_of(self, given: Sequence[Record], progress: Progress) -> Iterator[Decision]:
        plain = [record for record in given if is_plain(record)]
        pools: dict[Language, list[Record]] = {
            language: [one for one in plain if language_of(prompt_of(one)) == language]
            for language in LANGUAGES
        }
        known = counted(plain)
        for done, record in enumerate(plain, 1):
            progress(self.name, done, len(plain))
            for kind, dialogue in self._dialogues(record, pools, known):
                yield make(dialogue, f"{self.name}: {kind}", record.id)

    def _dialogues(
        self, record: Record, pools: Mapping[Language, Sequence[Record]], known: Mapping[str, int]
    ) -> Iterator[tuple[Turn, Record]]:
        language = language_of(prompt_of(record))
        if depends_on_history(fold(prompt_of(record)), frozenset()):
            self.rejects.add("leans on what was said before", prompt_of(record), record.id)
            return
        for kind in self.kinds:
            for number in range(self.each):
                chance = random.Random(f"{self.seed}/{record.id}/{kind}/{number}")
                others = self._others(record, pools[language], chance)
                if kind == "return":
                    yield kind, self._return(record, others, language, chance)
                elif others:
                    yield kind, self._switch(record, others, language, chance, known)
                else:
                    self.rejects.add("no other topic", prompt_of(record), record.id)

    def _others(
        self, record: Record, pool: Sequence[Record], chance: random.Random
    ) -> list[Record]:
        """Draw records of other topics: another task type if there is one, no content in common."""
        own = content_of(prompt_of(record))
        is_one_type = len({one.task_type for one in pool[:_MOST_TRIES]} | {record.task_type}) == 1
        wanted = chance.randint(1, self.most_before)
        found: list[Record] = []
        for one in chance.sample(pool, min(len(pool), _MOST_TRIES)):
            if len(found) == wanted:
                break
            asked = prompt_of(one)
            if one.id == record.id or (one.task_type == record.task_type and not is_one_type):
                continue
            if content_of(asked) & own or (found and depends_on_history(fold(asked), frozenset())):
                continue
            found.append(one)
        return found

    def _switch(
        self,
        record: Record,
        before: Sequence[Record],
        language: Language,
        chance: random.Random,
        known: Mapping[str, int],
    ) -> Record:
        messages: list[Message] = []
        for one in (*before, record):
            messages += self._turn(one, language, chance, is_first=not messages)
        expected = expectations_of(record)
        if words := tuple(
            dict.fromkeys(word for one in before for word in telling_words(one, record, known)[:2])
        ):
            expected.append(Expectation("mentions_none", words))
        return self._record("topic_switch", messages, record, before, expected)

    def _return(
        self, record: Record, others: Sequence[Record], language: Language, chance: random.Random
    ) -> Record:
        between = [record, *others[: self.most_before - 1]]
        fact = chance.choice(talk_material(language)["facts"])
        said = "\n".join(prompt_of(one) + answer_of(one) for one in between)
        values = [value for value in fact["values"] if fold(value) not in fold(said)]
        value = chance.choice(values or fact["values"])
        messages = [
            Message("user", fact["tell"].format(value=value)),
            Message("assistant", fact["reply"].format(value=value)),
        ]
        for one in between:
            messages += self._turn(one, language, chance, is_first=False)
        ask = phrase(self.prompts, "topics/return", language, chance, ask=fact["ask"])
        messages += [
            Message("user", ask),
            Message("assistant", fact["answer"].format(value=value)),
        ]
        expected = [Expectation("mentions", value)]
        return self._record("topic_return", messages, record, others, expected)

    def _turn(
        self, record: Record, language: Language, chance: random.Random, *, is_first: bool
    ) -> list[Message]:
        prompt = prompt_of(record)
        if not is_first:
            prompt = phrase(self.prompts, "topics/switch", language, chance, prompt=prompt)
        return [Message("user", prompt), record.messages[-1]]

    def _record(
        self,
        skill: str,
        messages: Sequence[Message],
        record: Record,
        others: Sequence[Record],
        expected: Sequence[Expectation],
    ) -> Record:
        return made_record(
            f"{self.area}/{skill}",
            messages,
            self.name,
            {"from": record.id, "others": [one.id for one in others]},
            tags=record.tags,
            expectations=[one.as_dict() for one in expected],
        )

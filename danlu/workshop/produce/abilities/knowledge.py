"""``knowledge``: facts about invented things, to see memorising apart from pre-training.

Nothing of it can be known beforehand: names are invented, or are new special tokens whose
embeddings begin at the mean of all others. Training asks each fact in some phrasings; the
evaluation asks it in those, in phrasings held out, and the other way round (the reversal curse:
Berglund et al. 2023, arXiv:2309.12288). No model is asked.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from danlu.errors import DanluError
from danlu.records import Message, Record
from danlu.records.record import TEXT_ROLE
from danlu.workshop.produce.abilities.common import by_turns, distinct, talk
from danlu.workshop.produce.abilities.relations import Relation, Relations
from danlu.workshop.produce.common import made_record
from danlu.workshop.produce.expectation import Expectation
from danlu.workshop.produce.prompts import LANGUAGES, Language
from danlu.workshop.store.decision import Decision, Progress, keep, make

Part = Literal["train", "eval"]
Naming = Literal["names", "tokens"]
Form = Literal["questions", "documents"]
FORMS: tuple[Form, ...] = ("questions", "documents")
TOKEN = "<entity-{}>"
"""Not of the form ``<|...|>``, which the checks take for another model's control token."""

_HEADS = [
    "Bel",
    "Cor",
    "Dra",
    "Ebn",
    "Fal",
    "Gor",
    "Hul",
    "Ist",
    "Jer",
    "Kol",
    "Lun",
    "Mor",
    "Nar",
    "Osk",
    "Pell",
    "Quar",
    "Ros",
    "Sel",
    "Tar",
    "Ulm",
]
_MIDDLES = ["a", "e", "i", "o", "u", "ae", "ei", "ia", "or", "un", "el", "an"]
_TAILS = [
    "mark",
    "dell",
    "wick",
    "stad",
    "ven",
    "hurst",
    "gard",
    "mere",
    "brook",
    "tor",
    "lin",
    "peth",
]
_ZH_HEADS = "岚澜霁翊栩钰棠砚舫芷蘅菡溯汀泠皓曜昀朔"
_ZH_MIDDLES = "泊坞陵浦桥渡崖洲岗垣樟柏枫榆槐"
_ZH_TAILS = ("镇", "城", "港", "庄", "集")


class Fact(NamedTuple):
    """Who is related to what."""

    subject: str
    relation: Relation
    object: str
    language: Language


@dataclass(frozen=True)
class Knowledge:
    """Makes facts, and records that teach them or ask for them.

    Attributes:
        part: ``train`` teaches, ``eval`` asks; the same facts for the same settings.
        entities: How many things are invented, in each language in turn.
        facts: How many of the relations each has.
        naming: ``names`` that are invented, or ``tokens``, one new special token for each.
        forms: Of training: ``questions`` with answers, ``documents`` of plain text, or both.
        documents: Texts about each entity, each with its facts in another order.
        languages: Of the facts.
        relations: What may be known.
        token: Form of the tokens, with ``{}`` for the number.
        area: First level of the task types.
        seed: Of the draws.

    Raises:
        DanluError: If a number is out of range.
    """

    name: ClassVar[str] = "knowledge"
    revision: ClassVar[int] = 1

    part: Part
    entities: int = 20
    facts: int = 3
    naming: Naming = "names"
    forms: tuple[Form, ...] = ("questions",)
    documents: int = 4
    languages: tuple[Language, ...] = LANGUAGES
    relations: Relations = field(default_factory=Relations.load)
    token: str = TOKEN
    area: str = "knowledge"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.entities < 1 or self.documents < 1:
            raise DanluError("entities and documents must be at least 1.")
        if not self.forms or not self.languages:
            raise DanluError("give at least one form and one language.")
        for language in self.languages:
            count = len(self.relations.by_language.get(language, ()))
            if not 1 <= self.facts <= count:
                raise DanluError(
                    f"facts is {self.facts}; there are {count} relations in the language "
                    f"{language!r}, and each is a fact at most once."
                )
        if self.token.count("{}") != 1:
            raise DanluError(f"the form of tokens is {self.token!r}; it has {{}} once.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep the records, and add those of the part."""
        ids = []
        for record in records:
            ids.append(record.id)
            yield keep(record)
        facts = self.drawn()
        made = self._training(facts) if self.part == "train" else self._asking(facts)
        for record in distinct(made, ids):
            yield make(record, self.name)

    def drawn(self) -> list[Fact]:
        """Return the facts, those of one subject after another."""
        found = []
        subjects = self.subjects()
        for number, language in by_turns(self.languages, self.entities):
            chance = random.Random(f"{self.seed}/facts/{number}")
            for relation in chance.sample(self.relations.by_language[language], self.facts):
                object_ = chance.choice(relation.objects)
                found.append(Fact(subjects[number], relation, object_, language))
        return found

    def subjects(self) -> list[str]:
        """Return the names or tokens of the entities."""
        width = len(str(self.entities))
        if self.naming == "tokens":
            return [self.token.format(str(n + 1).zfill(width)) for n in range(self.entities)]
        chance = random.Random(f"{self.seed}/names")
        found: dict[str, None] = {}
        for _, language in by_turns(self.languages, self.entities):
            for _attempt in range(1000):
                name = _invented(language, chance)
                if name not in found:
                    found[name] = None
                    break
            else:
                raise DanluError(
                    f"there are not so many invented names: {self.entities}. Use tokens, or fewer "
                    "entities."
                )
        return list(found)

    def new_tokens(self) -> list[str]:
        """Return what a recipe needs in ``model.new_tokens``."""
        return self.subjects() if self.naming == "tokens" else []

    # Records -----------------------------------------------------------------------------

    def _training(self, facts: Sequence[Fact]) -> Iterator[Record]:
        if "questions" in self.forms:
            for fact in facts:
                for place, question in enumerate(fact.relation.questions):
                    # Each question its own answer, so that neither hangs on the other's wording.
                    answer = fact.relation.answers[place % len(fact.relation.answers)]
                    yield self._question(fact, question, answer, "recall")
        if "documents" in self.forms:
            by_subject: dict[str, list[Fact]] = {}
            for fact in facts:
                by_subject.setdefault(fact.subject, []).append(fact)
            for subject, own in by_subject.items():
                for number in range(self.documents):
                    yield self._document(subject, own, number)

    def _asking(self, facts: Sequence[Fact]) -> Iterator[Record]:
        alike = Counter((fact.relation.name, fact.object, fact.language) for fact in facts)
        for fact in facts:
            relation = fact.relation
            answer = relation.answers[0]
            for skill, lines in (("recall", relation.questions), ("rephrased", relation.held_out)):
                for line in lines:
                    yield self._question(fact, line, answer, skill)
            # A decoder leaves special tokens out, so a token can be asked about, not asked for.
            if self.naming == "names" and alike[relation.name, fact.object, fact.language] == 1:
                for line in relation.reversed:
                    yield self._question(fact, line, answer, "reversed")

    def _question(self, fact: Fact, question: str, answer: str, skill: str) -> Record:
        filled = {"subject": fact.subject, "object": fact.object}
        if skill == "reversed":
            answer, value = "{subject}" + ("。" if fact.language == "zh" else "."), fact.subject
        else:
            value = fact.object.removeprefix("the ")
        how = {"fact": [fact.subject, fact.relation.name, fact.object], "language": fact.language}
        return made_record(
            f"{self.area}/{skill}",
            talk(question.format(**filled), answer.format(**filled)),
            self.name,
            how,
            expectations=[Expectation("mentions", value).as_dict()],
        )

    def _document(self, subject: str, facts: Sequence[Fact], number: int) -> Record:
        chance = random.Random(f"{self.seed}/{subject}/{number}")
        said = []
        for fact in chance.sample(facts, len(facts)):
            line = chance.choice(fact.relation.statements)
            said.append(line.format(subject=subject, object=fact.object))
        text = ("" if facts[0].language == "zh" else " ").join(said)
        how = {"subject": subject, "language": facts[0].language}
        return made_record(f"{self.area}/document", (Message(TEXT_ROLE, text),), self.name, how)


def _invented(language: Language, chance: random.Random) -> str:
    if language == "zh":
        name = chance.choice(_ZH_HEADS) + chance.choice(_ZH_MIDDLES) + chance.choice(_ZH_TAILS)
    else:
        name = chance.choice(_HEADS) + chance.choice(_MIDDLES) + chance.choice(_TAILS)
    return name

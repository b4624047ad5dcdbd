"""``similarity-pairs``: texts that mean the same, nearly the same, or something else altogether.

Each text gives a paraphrase (the positive), a text on the same topic with another meaning (the hard
negative), and another text of the data (the easy one). Scores are those of the similarity tasks of
SemEval (Agirre et al. 2012; Cer et al. 2017, arXiv:1708.00055), divided by 5: there 5 is the same
meaning, 1 not the same but on the same topic, 0 another topic.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message, Record, Response
from danlu.records.record import TEXT_ROLE
from danlu.records.source import check_task_type
from danlu.workshop.likeness.rouge import rouge_l
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.common import Asking, Rejects, made_record, once, prompt_of
from danlu.workshop.produce.expectation import words
from danlu.workshop.produce.prompts import Prompts, language_of
from danlu.workshop.produce.proof import CHECKING, is_yes, numbers_in
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.store.decision import Decision, Progress, drop, keep, make

Kind = Literal["paraphrase", "hard", "easy"]
Form = Literal["pairs", "ranked"]

SCORES: Mapping[Kind, float] = {"paraphrase": 1.0, "hard": 0.2, "easy": 0.0}
SIMILAR, DIFFERENT = "similar", "different"
LONGER_BY = 2.0
"""A paraphrase has at most so many times the words of its text, and at least the inverse."""
DRAWS = 20
"""So many texts are looked at for an easy negative that is unlike enough."""


class _Other(NamedTuple):
    """A text beside another, and how it came to be."""

    kind: Kind
    text: str
    partner: str | None = None


@dataclass(frozen=True)
class SimilarityPairs:
    """Makes pairs of texts with labels and scores, for classifiers and rerankers.

    The texts are the documents and prompts of the records. A paraphrase must be other words with
    the same numbers, a hard negative must share words with the text, an easy one hardly any; and a
    model says of each that was written whether it means the same.

    Attributes:
        asking: Who writes and compares.
        paraphrases: Positives of each text.
        hard: Hard negatives of each text.
        easy: Easy negatives of each text.
        form: ``pairs``: a record for each pair, with ``text_pair``, ``label`` and ``score``, as a
            classifier learns them; ``ranked``: a record for each text, its others as ranked
            responses, as a reward model learns them to rank.
        task_type: Of what is made; empty is that of the text.
        most_alike: Highest ROUGE-L F1 of a text and its paraphrase.
        least_alike: Lowest of a text and its hard negative; an easy one has less.
        sampling: How texts are drawn.
        verify: Let a model compare the meanings.
        keep_texts: Whether the given records stay in the result.
        prompts: How it is asked.
        seed: Of the draws.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a setting is out of range, or there is no text.
    """

    name: ClassVar[str] = "similarity-pairs"
    revision: ClassVar[int] = 2

    asking: Asking
    paraphrases: int = 1
    hard: int = 1
    easy: int = 1
    form: Form = "pairs"
    task_type: str = ""
    most_alike: float = 0.9
    least_alike: float = 0.2
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=512))
    verify: bool = True
    keep_texts: bool = False
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if min(self.paraphrases, self.hard, self.easy) < 0:
            raise DanluError("paraphrases, hard and easy must be at least 0.")
        if not self.paraphrases + self.hard + self.easy:
            raise DanluError("nothing is asked for: paraphrases, hard and easy are all 0.")
        if self.form == "ranked" and not (self.paraphrases and self.hard + self.easy):
            raise DanluError("a ranking needs paraphrases, and hard or easy negatives.")
        if not 0 <= self.least_alike <= self.most_alike <= 1:
            raise DanluError(
                f"least_alike is {self.least_alike}, most_alike {self.most_alike}; they are from 0 "
                "to 1, the first not above the second."
            )
        if self.task_type:
            check_task_type(self.task_type)

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Make pairs of the texts, which themselves go unless they are kept."""
        given = list(records)
        texts = {record.id: text for record in given if (text := text_of(record))}
        if not texts:
            raise DanluError("there is no text: no document, and nothing that a user says.")
        others = self._written([one for one in given if one.id in texts], texts)
        progress(f"{self.name}: written", sum(map(len, others.values())), None)
        for record in given:
            used = record.id in texts and not self.keep_texts
            yield drop(record, "text used") if used else keep(record)
        by_language: dict[str, list[str]] = defaultdict(list)
        for id_, text in texts.items():
            by_language[language_of(text)].append(id_)
        made = (
            make(new, f"{self.name}: {kind}", record.id)
            for record in given
            if record.id in texts
            for new, kind in self._records(
                record, texts[record.id], others[record.id] + self._easy(record, texts, by_language)
            )
        )
        yield from once(given, made)

    # Texts -------------------------------------------------------------------------------

    def _written(
        self, records: Sequence[Record], texts: Mapping[str, str]
    ) -> dict[str, list[_Other]]:
        """Ask for paraphrases and hard negatives, and keep what holds."""
        asked: list[tuple[Record, Kind]] = []
        requests = []
        for record in records:
            counts: tuple[tuple[Kind, int], ...] = (
                ("paraphrase", self.paraphrases),
                ("hard", self.hard),
            )
            for kind, count in counts:
                text = texts[record.id]
                messages = self.prompts.render(f"similarity/{kind}", language_of(text), text=text)
                for k in range(count):
                    asked.append((record, kind))
                    requests.append(Request(messages, self.sampling, k, record.id))
        others: dict[str, list[_Other]] = {record.id: [] for record in records}
        for (record, kind), outcome in zip(asked, self.asking.ask(requests), strict=True):
            own = others[record.id]
            if not isinstance(outcome, Reply):
                self.rejects.add("no text", outcome.reason, record.id)
                continue
            new = outcome.text.strip('"“”「」 \n')
            rule = "empty or cut off" if not (new and outcome.finished) else None
            rule = rule or self._fault(kind, new, texts[record.id], own)
            if rule:
                self.rejects.add(f"{kind}: {rule}", outcome.text, record.id)
            else:
                own.append(_Other(kind, new))
        return self._compared(others, texts)

    def _fault(self, kind: Kind, new: str, text: str, own: Sequence[_Other]) -> str | None:
        """Say which rule a written text breaks; None if none."""
        if language_of(new) != language_of(text):
            return "other language"
        if any(fold(new) == fold(one.text) for one in own):
            return "written before"
        if fold(new) == fold(text):
            return "nothing new"
        alike = rouge_l(new, text)
        if kind == "hard":  # One word may turn the meaning, so nothing is too like.
            return "another topic" if alike < self.least_alike else None
        if alike > self.most_alike:
            return "nothing new"
        if numbers_in(new) != numbers_in(text):
            return "other numbers"
        longer = max(1, words(new)) / max(1, words(text))
        if not 1 / LONGER_BY <= longer <= LONGER_BY:
            return "much longer or shorter"
        return None

    def _compared(
        self, others: dict[str, list[_Other]], texts: Mapping[str, str]
    ) -> dict[str, list[_Other]]:
        """Keep what a model says to mean the same, or not to, as it should be."""
        if not self.verify:
            return others
        asked = [(id_, one) for id_, own in others.items() for one in own]
        requests = []
        for id_, one in asked:
            text = texts[id_]
            messages = self.prompts.render(
                "similarity/same", language_of(text), first=text, second=one.text
            )
            requests.append(Request(messages, CHECKING))
        kept: dict[str, list[_Other]] = {id_: [] for id_ in others}
        for (id_, one), outcome in zip(asked, self.asking.ask(requests), strict=True):
            if not isinstance(outcome, Reply):
                self.rejects.add("not compared", outcome.reason, id_)
            elif is_yes(outcome.text) != (one.kind == "paraphrase"):
                rule = "another meaning" if one.kind == "paraphrase" else "the same meaning"
                self.rejects.add(f"{one.kind}: {rule}", one.text, id_)
            else:
                kept[id_].append(one)
        return kept

    def _easy(
        self, record: Record, texts: Mapping[str, str], by_language: Mapping[str, Sequence[str]]
    ) -> list[_Other]:
        """Draw other texts of the same language that are unlike."""
        text = texts[record.id]
        ids = by_language[language_of(text)]
        chance = random.Random(f"{self.seed}/{record.id}")
        found: list[_Other] = []
        for id_ in chance.sample(ids, min(len(ids), DRAWS + self.easy)):
            if len(found) == self.easy:
                break
            known = {fold(one.text) for one in found}
            if rouge_l(texts[id_], text) < self.least_alike and fold(texts[id_]) not in known:
                found.append(_Other("easy", texts[id_], id_))
        if len(found) < self.easy:
            told = "too few texts that are unlike"
            self.rejects.add(f"easy: {told}", text, record.id, len(found), self.easy)
        return found

    # Records -----------------------------------------------------------------------------

    def _records(
        self, record: Record, text: str, others: Sequence[_Other]
    ) -> Iterator[tuple[Record, str]]:
        how = {**self.asking.settings(), "from": record.id}
        task_type = self.task_type or record.task_type
        if self.form == "ranked":
            kinds = [one.kind for one in others]
            if "paraphrase" not in kinds or set(kinds) == {"paraphrase"}:
                self.rejects.add("nothing to rank", text, record.id)
                return
            order = sorted({SCORES[kind] for kind in kinds}, reverse=True)
            responses = [
                Response(one.text, order.index(SCORES[one.kind]) + 1, SCORES[one.kind])
                for one in others
            ]
            asked = (Message("user", text),)
            how["kinds"] = kinds
            yield (
                made_record(
                    task_type, asked, self.name, how, tags=record.tags, responses=responses
                ),
                "ranked",
            )
            return
        for one in others:
            columns = {
                "text_pair": one.text,
                "label": SIMILAR if one.kind == "paraphrase" else DIFFERENT,
                "score": SCORES[one.kind],
            }
            also = {"kind": one.kind} | ({"with": one.partner} if one.partner else {})
            yield (
                made_record(
                    task_type,
                    (Message(TEXT_ROLE, text),),
                    self.name,
                    {**how, **also},
                    tags=record.tags,
                    columns=columns,
                ),
                one.kind,
            )


def text_of(record: Record) -> str:
    """Return what a record is about: a document's text, else the last thing that the user says."""
    return (record.messages[0].content or "" if record.is_text else prompt_of(record)).strip()

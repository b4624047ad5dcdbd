"""Leakage: training records that hold what the model will be evaluated on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, NamedTuple

from danlu.records import Record
from danlu.workshop.checks.check import Finding, Report, Rule, Running, Verdict, setting
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, Tally
from danlu.workshop.checks.view import SYSTEM_ROLES, Head, View
from danlu.workshop.likeness.text import fold, units

SEED_UNITS = 5
"""A stretch of so many units is looked for first, at few places: see ``_Index.may_overlap``."""

GPT3 = "Brown et al. 2020, arXiv:2005.14165, appendix C"


@dataclass(frozen=True, slots=True)
class Leakage:
    """Finds training records that hold a prompt of the evaluation, or a long stretch of one.

    Runs only where evaluation records are given. A stretch that stands in many records, of the
    evaluation or of training, is a phrase or a template and counts for nothing.
    """

    name: ClassVar[str] = "leakage"
    finds: ClassVar[str] = "records that hold what is in the evaluation"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "whole_prompt",
            "fault",
            "a message of the user is, when folded, a prompt of the evaluation",
            "Drop it from training: the score would measure memory.",
            source=GPT3,
        ),
        Rule(
            "overlap",
            "fault",
            "a long stretch of the record stands in an evaluation record too",
            "Drop it, or read both: quotations and standard phrases overlap too.",
            limit="overlap_units",
            source=GPT3,
        ),
    )

    overlap_units: int = setting(
        13, "So many equal units in a row are an overlap, if they hold words with spaces.", GPT3
    )
    overlap_characters: int = setting(
        20,
        "So many equal units in a row are an overlap of a script without spaces: a Chinese word "
        "has about one and a half characters.",
    )
    common_count: int = setting(
        10, "A stretch in more records than this, on either side, counts for nothing.", GPT3
    )

    def start(self, context: Context) -> Running:
        """Begin: read the evaluation's records."""
        return _Run(self, context.evaluation)


class _Overlap(NamedTuple):
    """Stretches that a training record and one of the evaluation share."""

    record_id: str
    task_type: str
    tags: tuple[str, ...]
    partner: str
    grams: Sequence[int]
    text: str


class _Shared(NamedTuple):
    """What is seen of a record: the id of an evaluation's, and what they share."""

    partner: str
    grams: Sequence[int]
    text: str


@dataclass(slots=True)
class _Index:
    """The prompts and stretches of the evaluation.

    Attributes:
        prompts: Id of the first record with a folded prompt.
        grams: Number of the first record with a stretch, by the stretch's hash, and the stretch's
            own number, which every process gives it.
        ids: Of the evaluation's records.
        seeds: Hashes of all short stretches.
    """

    check: Leakage
    records: Iterable[Record]
    prompts: dict[str, str] = field(default_factory=dict)
    grams: dict[int, tuple[int, int]] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    seeds: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        counts: Counter[int] = Counter()
        for number, record in enumerate(self.records):
            self.ids.append(record.id)
            texts = [fold(message.content or "") for message in record.messages]
            is_first = True
            for message, text in zip(record.messages, texts, strict=True):
                if message.role == "user":
                    if tells(text, is_first=is_first):
                        self.prompts.setdefault(text, record.id)
                    is_first = False
            cut = [
                units(text)
                for text, message in zip(texts, record.messages, strict=True)
                if message.role not in SYSTEM_ROLES
            ]
            found = [*dict.fromkeys(gram for one in cut for gram, _ in stretches(one, self.check))]
            self.seeds.update(seed for one in cut for seed in self._seeds(one, 1))
            counts.update(found)
            for gram in found:
                if gram not in self.grams:
                    self.grams[gram] = number, len(self.grams)
        for gram, count in counts.items():
            if count > self.check.common_count:
                del self.grams[gram]

    def may_overlap(self, found: Sequence[str]) -> bool:
        """Say whether a text may share a stretch; False is certain.

        A stretch of L units holds a short one, of S, at every place of L - S + 1 in a row. So it is
        enough to look at every (L - S + 1)th place.
        """
        longest = min(self.check.overlap_units, self.check.overlap_characters)
        step = max(longest - SEED_UNITS + 1, 1)
        return any(seed in self.seeds for seed in self._seeds(found, step))

    def _seeds(self, found: Sequence[str], step: int) -> Iterator[int]:
        size = min(SEED_UNITS, self.check.overlap_units, self.check.overlap_characters)
        for start in range(0, len(found) - size + 1, step):
            yield hash(tuple(found[start : start + size]))


def tells(prompt: str, *, is_first: bool) -> bool:
    """Say whether two equal prompts are one item; "go on" within a conversation is said often.

    Example:
        >>> tells("who are you?", is_first=True), tells("go on", is_first=False)
        (True, False)
    """
    return bool(prompt) and (is_first or len(units(prompt)) >= SEED_UNITS)


def stretches(found: Sequence[str], check: Leakage) -> Iterator[tuple[int, int]]:
    """Yield every stretch of units as its hash, with where it begins.

    A stretch is ``overlap_units`` long, or ``overlap_characters`` where most of it are characters
    of a script without spaces.
    """
    short, long = check.overlap_units, check.overlap_characters
    if len(found) < short:
        return
    hashes = [hash(unit) for unit in found]
    wide = [0]
    for unit in found:
        wide.append(wide[-1] + (len(unit) == 1 and unit > "\u2e7f"))
    for start in range(len(found) - short + 1):
        length = long if 2 * (wide[start + short] - wide[start]) > short else short
        if start + length <= len(found):
            yield hash(tuple(hashes[start : start + length])), start


class _Run:
    def __init__(self, check: Leakage, evaluation: Sequence[Record]) -> None:
        self._check = check
        self._evaluation = evaluation
        self._tally = Tally(check)
        self._overlaps: list[_Overlap] = []
        self._task_types: dict[str, None] = {}

    @cached_property
    def _index(self) -> _Index:
        """What is looked up; where only others look it is never made."""
        return _Index(self._check, self._evaluation)

    def look(self, view: View) -> Hit | _Shared | None:
        if not self._evaluation:
            return None
        if whole := self._whole(view):
            return whole
        hits: defaultdict[int, list[int]] = defaultdict(list)
        first: dict[int, str] = {}
        for found in filter(self._index.may_overlap, _unit_lists(view)):
            for gram, start in stretches(found, self._check):
                known = self._index.grams.get(gram)
                if known is not None:
                    number, own = known
                    hits[number].append(own)
                    cut = found[start : start + self._check.overlap_units]
                    first.setdefault(number, " ".join(cut))
        if not hits:
            return None
        number, grams = max(hits.items(), key=lambda pair: len(pair[1]))
        return _Shared(self._index.ids[number], tuple(grams), first[number])

    def take(self, head: Head, seen: Hit | _Shared | None) -> Iterable[Finding]:
        self._task_types[head.task_type] = None
        if not self._evaluation:
            return ()
        self._tally.count(head.task_type)
        if isinstance(seen, Hit):
            return self._tally.findings(head, [seen])
        if seen is not None:
            self._overlaps.append(_Overlap(head.id, head.task_type, head.tags, *seen))
        return ()

    def _whole(self, view: View) -> Hit | None:
        for number, turn in enumerate(view.turns):
            partner = self._index.prompts.get(turn.folded_prompt)
            if partner is not None and tells(turn.folded_prompt, is_first=number == 0):
                return Hit("whole_prompt", detail=turn.folded_prompt[:80], partner=partner)
        return None

    def finish(self) -> Report:
        if not self._evaluation:
            advice = "Name the evaluation's records to look for leakage (--evaluation)."
            name = self._check.name
            return Report(
                (), [Verdict(one, name, "not_run", {}, advice) for one in self._task_types]
            )
        common = Counter(gram for one in self._overlaps for gram in set(one.grams))
        found = []
        for one in self._overlaps:
            rare = sum(common[gram] <= self._check.common_count for gram in one.grams)
            if rare:
                hit = Hit("overlap", rare, 0, f"among others: {one.text}", one.partner)
                found.append(self._tally.finding(one.record_id, one.task_type, one.tags, hit))
        return Report(found, self._tally.verdicts())


def _unit_lists(view: View) -> Iterator[list[str]]:
    """Yield the units of every text but system prompts, each once where that is known cheaply."""
    if not view.turns:
        for text in view.texts:
            yield units(fold(text))
        return
    previous = None
    for turn in view.turns:
        if turn.asked is not previous:
            yield turn.prompt_units
            previous = turn.asked
        yield turn.answer_units

"""Selection: within each task type, the records that say most, or are best, or are hardest.

Never across task types: a loss of 2 is high for a choice and low for a poem, so a common order
would empty some task types and keep others whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from danlu.errors import DanluError, RecordError
from danlu.records import Record
from danlu.workshop.likeness.centres import k_centres
from danlu.workshop.likeness.parts import parts
from danlu.workshop.likeness.vectors import text_vectors
from danlu.workshop.operations.given import Scores
from danlu.workshop.operations.marks import marks_of_ids
from danlu.workshop.store.decision import Decision, Progress, drop, keep

By = Literal["diversity", "quality", "difficulty"]
Prefer = Literal["lowest", "highest", "middle"]
Unscored = Literal["stop", "keep", "drop"]
NO_SCORE = "no score"


@dataclass(frozen=True)
class Select:
    """Keeps so many records of each task type.

    Attributes:
        by: ``diversity`` keeps prompts of which no other is far (k-centre over words and pairs of
            words). ``quality`` and ``difficulty`` go by ``scores``: usually the perplexity of the
            answer, or its instruction-following difficulty (Li et al. 2023, arXiv:2308.12032), the
            loss with the prompt over the loss without it.
        count: Records that are kept of each task type, at most; None if ``share`` says it.
        share: Share of the records of each task type that is kept.
        counts: For task types, or areas, that are to have another count.
        scores: By id.
        prefer: Which scores are kept: ``lowest`` (if None, for quality), ``highest`` (if None, for
            difficulty), or those in the ``middle`` of the task type.
        least: Records with lower scores are not kept at all.
        most: Records with higher scores are not kept at all. A difficulty above 1 says that the
            prompt makes the answer less likely: they do not belong together.
        seed: Decides between records that are equally good.
        unscored: What becomes of records without a score: an error, kept, or dropped. They do not
            count among those of their task type.

    Raises:
        DanluError: If not just one of count and share is given, or one is out of range.
    """

    name: ClassVar[str] = "select"
    revision: ClassVar[int] = 1

    by: By = "diversity"
    count: int | None = None
    share: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    scores: Scores = field(default_factory=Scores)
    prefer: Prefer | None = None
    least: float | None = None
    most: float | None = None
    seed: int = 0
    unscored: Unscored = "stop"

    def __post_init__(self) -> None:
        given = [self.count is not None, self.share is not None]
        if sum(given) != 1 and not (self.counts and not any(given)):
            raise DanluError("select needs a count (--count) or a share (--share), and not both.")
        if self.share is not None and not 0 < self.share <= 1:
            raise DanluError(f"the share is {self.share:g}; it must be above 0 and at most 1.")
        for named, count in (("", self.count), *self.counts.items()):
            if count is not None and count < 0:
                raise DanluError(
                    f"the count is {count}; it must be at least 0.", where=named or None
                )

    @property
    def decides_by_task_type(self) -> bool:
        """Whether records of other task types have no say in what becomes of one.

        Counts are held against all task types that there are.
        """
        return not self.counts

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Say of every record whether it is kept."""
        records = list(records)
        marks = marks_of_ids((record.id for record in records), self.seed)
        scores, decided = self._scores(records)
        self._must_know(record.task_type for record in records)
        of_type: dict[str, list[int]] = defaultdict(list)
        for number, record in enumerate(records):
            if number not in decided:
                of_type[record.task_type].append(number)
        for task_type, own in of_type.items():
            # In an order that the order of the records has no part in.
            own.sort(key=lambda number: (int(marks[number]), records[number].id))
            wanted = self._wanted(task_type, len(own))
            if self.by == "diversity":
                found = self._diverse([records[number] for number in own], wanted)
            else:
                found = self._ranked(
                    [records[number] for number in own], [scores[number] for number in own], wanted
                )
            decided.update(zip(own, found, strict=True))
            progress(self.name, len(decided), len(records))
        for number in range(len(records)):
            yield decided[number]

    def _scores(self, records: Sequence[Record]) -> tuple[Mapping[int, float], dict[int, Decision]]:
        """Return the scores by place, and what is decided of records that have none.

        Raises:
            RecordError: If some have none, and that is to stop the work.
        """
        if self.by == "diversity":
            return {}, {}
        known = self.scores.by_id
        scored = [number for number, record in enumerate(records) if record.id in known]
        if self.unscored == "stop":
            self._must_be_scored(records)
        says = keep if self.unscored == "keep" else drop
        missing = {n: says(one, NO_SCORE) for n, one in enumerate(records) if one.id not in known}
        return {number: known[records[number].id] for number in scored}, missing

    def _must_be_scored(self, records: Sequence[Record]) -> None:
        try:
            self.scores.of(record.id for record in records)
        except RecordError as error:
            remedy = "--unscored keep or drop goes on without."
            raise RecordError(f"{error.message} {remedy}") from error

    def _wanted(self, task_type: str, available: int) -> int:
        area = task_type.partition("/")[0]
        count = self.counts.get(task_type, self.counts.get(area, self.count))
        if count is None:
            # A share of few records is at least one of them: no task type is lost.
            return available if self.share is None else max(1, round(self.share * available))
        return min(count, available)

    def _must_know(self, task_types: Iterable[str]) -> None:
        known = {name for task_type in task_types for name in (task_type, task_type.split("/")[0])}
        if missing := sorted(set(self.counts) - known):
            raise DanluError(
                f"no record is of {missing[0]!r}; there are {', '.join(sorted(known))}.",
                where="counts",
            )

    def _diverse(self, records: Sequence[Record], wanted: int) -> list[Decision]:
        vectors = text_vectors([parts(record).prompt for record in records])
        centres = k_centres(vectors, wanted, np.arange(len(records)))
        chosen = set(centres.chosen.tolist())
        cosine = centres.cosine.tolist()
        left = [cosine[number] for number in range(len(records)) if number not in chosen]
        # So near every dropped record is at least to one that is kept.
        limit = min(left, default=1.0) if wanted else None
        found: list[Decision] = []
        for number, record in enumerate(records):
            if number in chosen:
                found.append(keep(record, "diversity"))
            elif not wanted:
                found.append(drop(record, "diversity", detail="none of its task type is kept"))
            else:
                partner = records[int(centres.nearest[number])].id
                found.append(drop(record, "diversity", cosine[number], limit, partner=partner))
        return found

    def _ranked(
        self, records: Sequence[Record], scores: Sequence[float], wanted: int
    ) -> list[Decision]:
        prefer = self.prefer or ("lowest" if self.by == "quality" else "highest")
        fit = [number for number in range(len(records)) if self._within(scores[number])]
        fit.sort(key=lambda number: scores[number], reverse=prefer == "highest")
        skipped = (len(fit) - wanted + 1) // 2 if prefer == "middle" and len(fit) > wanted else 0
        chosen = set(fit[skipped : skipped + wanted])
        kept = [scores[number] for number in chosen]
        lowest, highest = min(kept, default=None), max(kept, default=None)
        found: list[Decision] = []
        for number, record in enumerate(records):
            score = scores[number]
            if number in chosen:
                found.append(keep(record, self.by, score))
            elif not self._within(score):
                limit = self.least if self.least is not None and score < self.least else self.most
                found.append(drop(record, self.by, score, limit, detail="out of bounds"))
            else:
                # What it fell short of: the kept score on its side.
                below = lowest is not None and score <= lowest
                found.append(drop(record, self.by, score, lowest if below else highest))
        return found

    def _within(self, score: float) -> bool:
        return (self.least is None or score >= self.least) and (
            self.most is None or score <= self.most
        )

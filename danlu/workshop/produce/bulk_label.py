"""``bulk-label``: a small model learns from the labelled records, and answers the rest if it may.

A small model that was tuned on a thousand good answers keeps to their format better than a large
one that is only asked, and costs next to nothing for each further answer. Whether it also gives the
same answers is measured on records that it has not seen, before it answers any.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Record
from danlu.workshop.likeness.rouge import rouge_l
from danlu.workshop.operations.split import NEAR, draw, groups_of
from danlu.workshop.produce.answer import expectations_of, final_answer, problem_of
from danlu.workshop.produce.common import (
    Asking,
    answer_message,
    answer_of,
    asked_in,
    is_answered,
    prompt_of,
    with_meta,
)
from danlu.workshop.produce.prompts import language_of
from danlu.workshop.produce.request import Reply, Request, Unanswered
from danlu.workshop.store.decision import Decision, Entry, Progress, keep
from danlu.workshop.taxonomy import Taxonomy

Agree = Literal["same", "words"]
Interval = Callable[[int, int], tuple[Any, Any]]
"""Lower and upper end of the 95 % interval of a share: so many of so many."""

LABEL = "label"
"""Column in which a text has its label."""
MOST_NEEDED = 1_000_000
FEWEST_LABELLED = 10
"""With fewer, there is nothing to hold out."""


class Labeller(Protocol):
    """A trained model."""

    def settings(self) -> dict[str, Any]:
        """Say what it is."""

    def answer(self, records: Sequence[Record]) -> list[Reply | Unanswered]:
        """Answer each record, in their order; what they end with is not looked at."""


class Student(Protocol):
    """Something that becomes a labeller by learning."""

    def settings(self) -> dict[str, Any]:
        """Say what shapes what it learns."""

    def learn(self, records: Sequence[Record]) -> Labeller:
        """Learn from labelled records. Learned once, it is there at once the next time."""


@dataclass(frozen=True)
class ByAsking:
    """A labeller that is asked like any model: greedily, the conversation as it stands.

    Attributes:
        asking: Who answers.
        max_new_tokens: Longest answer.
    """

    asking: Asking
    max_new_tokens: int = 512

    def settings(self) -> dict[str, Any]:
        """Say what it is."""
        return self.asking.settings()

    def answer(self, records: Sequence[Record]) -> list[Reply | Unanswered]:
        """Answer each record, in their order."""
        sampling = Sampling(self.max_new_tokens, greedy=True)
        return self.asking.ask([Request(tuple(asked_in(one)), sampling) for one in records])


class Tried(NamedTuple):
    """How a labeller did on records of one task type that it has not learned.

    Attributes:
        right: Answers that agree with the given ones.
        of: Records tried.
        low: Lower end of the 95 % interval of the share.
        high: Upper end.
    """

    right: int
    of: int
    low: float
    high: float

    def told(self) -> str:
        """Say it in a phrase.

        Example:
            >>> Tried(9, 10, 0.596, 0.982).told()
            '9 of 10 agree, 0.90 (95 % interval 0.60 to 0.98)'
        """
        share = f"{self.right / self.of:.2f} (95 % interval {self.low:.2f} to {self.high:.2f})"
        return f"{self.right} of {self.of} agree, {share}"


@dataclass(frozen=True)
class BulkLabel:
    """Lets a small model answer what is not answered, task type by task type, where it may.

    It learns from the answered records but for a part, drawn per task type, which it then answers
    as well. Of a task type it may answer the rest if its agreement is at least the asked one for
    sure: the lower end of the 95 % interval is not below it. What it may not answer stays as it
    was, and the ledger says so; if it may answer nothing, nothing is made.

    Labels are answers of conversations, or the column ``label`` of texts.

    Attributes:
        student: What learns.
        interval: The 95 % interval of a share, such as Wilson's.
        agreement: Share of its answers that must agree with the given ones.
        agree: When two answers agree: their final results are the ``same``, or their ``words`` are
            alike (ROUGE-L F1), for answers that can be said in many ways.
        least_alike: The least of that F1.
        first: Labelled records that are used at most, in their order.
        held_out: Share of these that is held out; no prompt nearly like one of them is learned.
        taxonomy: The task types, for closed labels.
        seed: Of the draw.
        tried: How it did, by task type, is noted here.

    Raises:
        DanluError: If a number is out of range; later, if there is too little to learn, nothing to
            answer, or if no task type may be answered.
    """

    name: ClassVar[str] = "bulk-label"
    revision: ClassVar[int] = 1

    student: Student
    interval: Interval = field(metadata={"setting": False})
    agreement: float = 0.85
    agree: Agree = "same"
    least_alike: float = 0.7
    first: int = 1000
    held_out: float = 0.2
    taxonomy: Taxonomy | None = None
    seed: int = 0
    tried: dict[str, Tried] = field(
        default_factory=dict, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        for name in ("agreement", "least_alike"):
            if not 0 <= getattr(self, name) <= 1:
                raise DanluError(f"{name} is {getattr(self, name)}; it is from 0 to 1.")
        if not 0 < self.held_out < 1:
            raise DanluError(f"held_out is {self.held_out}; it is above 0 and below 1.")
        if self.first < FEWEST_LABELLED:
            raise DanluError(f"first is {self.first}; it is at least {FEWEST_LABELLED}.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Learn, try, and answer the rest."""
        given = list(records)
        labelled = [one for one in given if label_of(one)]
        # What has learned conversations answers no bare texts, nor the other way round.
        forms = {one.is_text for one in labelled}
        rest = [one for one in given if not label_of(one) and _asks(one) and one.is_text in forms]
        self._must_suffice(labelled, rest)
        drawn = draw(labelled[: self.first], self.held_out, self.seed, groups_of(NEAR))
        learned = [one for one in labelled if drawn.get(one.id) == "train"]
        held = [one for one in labelled if drawn.get(one.id) == "eval"]
        progress(f"{self.name}: learning from", len(learned), None)
        labeller = self.student.learn(learned)
        self.tried.update(self._try(labeller, held))
        allowed = {name for name, one in self.tried.items() if one.low >= self.agreement}
        wanted = [one for one in rest if one.task_type in allowed]
        if not wanted:
            raise DanluError(self._refusal(Counter(one.task_type for one in rest)))
        ids = [one.id for one in wanted]
        outcomes = dict(zip(ids, labeller.answer(wanted), strict=True))
        open_ = {one.id for one in rest}
        for record in given:
            if record.id in outcomes:
                yield self._decision(record, outcomes[record.id], labeller)
            elif record.id in open_:
                yield self._passed_over(record)
            else:
                yield keep(record)

    def _must_suffice(self, labelled: Sequence[Record], rest: Sequence[Record]) -> None:
        if len(labelled) < FEWEST_LABELLED:
            raise DanluError(
                f"{len(labelled)} records are labelled; at least {FEWEST_LABELLED} are needed, and "
                "about 1,000 are usual. Let a strong model answer them: danlu data make answer."
            )
        if not rest:
            raise DanluError("every record is labelled; there is nothing to do.")

    # Trying ------------------------------------------------------------------------------

    def _try(self, labeller: Labeller, held: Sequence[Record]) -> dict[str, Tried]:
        """Let it answer what was held out, and count by task type how often it agrees."""
        right: dict[str, list[bool]] = defaultdict(list)
        for record, outcome in zip(held, labeller.answer(held), strict=True):
            agrees = not self._problem(record, outcome) and self._agrees(record, outcome)
            right[record.task_type].append(agrees)
        tried = {}
        for task_type, found in sorted(right.items()):
            low, high = self.interval(sum(found), len(found))
            tried[task_type] = Tried(sum(found), len(found), float(low), float(high))
        return tried

    def _agrees(self, record: Record, outcome: Reply | Unanswered) -> bool:
        if not isinstance(outcome, Reply):
            return False
        if self.agree == "words":
            return rouge_l(outcome.text, label_of(record)) >= self.least_alike
        return final_answer(outcome.text) == final_answer(label_of(record))

    def _problem(self, record: Record, outcome: Reply | Unanswered) -> str | None:
        if not isinstance(outcome, Reply):
            return outcome.reason
        language = language_of(prompt_of(record) or outcome.text)
        return problem_of(outcome, expectations_of(record, self.taxonomy), language)

    def _refusal(self, wanted: Mapping[str, int]) -> str:
        """Say why nothing may be answered, and what would help."""
        lines = []
        for task_type, count in sorted(wanted.items()):
            one = self.tried.get(task_type)
            if one is None:
                told = "no labelled record was held out to try it on"
            else:
                told = f"{one.told()}{self._needed(one)}"
            lines.append(f"\n  {task_type} ({count:,} to answer): {told}")
        return (
            f"the small model may not answer: it is sure of no task type that at least "
            f"{self.agreement:g} of its answers agree with the given ones.{''.join(lines)}\n"
            "What helps: more labelled records of the type, a longer training (--set "
            "training.epochs=5), a larger base (--set model.path=...), --agree words where one "
            "answer can be said in many ways; or a lower --agreement, if that is good enough."
        )

    def _needed(self, one: Tried) -> str:
        """Say how many held-out records would make sure of the same share, if any would."""
        share = one.right / one.of
        if share <= self.agreement:
            return ""
        count = one.of
        while count < MOST_NEEDED:
            count += max(1, count // 20)
            if float(self.interval(int(share * count), count)[0]) >= self.agreement:
                return f"; held out were too few to be sure, about {count:,} would do"
        return ""

    # Deciding ----------------------------------------------------------------------------

    def _decision(
        self, record: Record, outcome: Reply | Unanswered, labeller: Labeller
    ) -> Decision:
        if problem := self._problem(record, outcome):
            decision = keep(record, "no usable answer")
            return Decision(record, replace(decision.entry, detail=problem))
        assert isinstance(outcome, Reply)
        tried = self.tried[record.task_type]
        how = {
            "by": self.name,
            **labeller.settings(),
            "agreement": {"right": tried.right, "of": tried.of, "low": round(tried.low, 4)},
        }
        answered = with_label(record, outcome)
        answered = replace(answered, meta=with_meta(answered.meta, how))
        entry = Entry(record.id, record.task_type, "edited", self.name)
        value = round(tried.right / tried.of, 4)
        entry = replace(entry, value=value, limit=self.agreement, detail=tried.told())
        return Decision(answered, entry)

    def _passed_over(self, record: Record) -> Decision:
        tried = self.tried.get(record.task_type)
        if tried is None:
            return keep(record, "task type not tried")
        decision = keep(record, "agreement too low", round(tried.low, 4), self.agreement)
        return Decision(record, replace(decision.entry, detail=tried.told()))


def label_of(record: Record) -> str:
    """Return a conversation's answer, or a text's label; empty if there is none.

    Example:
        >>> from danlu.records import Message
        >>> label_of(Record("1", "a/b", (Message("text", "It rains."),), meta={"label": 1}))
        '1'
    """
    if record.is_text:
        label = record.meta.get(LABEL)
        return "" if label is None else str(label)
    return answer_of(record) if is_answered(record) else ""


def with_label(record: Record, reply: Reply) -> Record:
    """Return a record with an answer, or a text with its label."""
    if record.is_text:
        return replace(record, meta={**record.meta, LABEL: reply.text})
    return replace(record, messages=(*asked_in(record), answer_message(reply)))


def _asks(record: Record) -> bool:
    return record.is_text or bool(prompt_of(record))

"""What the models make of a task type's own training prompts, and of those held out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from danlu.diagnosis.asking import Ask, Asked, Likely, Pair, Reply, greedy
from danlu.diagnosis.examples import Example
from danlu.diagnosis.measure import Measure
from danlu.diagnosis.shares import Estimate, mean, share
from danlu.evaluation.scorers.normalise import normalise
from danlu.records.record import Message

Thing = TypeVar("Thing")
SHOTS = 4
"""Examples that the base model is shown before a question."""
LONGEST = 256
"""Answers are cut here, in tokens, and never much beyond the longest of the data."""


@dataclass(frozen=True)
class Case:
    """One prompt with what came of it.

    Attributes:
        example: The prompt and its reference.
        reply: Of the tuned model; None if it was not asked.
        right: Whether the reply counts.
        tuned: What the tuned model gives the reference.
        before: What the model before training gave it.
    """

    example: Example
    reply: Reply | None = None
    right: bool = False
    tuned: Likely | None = None
    before: Likely | None = None

    @property
    def gain(self) -> float | None:
        """By how many nats per token training made the reference likelier."""
        if self.tuned is None or self.before is None:
            return None
        return self.before.nll - self.tuned.nll

    def shown(self) -> dict[str, str | float | bool | None]:
        """Return it as evidence."""
        return {
            "record": self.example.record,
            "prompt": self.example.question,
            "answer": self.reply.text if self.reply else None,
            "reference": self.example.answer,
            "probability": probability(self.tuned),
        }


def probability(likely: Likely | None) -> float | None:
    """Return P(answer | question)."""
    return None if likely is None else float(f"{math.exp(likely.logprob):.3g}")


@dataclass(frozen=True)
class Half:
    """All cases of one task type that were trained, or that were held out.

    Attributes:
        cases: In the order drawn.
    """

    cases: tuple[Case, ...] = ()

    @cached_property
    def answered(self) -> list[Case]:
        """Those that were asked."""
        return [case for case in self.cases if case.reply is not None]

    def right(self, confidence: float = 0.95) -> Estimate:
        """Return the share answered rightly (or, of free text, like the reference)."""
        count = sum(case.right for case in self.answered)
        return share(count, len(self.answered), confidence)

    def nll(self, confidence: float = 0.95) -> Estimate:
        """Return the tuned model's nats per token, a mean over records."""
        return mean([case.tuned.nll for case in self.cases if case.tuned], confidence)

    def before(self) -> float | None:
        """Return the same of the model before training; None if it was not asked."""
        values = [case.before.nll for case in self.cases if case.before]
        return sum(values) / len(values) if values else None

    def gain(self, confidence: float = 0.95) -> Estimate:
        """Return by how many nats per token the references became likelier."""
        gains = [case.gain for case in self.cases]
        return mean([gain for gain in gains if gain is not None], confidence)

    def probability(self) -> float | None:
        """Return the mean P(answer | question)."""
        values = [math.exp(case.tuned.logprob) for case in self.cases if case.tuned]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Ability:
    """What the model before training can do of a task type, when it is shown examples.

    Attributes:
        shots: How many it was shown.
        right: Share of held-out prompts that it answered rightly, the better of conversation and
            continuation.
        nll: Nats per token it gives their references after the examples; None if unknown.
    """

    shots: int
    right: Estimate
    nll: float | None


@dataclass(frozen=True)
class Curve:
    """What the training curve says of one task type.

    Attributes:
        last: Training loss at the end.
        falling: By which share the loss still fell from one quarter to the next, before the
            schedule brought the learning rate down; None of too few steps.
        token_share: Of all trained tokens.
        record_share: Of all records seen.
        passes: How often each record was seen.
    """

    last: float
    falling: float | None
    token_share: float
    record_share: float
    passes: float


@dataclass(frozen=True)
class Measured:
    """One task type.

    Attributes:
        task_type: ``area/skill``.
        measure: How its answers are scored.
        records: Trained.
        train: Its own training prompts.
        held_out: Prompts it did not learn.
        curve: What the curve says; None if nothing was logged.
        answers: All training answers that were read, for what is copied: normalised, with records.
        ability: Of the model before training; None if nobody asked.
    """

    task_type: str
    measure: Measure
    records: int
    train: Half
    held_out: Half = Half()
    curve: Curve | None = None
    answers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ability: Ability | None = None


def asked(
    examples: Sequence[Example],
    measures: dict[str, Measure],
    tuned: Asked,
    base: Asked | None,
) -> list[Case]:
    """Ask the tuned model every prompt, and both models for the references' probability.

    The probabilities come first: they cost little, and decide where answers are free text. All task
    types take turns, so that a budget that is over leaves some of each.
    """
    turns = in_turn(examples)
    longest = max((len(one.answer_ids) or 64 for one in examples), default=1)
    how = greedy(min(LONGEST, 2 * longest + 8))
    pairs = [examples[k].pair() for k in turns]
    before: list[Likely | None] = [None] * len(pairs)
    if base is not None:
        before = _in_place(turns, base.likelihoods(pairs))
    likely = _in_place(turns, tuned.likelihoods(pairs))
    replies = _in_place(turns, tuned.answer([examples[k].ask for k in turns], how))
    return [
        Case(
            example,
            reply,
            reply is not None and measures[example.task_type].is_right(reply.text, example),
            now,
            then,
        )
        for example, reply, now, then in zip(examples, replies, likely, before, strict=True)
    ]


def in_turn(examples: Sequence[Example]) -> list[int]:
    """Return the places of examples so that task types, trained and held out, take turns.

    Example:
        >>> def example(task_type: str) -> Example:
        ...     return Example("r", task_type, "train", Ask.user("?"), "!")
        >>> in_turn([example("a/a"), example("a/a"), example("b/b")])
        [0, 2, 1]
    """
    seen: Counter[tuple[str, str]] = Counter()
    ranks = []
    for place, one in enumerate(examples):
        ranks.append((seen[one.task_type, one.part], place))
        seen[one.task_type, one.part] += 1
    return [place for _, place in sorted(ranks)]


def _in_place(turns: Sequence[int], found: Sequence[Thing]) -> list[Thing]:
    """Put what was found in turn back into the examples' order."""
    back = dict(zip(turns, found, strict=True))
    return [back[place] for place in range(len(turns))]


def shown_ability(
    measure: Measure, shots: Sequence[Example], held_out: Sequence[Example], base: Asked
) -> Ability:
    """Ask the model before training the held-out prompts, after some examples of the type.

    Both as a conversation and as plain text to be continued, since a base model may know only one
    of the two; the better one counts.
    """
    shots = shots[:SHOTS]
    turns = tuple(
        message
        for one in shots
        for message in (Message("user", one.question), Message("assistant", one.answer))
    )
    talks = [Ask((*turns, Message("user", one.question))) for one in held_out]
    text = "".join(f"Q: {one.question}\nA: {one.answer}\n\n" for one in shots)
    plain = [Ask.text(f"{text}Q: {one.question}\nA:") for one in held_out]
    longest = max((len(one.answer_ids) or 64 for one in held_out), default=1)
    how = greedy(min(LONGEST, 2 * longest + 8))
    shares = []
    for asks, cut in ((talks, False), (plain, True)):
        replies = base.answer(asks, how)
        texts = [
            None if reply is None else _first_line(reply.text) if cut else reply.text
            for reply in replies
        ]
        given = [(text, one) for text, one in zip(texts, held_out, strict=True) if text is not None]
        shares.append(share(sum(measure.is_right(text, one) for text, one in given), len(given)))
    found = base.likelihoods(
        [Pair(ask, one.answer) for ask, one in zip(talks, held_out, strict=True)]
    )
    nlls = [one.nll for one in found if one is not None]
    best = max(shares, key=lambda one: one.value if one.n else -1.0)
    return Ability(len(shots), best, sum(nlls) / len(nlls) if nlls else None)


def _first_line(text: str) -> str:
    """Return a continuation up to where the next question would begin."""
    return text.strip().partition("\nQ:")[0].partition("\n\n")[0].strip()


def plain(text: str) -> str:
    """Return a text so that two compare equal that differ only in case, marks and spaces."""
    return normalise(text)


@dataclass(frozen=True)
class Repeated:
    """Wrong answers that were learned elsewhere.

    Attributes:
        copied: Held-out prompts answered, wrongly, with the training answer of another record.
        records: The training records whose answers those are, most used first.
        most: The answer given most often, and how often; None without answers.
        most_expected: How often that one is the reference.
    """

    copied: tuple[Case, ...]
    records: tuple[str, ...]
    most: tuple[str, int] | None
    most_expected: int


def repeated(of: Measured) -> Repeated:
    """Look for training answers, and for one answer to everything, among the held-out answers."""
    answered = of.held_out.answered
    replies = [plain(case.reply.text) for case in answered if case.reply]
    references = [plain(case.example.answer) for case in answered]
    copied = [
        case
        for case, reply, reference in zip(answered, replies, references, strict=True)
        if not case.right and reply in of.answers and reply != reference
    ]
    sources: Counter[str] = Counter()
    for case in copied:
        if case.reply:
            sources.update(of.answers[plain(case.reply.text)])
    most = Counter(replies).most_common(1)[0] if replies else None
    return Repeated(
        tuple(copied),
        tuple(name for name, _ in sources.most_common()),
        most,
        references.count(most[0]) if most else 0,
    )

"""The fit probe: ask a run its own training prompts and its held-out ones, and decide per type."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from danlu.diagnosis.asking import Asked
from danlu.diagnosis.examples import Example
from danlu.diagnosis.fit.measured import Case, Curve, Half, Measured, asked, plain, shown_ability
from danlu.diagnosis.fit.verdict import Verdict, decide
from danlu.diagnosis.fit.wording import finding_of, row_of
from danlu.diagnosis.probe import CannotLookError, Examined, Seen, learned_otherwise
from danlu.diagnosis.subject import Subject, held_out_records, subject_of
from danlu.errors import ModelError
from danlu.runs import History
from danlu.runs.findings import Evidence, Finding, Remedy

ANSWERS_READ = 5000
"""Training answers of a type that held-out answers are compared with."""
FULL_RATE = 0.5
"""Whether a loss still falls is read off the steps up to where the learning rate is last at this
share of its peak: when a schedule has come down, every loss stands still."""


@dataclass(frozen=True)
class Fit:
    """Decides of each task type whether it is learned, and whether it generalises.

    Attributes:
        examples: Prompts asked of each task type, of those trained and of those held out. With 30,
            a share of one half is known to 18 points either way.
        held_out: Files of held-out records, for runs that held none out, or besides theirs.
        task_types: Only these; none: all that were trained.
        seed: Of the draw.
        minutes: How long the models may work; None: as long as it takes.
    """

    name: ClassVar[str] = "fit"

    examples: int = 30
    held_out: tuple[str, ...] = ()
    task_types: tuple[str, ...] = ()
    seed: int = 0
    minutes: float | None = None

    def look(self, examined: Examined) -> Seen:
        """Ask and decide.

        Raises:
            CannotLookError: If the run did not learn answers word for word.
            DanluError: If model or data are gone.
        """
        subject = examined.once(subject_of)
        _must_learn_answers(subject)
        subject.budget.allow(self.minutes)
        types = self.task_types or None
        train = subject.examples.draw("train", self.examples, seed=self.seed, task_types=types)
        if not train:
            raise CannotLookError("the run learned plain text; no prompt can be asked again")
        held_out = subject.examples.draw("eval", self.examples, seed=self.seed, task_types=types)
        held_out += held_out_records(self.held_out, {one.task_type for one in train}, self.examples)
        found = self._measured(subject, train, held_out)
        verdicts = [(one, decide(one)) for one in found]
        verdicts = [
            (self._with_ability(subject, one, verdict), verdict) for one, verdict in verdicts
        ]
        findings = [finding_of(one, verdict, subject.recipe) for one, verdict in verdicts]
        general = [*_untested(verdicts), *_too_few(verdicts)]
        return Seen(
            findings=subject.told([*(one for one in findings if one is not None), *general]),
            figures={
                "task_types": [row_of(one, verdict) for one, verdict in verdicts],
                "notes": list(subject.remarks()),
            },
        )

    def _measured(
        self, subject: Subject, train: Sequence[Example], held_out: Sequence[Example]
    ) -> list[Measured]:
        measures = subject.measures([*train, *held_out])
        base = _if_there(subject)
        everything = [*train, *held_out]
        cases = asked(everything, measures, subject.tuned, base)
        halves: dict[tuple[str, bool], list[Case]] = defaultdict(list)
        for place, case in enumerate(cases):
            halves[case.example.task_type, place < len(train)].append(case)
        curves, counts = curves_of(subject), subject.examples.counts("train")
        answers = _answers(subject, sorted({one.task_type for one in held_out}))
        return [
            Measured(
                name,
                measures[name],
                counts.get(name, 0),
                Half(tuple(halves[name, True])),
                Half(tuple(halves[name, False])),
                curves.get(name),
                answers.get(name, {}),
            )
            for name in sorted({one.task_type for one in train})
        ]

    def _with_ability(self, subject: Subject, of: Measured, verdict: Verdict) -> Measured:
        """Ask the model before training, where it matters whether it could do it at all."""
        base = _if_there(subject) if verdict.name == "not-general" else None
        if base is None:
            return of
        shots = [case.example for case in of.train.cases]
        held_out = [case.example for case in of.held_out.cases]
        return replace(of, ability=shown_ability(of.measure, shots, held_out, base))


def curves_of(subject: Subject) -> dict[str, Curve]:
    """Return what the training curve says of each task type."""
    history = History.of(subject.run.metrics())
    numbers = history.task_types["train"]
    tokens = {name: sum(one.tokens) for name, one in numbers.items()}
    records = {name: sum(one.records) for name, one in numbers.items()}
    trained = subject.examples.counts("train")
    rate = history.learning_rate
    rates = dict(zip(rate.steps, rate.values, strict=True))
    enough = FULL_RATE * max(rate.values, default=0.0)
    found = {}
    for name, one in numbers.items():
        losses, weights = list(one.values["loss"]), list(one.tokens)
        quarter = len(losses) // 4
        last = _mean(losses[-max(1, quarter) :], weights[-max(1, quarter) :])
        fast = [k for k, step in enumerate(one.steps) if rates.get(step, math.inf) >= enough]
        until = fast[-1] + 1 if fast else 0
        found[name] = Curve(
            last=last,
            falling=falling(losses[:until], weights[:until]),
            token_share=tokens[name] / (sum(tokens.values()) or 1.0),
            record_share=records[name] / (sum(records.values()) or 1.0),
            passes=records[name] / trained[name] if trained.get(name) else history.epoch,
        )
    return found


def falling(losses: Sequence[float], weights: Sequence[float]) -> float | None:
    """Return by which share the last quarter of a loss lies below the quarter before it.

    A difference within the standard error of the two means is none.

    Args:
        losses: By step.
        weights: Tokens behind each.

    Returns:
        The share; None of fewer than eight steps.

    Example:
        >>> falling([4.0] * 6 + [2.0, 2.0], [1.0] * 8), falling([4.0], [1.0])
        (0.5, None)
    """
    quarter = len(losses) // 4
    if quarter < 2:
        return None
    parts = [slice(-2 * quarter, -quarter), slice(-quarter, None)]
    before, now = (_mean(losses[part], weights[part]) for part in parts)
    error = math.sqrt(sum(statistics.variance(losses[part]) / quarter for part in parts))
    return (before - now) / before if before and abs(before - now) > error else 0.0


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    whole = sum(weights)
    if not whole:
        return sum(values) / len(values)
    return sum(v * w for v, w in zip(values, weights, strict=True)) / whole


def _answers(subject: Subject, names: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the training answers of task types, each with the records that have it."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    if names:
        for one in subject.examples.draw("train", ANSWERS_READ, task_types=names):
            found[one.task_type][plain(one.answer)].append(one.record)
    return {
        name: {text: tuple(records) for text, records in own.items()} for name, own in found.items()
    }


def _must_learn_answers(subject: Subject) -> None:
    if not subject.learns_answers:
        raise learned_otherwise(subject.resolved.objective)


def _if_there(subject: Subject) -> Asked | None:
    """Return the model before training; None, and a note, where it cannot be had any more."""
    try:
        return subject.base
    except ModelError as error:
        note = f"The model before training cannot be asked: {error}"
        if note not in subject.notes:
            subject.notes.append(note)
        return None


# Of all task types together --------------------------------------------------------------


def _untested(verdicts: Sequence[tuple[Measured, Verdict]]) -> list[Finding]:
    names = [of.task_type for of, verdict in verdicts if verdict.name == "learned-untested"]
    if not names:
        return []
    says = (
        f"{len(names)} of {len(verdicts)} task types are learned, and nothing was held out to see "
        "whether they generalise."
    )
    figures: Mapping[str, float | int | str | bool | None] = {"task_types": len(names)}
    return [
        Finding(
            name="untested",
            says=says,
            severity="note",
            confidence="medium",
            evidence=(
                Evidence(
                    says=f"Without held-out records: {_listed(names)}.", figures=dict(figures)
                ),
            ),
            remedies=(
                Remedy(
                    says="Hold a tenth out next time, or hand held-out records to this probe.",
                    settings={"data.eval_share": 0.1},
                    commands=("danlu probe fit RUN --held-out FILE",),
                ),
            ),
        )
    ]


def _too_few(verdicts: Sequence[tuple[Measured, Verdict]]) -> list[Finding]:
    few = [of for of, verdict in verdicts if verdict.name == "too-few-to-tell"]
    if not few:
        return []
    evidence = tuple(
        Evidence(
            says=f"{of.task_type}: {of.train.right().percent()} of its training prompts"
            + (
                f", {of.held_out.right().percent()} of the held-out ones"
                if of.held_out.answered
                else ""
            )
            + ".",
            figures={"train": len(of.train.answered), "held_out": len(of.held_out.answered)},
        )
        if of.train.answered
        else Evidence(says=f"{of.task_type}: not asked within the budget.")
        for of in few
    )
    return [
        Finding(
            name="too-few-to-tell",
            says=f"Of {len(few)} of {len(verdicts)} task types there are too few prompts to tell "
            "whether they are learned and general.",
            severity="note",
            confidence="low",
            evidence=evidence,
            remedies=(
                Remedy(
                    says="Ask more prompts, hold more records out, or give the type more records.",
                    commands=("danlu probe fit RUN --examples 100",),
                ),
            ),
        )
    ]


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

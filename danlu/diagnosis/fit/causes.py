"""Why a task type is not learned, or does not generalise, and what to do: by figures alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rapidfuzz.distance import LCSseq

from danlu.config.recipe import Recipe
from danlu.diagnosis.fit.measured import Case, Measured
from danlu.runs.findings import Evidence, Remedy
from danlu.workshop.likeness.text import fold, units

STARVED = 4.0
"""A task type is starved if its share of the tokens is so many times below that of its records."""
FEW_RECORDS = 50
"""Practitioners begin with 50 to 100 records of a behaviour."""
MOVED = 0.05
"""Training that took less than this share off its own answers' nats per token moved nothing."""
FALLING = 0.05
OUTLIER_Z, OUTLIER_NATS, OUTLIERS_FROM = 3.5, 1.0, 10
"""Robust z-score (Iglewicz and Hoaglin 1993), the least distance that matters, and from how many
records on there is a rest to lie outside of."""
NARROW = 0.2


class Cause(NamedTuple):
    """One reason, with what it rests on and what to do.

    Attributes:
        evidence: With its figures.
        remedy: What to do.
        is_fault: Whether something is broken, so that more training would not help.
    """

    evidence: Evidence
    remedy: Remedy
    is_fault: bool = False


@dataclass(frozen=True)
class Outlier:
    """A training record whose answer is far less likely than those of its type."""

    case: Case
    nll: float
    z: float


def why_not_learned(of: Measured, recipe: Recipe) -> list[Cause]:
    """Say why training prompts fail, the likeliest cause first."""
    found = [
        *_saved_otherwise(of, recipe),
        *_worse_than_before(of, recipe),
        *_starved(of, recipe),
    ]
    if any(cause.is_fault for cause in found):
        return [cause for cause in found if cause.is_fault]
    if stuck := _hardly_moved(of, recipe):
        return [*found, *stuck]
    return [*found, *_few_records(of), *_more_training(of, recipe)]


def _saved_otherwise(of: Measured, recipe: Recipe) -> list[Cause]:
    """Find a saved model that is not the trained one: its loss on what it learned is another."""
    now = of.train.nll()
    if recipe.evaluation.keep_best and (recipe.data.eval or recipe.data.eval_share):
        return []  # what was saved may be an early step, whose training loss was still high
    if of.curve is None or not now.n or now.low <= 1.5 * of.curve.last + 0.5:
        return []
    says = (
        f"The saved model gives the training answers {now.value:.2f} nats per token; training "
        f"ended at {of.curve.last:.2f}."
    )
    figures: dict[str, float | int | str | bool | None] = {
        **now.figures("nll"),
        "last_training_loss": of.curve.last,
    }
    remedy = Remedy(
        says="What is asked is not what was trained: look at the template probe, and whether the "
        "model or its tokenizer was changed after training. Train and save it again if so.",
        commands=("danlu probe template RUN",),
    )
    return [Cause(Evidence(says=says, figures=figures), remedy, True)]


def _worse_than_before(of: Measured, recipe: Recipe) -> list[Cause]:
    gain = of.train.gain()
    if not gain.n or gain.high >= -0.05:
        return []
    rate = recipe.training.learning_rate
    says = (
        f"Training made its own answers less likely: {-gain.value:.2f} nats per token more than "
        "before. Even random answers would not do that."
    )
    remedy = Remedy(
        says="A learning rate far too high, or labels that do not stand where the answers are: try "
        "a tenth of the learning rate, and look at what is trained.",
        settings={"training.learning_rate": _tenth(rate)},
        commands=("danlu explain DATA --model RUN",),
    )
    return [Cause(Evidence(says=says, figures=dict(gain.figures("gain"))), remedy, True)]


def _hardly_moved(of: Measured, recipe: Recipe) -> list[Cause]:
    """Find a training that left its own answers as unlikely as they were."""
    gain, before = of.train.gain(), of.train.before()
    if not gain.n or not before or gain.value > MOVED * before:
        return []
    says = (
        f"Training moved it hardly: its own answers have {before - gain.value:.2f} nats per token, "
        f"and had {before:.2f} before."
    )
    remedy = Remedy(
        says="The steps are too few or too small: first a learning rate ten times higher, then "
        "more epochs.",
        settings={"training.learning_rate": float(f"{10 * recipe.training.learning_rate:.3g}")},
    )
    return [Cause(Evidence(says=says, figures=dict(gain.figures("gain"))), remedy)]


def _starved(of: Measured, recipe: Recipe) -> list[Cause]:
    curve = of.curve
    if curve is None or recipe.sequences.weighting != "token" or not curve.token_share:
        return []
    if curve.record_share < STARVED * curve.token_share:
        return []
    says = (
        f"It has {curve.record_share:.0%} of the records and {curve.token_share:.1%} of the "
        "trained tokens: each token counts alike, so short answers hardly count."
    )
    figures = {"record_share": curve.record_share, "token_share": curve.token_share}
    remedy = Remedy(
        says="Weigh each record alike, or up-sample the type.",
        settings={"sequences.weighting": "record"},
    )
    return [Cause(Evidence(says=says, figures=dict(figures)), remedy)]


def _few_records(of: Measured) -> list[Cause]:
    if of.records >= FEW_RECORDS:
        return []
    says = f"It has {of.records} records; a behaviour shows from about 50 to 100 on."
    remedy = Remedy(
        says=f"Add records of {of.task_type}, with other wordings and contents.",
        commands=("danlu data make self-instruct --help", "danlu data make evolve --help"),
    )
    return [Cause(Evidence(says=says, figures={"records": of.records}), remedy)]


def _more_training(of: Measured, recipe: Recipe) -> list[Cause]:
    """Tell a training that was too short from one that was too weak."""
    curve, training = of.curve, recipe.training
    epochs = {"training.epochs": 2 * training.epochs}
    if curve is None or curve.falling is None:
        says = "Its curve is too short to say whether its loss was still falling."
        return [Cause(Evidence(says=says), Remedy(says="Train for longer.", settings=epochs))]
    figures = {"falling": curve.falling, "passes": curve.passes, "last_loss": curve.last}
    if curve.falling > FALLING:
        says = (
            "Its training loss was still falling while the learning rate was high, by "
            f"{curve.falling:.0%} from one quarter of those steps to the next; it ended at "
            f"{curve.last:.2f}, after {curve.passes:.1f} passes."
        )
        return [
            Cause(
                Evidence(says=says, figures=dict(figures)),
                Remedy(says="Train for longer: it is not done.", settings=epochs),
            )
        ]
    says = (
        "Its training loss no longer fell, even while the learning rate was high; it ended at "
        f"{curve.last:.2f}, after {curve.passes:.1f} passes."
    )
    rate = float(f"{3 * training.learning_rate:.3g}")
    more: dict[str, float | int] = {"training.learning_rate": rate}
    if recipe.tuning.method in ("lora", "qlora"):
        more["tuning.lora_rank"] = 2 * recipe.tuning.lora_rank
    return [
        Cause(
            Evidence(says=says, figures=dict(figures)),
            Remedy(
                says="More of the same will not help: let it move further (learning rate, rank), "
                "then give it more records; if it fails even so, look for contradicting answers.",
                settings=dict(more),
                commands=("danlu data check DATA",),
            ),
        )
    ]


def _tenth(rate: float) -> float:
    return float(f"{rate / 10:.3g}")


# Learned, but not general ----------------------------------------------------------------


def why_not_general(of: Measured) -> list[Cause]:
    """Say why held-out prompts fail where training prompts do not: ability, answers, prompts."""
    return [*_ability(of), *_unnatural(of), *_narrow(of)]


def _ability(of: Measured) -> list[Cause]:
    ability = of.ability
    if ability is None or not ability.right.n:
        return []
    nll, own = ability.nll, of.held_out.nll()
    figures: dict[str, float | int | str | bool | None] = {
        **ability.right.figures("base_right"),
        "base_nll": nll,
    }
    told = f"Shown {ability.shots} examples, the model before training answers "
    told += f"{ability.right.percent()} of the held-out prompts rightly"
    likely = nll is not None and of.measure.is_open and own.n and nll <= own.value
    if ability.right.value >= 0.5 or likely:
        tail = f" and gives their answers {nll:.2f} nats per token" if nll is not None else ""
        return [
            Cause(
                Evidence(says=f"{told}{tail}: the ability is there.", figures=figures),
                Remedy(
                    says="The model could do it: clean the answers below, vary the prompts, and "
                    "up-sample the type."
                ),
            )
        ]
    return [
        Cause(
            Evidence(says=f"{told}: the ability is not there.", figures=figures),
            Remedy(
                says="Tuning elicits what pre-training left and hardly teaches more. Move the "
                "knowledge from the answer into the prompt (retrieval), continue pre-training on "
                "texts that hold it, or take a larger model.",
                commands=("danlu data make rag --help",),
            ),
        )
    ]


def outliers(half: Sequence[Case]) -> list[Outlier]:
    """Find training answers far less likely than those of their type, the worst first."""
    scored = [(case, case.tuned.nll) for case in half if case.tuned is not None]
    if len(scored) < OUTLIERS_FROM:
        return []
    middle = statistics.median(nll for _, nll in scored)
    spread = 1.4826 * statistics.median(abs(nll - middle) for _, nll in scored)
    found = [
        Outlier(case, nll, (nll - middle) / spread if spread else float("inf"))
        for case, nll in scored
        if nll - middle >= OUTLIER_NATS and nll - middle >= OUTLIER_Z * spread
    ]
    return sorted(found, key=lambda one: -one.nll)


def _unnatural(of: Measured) -> list[Cause]:
    found = outliers(of.train.cases)
    if not found:
        return []
    records = tuple(one.case.example.record for one in found)
    middle = statistics.median(case.tuned.nll for case in of.train.cases if case.tuned)
    says = (
        f"{len(found)} of {len(of.train.cases)} training answers are far less likely than the "
        f"others: from {found[-1].nll:.2f} to {found[0].nll:.2f} nats per token, where the median "
        f"is {middle:.2f}."
    )
    cases = tuple(
        {"record": one.case.example.record, "prompt": one.case.example.question}
        | {"answer": one.case.example.answer, "nll": round(one.nll, 2)}
        for one in found[:8]
    )
    remedy = Remedy(
        says="Read them word by word: wrong, cut off, translated or of another style, they teach "
        "what cannot be generalised. Mend or drop them.",
        commands=(f"danlu data drop DATA {' '.join(f'--id {name}' for name in records[:20])}",),
    )
    figures = {"outliers": len(found), "median_nll": middle}
    return [Cause(Evidence(says=says, figures=dict(figures), records=records, cases=cases), remedy)]


def _narrow(of: Measured) -> list[Cause]:
    own = [case.example.question for case in of.train.cases]
    other = [case.example.question for case in of.held_out.cases]
    within, across = closeness(own, own), closeness(other, own)
    if within is None or across is None or within - across < NARROW:
        return []
    says = (
        f"Its training prompts are {within:.0%} alike, each to its nearest; the held-out ones are "
        f"{across:.0%} like the nearest of them."
    )
    remedy = Remedy(
        says="The training prompts are too narrow: add other wordings, lengths and contents.",
        commands=("danlu data make evolve --help", "danlu data make robustness --help"),
    )
    return [Cause(Evidence(says=says, figures={"within": within, "across": across}), remedy)]


def closeness(texts: Sequence[str], others: Sequence[str]) -> float | None:
    """Return the median likeness of texts to the nearest other one; None of fewer than three.

    Likeness is the longest common subsequence of words (or characters), as in ROUGE-L.

    Example:
        >>> prompts = ["what is 1 and 2", "what is 1 and 3", "what is 4 and 2"]
        >>> round(closeness(prompts, prompts), 2)
        0.8
    """
    if len(texts) < 3 or len(others) < 3:
        return None
    same = texts is others
    cut = [units(fold(text)) for text in others]
    best = []
    for place, text in enumerate(texts):
        own = cut[place] if same else units(fold(text))
        found = [
            2 * LCSseq.similarity(own, other) / ((len(own) + len(other)) or 1)
            for k, other in enumerate(cut)
            if not (same and k == place)
        ]
        best.append(max(found))
    return statistics.median(best)

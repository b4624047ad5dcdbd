"""Signs of what is heard in the loss: short answers that starve, stop tokens not learned."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from danlu.diagnosis.curves.curves import RunCurves, Series
from danlu.diagnosis.curves.statistics import mean
from danlu.runs.findings import Evidence, Finding, Remedy
from danlu.runs.wording import loss
from danlu.workshop.checks.loss_share import LossShare, repeats_needed

SURE_RATIO = 0.1
"""Share of the loss over share of the records below which a task type starves for sure; the
workshop's check warns from ``LossShare.least_ratio`` on."""
SURE_SHARE = 0.05
"""A task type of fewer of the records is rare rather than starved."""
LEFT = 2 / 3
"""It starves if, formats once learned, it went less than this part of the others' way."""
LEARNED = 0.2
"""Nats per token at the end, below which a task type is learned in any case."""
UNSURE_STOP = 0.7
"""Nats at the end of training: the stop token has half of the probability where an answer ends."""
VERY_UNSURE_STOP = 1.6


def starved(curves: RunCurves) -> Iterator[Finding]:
    """Find task types whose answers are too short to be heard beside the others'."""
    weighting = curves.settings.get("sequences", {}).get("weighting", "token")
    if curves.objective != "nll" or weighting != "token":
        return
    tokens = {one.task_type: float(one.weights.sum()) for one in curves.types}
    records = {one.task_type: float(one.records.sum()) for one in curves.types}
    for one in curves.types:
        share = tokens[one.task_type] / max(sum(tokens.values()), 1.0)
        wanted = records[one.task_type] / max(sum(records.values()), 1.0)
        if not share or wanted < SURE_SHARE or share >= LossShare().least_ratio * wanted:
            continue
        others = [other for other in curves.types if other is not one]
        behind = _way(one) < LEFT * max(_way(other) for other in others) and one.end > LEARNED
        repeats = repeats_needed(share, 1.0, wanted)
        sure = share < SURE_RATIO * wanted and behind
        yield Finding(
            name="starved",
            task_type=one.task_type,
            says=f"{one.task_type} has {wanted:.0%} of the records and {share:.1%} of the loss: "
            "its answers are too short to be heard beside the others'.",
            severity="warning",
            confidence="high" if sure else "medium" if behind else "low",
            evidence=(
                Evidence(
                    says=f"{tokens[one.task_type] / max(records[one.task_type], 1):.1f} trained "
                    f"tokens per record; its loss went from {loss(one.start)} to {loss(one.end)}.",
                    figures={"share_of_loss": share, "share_of_records": wanted, "end": one.end},
                ),
            ),
            remedies=(
                Remedy(
                    says="Let records count equally.", settings={"sequences.weighting": "record"}
                ),
                Remedy(says=f"Or repeat its records {math.ceil(repeats)} times (data.mix)."),
            ),
        )


def _way(series: Series) -> float:
    """Return by which share a loss fell since the first third of the run.

    Before that formats are learned, of short answers too: that they are one of two words, and end.
    """
    third = len(series) // 3
    if not third:
        return 0.0  # too short to have fallen
    begin = mean(series.values[third : 2 * third], series.weights[third : 2 * third])
    return 1 - series.end / max(begin, 1e-9)


def stop_tokens(curves: RunCurves) -> Iterator[Finding]:
    """Find stop tokens, and new special tokens, that are still badly predicted at the end."""
    if not curves.finished:
        return
    for metric, what, effect in (
        ("stop_loss", "the stop token", "Answers will not end where they should."),
        ("new_token_loss", "the new special tokens", "They will be missing in answers."),
    ):
        found = curves.metrics.get(metric, {})
        if None not in found:
            continue
        bad = [one for one in found.values() if one.task_type and _last(one) >= UNSURE_STOP]
        whole = found[None]
        if _last(whole) >= UNSURE_STOP:
            yield _unsure(metric, whole, what, effect, bad)
            continue
        for one in bad:
            if _last(one) >= VERY_UNSURE_STOP and len(curves.types) > 1:
                yield _unsure(metric, one, what, effect, [])


def _last(series: Series) -> float:
    """Return the median of the last rows: one broken answer that does not end is none of this."""
    return float(np.median(series.values[-max(3, len(series) // 5) :]))


def _unsure(metric: str, series: Series, what: str, effect: str, bad: list[Series]) -> Finding:
    last = _last(series)
    chance = math.exp(-last)
    where = f" of {series.task_type}" if series.task_type else ""
    worst = sorted(bad, key=lambda one: -_last(one))[:6]
    more = "".join(f"; {one.task_type} {loss(_last(one))}" for one in worst)
    return Finding(
        name="stop-token-unlearned" if metric == "stop_loss" else "new-tokens-unlearned",
        task_type=series.task_type,
        says=f"At the end {what}{where} has {chance:.0%} of the probability where it belongs. "
        f"{effect}",
        severity="warning",
        confidence="high" if last >= VERY_UNSURE_STOP and len(series) >= 20 else "medium",
        evidence=(
            Evidence(
                says=f"Its loss went from {loss(series.start)} to {loss(last)}{more}.",
                figures={"start": series.start, "end": last},
            ),
        ),
        remedies=(
            Remedy(
                says="Look at how answers end in the data: cut off, or with words after the end? "
                "If they are whole, train longer; special tokens are learned in the first tenth "
                "of a sound run.",
                commands=("danlu explain DATA --limit 3",),
            ),
        ),
    )

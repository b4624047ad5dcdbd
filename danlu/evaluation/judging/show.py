"""A judge's results in the terminal: rows of tables, and what is to be known of the judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from danlu.evaluation.judging.calibrate import Calibrated
from danlu.evaluation.judging.pairwise import Bias, Outcome, Share
from danlu.evaluation.judging.run import PairFigures, TypeFigures
from danlu.evaluation.statistics.calibration import Estimate

SCORE_COLUMNS = ("task type", "answers", "usable", "95 % interval", "missing", "dimensions")
PAIR_COLUMNS = ("task type", "pairs", "B", "tie", "A", "B's win rate", "equally long", "missing")
NOTABLE_LENGTH = 0.3
"""Correlation of score and length from which it is pointed out; a choice."""


def score_cells(figures: Mapping[str, TypeFigures]) -> Iterator[tuple[str, ...]]:
    """Give a row per task type: what ``SCORE_COLUMNS`` names."""
    for name, of in figures.items():
        dimensions = ", ".join(
            f"{one} {said.mean:.1f}" + (f" ±{said.wavered:.1f}" if said.wavered is not None else "")
            for one, said in of.dimensions.items()
            if said.mean is not None
        )
        yield (
            name or "all",
            f"{of.answers}",
            "" if of.usable is None else f"{of.usable:.3f}",
            "" if of.low is None else f"{of.low:.3f} to {of.high:.3f}",
            ", ".join(f"{count} {kind}" for kind, count in sorted(of.missing.items())),
            dimensions,
        )


def score_remarks(figures: Mapping[str, TypeFigures]) -> Iterator[str]:
    """Say what people's labels make of the scores, and what the judge may be misled by."""
    everything = figures[""]
    for name, of in figures.items():
        if of.calibrated is not None:
            yield f"{name or 'all'}: usable, as people would say: {calibrated(of.calibrated)}"
        for dimension, said in of.dimensions.items():
            if said.calibrated is not None:
                told = calibrated(said.calibrated, digits=2)
                yield f"{name or 'all'}: {dimension}, as people would score it: {told}"
    if everything.length is not None and abs(everything.length) >= NOTABLE_LENGTH:
        longer = "longer" if everything.length > 0 else "shorter"
        yield (
            f"{longer} answers got higher scores within task types (correlation "
            f"{everything.length:.2f}): they may be better, or the judge likes them so. Comparing "
            "pairs (danlu judge A B) takes length out."
        )
    if missing := sum(everything.missing.values()):
        yield f"{missing} of {everything.answers} answers have no verdict; missing is not 0"


def pair_cells(outcomes: Mapping[str, Outcome]) -> Iterator[tuple[str, ...]]:
    """Give a row per task type: what ``PAIR_COLUMNS`` names."""
    for name, of in outcomes.items():
        yield (
            name or "all",
            f"{of.pairs}",
            f"{of.wins}",
            f"{of.ties}" + (f" ({of.equal} equal)" if of.equal else ""),
            f"{of.losses}",
            "" if of.rate is None else estimate(of.rate),
            "" if of.controlled is None else estimate(of.controlled.rate),
            f"{of.missing}" if of.missing else "",
        )


def pair_remarks(figures: PairFigures) -> Iterator[str]:
    """Say what the verdicts say of the judge, and what people make of them."""
    yield from bias_lines(figures.bias)
    controlled = figures.outcomes[""].controlled
    if controlled is not None and controlled.effect is not None and controlled.error:
        sure = abs(controlled.effect) > 1.96 * controlled.error
        yield (
            f"length adds {controlled.effect:+.2f} ± {controlled.error:.2f} to the log-odds of "
            f"winning at most: {'an effect' if sure else 'no effect seen'}"
        )
    if figures.calibrated is not None:
        of = figures.calibrated
        kappa = "" if of.agreement is None else f", kappa with people {of.agreement:.2f}"
        yield f"B's win rate where answers differ, as people would say: {calibrated(of)}{kappa}"


def bias_lines(bias: Bias) -> Iterator[str]:
    """Say how much a judge depends on order, length and chance."""
    if bias.disagreed is not None:
        yield f"the two orders disagreed, which is a tie: {share(bias.disagreed)}"
    if bias.first is not None:
        yield f"the answer that stood first was preferred: {share(bias.first)}; without bias 0.5"
    if bias.longer is not None:
        yield f"the longer answer won: {share(bias.longer)}"
    if bias.wavered is not None:
        yield f"variance of a pair's result over the repeats: {bias.wavered:.3f}"


def share(of: Share) -> str:
    """Say a share with its interval.

    Example:
        >>> share(Share(3, 10, 0.108, 0.603))
        '3 of 10, 0.300 (0.108 to 0.603)'
    """
    return f"{of.count} of {of.of}, {of.share:.3f} ({of.low:.3f} to {of.high:.3f})"


def estimate(of: Estimate, digits: int = 3) -> str:
    """Say an estimate with its interval.

    Example:
        >>> estimate(Estimate(0.5, 0.25, 0.75))
        '0.500 (0.250 to 0.750)'
    """
    return f"{of.value:.{digits}f} ({of.low:.{digits}f} to {of.high:.{digits}f})"


def calibrated(of: Calibrated, digits: int = 3) -> str:
    """Say what labels make of a judge's figure, or why nothing."""
    alone = f"; of the labelled alone {estimate(of.people, digits)}" if of.people else ""
    if of.estimate is None:
        return f"not known: {of.why}{alone}"
    told = f"{estimate(of.estimate, digits)} by {of.labels} labels"
    if of.caught is not None and of.cleared is not None:
        told += (
            f"; the judge finds {of.caught[0]} of {of.caught[1]} usable and "
            f"{of.cleared[0]} of {of.cleared[1]} unusable ones"
        )
    return told + alone

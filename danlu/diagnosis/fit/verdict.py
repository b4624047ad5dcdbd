"""The decision, by the counts alone.

Of closed answers being right decides; of free text, by how much training made the references
likelier than they were before it: on the training prompts (learned?) and on those held out
(general?). A verdict needs an interval that lies wholly on one side of its bar: that of 95 % for
high confidence, that of 80 % for medium; else there are too few to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from danlu.diagnosis.fit.measured import Measured, Repeated, repeated
from danlu.diagnosis.shares import difference, share
from danlu.runs.findings import Confidence

Name = Literal[
    "healthy", "not-learned", "not-general", "overfitted", "learned-untested", "too-few-to-tell"
]
LEAST_FOR_HIGH = 5
"""Of fewer prompts an interval is too rough: of two with nothing right it excludes 0.7, which has
two wrong ones in nine of a hundred cases."""
LEVELS: tuple[tuple[Confidence, float], ...] = (("high", 0.95), ("medium", 0.80))


@dataclass(frozen=True)
class Bars:
    """Where the decision turns; figures of our own, but for ``likely``.

    Attributes:
        learned: Share of its training prompts that a learned type answers rightly.
        gap: A held-out share this much lower than the trained one is no generalising.
        tolerated: One that surely is not lower by more than this is.
        gain: Of free text: least share by which training must lower the nats per token.
        kept: Of free text: least part of that gain that the held-out prompts must have.
        likely: Nats per token up to which free text is known anyway (practitioners' figure for the
            end of training).
        collapse: Share of held-out answers that are one and the same, where the data have it
            ``collapse_over`` less often.
        collapse_over: See there.
        copied: Share of the wrong held-out answers that are training answers of other records.
    """

    learned: float = 0.7
    gap: float = 0.1
    tolerated: float = 0.3
    gain: float = 0.15
    kept: float = 0.3
    likely: float = 0.5
    collapse: float = 0.6
    collapse_over: float = 0.25
    copied: float = 0.5


class Verdict(NamedTuple):
    """What was decided.

    Attributes:
        name: The verdict.
        confidence: How sure it is.
        pattern: Of ``overfitted``: ``copies``, ``collapse`` or ``worse``; empty otherwise.
        learned: Whether the training prompts are learned; None if that cannot be told either.
    """

    name: Name
    confidence: Confidence
    pattern: Literal["", "copies", "collapse", "worse"] = ""
    learned: bool | None = None


def decide(of: Measured, bars: Bars | None = None) -> Verdict:
    """Decide what became of a task type."""
    bars = bars or Bars()
    few = min(len(half.cases) for half in (of.train, of.held_out) if half.cases or half is of.train)
    for confidence, level in LEVELS:
        if confidence == "high" and few < LEAST_FOR_HIGH:
            continue
        verdict = _at(of, bars, level, confidence)
        if verdict is not None:
            return verdict
    return Verdict("too-few-to-tell", "low", learned=learned(of, bars, LEVELS[-1][1]))


def _at(of: Measured, bars: Bars, level: float, confidence: Confidence) -> Verdict | None:
    """Decide at one level of confidence; None where the intervals leave it open."""
    known = learned(of, bars, level)
    if known is None:
        return None
    if not known:
        return Verdict("not-learned", confidence, learned=False)
    if not of.held_out.cases:
        return Verdict("learned-untested", confidence, learned=True)
    general = generalises(of, bars, level)
    if general:
        return Verdict("healthy", confidence, learned=True)
    if general is None:
        return None
    pattern = overfitting(of, repeated(of), bars, level)
    name: Name = "overfitted" if pattern else "not-general"
    return Verdict(name, confidence, pattern, learned=True)


def learned(of: Measured, bars: Bars, level: float) -> bool | None:
    """Tell whether the training prompts are learned; None if it cannot be told."""
    right = of.train.right(level)
    if right.low >= bars.learned:
        return True
    few = right.high < bars.learned
    if not of.measure.is_open:
        return False if few else None
    nll, gain, before = of.train.nll(level), of.train.gain(level), of.train.before()
    if nll.high <= bars.likely:
        return True
    if before is None:
        return None
    least = bars.gain * before
    if gain.low >= least:
        return True
    return False if few and gain.high < least and nll.low > bars.likely else None


def generalises(of: Measured, bars: Bars, level: float) -> bool | None:
    """Tell whether held-out prompts share in what was learned; None if it cannot be told."""
    held_out, train = of.held_out.right(level), of.train.right(level)
    if held_out.low >= bars.learned:
        return True
    if not of.measure.is_open:
        gap = difference(train, held_out)
        if gap.low > bars.gap:
            return False
        return True if gap.high < bars.tolerated else None
    if of.held_out.nll(level).high <= bars.likely:
        return True
    gain = of.held_out.gain(level)
    whole = max(0.0, of.train.gain().value) if of.train.gain().n else 0.0
    if gain.high < bars.kept * whole or gain.high < 0:
        return False
    return True if gain.low >= bars.kept * whole else None


def overfitting(
    of: Measured, found: Repeated, bars: Bars, level: float
) -> Literal["", "copies", "collapse", "worse"]:
    """Say which pattern of overfitting there is; empty if there is none."""
    answered = of.held_out.answered
    if answered and found.most is not None:
        expected = found.most_expected / len(answered)
        most = share(found.most[1], len(answered), level)
        if most.value >= bars.collapse and most.low > expected + bars.collapse_over / 2:
            over = most.value - expected
            if over >= bars.collapse_over:
                return "collapse"
    wrong = [case for case in answered if not case.right]
    few_answers = len(of.answers) < 8  # of labels, every wrong answer is a training answer
    if not few_answers and len(found.copied) >= 3:
        copied = share(len(found.copied), len(wrong), level)
        if copied.value >= bars.copied:
            return "copies"
    if of.measure.is_open and of.held_out.gain(level).high < 0:
        return "worse"
    return ""

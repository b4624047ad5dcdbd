"""Compare two versions on the same prompts: per task type, per area, and in all.

Right and wrong without clusters is tested by McNemar's exact test with Tango's interval; all other
scores by sign flips and a bootstrap of clusters. An area's score is the weighted mean of its task
types', so that a task type with many prompts does not drown the others. Areas and all are built of
the same random numbers as their task types: the distribution of a weighted mean of independent
means is that of the weighted mean of their resamples. A task type of which all prompts are one
cluster cannot say how much it would vary, and adds nothing to the doubt of its area.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import numpy as np

from danlu.errors import EvaluationError
from danlu.evaluation.comparison import (
    CompareSettings,
    Comparison,
    Move,
    Node,
    Side,
    Verdict,
)
from danlu.evaluation.rows import Pairs, ScoredRow, Stakes, pair
from danlu.evaluation.statistics import (
    ClusterSums,
    Interval,
    benjamini_hochberg,
    bootstrap_interval,
    bootstrap_means,
    cluster_error,
    cluster_sums,
    gatekeep,
    holm,
    mcnemar,
    paired_difference,
    sign_flip,
    sign_flip_sums,
    smallest_difference,
    smallest_mean_difference,
    wilson,
)
from danlu.evaluation.statistics.distributions import normal_cdf, student_quantile
from danlu.evaluation.statistics.inputs import Floats


def compare(
    a: Iterable[ScoredRow],
    b: Iterable[ScoredRow],
    *,
    stakes: Mapping[str, Stakes] | None = None,
    settings: CompareSettings | None = None,
) -> Comparison:
    """Say where B is better or worse than A, and how sure that is.

    Args:
        a: Scored rows of the earlier version.
        b: Of the later, on the same prompts.
        stakes: Weight, margin and range by task type; the default is a share from 0 to 1.
        settings: How to compare; None: the defaults.

    Returns:
        The same for equal input and seed.

    Raises:
        EvaluationError: If the rows cannot be paired, see ``rows.pair``, or no weight is left.

    Example:
        >>> def rows(right):
        ...     return [ScoredRow(str(k), "math/sums", float(k < right)) for k in range(100)]
        >>> found = compare(rows(50), rows(70)).task_types[0]
        >>> print(f"{found.difference:+.2f} from {found.low:.2f} to {found.high:.2f}")
        +0.20 from 0.13 to 0.29
        >>> found.verdict.value
        'better'
    """
    settings = settings or CompareSettings()
    pairs = pair(a, b, stakes or {}, incomplete=settings.incomplete)
    parts = [_part(one, settings) for one in pairs]
    for name in {one.pairs.task_type.partition("/")[0] for one in parts}:
        if not any(one.weight for one in parts if one.area == name):
            raise EvaluationError("all weights in it are 0; one must be above.", where=name)
    areas = [list(group) for _, group in groupby(sorted(parts, key=_area), key=_area)]
    parts = [part for area in areas for part in area]  # "a b/c" sorts before "a/c": areas first
    gate = gatekeep(
        [part.p for part in parts],
        np.array([part.area for part in parts]),
        level=settings.level,
        method=settings.correction,
    )
    leaves = [
        _leaf(part, float(adjusted), len(parts), settings)
        for part, adjusted in zip(parts, gate.child_adjusted, strict=True)
    ]
    mixes = [_mix(area[0].area, area, settings) for area in areas]
    adjust = benjamini_hochberg if settings.correction == "bh" else holm
    adjusted = adjust([mix.p for mix in mixes])
    children = []
    for mix, p, differs in zip(mixes, adjusted, gate.parent_rejected, strict=True):
        below = tuple(leaf for leaf in leaves if leaf.name.partition("/")[0] == mix.name)
        node = _branch(mix, "area", float(p), below, len(mixes), settings)
        children.append(replace(node, differs=bool(differs)))
    everything = _mix("all", parts, settings)
    overall = _branch(everything, "all", everything.p, tuple(children), 1, settings)
    moves = [move for one in pairs for move in _moves(one)]
    return Comparison(
        settings,
        overall,
        tuple(sorted((m for m in moves if m.change < 0), key=_by_size)),
        tuple(sorted((m for m in moves if m.change > 0), key=_by_size)),
    )


@dataclass(frozen=True)
class _Part:
    """One task type's numbers, as shares of its range.

    ``resampled`` and ``flipped`` are (resamples,) mean differences: of the bootstrap (less the
    difference, and widened by n / (n - 1)) and under random signs. Zeros with one cluster only.
    """

    pairs: Pairs
    of: ClusterSums
    right_or_wrong: bool
    difference: float
    error: float | None
    interval: Interval | None
    p: float
    resampled: Floats
    flipped: Floats

    @property
    def area(self) -> str:
        return self.pairs.task_type.partition("/")[0]

    @property
    def weight(self) -> float:
        return self.pairs.stakes.weight

    @property
    def range(self) -> float:
        return self.pairs.stakes.high - self.pairs.stakes.low


@dataclass(frozen=True)
class _Mix:
    """Several task types together, as shares of their ranges."""

    name: str
    parts: Sequence[_Part]
    shares: Floats
    clusters: int
    error: float
    df: int
    interval: Interval | None
    p: float


def _area(part: _Part) -> str:
    return part.area


def _by_size(move: Move) -> tuple[float, str, str]:
    return -abs(move.change), move.task_type, move.prompt


def _rng(settings: CompareSettings, name: str) -> np.random.Generator:
    """Seed by name, so that a task type's numbers do not depend on what else is compared."""
    of_name = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    return np.random.default_rng([settings.seed, of_name])


def _part(pairs: Pairs, settings: CompareSettings) -> _Part:
    rng = _rng(settings, pairs.task_type)
    differences = pairs.b - pairs.a
    of = cluster_sums(differences, pairs.clusters)
    many, n = len(of.sums), len(differences)
    scores = np.concatenate([pairs.a, pairs.b])
    right_or_wrong = many == n and bool(((scores == 0) | (scores == 1)).all())
    resampled, flipped = np.zeros(settings.resamples), np.zeros(settings.resamples)
    error, interval = None, None
    if many > 1:
        means = bootstrap_means(of, settings.resamples, rng)
        resampled = (means - of.mean) * math.sqrt(many / (many - 1))
        flipped = sign_flip_sums(of.sums, settings.resamples, rng) / n
        error = cluster_error(of)
        if not right_or_wrong:
            interval = bootstrap_interval(means, of, confidence=settings.confidence)
    if right_or_wrong:
        wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
        interval = paired_difference(wins, losses, n, confidence=settings.confidence)
        p = float(mcnemar(wins, losses, mid_p=settings.mid_p))
        # No disagreement among few is no proof of none: one is added, as Laplace does.
        apart = _discordance(wins + losses, n)
        error = math.sqrt((apart - ((wins - losses) / (n + 2)) ** 2) / n)
    else:
        p = sign_flip(of.sums, settings.resamples, rng)
    return _Part(pairs, of, right_or_wrong, of.mean, error, interval, p, resampled, flipped)


def _discordance(disagreements: int, n: int) -> float:
    return (disagreements + 1) / (n + 2)


def _leaf(part: _Part, adjusted: float, tests: int, settings: CompareSettings) -> Node:
    pairs, scale = part.pairs, part.range
    smallest = _smallest(part, tests, settings)
    return Node(
        name=pairs.task_type,
        kind="task_type",
        prompts=len(pairs.a),
        clusters=len(part.of.sums),
        missing_a=pairs.missing_a,
        missing_b=pairs.missing_b,
        only_a=pairs.only_a,
        only_b=pairs.only_b,
        a=_side(pairs.a, part, settings),
        b=_side(pairs.b, part, settings),
        difference=part.difference * scale,
        low=None if part.interval is None else float(part.interval.low) * scale,
        high=None if part.interval is None else float(part.interval.high) * scale,
        test="mcnemar" if part.right_or_wrong else "sign-flip",
        p=part.p,
        p_adjusted=adjusted,
        verdict=_verdict(part.difference, adjusted, smallest, pairs.stakes.margin, settings),
        smallest=None if smallest is None else smallest * scale,
        margin=pairs.stakes.margin * scale,
        critical=pairs.stakes.critical,
    )


def _smallest(part: _Part, tests: int, settings: CompareSettings) -> float | None:
    """The smallest difference that a task type could have shown, as a share of the range."""
    level = settings.level / tests
    if part.right_or_wrong:
        n, apart = len(part.pairs.a), int((part.pairs.a != part.pairs.b).sum())
        return smallest_difference(n, _discordance(apart, n), power=settings.power, level=level)
    if part.error is None:
        return None
    df = len(part.of.sums) - 1
    return smallest_mean_difference(part.error, df, power=settings.power, level=level)


def _side(scores: Floats, part: _Part, settings: CompareSettings) -> Side:
    low, scale = part.pairs.stakes.low, part.range
    of = cluster_sums(scores, part.pairs.clusters)
    ends: tuple[float, float] | None = None
    if part.right_or_wrong:
        right = wilson(int(scores.sum()), len(scores), confidence=settings.confidence)
        ends = float(right.low), float(right.high)
    elif len(of.sums) > 1:
        reach = student_quantile((1 + settings.confidence) / 2, len(of.sums) - 1)
        reach *= cluster_error(of)
        ends = max(of.mean - reach, 0.0), min(of.mean + reach, 1.0)
    if ends is None:
        return Side(low + of.mean * scale)
    return Side(low + of.mean * scale, low + ends[0] * scale, low + ends[1] * scale)


def _mix(name: str, parts: Sequence[_Part], settings: CompareSettings) -> _Mix:
    weights = np.array([part.weight for part in parts])
    shares: Floats = weights / weights.sum()
    if len(parts) == 1:
        only = parts[0]
        many = len(only.of.sums)
        error = only.error or 0.0
        return _Mix(name, parts, shares, many, error, max(many - 1, 1), only.interval, only.p)
    labels = [np.unique(part.pairs.clusters) for part in parts]
    together = len(np.unique(np.concatenate(labels)))
    apart = sum(len(one) for one in labels)
    if together == apart:
        resampled = np.zeros(settings.resamples)
        flipped = np.zeros(settings.resamples)
        for share, part in zip(shares, parts, strict=True):
            resampled += share * part.resampled
            flipped += share * part.flipped
        errors = [share * (part.error or 0.0) for share, part in zip(shares, parts, strict=True)]
        error, df = math.hypot(*errors), max(apart - len(parts), 1)
    else:
        resampled, flipped, error = _shared_clusters(name, parts, shares, settings)
        df = max(together - 1, 1)
    difference = float(shares @ [part.difference for part in parts])
    as_far = abs(difference) * (1 - 1e-9)
    p = float((1 + (np.abs(flipped) >= as_far).sum()) / (1 + settings.resamples))
    interval = None
    if together > 1:
        reach = student_quantile((1 + settings.confidence) / 2, df)
        if np.ptp(resampled) > 0:
            ends = np.quantile(resampled, [normal_cdf(-reach), normal_cdf(reach)])
        else:
            ends = np.array([-reach, reach]) * error
        interval = Interval(difference + ends[0], difference + ends[1])
    return _Mix(name, parts, shares, together, error, df, interval, p)


def _shared_clusters(
    name: str, parts: Sequence[_Part], shares: Floats, settings: CompareSettings
) -> tuple[Floats, Floats, float]:
    """Resample clusters that have prompts in several task types: then these are not independent.

    A cluster's part in the weighted mean is the sum over task types of
    ``share * (sum - mean * size) / prompts``: the mean's linear part, exact where all clusters of
    a task type have one size.
    """
    labels = np.concatenate([part.pairs.clusters for part in parts])
    _, place = np.unique(labels, return_inverse=True)
    signed, centred = [], []
    for share, part in zip(shares, parts, strict=True):
        each = share * (part.pairs.b - part.pairs.a) / len(part.pairs.a)
        signed.append(each)
        centred.append(each - share * part.difference / len(part.pairs.a))
    sums: Floats = np.bincount(place, weights=np.concatenate(signed)).astype(np.float64)
    centres: Floats = np.bincount(place, weights=np.concatenate(centred)).astype(np.float64)
    rng, many = _rng(settings, name), len(sums)
    flipped = sign_flip_sums(sums, settings.resamples, rng)
    if many < 2:
        return np.zeros(settings.resamples), flipped, 0.0
    means = bootstrap_means(ClusterSums(centres * many, np.ones(many)), settings.resamples, rng)
    widen = math.sqrt(many / (many - 1))
    return means * widen, flipped, widen * math.sqrt(float((centres**2).sum()))


def _branch(
    mix: _Mix,
    kind: Literal["all", "area"],
    adjusted: float,
    children: tuple[Node, ...],
    tests: int,
    settings: CompareSettings,
) -> Node:
    def mean(values: Iterable[float]) -> float:
        return float(mix.shares @ np.array(list(values)))

    difference = mean(part.difference for part in mix.parts)
    margin = mean(part.pairs.stakes.margin for part in mix.parts)
    smallest = None
    if len(mix.parts) == 1:  # it says what its one task type says
        smallest = _smallest(mix.parts[0], tests, settings)
    elif mix.clusters > 1:
        smallest = smallest_mean_difference(
            mix.error, mix.df, power=settings.power, level=settings.level / tests
        )
    return Node(
        name=mix.name,
        kind=kind,
        prompts=sum(child.prompts for child in children),
        clusters=mix.clusters,
        missing_a=sum(child.missing_a for child in children),
        missing_b=sum(child.missing_b for child in children),
        only_a=sum(child.only_a for child in children),
        only_b=sum(child.only_b for child in children),
        a=Side(mean(float(part.pairs.a.mean()) for part in mix.parts)),
        b=Side(mean(float(part.pairs.b.mean()) for part in mix.parts)),
        difference=difference,
        low=None if mix.interval is None else float(mix.interval.low),
        high=None if mix.interval is None else float(mix.interval.high),
        test="mcnemar" if len(mix.parts) == 1 and mix.parts[0].right_or_wrong else "sign-flip",
        p=mix.p,
        p_adjusted=adjusted,
        verdict=_verdict(difference, adjusted, smallest, margin, settings),
        smallest=smallest,
        margin=margin,
        critical=any(child.critical for child in children),
        children=children,
    )


def _verdict(
    difference: float,
    adjusted: float,
    smallest: float | None,
    margin: float,
    settings: CompareSettings,
) -> Verdict:
    if adjusted <= settings.level and difference != 0:
        return Verdict.BETTER if difference > 0 else Verdict.WORSE
    seen = smallest is not None and smallest <= margin
    return Verdict.SAME if seen else Verdict.FEW


def _moves(pairs: Pairs) -> Iterable[Move]:
    low, scale = pairs.stakes.low, pairs.stakes.high - pairs.stakes.low
    for place in np.flatnonzero(pairs.a != pairs.b):
        a, b = float(pairs.a[place]), float(pairs.b[place])
        scores = low + a * scale, low + b * scale
        yield Move(pairs.prompts[place], pairs.task_type, *scores, b - a)

"""The table of one evaluation: per task type a score with its interval, and what is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from danlu.errors import EvaluationError
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.likelihood.scorers import LIKELIHOODS, make_likelihood
from danlu.evaluation.schema import (
    EvalSummary,
    Item,
    LikelihoodRow,
    ScoredAnswer,
    TypeStakes,
    TypeSummary,
)
from danlu.evaluation.scorers import SCORERS
from danlu.evaluation.scoring import answer_scorers, lacking, likelihoods_by_item, names_of
from danlu.evaluation.statistics import bootstrap_interval, bootstrap_means, cluster_sums, wilson
from danlu.evaluation.suites.stakes import base_name

RESAMPLES = 10_000
SEED = 0


def summarise(
    directory: EvalDirectory, rows: Sequence[ScoredAnswer], seconds: float
) -> EvalSummary:
    """Sum up scores per task type.

    Args:
        directory: Whose.
        rows: Its scores.
        seconds: Asking and scoring took.
    """
    evaluation = directory.evaluation()
    items: dict[str, list[Item]] = defaultdict(list)
    for item in directory.items():
        items[item.task_type].append(item)
    texts = {(row.item, row.sample): row.text for row in directory.answers()}
    likelihoods = likelihoods_by_item(directory.likelihoods())
    by_type: dict[str, list[ScoredAnswer]] = defaultdict(list)
    for row in rows:
        by_type[row.task_type].append(row)
    types = {
        name: _type(stakes, items[name], by_type[name], texts, likelihoods)
        for name, stakes in sorted(evaluation.task_types.items())
    }
    return EvalSummary(
        suite=evaluation.suite,
        model=evaluation.model.name,
        score=weighted(types, evaluation.task_types),
        task_types=types,
        seconds=seconds,
    )


def weighted(
    types: Mapping[str, TypeSummary], stakes: Mapping[str, TypeStakes], area: str | None = None
) -> float | None:
    """Return the mean of task types by their weights, as a share of their ranges.

    Args:
        types: By name.
        stakes: Likewise.
        area: Only those in it; None: all.

    Returns:
        None if one that has a weight has no score, or none has a weight.
    """
    total = weight = 0.0
    for name, of in types.items():
        say = stakes[name]
        if (area is not None and name.partition("/")[0] != area) or not say.weight:
            continue
        if of.score is None:
            return None
        total += say.weight * (of.score - say.low) / (say.high - say.low)
        weight += say.weight
    return total / weight if weight else None


def at_worst(summary: EvalSummary, stakes: Mapping[str, TypeStakes]) -> float | None:
    """Return the score over all were every missing score the lowest there can be.

    Returns:
        None if no task type that has a weight has a score.

    Example:
        >>> one = TypeSummary(items=10, scored=1, score=1.0)
        >>> of = EvalSummary(suite="s", model="m", score=1.0, task_types={"a/b": one}, seconds=1)
        >>> at_worst(of, {"a/b": TypeStakes(scorer="exact")})
        0.1
    """
    types = summary.task_types
    if all(of.score is None for name, of in types.items() if stakes[name].weight):
        return None
    return weighted({name: _lowest(of, stakes[name]) for name, of in types.items()}, stakes)


def _lowest(of: TypeSummary, stakes: TypeStakes) -> TypeSummary:
    score = stakes.low if of.score is None else of.score
    share = of.scored / of.items if of.items else 0.0
    return of.model_copy(update={"score": stakes.low + share * (score - stakes.low)})


def _type(
    stakes: TypeStakes,
    items: Sequence[Item],
    rows: Sequence[ScoredAnswer],
    texts: Mapping[tuple[str, int], str | None],
    likelihoods: Mapping[str, Mapping[str, LikelihoodRow]],
) -> TypeSummary:
    means = _item_means(rows, stakes.scorer)
    scored = [item for item in items if item.id in means]
    values = [means[item.id] for item in scored]
    low, high = interval(values, [item.cluster for item in scored])
    failures = Counter(
        row.failure.kind for row in rows if row.failure and row.scorer == stakes.scorer
    )
    return TypeSummary(
        items=len(items),
        scored=len(scored),
        score=sum(values) / len(values) if values else None,
        low=low,
        high=high,
        figures=_figures(stakes, items, rows, texts, likelihoods),
        failures=dict(sorted(failures.items())),
    )


def _item_means(rows: Sequence[ScoredAnswer], scorer: str) -> dict[str, float]:
    """Return by item the mean over its samples; items with a missing score are left out."""
    values: dict[str, list[float | None]] = defaultdict(list)
    for row in rows:
        if row.scorer == scorer:
            values[row.item].append(row.value)
    return {
        item: sum(there) / len(there)
        for item, found in values.items()
        if len(there := [value for value in found if value is not None]) == len(found)
    }


def interval(
    values: Sequence[float], clusters: Sequence[str | None]
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a mean: Wilson's of right and wrong, else the bootstrap's.

    Args:
        values: One per item.
        clusters: What each shares with others; None: nothing. With any shared, clusters are
            resampled.

    Returns:
        (None, None) for a single item or cluster, and for scores that are all alike and not right
        or wrong: nothing can be said.

    Example:
        >>> low, high = interval([1.0] * 9 + [0.0], [None] * 10)
        >>> print(f"{low:.3f} {high:.3f}")
        0.596 0.982
    """
    labels = [f"item {n}" if one is None else f"cluster {one}" for n, one in enumerate(clusters)]
    alone = len(set(labels)) == len(labels)
    if values and alone and set(values) <= {0.0, 1.0}:
        found = wilson(int(sum(values)), len(values))
        return float(found.low), float(found.high)
    if len(set(labels)) < 2 or len(set(values)) < 2:
        return None, None
    of = cluster_sums(np.array(values), np.array(labels))
    means = bootstrap_means(of, RESAMPLES, np.random.default_rng(SEED))
    found = bootstrap_interval(means, of)
    return float(found.low), float(found.high)


def _figures(
    stakes: TypeStakes,
    items: Sequence[Item],
    rows: Sequence[ScoredAnswer],
    texts: Mapping[tuple[str, int], str | None],
    likelihoods: Mapping[str, Mapping[str, LikelihoodRow]],
) -> dict[str, float]:
    """Return means of the other scorers, and what scorers know of all answers together."""
    figures: dict[str, float] = {}
    others = {row.scorer for row in rows} - {stakes.scorer}
    for name in sorted(others):
        if means := _item_means(rows, name):
            figures[name] = sum(means.values()) / len(means)
    by_id = {item.id: item for item in items}
    said = [(texts[key], by_id[key[0]]) for key in texts if key[0] in by_id]
    pairs = [(text, item.reference) for text, item in said if text is not None]
    for name, scorer in answer_scorers(stakes).items():
        over_task: Any = getattr(scorer, "over_task", None)
        if over_task is None or not pairs:
            continue
        try:
            found = over_task([text for text, _ in pairs], [wanted for _, wanted in pairs])
        except EvaluationError:  # nothing to count over, which its own scores say one by one
            continue
        _add(figures, name, found)
    for name in names_of(stakes):
        if base_name(name) in LIKELIHOODS:
            of = make_likelihood(base_name(name), stakes.settings.get(name))
            whole = [
                item
                for item in items
                if lacking(of.options(item), likelihoods.get(item.id, {})) is None
            ]
            if whole:
                _add(figures, name, of.over_task(whole, [likelihoods[i.id] for i in whole]))
    return figures


def _add(figures: dict[str, float], scorer: str, found: Mapping[str, float]) -> None:
    for name, value in found.items():
        plain = f"corpus_{name}" if name == base_name(scorer) and name in SCORERS else name
        figures[f"{scorer}/{plain}" if plain in figures else plain] = value

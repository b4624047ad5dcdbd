"""How a suite's YAML says what a task type's score is: read strictly.

::

    support/intent:
      scorer: classification
      labels: [billing, delivery, other]
      critical: true
      weight: 2
      margin: 0.02
      max_new_tokens: 16
    math/word_problems:
      scorer: {numeric: {relative: 0.01}}
      also: [length, {rouge-1: {variant: "1"}}]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.likelihood.scorers import LIKELIHOODS, make_likelihood
from danlu.evaluation.rows import Stakes
from danlu.evaluation.schema import TypeStakes
from danlu.evaluation.scorers import SCORERS, make_scorer

JUDGE = "judge"
KEYS = ("scorer", "also", "labels", "weight", "critical", "margin", "range", "max_new_tokens")
WITH_LABELS = ("classification", "likelihood_choice")
"""Scorers that are told the closed labels of their task type."""
WITHOUT_RANGE = ("length", "loglikelihood", "perplexity")
"""Scorers whose values have no lowest and highest of their own."""


def base_name(scorer: str) -> str:
    """Return the scorer that a name means, without what tells two of them apart.

    Example:
        >>> base_name("rouge-1"), base_name("judge/helpful")
        ('rouge', 'judge')
    """
    return scorer.partition("/")[0].partition("-")[0]


def read_stakes(tree: Any, where: str) -> TypeStakes:
    """Read what a suite says of one task type; a bare name is a scorer with its defaults.

    Raises:
        EvaluationError: If a key or a scorer is unknown, or a value wrong.
    """
    if isinstance(tree, str):
        tree = {"scorer": tree}
    if not isinstance(tree, Mapping):
        raise EvaluationError(
            f"is {tree!r}; it must be a scorer's name, or say: {', '.join(KEYS)}.", where=where
        )
    for key in tree:
        if key not in KEYS:
            raise EvaluationError(
                f"{key!r} is not known.{did_you_mean(str(key), KEYS)}", where=where
            )
    if "scorer" not in tree:
        known = (*SCORERS, *LIKELIHOODS, JUDGE)
        raise EvaluationError(f"names no scorer. There are {', '.join(known)}.", where=where)
    scorer, own = _named(tree["scorer"], f"{where}.scorer")
    settings = {scorer: own} if own else {}
    also = _list(tree.get("also"), f"{where}.also")
    names: list[str] = []
    for given in also:
        name, own = _named(given, f"{where}.also")
        if name in (scorer, *names):
            raise EvaluationError(
                f"{name!r} stands there twice; tell them apart, as rouge-1 and rouge-2.",
                where=f"{where}.also",
            )
        names.append(name)
        if own:
            settings[name] = own
    for name in (scorer, *names):
        _check_known(name, where)
    _give_labels(tree, (scorer, *names), settings, where)
    for name in (scorer, *names):
        check_scorer(name, settings.get(name, {}), where)
    low, high = _range(tree, scorer, where)
    return _checked(tree, scorer, tuple(names), settings, low, high, where)


def check_scorer(name: str, settings: Mapping[str, Any], where: str) -> None:
    """Check that there is such a scorer, and that its settings are right.

    Raises:
        EvaluationError: If not.
    """
    _check_known(name, where)
    base = base_name(name)
    try:
        if base in SCORERS:
            make_scorer(base, settings)
        elif base in LIKELIHOODS:
            make_likelihood(base, settings)
    except EvaluationError as error:
        inner = (error.where or "").removeprefix(base).removeprefix(".")
        place = f"{where}: {name}.{inner}" if inner else f"{where}: {name}"
        raise EvaluationError(error.message, where=place) from error


def _check_known(name: str, where: str) -> None:
    base = base_name(name)
    known = (*SCORERS, *LIKELIHOODS, JUDGE)
    if base not in known:
        raise EvaluationError(
            f"no such scorer.{did_you_mean(base, known)}", where=f"{where}: {name}"
        )


def _named(given: Any, where: str) -> tuple[str, dict[str, Any]]:
    """Read ``name`` or ``{name: {setting: value}}``."""
    if isinstance(given, str):
        return given, {}
    if isinstance(given, Mapping) and len(given) == 1:
        [(name, settings)] = given.items()
        if isinstance(settings, Mapping):
            return str(name), dict(settings)
    raise EvaluationError(
        f"is {given!r}; it must be a scorer's name, or {{name: {{setting: value}}}}.", where=where
    )


def _list(given: Any, where: str) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise EvaluationError(f"is {given!r}; it must be a list.", where=where)
    return given


def _give_labels(
    tree: Mapping[str, Any], names: tuple[str, ...], settings: dict[str, Any], where: str
) -> None:
    """Tell the closed labels to the scorers that need them."""
    if "labels" not in tree:
        return
    labels = tree["labels"]
    if not isinstance(labels, list) or not all(isinstance(one, str) and one for one in labels):
        raise EvaluationError(
            f"is {labels!r}; it must be a list of texts. Quote what YAML reads as something else.",
            where=f"{where}.labels",
        )
    takers = [name for name in names if base_name(name) in WITH_LABELS]
    if not takers:
        raise EvaluationError(
            f"no scorer here reads labels; {' and '.join(WITH_LABELS)} do.", where=f"{where}.labels"
        )
    for name in takers:
        settings[name] = {"labels": labels, **settings.get(name, {})}


def _range(tree: Mapping[str, Any], scorer: str, where: str) -> tuple[float, float]:
    given = tree.get("range")
    if given is None:
        if base_name(scorer) in WITHOUT_RANGE:
            raise EvaluationError(
                f"the values of {scorer} have no lowest and highest of their own; say what they "
                "are for this task type, as in range: [-5, 0].",
                where=f"{where}.range",
            )
        # A judge's dimension is on the judge's own scale; its usability is 0 or 1.
        return (1.0, 10.0) if scorer.startswith(f"{JUDGE}/") else (0.0, 1.0)
    numbers = isinstance(given, list) and all(_is_number(one) for one in given)
    if not numbers or len(given) != 2:
        raise EvaluationError(
            f"is {given!r}; it must be the lowest and the highest score, as [0, 1].",
            where=f"{where}.range",
        )
    return float(given[0]), float(given[1])


def _checked(
    tree: Mapping[str, Any],
    scorer: str,
    also: tuple[str, ...],
    settings: dict[str, Any],
    low: float,
    high: float,
    where: str,
) -> TypeStakes:
    for key in ("weight", "margin"):
        if key in tree and not _is_number(tree[key]):
            raise EvaluationError(f"is {tree[key]!r}; it must be a number.", where=f"{where}.{key}")
    critical = tree.get("critical", False)
    if not isinstance(critical, bool):
        raise EvaluationError(
            f"is {critical!r}; it must be true or false.", where=f"{where}.critical"
        )
    limit = tree.get("max_new_tokens")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise EvaluationError(
            f"is {limit!r}; it must be a whole number of at least 1.",
            where=f"{where}.max_new_tokens",
        )
    weight, margin = float(tree.get("weight", 1.0)), float(tree.get("margin", 0.1))
    try:
        Stakes(weight, critical, margin, low, high)
    except EvaluationError as error:
        raise EvaluationError(error.message, where=f"{where}.{error.where}") from error
    return TypeStakes(
        scorer=scorer,
        also=also,
        settings=settings,
        weight=weight,
        critical=critical,
        margin=margin,
        low=low,
        high=high,
        max_new_tokens=limit,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""A record as trained tokens: coloured by weight, or by the loss under a run's model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request

from danlu.records import Record
from danlu.studio.index import Query
from danlu.studio.shared import shared
from danlu.studio.tokens import Shown, builtins, whose

COLOURS = ("weight", "loss")
STEPS = (0.1, 0.5, 1.0, 2.0, 4.0)
"""Nats where one colour of loss ends: probabilities of 0.90, 0.61, 0.37, 0.14 and 0.02."""
MOST_RUNS = 200
BUDGET_S = 0.05
"""How long changed runs may be read for the list of models, which is but a choice."""
HARDEST = 10


def tokens_of(request: Request, record: Record) -> dict[str, Any]:
    """Return what the part of a page reads that shows a record as tokens.

    The address says whose (``tokens``: a run or a built-in model) and how (``colour``).

    Raises:
        RunError: If there is no such run.
    """
    asked = request.query_params
    name = asked.get("tokens", "")
    colour = asked.get("colour", "") if asked.get("colour") in COLOURS else COLOURS[0]
    own, shown = shared(request), Shown()
    if name:
        shown = own.tokens.of(whose(own.workspace, name), record, losses=colour == "loss")
    branches = shown.found["branches"] if shown.found else ()
    return {
        "models": models_of(request),
        "whose": name,
        "colour": colour,
        "colours": COLOURS,
        "shown": shown,
        "classes": _classes(branches, colour),
        "hardest": [_hardest(one["pieces"]) for one in branches] if colour == "loss" else [],
        "steps": STEPS,
        "probability": lambda loss: percent(math.exp(-loss)),
        "percent": percent,
        "heaviest": _heaviest(branches),
    }


def models_of(request: Request) -> list[str]:
    """Return whose tokens can be shown: runs, the latest first, then built-in models."""
    found = shared(request).runs.find(Query(count=MOST_RUNS), BUDGET_S)
    return [*(row.name for row in found.rows if row.state != "broken"), *builtins()]


def percent(share: float) -> str:
    """Write a probability.

    Example:
        >>> percent(0.5), percent(0.0123), percent(1e-6)
        ('50.0 %', '1.23 %', '< 0.01 %')
    """
    value = 100 * share
    if value < 0.01:
        return "< 0.01 %"
    return f"{value:.1f} %" if value >= 9.995 else f"{value:.2f} %"


def _heaviest(branches: Sequence[Mapping[str, Any]]) -> float:
    return max((one["weight"] for of in branches for one in of["pieces"]), default=0.0)


def _classes(branches: Sequence[Mapping[str, Any]], colour: str) -> list[list[str]]:
    """Return the style of each piece of each branch."""
    heaviest = _heaviest(branches)
    found = []
    for branch in branches:
        if colour == "weight":
            own = [_by_weight(one["weight"], heaviest) for one in branch["pieces"]]
        else:
            own = [_by_loss(one) for one in branch["pieces"]]
        found.append(own)
    return found


def _by_weight(weight: float, heaviest: float) -> str:
    """Say how heavy a piece is, in quarters of the heaviest.

    Example:
        >>> [_by_weight(one, 0.5) for one in (0.0, 0.1, 0.5)]
        ['w0', 'w1', 'w4']
    """
    return f"w{math.ceil(4 * weight / heaviest)}" if weight and heaviest else "w0"


def _by_loss(piece: Mapping[str, Any]) -> str:
    """Say how hard a piece is; what is not trained is framed by its prompt.

    Example:
        >>> _by_loss({"loss": 0.7, "weight": 1.0}), _by_loss({"weight": 0.0})
        ('l2', 'l free')
    """
    if "loss" not in piece:
        return "l free"
    step = sum(piece["loss"] >= one for one in STEPS)
    return f"l{step}" if piece["weight"] else f"l{step} free"


def _hardest(pieces: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the trained pieces of the greatest losses, worst first."""
    trained = [one for one in pieces if one["weight"] and "loss" in one]
    return sorted(trained, key=lambda one: -one["loss"])[:HARDEST]

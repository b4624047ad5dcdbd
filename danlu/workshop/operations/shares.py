"""How often each group of records is taken so that a mix has what was asked for.

Pure arithmetic over amounts: the operation ``mix`` makes a version of it, and a training run may
draw anew from it in each epoch.

Shapes: R records, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from danlu.errors import DanluError, did_you_mean
from danlu.workshop.likeness.overlap import Int64
from danlu.workshop.operations.marks import UInt64

Target = int | float | str
"""``500`` is a count, ``0.25`` or ``"25%"`` a share of the mix, and ``"1:3"``, for two names such
as ``"open:domain"``, a ratio."""

Kind = Literal["count", "share", "ratio"]


@dataclass(frozen=True)
class Row:
    """A group of a mix.

    Attributes:
        name: Of the group.
        available: What there is of it, each record once.
        asked: What the targets come to; equal to ``available`` for a group that nothing was said
            of.
        times: How often its records are taken in the mean; below 1 some are left out.
        bound: Why it is less than asked; empty if it is not.
    """

    name: str
    available: float
    asked: float
    times: float
    bound: str = ""

    @property
    def planned(self) -> float:
        """What is taken of it, up to a record."""
        return self.times * self.available


@dataclass(frozen=True)
class Targets:
    """What a mix should be.

    Attributes:
        counts: So much of a group.
        shares: Such a part of the mix; groups that are not named fill the rest, in proportion.
        ratios: Groups that stand in a ratio to each other.
    """

    counts: Mapping[str, float]
    shares: Mapping[str, float]
    ratios: tuple[tuple[tuple[str, float], ...], ...]

    @classmethod
    def parse(cls, given: Mapping[str, Target]) -> Targets:
        """Read targets.

        Raises:
            DanluError: If one says nothing, or counts, shares and ratios are mixed.

        Example:
            >>> Targets.parse({"open:domain": "1:3"}).ratios
            ((('open', 1.0), ('domain', 3.0)),)
        """
        counts: dict[str, float] = {}
        shares: dict[str, float] = {}
        ratios: list[tuple[tuple[str, float], ...]] = []
        for name, target in given.items():
            if isinstance(target, str) and ":" in target:
                ratios.append(_ratio(name, target))
                continue
            number = _number(name, target)
            if isinstance(number, int):
                counts[name] = number
            else:
                shares[name] = number
        if sum(map(bool, (counts, shares, ratios))) > 1:
            raise DanluError(
                "counts, shares and ratios cannot be asked for in one mix: say all of them in one "
                "way, or mix twice."
            )
        named = [name for ratio in ratios for name, _ in ratio]
        if double := sorted({name for name in named if named.count(name) > 1}):
            raise DanluError(f"{double[0]!r} is in more than one ratio; one must do.")
        total = math.fsum(shares.values())
        if total > 1 + 1e-9:
            raise DanluError(f"the shares come to {total:g}; together they must be at most 1.")
        return cls(counts, shares, tuple(ratios))

    @property
    def names(self) -> list[str]:
        """Every group that is named."""
        return [*self.counts, *self.shares, *(name for ratio in self.ratios for name, _ in ratio)]


def plan(
    available: Mapping[str, float],
    targets: Targets,
    *,
    total: float | None = None,
    repeats: float = 1.0,
    cap: float | None = None,
) -> list[Row]:
    """Say how often the records of each group are taken.

    Without ``total``, shares and ratios are met with as much as ``repeats`` and ``cap`` allow of
    the scarcest group. With it, a group that has too little is taken as often as is allowed, and
    the mix is smaller than asked for.

    Args:
        available: The amount of each group, in records or any other unit.
        targets: What is asked for; in counts and ``total``, of the same unit.
        total: Size of the mix, if it is one of shares; of the groups in ratios together, if it is
            one of ratios.
        repeats: How often a record may be taken, in the mean of its group.
        cap: Largest amount of a group.

    Returns:
        A row for each group that there is, in its order.

    Raises:
        DanluError: If a group that is named is not there, a limit is out of range, or shares leave
            no room for the groups that are not named, or no group to fill it.

    Example:
        >>> rows = plan({"open": 50, "domain": 30}, Targets.parse({"open:domain": "1:3"}))
        >>> [(row.name, row.asked, row.times) for row in rows]
        [('open', 10.0, 0.2), ('domain', 30.0, 1.0)]
    """
    _check(available, targets, total, repeats, cap)
    most = {name: repeats * amount for name, amount in available.items()}
    if cap is not None:
        most = {name: min(amount, cap) for name, amount in most.items()}
    asked = {name: float(amount) for name, amount in available.items()} | dict(targets.counts)
    if targets.shares:
        asked |= _of_shares(available, targets.shares, most, total)
    for ratio in targets.ratios:
        parts = {name: part / math.fsum(part for _, part in ratio) for name, part in ratio}
        asked |= _scaled(parts, most, total if len(targets.ratios) == 1 else None)
    rows = []
    for name, amount in available.items():
        wanted = asked[name]
        taken = min(wanted, most[name])
        bound = ""
        if taken < wanted * (1 - 1e-9):
            capped = cap is not None and cap < repeats * amount
            bound = f"cap {cap:g}" if capped else f"repeats {repeats:g}"
        rows.append(Row(name, float(amount), wanted, taken / amount if amount else 0.0, bound))
    return rows


def take(
    times: NDArray[np.float64], group: Int64, amount: NDArray[np.float64], marks: UInt64
) -> Int64:
    """Say how often each record is taken.

    Each record of a group that is taken 2.3 times is taken twice, and a third time those with the
    lowest marks, until they come nearest to 0.3 of the group's amount.

    Args:
        times: ``(G,)``: how often the records of each group are taken in the mean.
        group: ``(R,)``: the group of each record.
        amount: ``(R,)``: how much each record counts; at least 0.
        marks: ``(R,)``: a draw, as ``marks`` makes it.

    Returns:
        ``(R,)``: how often.
    """
    whole = np.floor(times + 1e-9).astype(np.int64)
    counts = whole[group]
    for number, part in enumerate((times - whole).tolist()):
        if part <= 1e-9:
            continue
        own = np.flatnonzero(group == number)
        own = own[np.argsort(marks[own], kind="stable")]
        reached = np.concatenate([[0.0], np.cumsum(amount[own])])
        counts[own[: int(np.argmin(np.abs(reached - part * reached[-1])))]] += 1
    return counts


def _of_shares(
    available: Mapping[str, float],
    shares: Mapping[str, float],
    most: Mapping[str, float],
    total: float | None,
) -> dict[str, float]:
    """Return the amount of every group of a mix of shares."""
    rest = {name: amount for name, amount in available.items() if name not in shares and amount}
    left = 1 - math.fsum(shares.values())
    if rest and left <= 1e-9:
        raise DanluError(
            f"the shares leave nothing for {', '.join(rest)}. Ask for less of the others, or for "
            "0 of these."
        )
    if not rest and left > 1e-9:
        raise DanluError(
            f"the shares come to {1 - left:g}, and no other group is there to fill the rest; they "
            "must come to 1."
        )
    together = math.fsum(rest.values())
    parts = dict(shares) | {name: left * amount / together for name, amount in rest.items()}
    return _scaled(parts, most, total)


def _scaled(
    parts: Mapping[str, float], most: Mapping[str, float], total: float | None
) -> dict[str, float]:
    """Return the amounts in which groups have their parts; the largest allowed if not given."""
    if total is None:
        total = min((most[name] / part for name, part in parts.items() if part > 0), default=0.0)
    return {name: part * total for name, part in parts.items()}


def _check(
    available: Mapping[str, float],
    targets: Targets,
    total: float | None,
    repeats: float,
    cap: float | None,
) -> None:
    for name in targets.names:
        if name not in available:
            raise DanluError(f"nothing is of {name!r}.{did_you_mean(name, available)}")
    for what, limit in (("repeats", repeats), ("cap", cap), ("total", total)):
        if limit is not None and not limit > 0:
            raise DanluError(f"{what} is {limit:g}; it must be above 0.")
    if total is not None and not targets.shares and len(targets.ratios) != 1:
        raise DanluError("a total is for a mix of shares, or of one ratio.")


def _number(name: str, target: Target) -> int | float:
    """Return a count as an integer, a share as a float."""
    value: int | float
    try:
        if isinstance(target, bool):
            raise ValueError
        if not isinstance(target, str):
            value = target
        elif target.endswith("%"):
            value = float(target[:-1]) / 100
        else:
            value = int(target) if target.isdecimal() else float(target)
    except ValueError:
        value = math.nan
    fits = value >= 0 if isinstance(value, int) else 0 <= value <= 1
    if not fits:
        raise DanluError(
            f"the target is {target!r}; it must be a count such as 500, a share such as 0.25 or "
            '25%, or for names such as "a:b" a ratio such as 1:3.',
            where=name,
        )
    return value


def _ratio(name: str, target: str) -> tuple[tuple[str, float], ...]:
    names, texts = name.split(":"), target.split(":")
    try:
        parts = [float(text) for text in texts]
    except ValueError:
        parts = []
    if len(names) != len(parts) or not all(0 < part < math.inf for part in parts):
        raise DanluError(
            f"the ratio is {target!r}; it must have a number above 0 for each of "
            f"{', '.join(names)}.",
            where=name,
        )
    return tuple(zip(names, parts, strict=True))

"""Whose votes say something: voters who vote the other way round, or always the same.

A voter is held against all others who voted on the same answers. What is said of one is a test with
its doubt; of one with few votes nothing is said.

**Inverted.** Over the answers on which at least two others are not of two minds: own vote against
the others' majority, as a table of two by two. Fisher's exact test, one-sided, asks whether up goes
with down more than chance would have it; unlike the share of agreements it does not take a harsh
voter among kind ones for an inverted one. Beyond that the share of agreements must lie below one
half with its interval (Wilson 1927).

**Constant.** All votes alike. How likely would that be of a voter who votes as the others do? On
each answer with the others' share of such votes, drawn towards their share over all; where only one
person voted, with that alone.

P values are adjusted over all voters (Holm 1979), so that any false call at all has the chance
``level``. The worst one is taken out and the others looked at again, until nobody is called: whom
inverted voters made look odd is judged without them. Where most voters are inverted nobody can
tell, and the others will look so.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from danlu.evaluation.statistics import holm, wilson

State = Literal["fits", "inverted", "constant", "unclear", "too_few"]


class Ballot(NamedTuple):
    """One vote.

    Attributes:
        item: What was voted on: a prompt with its answer.
        voter: Who voted.
        up: Thumbs up or down.
    """

    item: str
    voter: str
    up: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a voter.

    Attributes:
        voter: Who.
        state: ``fits``, ``inverted``, ``constant``, ``unclear`` (odd, and not surely so) or
            ``too_few``.
        votes: How many there are.
        ups: How many of them are up.
        shared: Answers on which at least two others voted, and not evenly.
        agreed: On how many of those the voter was of the others' mind.
        low: Lower end of the interval of that share, at 95 %; None where nothing is shared.
        high: Upper end.
        p: Adjusted p value of what is told; None where nothing was tested.
        words: All of it in a sentence.
    """

    voter: str
    state: State
    votes: int
    ups: int
    shared: int
    agreed: int
    low: float | None
    high: float | None
    p: float | None
    words: str


class _Tests(NamedTuple):
    """What was measured of a voter, before it is held against that of the others."""

    votes: int
    ups: int
    table: tuple[int, int, int, int]
    inverted: float
    constant: float


def judge_voters(
    ballots: Iterable[Ballot], *, min_votes: int = 10, level: float = 0.05
) -> dict[str, Verdict]:
    """Judge all voters who are known by a name; the others' votes are held against nobody.

    Args:
        ballots: One for each voter and item.
        min_votes: With fewer (to compare, for inverted votes) nothing is said.
        level: Chance that any honest voter at all is called something.
    """
    left: dict[str, dict[str, bool]] = defaultdict(dict)
    for one in ballots:
        if one.voter:
            left[one.voter][one.item] = one.up
    found: dict[str, Verdict] = {}
    tested = len(left)
    while left:
        others = _Others(left)
        tests = {voter: _measure(own, others) for voter, own in left.items()}
        adjusted = _adjusted(tests, min_votes, tested)
        called = {
            voter: p
            for voter, p in adjusted.items()
            if p is not None and p < level and _is_odd(tests[voter])
        }
        if not called:
            break
        worst = min(called, key=lambda voter: (called[voter], -tests[voter].votes, voter))
        found[worst] = _verdict(worst, tests[worst], called[worst], min_votes, level)
        del left[worst]
    for voter in left:
        found[voter] = _verdict(voter, tests[voter], adjusted[voter], min_votes, level)
    return dict(sorted(found.items()))


def fisher_lower(a: int, b: int, c: int, d: int) -> float:
    """Return Fisher's one-sided p value of a table: that its first cell is as low, or lower.

    Given the sums of rows and columns the cell is hypergeometric (Fisher 1922).

    Args:
        a: Up and up.
        b: Up and down.
        c: Down and up.
        d: Down and down.

    Example:
        >>> round(fisher_lower(0, 5, 5, 0), 6)  # one table of 10! / (5! 5!)
        0.003968
        >>> fisher_lower(3, 0, 2, 0)
        1.0
    """
    row, column, whole = a + b, a + c, a + b + c + d
    least = max(0, row + column - whole)
    total = math.comb(whole, row)
    ways = sum(
        math.comb(column, k) * math.comb(whole - column, row - k) for k in range(least, a + 1)
    )
    return min(1.0, ways / total)


class _Others:
    """All votes, counted by item and over all."""

    def __init__(self, votes: Mapping[str, Mapping[str, bool]]) -> None:
        self.ups: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        for own in votes.values():
            for item, up in own.items():
                self.counts[item] += 1
                self.ups[item] += up
        self.all_ups, self.all_counts = self.ups.total(), self.counts.total()


def _measure(own: Mapping[str, bool], others: _Others) -> _Tests:
    """Hold a voter against all others."""
    own_ups = sum(own.values())
    total = others.all_counts - len(own)
    usual = (others.all_ups - own_ups + 1) / (total + 2)
    cells = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    likely = 0.0
    for item, up in own.items():
        count, ups = others.counts[item] - 1, others.ups[item] - up
        if count >= 2 and 2 * ups != count:
            cells[up, 2 * ups > count] += 1
        share = (ups + usual) / (count + 1)
        likely += math.log(share if up else 1 - share)
    table = (cells[True, True], cells[True, False], cells[False, True], cells[False, False])
    is_constant = own_ups in (0, len(own))
    # Without any other vote nothing says what would be usual.
    constant = math.exp(likely) if is_constant and total else 1.0
    return _Tests(len(own), own_ups, table, fisher_lower(*table), constant)


def _adjusted(tests: Mapping[str, _Tests], min_votes: int, tested: int) -> dict[str, float | None]:
    """Return each voter's p value, adjusted over all voters; None where nothing is tested.

    The voters taken out before count as tested.
    """
    chosen = {voter: _p(one, min_votes) for voter, one in tests.items()}
    names = [voter for voter, p in chosen.items() if p is not None]
    values = [p for p in chosen.values() if p is not None]
    if not values:
        return dict(chosen)
    taken_out = [0.0] * (tested - len(tests))
    found = holm([*values, *taken_out]).tolist()[: len(values)]
    return {**chosen, **dict(zip(names, found, strict=True))}


def _p(one: _Tests, min_votes: int) -> float | None:
    """Return the p value of what a voter may be: constant, or else inverted."""
    if one.ups in (0, one.votes):
        return one.constant if one.votes >= min_votes else None
    return one.inverted if sum(one.table) >= min_votes else None


def _is_odd(one: _Tests) -> bool:
    """Whether a voter is constant, or agrees with the others in surely less than half."""
    return one.ups in (0, one.votes) or _interval(one)[1] < 0.5


def _interval(one: _Tests) -> tuple[float, float]:
    low, high = wilson(one.table[0] + one.table[3], sum(one.table))
    return float(low), float(high)


def _verdict(voter: str, one: _Tests, p: float | None, min_votes: int, level: float) -> Verdict:
    shared, agreed = sum(one.table), one.table[0] + one.table[3]
    low, high = _interval(one) if shared else (None, None)
    is_constant = one.ups in (0, one.votes)
    always = "up" if one.ups else "down"
    state: State
    if p is None:
        state = "too_few"
        words = (
            f"{one.votes} votes, {shared} on answers that two others voted on: too few to tell "
            f"(at least {min_votes})"
        )
    elif is_constant:
        state = "constant" if p < level else "unclear"
        words = f"all {one.votes} votes are {always}; a voter like the others does so {_chance(p)}"
    else:
        share = f"agrees with the others on {agreed} of {shared}"
        share += f" ({_percent(low)} to {_percent(high)})"
        surely = p < level and high is not None and high < 0.5
        state = "inverted" if surely else "fits"
        if state == "fits" and agreed * 2 < shared:
            state = "unclear"
        words = f"{share}; up goes with their down {_chance(p)}" if agreed * 2 < shared else share
    return Verdict(
        voter,
        state,
        one.votes,
        one.ups,
        shared,
        agreed,
        _round(low),
        _round(high),
        _round(p),
        words,
    )


def _chance(p: float) -> str:
    """Say how likely something is by chance, all voters considered."""
    return f"by chance in {'less than 0.1%' if p < 0.001 else f'{p:.1%}'} of cases"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def trusted(
    ballots: Iterable[Ballot],
    verdicts: Mapping[str, Verdict],
    *,
    inverted: Literal["ignore", "flip", "keep"] = "ignore",
    constant: Literal["ignore", "keep"] = "ignore",
) -> list[Ballot]:
    """Return the votes that count; those of inverted voters turned round, if that is wished.

    Example:
        >>> trusted([Ballot("a", "x", True)], {})
        [Ballot(item='a', voter='x', up=True)]
    """
    found: list[Ballot] = []
    for one in ballots:
        verdict = verdicts.get(one.voter)
        state = verdict.state if verdict else "fits"
        if state == "inverted" and inverted != "keep":
            if inverted == "flip":
                found.append(one._replace(up=not one.up))
        elif state != "constant" or constant == "keep":
            found.append(one)
    return found


def by_state(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Count voters by what is said of them."""
    states: tuple[State, ...] = ("inverted", "constant", "unclear", "fits", "too_few")
    counts: dict[str, int] = dict.fromkeys(states, 0)
    for one in verdicts:
        counts[one.state] += 1
    return counts

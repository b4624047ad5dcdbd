"""Which words of a case the wrong answer clings to.

Two questions are asked, for neither answers the other. Which words does it take (put others in
their place, one by one: does the wrong answer still come)? And which words alone bring it, with
others in the place of all the rest? The second is delta debugging (Zeller and Hildebrandt 2002,
"Simplifying and Isolating Failure-Inducing Input") over words instead of lines; the order in which
words are tried is that of a regression of the wrong answer's log-probability on the words that are
there (as LIME does: Ribeiro et al. 2016, arXiv:1602.04938).

Shapes: V variants, W words of the case.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from danlu.diagnosis.pattern.stock import Stock
from danlu.diagnosis.pattern.templates import denied, translated, turned
from danlu.diagnosis.pattern.variants import (
    Case,
    Variant,
    several_changes,
    single_changes,
    unrelated,
)

HOLDS = 0.5
"""Share of the variants in which the wrong answer must come for words to be said to bring it."""
MOST_ITEMS = 14
"""Words that are tried one by one; a longer question is tried in parts first."""
MOST_SINGLE = 120
"""Variants with one word replaced, of all words together."""
REPLACED = ("entity", "relation", "wording")
TRACKED = ("case", *REPLACED, "drop", "mixed")
"""Kinds of variants that are made of the words of the case."""
FLOOR = -20.0
"""Log-probabilities below this are all the same: it does not come."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model made of a variant.

    Attributes:
        variant: What was asked.
        answer: The greedy answer.
        shows: Whether that has the wrong answer in it.
        logprob: What the model gives the wrong answer, in nats; None if unknown.
    """

    variant: Variant
    answer: str
    shows: bool
    logprob: float | None

    @property
    def probability(self) -> float:
        """Of the wrong answer; 0 if unknown."""
        return 0.0 if self.logprob is None else math.exp(self.logprob)


class Interview(Protocol):
    """Asks a model about variants of one case."""

    def __call__(self, variants: Sequence[Variant]) -> list[Outcome]:
        """Return an outcome for each that could be asked."""
        ...


@dataclass(frozen=True)
class Pattern:
    """What the wrong answer clings to.

    Attributes:
        alternatives: Places of the words that alone bring it; several where one of several will do.
        needed: Places of words without which it does not come.
        held: Of each alternative, the share of variants in which it came with those words alone.
        pull: ``(W,)``: nats by which each word raises the wrong answer's log-probability.
        anything: Whether it comes to any question.
    """

    alternatives: tuple[tuple[int, ...], ...]
    needed: tuple[int, ...]
    held: tuple[float, ...]
    pull: tuple[float, ...]
    anything: bool = False


@dataclass
class Varying:
    """The search: asks, remembers, decides.

    Attributes:
        case: The case.
        stock: Of other words.
        ask: The model.
        draws: Variants for each set of words that is tried.
        seed: Draws them.
        outcomes: Of all that was asked.
    """

    case: Case
    stock: Stock
    ask: Interview
    draws: int = 6
    seed: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def survey(self, more: Sequence[Variant] = ()) -> list[Outcome]:
        """Vary the case in every way once; the case itself comes first."""
        case, draw = self.case, self._draw
        variants = [
            case.with_words("case", {}),
            *single_changes(case, self.stock, self._each(), draw),
            *several_changes(case, self.stock, 4 * min(len(case.words), 12), draw),
            *denied(case),
            *turned(case),
            *translated(case, 3, draw),
            *unrelated(case, self.stock, 2 * self.draws, draw),
            *more,
        ]
        return self._asked(variants)

    def _each(self) -> int:
        """Return how often each word is replaced by itself: less often in a long question."""
        return max(1, min(self.draws, MOST_SINGLE // max(1, len(self.case.words))))

    def pattern(self) -> Pattern:
        """Find what the wrong answer clings to; ``survey`` comes first."""
        pull = word_pulls(self.outcomes, len(self.case.words))
        needed = self._needed()
        if not self.case.words:
            return Pattern((), needed, (), (), anything=False)
        alternatives: list[tuple[int, ...]] = []
        held: list[float] = []
        gone: set[int] = set()
        while len(alternatives) < 3:
            found, share = self._fewest(pull, gone)
            if found is None:
                break
            if not found:
                return Pattern((), needed, (share,), tuple(pull.tolist()), anything=True)
            alternatives.append(found)
            held.append(share)
            gone |= set(found)
            if set(needed) & gone or not self._holds_without(gone):
                break
        return Pattern(tuple(alternatives), needed, tuple(held), tuple(pull.tolist()))

    # Inner -------------------------------------------------------------------------------

    def _asked(self, variants: Iterable[Variant]) -> list[Outcome]:
        """Ask; equal prompts once."""
        unique = {variant.prompt: variant for variant in reversed(list(variants))}
        found = self.ask(list(reversed(unique.values())))
        self.outcomes += found
        return found

    def _needed(self) -> tuple[int, ...]:
        """Return the words with others in whose place it comes in less than half the variants."""
        found = []
        for place in range(len(self.case.words)):
            shown = [
                one.shows
                for one in self.outcomes
                if one.variant.kind in REPLACED and _only_change(one.variant) == place
            ]
            if shown and mean(shown) < HOLDS:
                found.append(place)
        return tuple(found)

    def _kept_alone(self, sets: Sequence[tuple[int, ...]]) -> list[float]:
        """Return for each set of words the share in which it comes with those words alone."""
        size = len(self.case.words)
        batches = []
        for keep in sets:
            others = [place for place in range(size) if place not in keep]
            batches.append(
                [self.case.replaced(others, self.stock, self._draw) for _ in range(self.draws)]
                if others
                else [self.case.with_words("case", {})]
            )
        asked = self.ask([variant for batch in batches for variant in batch])
        self.outcomes += [one for one in asked if one.variant.kind != "case"]
        by_prompt = {one.variant.prompt: one.shows for one in asked}
        shares = []
        for batch in batches:
            shown = [by_prompt[v.prompt] for v in batch if v.prompt in by_prompt]
            shares.append(mean(shown) if shown else 0.0)
        return shares

    def _holds_without(self, gone: set[int]) -> bool:
        rest = tuple(place for place in range(len(self.case.words)) if place not in gone)
        return self._kept_alone([rest])[0] >= HOLDS

    def _fewest(
        self, pull: NDArray[np.float64], gone: set[int]
    ) -> tuple[tuple[int, ...] | None, float]:
        """Return the fewest words, none of those gone, that bring the wrong answer alone.

        Returns:
            The places, and the share in which it came; None if no words less than all bring it.
        """
        rest = [place for place in range(len(self.case.words)) if place not in gone]
        best: tuple[tuple[int, ...] | None, float] = (None, 0.0)
        while True:
            found, share = self._nested(_parts(rest, MOST_ITEMS), pull)
            if found is None:
                return best
            best = _places(found), share
            if len(best[0] or ()) in (len(found), len(rest)):
                return best
            rest = list(best[0] or ())

    def _nested(
        self, items: list[tuple[int, ...]], pull: NDArray[np.float64]
    ) -> tuple[list[tuple[int, ...]] | None, float]:
        """Try the strongest item, the two strongest, and so on; then whether one can go again."""
        order = sorted(items, key=lambda item: -float(pull[list(item)].sum()))
        for start in range(0, len(order) + 1, 4):
            sizes = range(start, min(start + 4, len(order) + 1))
            shares = self._kept_alone([_places(order[:size]) for size in sizes])
            enough = [k for k, share in zip(sizes, shares, strict=True) if share >= HOLDS]
            if enough:
                return self._without_spare(order[: enough[0]], shares[enough[0] - start])
        return None, 0.0

    def _without_spare(
        self, items: list[tuple[int, ...]], share: float
    ) -> tuple[list[tuple[int, ...]], float]:
        """Leave out, one after another, what the others do not need."""
        while len(items) > 1:
            fewer = [items[:k] + items[k + 1 :] for k in range(len(items))]
            shares = self._kept_alone([_places(one) for one in fewer])
            best = int(np.argmax(shares))
            if shares[best] < HOLDS:
                break
            items, share = fewer[best], shares[best]
        return items, share


def word_pulls(outcomes: Sequence[Outcome], words: int) -> NDArray[np.float64]:
    """Say by how much each word's being there raises the wrong answer's log-probability.

    Ridge regression of the log-probability, not below ``FLOOR``, on which words are there.

    Args:
        outcomes: Those whose variants keep track of the words.
        words: How many the case has.

    Returns:
        ``(W,)`` nats.
    """
    rows = [one for one in outcomes if one.variant.kind in TRACKED and one.logprob is not None]
    if not rows or not words:
        return np.zeros(words)
    kept_VW = np.array([one.variant.kept for one in rows], np.float64)
    logprob_V = np.array([max(FLOOR, one.logprob or 0.0) for one in rows])
    kept_VW -= kept_VW.mean(0)
    gram_WW = kept_VW.T @ kept_VW + 0.5 * np.eye(words)
    pulls: NDArray[np.float64] = np.linalg.solve(
        gram_WW, kept_VW.T @ (logprob_V - logprob_V.mean())
    )
    return pulls


def share_by_kind(outcomes: Sequence[Outcome]) -> dict[str, tuple[int, int]]:
    """Count per kind of variant how often the wrong answer came, and of how many."""
    counts: dict[str, tuple[int, int]] = {}
    for one in outcomes:
        came, of = counts.get(one.variant.kind, (0, 0))
        counts[one.variant.kind] = (came + one.shows, of + 1)
    return counts


def _only_change(variant: Variant) -> int | None:
    """Return the place of the one word that differs from the case; None if it is not one."""
    if len(variant.changed) != 1 or not variant.kept or sum(variant.kept) != len(variant.kept) - 1:
        return None
    return variant.kept.index(False)


def _places(items: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted(place for item in items for place in item))


def _parts(places: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Cut places into at most so many parts of neighbours, as even as can be."""
    if not places:
        return []
    parts = np.array_split(np.asarray(places), min(len(places), most))
    return [tuple(part.tolist()) for part in parts]

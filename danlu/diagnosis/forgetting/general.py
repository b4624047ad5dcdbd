"""The general suite and plain text, before and after, per ability."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from danlu.diagnosis.asking import Ask, Asked, Pair, greedy
from danlu.diagnosis.shares import Estimate, mean
from danlu.errors import EvaluationError
from danlu.evaluation.asking.model import message_of
from danlu.evaluation.schema import Item, TypeStakes
from danlu.evaluation.scorers import SCORERS, make_scorer
from danlu.evaluation.statistics import paired_difference
from danlu.evaluation.suites.stakes import base_name
from danlu.evaluation.suites.suite import Suite

LONGEST = 160
PASS = 0.999


@dataclass(frozen=True)
class Asking:
    """One item of a suite, asked before and after.

    Attributes:
        item: What was asked.
        after: The tuned model's answer; None if it was not asked.
        before: That of the model before training.
        right_after: Whether the former is right.
        right_before: Whether the latter is.
    """

    item: Item
    after: str | None = None
    before: str | None = None
    right_after: bool = False
    right_before: bool = False


@dataclass(frozen=True)
class Ability:
    """One ability before and after.

    Attributes:
        name: The area of its task types.
        before: Right before, of those asked both times.
        after: Right after.
        asked: Of how many.
        change: After less before, with Tango's interval for the same prompts asked twice.
        lost: Those right before and wrong after.
    """

    name: str
    before: int
    after: int
    asked: int
    change: Estimate
    lost: tuple[Asking, ...]


def ask_suite(suite: Suite, tuned: Asked, base: Asked, limit: int | None = None) -> list[Asking]:
    """Ask both models the items of a suite that stand alone and are scored by their answers.

    Args:
        suite: The general one, say.
        tuned: After training.
        base: Before it.
        limit: At most so many items of each task type, the first ones.
    """
    groups = suite_items(suite, limit)
    found: dict[str, Asking] = {}
    for model, after in ((tuned, True), (base, False)):
        for longest, items in groups.items():
            replies = model.answer([ask_of(item) for item in items], greedy(longest))
            for item, reply in zip(items, replies, strict=True):
                if reply is None:
                    continue
                right = is_right(reply.text, item, suite.task_types[item.task_type])
                old = found.get(item.id, Asking(item))
                found[item.id] = (
                    replace(old, after=reply.text, right_after=right)
                    if after
                    else replace(old, before=reply.text, right_before=right)
                )
    order = [item for items in groups.values() for item in items]
    return [found[item.id] for item in order if item.id in found]


def suite_items(suite: Suite, limit: int | None = None) -> dict[int, list[Item]]:
    """Return the items that can be asked, by the length that their answers may have."""
    counts: dict[str, int] = defaultdict(int)
    groups: dict[int, list[Item]] = defaultdict(list)
    for item in suite.items:
        stakes = suite.task_types[item.task_type]
        if base_name(stakes.scorer) not in SCORERS or item.follows:
            continue
        counts[item.task_type] += 1
        if limit is None or counts[item.task_type] <= limit:
            groups[stakes.max_new_tokens or LONGEST].append(item)
    return dict(groups)


def ask_of(item: Item) -> Ask:
    """Return what an item asks."""
    return Ask(tuple(message_of(row) for row in item.messages))


def is_right(answer: str, item: Item, stakes: TypeStakes) -> bool:
    """Score an answer as the suite says; what cannot be read is not right."""
    scorer = make_scorer(base_name(stakes.scorer), stakes.settings.get(stakes.scorer))
    try:
        score = scorer.score(answer, item.reference)
    except EvaluationError:
        return False
    return score.value is not None and score.value >= PASS


def abilities(
    askings: Sequence[Asking],
    confidence: float = 0.95,
    of: Callable[[Asking], str] = lambda one: one.item.task_type.partition("/")[0],
) -> list[Ability]:
    """Count per ability, and in all under the name ``all``."""
    both = [one for one in askings if one.after is not None and one.before is not None]
    groups: dict[str, list[Asking]] = defaultdict(list)
    for one in both:
        groups[of(one)].append(one)
    if len(groups) > 1:
        groups["all"] = both
    return [_ability(name, own, confidence) for name, own in groups.items()]


def _ability(name: str, askings: Sequence[Asking], confidence: float) -> Ability:
    wins = sum(one.right_after and not one.right_before for one in askings)
    lost = tuple(one for one in askings if one.right_before and not one.right_after)
    n = len(askings)
    low, high = paired_difference(wins, len(lost), n, confidence=confidence)
    change = Estimate((wins - len(lost)) / n, float(low), float(high), n)
    before = sum(one.right_before for one in askings)
    return Ability(name, before, before + wins - len(lost), n, change, lost)


@dataclass(frozen=True)
class Text:
    """Plain text before and after, in bits per byte.

    Attributes:
        before: Mean over documents.
        after: Likewise.
        rise: After less before, with its bootstrapped interval over documents.
    """

    before: float
    after: float
    rise: Estimate


def read_text(documents: Sequence[str], tuned: Asked, base: Asked) -> Text | None:
    """Let both models predict documents; None where fewer than two could be scored."""
    pairs = [Pair(Ask.text(document), "") for document in documents]
    sides = [model.likelihoods(pairs) for model in (tuned, base)]
    bits = [
        tuple(-one.logprob / math.log(2) / len(document.encode()) for one in both if one)
        for document, *both in zip(documents, *sides, strict=True)
    ]
    whole = [pair for pair in bits if len(pair) == 2]
    if len(whole) < 2:
        return None
    after, before = (sum(pair[k] for pair in whole) / len(whole) for k in (0, 1))
    return Text(before, after, mean([pair[0] - pair[1] for pair in whole]))

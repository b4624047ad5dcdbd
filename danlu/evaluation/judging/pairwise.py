"""Answers two by two: each pair judged in both orders, and what that says of the judge.

Judges prefer what stands first (Zheng et al. 2023, arXiv:2306.05685). So each pair is asked with
either answer first, and only what the judge says both times counts: a disagreement is a tie.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import Literal

import numpy as np

from danlu.evaluation.contests import Contest, answer_text, conversation_text
from danlu.evaluation.judging.asking import (
    Judge,
    Question,
    ask_until_read,
    item_language,
    reference_text,
)
from danlu.evaluation.judging.fence import fence
from danlu.evaluation.judging.plan import Plan
from danlu.evaluation.judging.reading import Choice, read_verdict
from danlu.evaluation.judging.scoring import LEAST_READ, check_repeats
from danlu.evaluation.schema import Failure, Item
from danlu.evaluation.statistics.calibration import Estimate
from danlu.evaluation.statistics.preference import (
    LengthControlled,
    length_controlled,
    win_rate,
)
from danlu.evaluation.statistics.proportions import wilson
from danlu.records.record import Message

Winner = Literal["a", "b", "tie"]
_WIN: dict[Winner, float] = {"a": 0.0, "tie": 0.5, "b": 1.0}


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge made of one pair.

    Attributes:
        item: Id of the item.
        task_type: Its task type.
        sample: Index of the answers.
        win: 1 if B is better, 0 if A, 0.5 for a tie; None if missing.
        said: Per repeat, who was better with A first and with B first; None where it could not be
            read. Empty for equal answers, which are not asked about.
        why: An explanation.
        longer: Natural logarithm of the ratio of the lengths, B to A, in characters.
        cluster: The item's.
        failure: Why it is missing.
    """

    item: str
    task_type: str
    sample: int
    win: float | None
    said: tuple[tuple[Winner | None, Winner | None], ...] = ()
    why: str = ""
    longer: float = 0.0
    cluster: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A count of how many, with Wilson's interval.

    Attributes:
        count: So many.
        of: Of so many.
        low: Lower end of the interval of the share.
        high: Upper end.
    """

    count: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Return the share itself."""
        return self.count / self.of


@dataclass(frozen=True, slots=True)
class Bias:
    """What a judge's verdicts say of the judge.

    Attributes:
        disagreed: Pairs of replies, one in each order, that name different winners; all of them
            have been made ties.
        first: Replies that name a winner and name the one that stood first; without bias, half.
        longer: Pairs won by the longer answer, of those with a winner and two lengths.
        wavered: Mean variance of a pair's result over the repeats; None with one repeat.
    """

    disagreed: Share | None
    first: Share | None
    longer: Share | None
    wavered: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often B was better, over some pairs.

    Attributes:
        pairs: Compared.
        wins: Of B.
        ties: Neither.
        losses: Of B.
        equal: Pairs of equal answers, among the ties.
        missing: Prompts without a verdict on any of their samples, not among ``pairs``.
        rate: Share of wins, a tie half a win.
        controlled: The same were both equally long; None with fewer than two pairs.
    """

    pairs: int
    wins: int
    ties: int
    losses: int
    equal: int
    missing: int
    rate: Estimate | None
    controlled: LengthControlled | None


def judge_pairs(judge: Judge, plan: Plan, pairs: Sequence[Contest]) -> list[Judged]:
    """Judge each pair in both orders, as often as the judge repeats.

    Args:
        judge: Who judges.
        plan: Which dimensions are named as what counts.
        pairs: Equal answers are a tie without being asked about.

    Returns:
        One each, in order.
    """
    check_repeats(judge)
    asked: dict[int, list[tuple[Question[Choice], Question[Choice]]]] = defaultdict(list)
    for place, pair in enumerate(pairs):
        if pair.a.text is None or pair.b.text is None:
            continue
        a, b = answer_text(pair.a), answer_text(pair.b)
        if a == b:
            continue
        language = item_language(pair.item)
        forward = _messages(judge, plan, pair.item, a, b)
        backward = _messages(judge, plan, pair.item, b, a)
        for repeat in range(judge.repeats):
            one: Question[Choice] = Question(forward, language, repeat, pair.item.id)
            two: Question[Choice] = Question(backward, language, repeat, pair.item.id)
            asked[place].append((one, two))
    questions = [one for of_pair in asked.values() for both in of_pair for one in both]
    ask_until_read(judge, questions, read_verdict, "reask_pair")
    return [_judged(pair, asked.get(place, [])) for place, pair in enumerate(pairs)]


def outcome(judged: Sequence[Judged]) -> Outcome:
    """Sum up some pairs; the samples of an item count together as one pair."""
    there = [one for one in judged if one.win is not None]
    by_item: dict[str, list[Judged]] = defaultdict(list)
    for one in there:
        by_item[one.item].append(one)
    wins = np.array([_whole(fmean(_win(one) for one in of)) for of in by_item.values()])
    longer = [fmean(one.longer for one in of) for of in by_item.values()]
    clusters = np.array([_cluster(of[0]) for of in by_item.values()])
    return Outcome(
        pairs=len(wins),
        wins=int((wins == 1).sum()),
        ties=int((wins == 0.5).sum()),
        losses=int((wins == 0).sum()),
        equal=sum(not any(one.said for one in of) for of in by_item.values()),
        missing=len({one.item for one in judged}) - len(by_item),
        rate=win_rate(wins, clusters) if len(wins) else None,
        controlled=length_controlled(wins, longer, clusters=clusters) if len(wins) > 1 else None,
    )


def bias(judged: Sequence[Judged]) -> Bias:
    """Measure how much the judge depends on order, length and chance."""
    both = [one for pair in judged for one in pair.said if None not in one]
    named = [
        winner == place
        for pair in judged
        for said in pair.said
        for winner, place in zip(said, ("a", "b"), strict=True)
        if winner not in (None, "tie")
    ]
    decided = [one for one in judged if one.win in (0.0, 1.0) and one.longer]
    repeated = [_results(one.said) for one in judged if len(one.said) > 1]
    spread = [pvariance(results) for results in repeated if len(results) > 1]
    return Bias(
        disagreed=_share(sum(one != two for one, two in both), len(both)),
        first=_share(sum(named), len(named)),
        longer=_share(sum((one.win == 1.0) == (one.longer > 0) for one in decided), len(decided)),
        wavered=fmean(spread) if spread else None,
    )


def _messages(judge: Judge, plan: Plan, item: Item, first: str, second: str) -> tuple[Message, ...]:
    language = item_language(item)
    reference = "" if judge.without_reference else reference_text(item)
    texts = {"conversation": conversation_text(item.messages), "first": first, "second": second}
    fenced = fence(texts | ({"reference": reference} if reference else {}))
    criteria = [(name, one.question(language)) for name, one in plan.of_item(item).items()]
    return judge.prompts.render(
        "pair",
        language,
        mark=fenced.mark,
        conversation=fenced.texts["conversation"],
        reference=fenced.texts.get("reference", ""),
        first=fenced.texts["first"],
        second=fenced.texts["second"],
        criteria=criteria,
    )


def _judged(pair: Contest, asked: Sequence[tuple[Question[Choice], Question[Choice]]]) -> Judged:
    item, a, b = pair
    about = (item.id, item.task_type, a.sample)
    if a.text is None or b.text is None:
        failure = a.failure or b.failure or Failure(kind="endpoint", message="there is no answer")
        return Judged(*about, None, cluster=item.cluster, failure=failure)
    longer = math.log((1 + len(b.text)) / (1 + len(a.text)))
    if not asked:
        return Judged(*about, 0.5, why="the answers are equal", cluster=item.cluster)
    said = tuple((_winner(one, "a", "b"), _winner(two, "b", "a")) for one, two in asked)
    results = _results(said)
    if len(results) < LEAST_READ * len(said) or not results:
        failure = next(q.failure for both in asked for q in both if q.failure)
        return Judged(*about, None, said, "", longer, item.cluster, failure)
    win = _whole(fmean(results))
    return Judged(*about, win, said, _told(asked, said, win), longer, item.cluster)


def _told(
    asked: Sequence[tuple[Question[Choice], Question[Choice]]],
    said: Sequence[tuple[Winner | None, Winner | None]],
    win: float,
) -> str:
    """Return the explanation of a reply that came to the same result, else of the first."""
    replies = [
        (winner is not None and _WIN[winner] == win, question.read.why)
        for both, winners in zip(asked, said, strict=True)
        for question, winner in zip(both, winners, strict=True)
        if question.read
    ]
    return max(replies, key=lambda reply: reply[0])[1] if replies else ""


def _winner(question: Question[Choice], first: Winner, second: Winner) -> Winner | None:
    if question.read is None:
        return None
    choices: dict[Choice, Winner] = {"first": first, "second": second, "tie": "tie"}
    return choices[question.read.value]


def _results(said: Sequence[tuple[Winner | None, Winner | None]]) -> list[float]:
    """Return one result per repeat that was read in both orders: a disagreement is a tie."""
    return [
        _WIN[one] if one == two else 0.5 for one, two in said if one is not None and two is not None
    ]


def _whole(mean: float) -> float:
    """Return a win, a loss or a tie from the mean of several."""
    return 0.5 if math.isclose(mean, 0.5) else float(mean > 0.5)


def _win(one: Judged) -> float:
    assert one.win is not None
    return one.win


def _cluster(one: Judged) -> str:
    return f"cluster {one.cluster}" if one.cluster is not None else f"item {one.item}"


def _share(count: int, of: int) -> Share | None:
    if not of:
        return None
    low, high = wilson(count, of)
    return Share(count, of, float(low), float(high))

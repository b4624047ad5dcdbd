"""Answers to compare: from a record's responses to branches that know how good they are.

All answers of a record follow the same prompt, rendered and tokenised as for a single answer, so
they share it in the forest. What is said of an answer is its rank (1 is the best), its score and
its thumb. A rank that is not given follows from scores, or else from thumbs; a thumb that is not
given follows from a rank: up for the best, down for all others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from danlu.config.recipe import SequencesSection
from danlu.records.record import Message, Record, Response
from danlu.sequences.branch import DOWN, NO_LABEL, NO_RANK, UP, Verdict
from danlu.sequences.branches import NOTHING_TO_LEARN, TurnText, record_turns
from danlu.sequences.prepared import Drop
from danlu.sequences.template import ChatTemplate

Answers = Literal["compared", "judged"]
"""What an objective asks of a record: answers of different rank, or a thumb for each answer."""

NOTHING_TO_COMPARE = "nothing to compare"
NO_VERDICT = "no verdict"
SCORES_TOO_NEAR = "scores too near"


def verdicts(responses: Sequence[Response]) -> list[Verdict]:
    """Return what is said of each answer, with the ranks and thumbs that follow from it.

    Example:
        >>> [one.rank for one in verdicts([Response("a", score=0.5), Response("b", score=2.0)])]
        [2, 1]
        >>> [one.label for one in verdicts([Response("a", rank=1), Response("b", rank=4)])]
        [1, -1]
    """
    ranks = [response.rank for response in responses]
    scores = [response.score for response in responses]
    labels = [response.label for response in responses]
    if any(rank is None for rank in ranks):
        merits: list[float] = []
        if all(score is not None for score in scores):
            merits = [score for score in scores if score is not None]
        elif all(label is not None for label in labels):
            merits = [float(label) for label in labels if label is not None]
        better = sorted(set(merits), reverse=True)
        ranks = [better.index(merit) + 1 for merit in merits] or [None] * len(responses)
    best = min((rank for rank in ranks if rank is not None), default=NO_RANK)
    tells = len(set(ranks)) > 1
    return [
        Verdict(
            rank=NO_RANK if rank is None else rank,
            score=math.nan if response.score is None else response.score,
            label=_label(response.label, rank == best if tells and rank is not None else None),
        )
        for rank, response in zip(ranks, responses, strict=True)
    ]


def _label(given: bool | None, is_best: bool | None) -> int:
    good = is_best if given is None else given
    return NO_LABEL if good is None else UP if good else DOWN


def answers_of(records: Sequence[Record]) -> Answers | None:
    """Return what could be learned from records that all have responses; None from turns.

    Example:
        >>> bad = (Response("Go away", label=False),)
        >>> answers_of([Record("1", "a/b", (Message("user", "Hi"),), responses=bad)])
        'judged'
    """
    if not records or not all(record.responses for record in records):
        return None
    ranks = [{verdict.rank for verdict in verdicts(record.responses)} for record in records]
    return "compared" if any(len(own - {NO_RANK}) > 1 for own in ranks) else "judged"


def record_answers(
    record: Record,
    template: ChatTemplate,
    settings: SequencesSection,
    take: Answers,
    drops: list[Drop],
) -> list[tuple[TurnText, Verdict]]:
    """Return a branch for each answer, and append to ``drops`` what is left out and why.

    Raises:
        TemplateError: As ``branches.turns``.
    """
    said = verdicts(record.responses)
    if reason := _unfit(record, said, take) or _too_near(said, settings.min_score_ratio):
        drops.append(Drop(record.id, record.task_type, None, *reason))
        return []
    alone = settings.model_copy(update={"turns": "last", "train_on_prompt": False})
    chosen: list[tuple[TurnText, Verdict]] = []
    noted: list[Drop] = []
    for index, (response, verdict) in enumerate(zip(record.responses, said, strict=True)):
        if take == "judged" and verdict.label == NO_LABEL:
            detail = f"response {index + 1} has no label, and no rank to take for one"
            noted.append(Drop(record.id, record.task_type, index, NO_VERDICT, detail))
            continue
        answer = Message("assistant", response.content)
        whole = replace(record, messages=(*record.messages, answer), responses=())
        mine: list[Drop] = []
        for text in record_turns(whole, template, alone, mine):
            chosen.append((replace(text, branch=index), verdict))
        noted += [replace(drop, branch=index) for drop in mine]
    if take == "compared" and len({verdict.rank for _, verdict in chosen}) < 2:
        drops.append(_incomplete(record, noted))
        return []
    drops += noted
    return chosen


def _unfit(record: Record, said: Sequence[Verdict], take: Answers) -> tuple[str, str] | None:
    """Say why no answer of a record can be used; None if some can."""
    if not record.responses:
        return NOTHING_TO_LEARN, "it has no responses, which this objective learns from"
    if not record.messages:
        return NOTHING_TO_LEARN, "there is no message before the responses"
    if take == "judged":
        if all(one.label == NO_LABEL for one in said):
            return NO_VERDICT, "no response has a label, a rank or a score"
        return None
    if any(one.rank == NO_RANK for one in said):
        return NO_VERDICT, "not every response has a rank, or a score, or a label"
    if len({one.rank for one in said}) < 2:
        return NOTHING_TO_COMPARE, f"its {len(said)} responses are of one rank"
    return None


def _too_near(said: Sequence[Verdict], ratio: float) -> tuple[str, str] | None:
    """Say whether the scores of a pair differ by less than a factor; other records pass."""
    if len(said) != 2 or ratio <= 1 or any(math.isnan(one.score) for one in said):
        return None
    worse, better = sorted(one.score for one in said)
    if worse <= 0 or better >= ratio * worse:
        return None
    return SCORES_TOO_NEAR, f"{better:g} against {worse:g}; sequences.min_score_ratio is {ratio:g}"


def _incomplete(record: Record, noted: Sequence[Drop]) -> Drop:
    reasons = "; ".join(f"response {(drop.branch or 0) + 1}: {drop.reason}" for drop in noted)
    return Drop(record.id, record.task_type, None, NOTHING_TO_COMPARE, reasons)

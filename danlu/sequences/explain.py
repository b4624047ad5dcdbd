"""Each branch as the model will see it, for people who ask what is trained, and on what."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from danlu.config.recipe import SequencesSection
from danlu.records.record import Record
from danlu.sequences.answers import Answers, record_answers
from danlu.sequences.branch import DOWN, UP, Branch, Verdict
from danlu.sequences.branches import TurnText, turns
from danlu.sequences.lengths import COMPLETION_CUT, PROMPT_CUT
from danlu.sequences.prepared import PreparedData
from danlu.sequences.template import ChatTemplate
from danlu.sequences.weighting import common_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def explain_rows(
    prepared: PreparedData,
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate,
    settings: SequencesSection,
    answers: Answers | None = None,
) -> Iterator[dict[str, Any]]:
    """Describe every branch of prepared data.

    Args:
        prepared: What ``prepare`` returned for these records.
        records: The same records once more, in the same order; read as a stream.
        tokenizer: As given to ``prepare``.
        template: As given to ``prepare``.
        settings: As given to ``prepare``.
        answers: As given to ``prepare``.

    Yields:
        Per branch, JSON-able: ``record`` (id), ``branch``, ``task_type``, ``input_ids`` (the whole
        path), ``weights`` (as long; with which each token is predicted, 0 for not trained),
        ``prompt_text``, ``completion_text``, ``prompt_tokens``, and ``shared`` (as long as
        ``input_ids``; whether another branch of the record has this token at this place after the
        same tokens). The texts of a branch that was cut to length, or of a document's window, are
        those of its tokens. An answer to be compared also has ``rank``, ``score`` and ``label``
        (``up`` or ``down``), each None where there is none.
    """
    cut = {
        (drop.record_id, drop.branch)
        for drop in prepared.drops
        if drop.reason in (PROMPT_CUT, COMPLETION_CUT)
    }
    number = 0
    for position, record in enumerate(records):
        if number == len(prepared):
            return
        if position != prepared.record_position[number]:
            continue
        texts = _texts(record, template, settings, answers)
        branches = prepared.record(number)
        for branch, shared in zip(branches, shared_tokens(branches), strict=True):
            whole = (record.id, branch.branch) not in cut
            text = texts.get(branch.branch) if whole else None
            row = _row(record, branch, shared, text, tokenizer)
            yield {**row, **_said(branch.verdict)} if answers else row
        number += 1


def _texts(
    record: Record, template: ChatTemplate, settings: SequencesSection, answers: Answers | None
) -> dict[int, TurnText]:
    """Return the texts of a record's branches by number; none of a document."""
    if answers is not None:
        found = record_answers(record, template, settings, answers, [])
        return {text.branch: text for text, _ in found}
    if record.is_text:
        return {}
    return {turn.branch: turn for turn in turns(record, template, settings)}


def _said(verdict: Verdict) -> dict[str, Any]:
    labels = {UP: "up", DOWN: "down"}
    return {
        "rank": verdict.rank or None,
        "score": None if math.isnan(verdict.score) else verdict.score,
        "label": labels.get(verdict.label),
    }


def shared_tokens(branches: list[Branch]) -> list[NDArray[np.bool_]]:
    """Tell for each token of each branch whether another of the branches has it too.

    Example:
        >>> a, b = (
        ...     Branch(np.array(ids, np.int32), np.zeros(3, np.float32), 0, i, 0, 1)
        ...     for i, ids in enumerate([[1, 2, 3], [1, 5, 3]])
        ... )
        >>> [flags.tolist() for flags in shared_tokens([a, b])]
        [[True, False, False], [True, False, False]]
    """
    flags = []
    for branch in branches:
        longest = max(
            (common_prefix(branch.input_ids, b.input_ids) for b in branches if b is not branch),
            default=0,
        )
        flags.append(np.arange(len(branch.input_ids)) < longest)
    return flags


def _row(
    record: Record,
    branch: Branch,
    shared: NDArray[np.bool_],
    turn: TurnText | None,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    if turn is not None:
        prompt_text, completion_text = turn.prompt_text, turn.completion_text
    else:
        ids = branch.input_ids.tolist()
        prompt_text = decode(tokenizer, ids[: branch.prompt_tokens])
        completion_text = decode(tokenizer, ids)[len(prompt_text) :]
    return {
        "record": record.id,
        "branch": branch.branch,
        "task_type": record.task_type,
        "input_ids": branch.input_ids.tolist(),
        "weights": branch.weights.tolist(),
        "prompt_text": prompt_text,
        "completion_text": completion_text,
        "prompt_tokens": branch.prompt_tokens,
        "shared": shared.tolist(),
    }


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Return the text of token ids, special tokens written out and spaces as they are."""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

"""Exact lengths in tokens, as training will see them: rendered, and encoded in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from danlu.errors import TemplateError
from danlu.records import Record
from danlu.sequences import ChatTemplate, answers_of
from danlu.sequences.answers import record_answers
from danlu.sequences.branches import TurnText, record_turns
from danlu.sequences.encode import Encoder
from danlu.sequences.prepared import Drop
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.view import Lengths, View

CHUNK_RECORDS = 256


def views(records: Iterable[Record], context: Context) -> Iterator[View]:
    """Make a view of each record; with lengths where there is a tokenizer.

    A record that the template refuses has none (``structure.template_refuses`` tells of it), nor
    has a document, which training cuts into windows.
    """
    if context.tokenizer is None or context.template is None:
        for record in records:
            yield View(record, context.seed)
        return
    encoder = Encoder(context.tokenizer, boundary=context.template.stop_tokens[0])
    chunk: list[Record] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == CHUNK_RECORDS:
            yield from _measured(chunk, encoder, context.template, context)
            chunk = []
    yield from _measured(chunk, encoder, context.template, context)


def _measured(
    records: Sequence[Record], encoder: Encoder, template: ChatTemplate, context: Context
) -> Iterator[View]:
    turns = [_texts(record, template, context) for record in records]
    flat = [text for of_record in turns for turn in of_record for text in _pair(turn)]
    lengths: Iterator[int] = iter(())
    if flat:
        _, offsets = encoder.encode(flat, continues=[False, True] * (len(flat) // 2))
        lengths = iter(np.diff(offsets).tolist())
    for record, of_record in zip(records, turns, strict=True):
        measured = [Lengths(next(lengths), next(lengths), turn.weight) for turn in of_record]
        yield View(record, context.seed, measured)


def _pair(turn: TurnText) -> tuple[str, str]:
    return turn.prompt_text, turn.completion_text


def _texts(record: Record, template: ChatTemplate, context: Context) -> list[TurnText]:
    if record.is_text and not record.responses:
        return []
    drops: list[Drop] = []
    try:
        if record.responses and (take := answers_of([record])):
            answers = record_answers(record, template, context.sequences, take, drops)
            return [turn for turn, _ in answers]
        return record_turns(record, template, context.sequences, drops)
    except TemplateError:
        return []

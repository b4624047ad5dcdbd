"""Prompts to be answered by the model itself: conversations up to the answer that is wanted.

A prompt is rendered, encoded and cut exactly as that of an answer from the data. It becomes a
branch without a completion, so that prepared prompts are ordinary prepared data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from danlu.config.recipe import SequencesSection
from danlu.errors import RecordError
from danlu.records.record import Message, Record
from danlu.sequences.branches import record_turns
from danlu.sequences.encode import Encoder
from danlu.sequences.lengths import describe_fit, fit_lengths
from danlu.sequences.prepared import Drop, PreparedData
from danlu.sequences.storage import Strings, offsets_of
from danlu.sequences.template import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK_RECORDS = 256
"""Records encoded at a time."""

STAND_IN = Message("assistant", "answer")
"""Stands where the answer will be, so that a prompt goes through the same checks as any other."""


def prompt_messages(record: Record) -> tuple[Message, ...]:
    """Return a record's conversation up to its last answer; all of it, if it waits for one.

    Example:
        >>> asked, answered = Message("user", "Hi"), Message("assistant", "Hello")
        >>> len(prompt_messages(Record("r", "a/b", (asked, answered))))
        1
    """
    if not record.responses and record.messages and record.messages[-1].role == "assistant":
        return record.messages[:-1]
    return record.messages


@dataclass
class Prompts:
    """Prompts that have been kept so far.

    Attributes:
        ids: int32: the tokens of each.
        first: How many of them are the first of two texts; all, where there is one.
        records: Whose it is.
        positions: Which record of the input that was.
        drops: What was left out or cut.
    """

    ids: list[NDArray[np.int32]] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)


def prepare_prompts(
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate,
    settings: SequencesSection,
    max_new_tokens: int,
    *,
    directory: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> PreparedData:
    """Render, encode and cut the prompts of records.

    Args:
        records: Read once, from the first to the last.
        tokenizer: Any transformers tokenizer.
        template: Loaded for this tokenizer.
        settings: ``max_length`` is that of prompt and answer together. Of an overlong one,
            ``truncate_prompt_left`` cuts the prompt, ``truncate_completion`` leaves the answer
            less room.
        max_new_tokens: Longest answer.
        directory: Write the arrays there and map them.
        on_progress: Called from time to time with the number of records done so far.

    Returns:
        One branch per record, all of it prompt and of weight 0.

    Raises:
        TemplateError: If the template cannot render a prompt as it would be rendered when asked.
        RecordError: If a record is plain text, or too long with ``overlong: error``.
    """
    encoder = Encoder(tokenizer, boundary=template.stop_tokens[0])
    kept, count = Prompts(), 0
    for chunk in chunks_of(records):
        texts, owners = [], []
        for position, record in enumerate(chunk, start=count):
            if (text := _prompt_text(record, template, settings, kept.drops)) is not None:
                texts.append(text)
                owners.append((record, position))
        ids, offsets = encoder.encode(texts)
        for place, (record, position) in enumerate(owners):
            own = ids[offsets[place] : offsets[place + 1]]
            if (fitted := _fitted(own, record, settings, max_new_tokens, kept.drops)) is not None:
                kept.ids.append(fitted)
                kept.first.append(len(fitted))
                kept.records.append(record)
                kept.positions.append(position)
        count += len(chunk)
        if on_progress is not None:
            on_progress(count)
    known = (template.source, str(max_new_tokens))
    prepared = lay_out(kept, count, settings, known, template.notes)
    if directory is None:
        return prepared
    prepared.save(directory)
    return PreparedData.load(directory)


def chunks_of(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Cut a stream of records into lists of ``CHUNK_RECORDS``."""
    rest = iter(records)
    while chunk := list(islice(rest, CHUNK_RECORDS)):
        yield chunk


def _prompt_text(
    record: Record, template: ChatTemplate, settings: SequencesSection, drops: list[Drop]
) -> str | None:
    if record.is_text:
        raise RecordError(
            f"This is plain text, from {record.source or 'an unnamed source'}, and no question to "
            "be answered. Take it out of data.train.",
            where=f"record {record.id}",
        )
    asked = replace(record, messages=(*prompt_messages(record), STAND_IN), responses=())
    alone = settings.model_copy(update={"turns": "last", "train_on_prompt": False})
    texts = record_turns(asked, template, alone, drops)
    return texts[0].prompt_text if texts else None


def _fitted(
    ids: NDArray[np.int32],
    record: Record,
    settings: SequencesSection,
    max_new_tokens: int,
    drops: list[Drop],
) -> NDArray[np.int32] | None:
    """Cut a prompt so that an answer has room after it; None if it cannot be."""
    fit = fit_lengths(np.array([len(ids)]), np.array([max_new_tokens]), settings)
    keep, from_prompt = bool(fit.keep[0]), int(fit.from_prompt[0])
    cut = from_prompt + int(fit.from_completion[0])
    if keep and not cut:
        return ids
    reason, detail = describe_fit(keep, len(ids), max_new_tokens, settings)
    if settings.overlong == "error":
        raise RecordError(
            f"The prompt and an answer of rollouts.max_new_tokens have {detail}. Raise "
            "sequences.max_length, lower rollouts.max_new_tokens, or say with sequences.overlong "
            "what should happen: drop, truncate_prompt_left or truncate_completion.",
            where=f"record {record.id}",
        )
    drops.append(Drop(record.id, record.task_type, 0, reason, detail, keep))
    return ids[from_prompt:] if keep else None


def lay_out(
    kept: Prompts,
    count: int,
    settings: SequencesSection,
    known: Sequence[str],
    notes: tuple[str, ...],
) -> PreparedData:
    """Lay prompts out as prepared data.

    Args:
        kept: The prompts.
        count: How many records were read.
        settings: The recipe's ``sequences``.
        known: What else they depend on, for the fingerprint.
        notes: What the chat template has to say.
    """
    records = len(kept.records)
    ids = np.concatenate([np.zeros(0, np.int32), *kept.ids]).astype(np.int32)
    offsets = offsets_of(np.array([len(one) for one in kept.ids], np.int64))
    names = sorted({record.task_type for record in kept.records})
    numbers = {name: number for number, name in enumerate(names)}
    channel = np.array([numbers[record.task_type] for record in kept.records], np.int32)
    record_ids = Strings.of(record.id for record in kept.records)
    each = np.arange(records, dtype=np.int32)
    digest = hashlib.blake2b(ids.tobytes() + offsets.tobytes() + channel.tobytes(), digest_size=16)
    for text in (repr(list(record_ids)), repr(names), settings.model_dump_json(), *known):
        digest.update(hashlib.blake2b(text.encode()).digest())
    return PreparedData(
        input_ids=ids,
        weights=np.zeros(len(ids), np.float32),
        offsets=offsets,
        branch_record=each,
        branch_channel=channel,
        branch_index=np.zeros(records, np.int32),
        prompt_tokens=np.array(kept.first, np.int32),
        branch_rank=np.zeros(records, np.int32),
        branch_score=np.full(records, np.nan, np.float32),
        branch_label=np.zeros(records, np.int8),
        record_offsets=np.arange(records + 1, dtype=np.int64),
        record_ids=record_ids,
        record_channel=channel,
        record_position=np.array(kept.positions, np.int64),
        channels=tuple(names),
        drops=tuple(kept.drops),
        records_read=count,
        weighting=settings.weighting,
        fingerprint=digest.hexdigest(),
        notes=notes,
    )

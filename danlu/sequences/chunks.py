"""Records to rendered texts, some at a time: what one call of the tokenizer works on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from danlu.config.recipe import SequencesSection
from danlu.records.record import Record
from danlu.sequences.branches import record_turns
from danlu.sequences.prepared import Drop
from danlu.sequences.template import ChatTemplate

CHUNK_RECORDS = 256
CHUNK_CHARACTERS = 500_000
"""A chunk ends at either: enough for the tokenizer's threads, little enough to overlap."""


@dataclass(slots=True)
class Chunk:
    """Some rendered records; one entry of each list per branch, but for ``records`` and ``drops``.

    Attributes:
        records: The records that have branches, with their position in the input.
        texts: Prompt, completion, prompt, completion ...
        record: Which of ``records`` a branch belongs to.
        branch: Which of its record's trainable turns a branch is.
        weight: The branch's message weight.
        drops: What was left out or cut so far.
        records_read: Records seen up to the end of this chunk, with those that were dropped.
    """

    records: list[tuple[Record, int]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    record: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    records_read: int = 0


def rendered(
    records: Iterable[Record], template: ChatTemplate, settings: SequencesSection
) -> Iterator[Chunk]:
    """Render records, some at a time."""
    chunk, characters, position = Chunk(), 0, -1
    for position, record in enumerate(records):
        turns = record_turns(record, template, settings, chunk.drops)
        for turn in turns:
            chunk.texts += (turn.prompt_text, turn.completion_text)
            chunk.record.append(len(chunk.records))
            chunk.branch.append(turn.branch)
            chunk.weight.append(turn.weight)
            characters += len(turn.prompt_text) + len(turn.completion_text)
        if turns:
            chunk.records.append((record, position))
        if len(chunk.records) >= CHUNK_RECORDS or characters >= CHUNK_CHARACTERS:
            chunk.records_read = position + 1
            yield chunk
            chunk, characters = Chunk(), 0
    chunk.records_read = position + 1
    yield chunk

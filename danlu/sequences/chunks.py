"""Records to rendered texts, some at a time: what one call of the tokenizer works on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from danlu.config.recipe import SequencesSection
from danlu.errors import TemplateError
from danlu.records.record import Record
from danlu.sequences.answers import Answers, record_answers
from danlu.sequences.branch import UNJUDGED, Verdict
from danlu.sequences.branches import NOTHING_TO_LEARN, TurnText, record_turns
from danlu.sequences.documents import EMPTY_DOCUMENT
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
        texts: Prompt, completion, prompt, completion ... A document stands where a prompt does,
            with an empty completion: it begins a text and continues none.
        record: Which of ``records`` a branch belongs to.
        branch: Which of its record's trainable turns a branch is.
        weight: The branch's message weight.
        is_document: Whether it is a plain document, not yet cut into windows.
        verdict: What is said of a branch that is an answer to be compared.
        drops: What was left out or cut so far.
        records_read: Records seen up to the end of this chunk, with those that were dropped.
    """

    records: list[tuple[Record, int]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    record: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    is_document: list[bool] = field(default_factory=list)
    verdict: list[Verdict] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    records_read: int = 0


def rendered(
    records: Iterable[Record],
    template: ChatTemplate | None,
    settings: SequencesSection,
    *,
    documents: bool = False,
    answers: Answers | None = None,
) -> Iterator[Chunk]:
    """Render records, some at a time.

    Args:
        records: Read as a stream.
        template: For conversations; None where there are none.
        settings: The recipe's ``sequences``.
        documents: Whether plain text is taken as documents; it is refused otherwise.
        answers: Take the responses of a record, not its turns.

    Raises:
        TemplateError: As ``branches.turns``, or if there is a conversation and no template.
        RecordError: If a record is plain text and ``documents`` is False.
    """
    chunk, characters, position = Chunk(), 0, -1
    for position, record in enumerate(records):
        if answers is not None:
            needed = _needed(template, record)
            texts = record_answers(record, needed, settings, answers, chunk.drops)
        else:
            if documents and record.is_text:
                plain = _document(record, chunk.drops)
            else:
                plain = record_turns(record, _needed(template, record), settings, chunk.drops)
            texts = [(text, UNJUDGED) for text in plain]
        for text, verdict in texts:
            chunk.texts += (text.prompt_text, text.completion_text)
            chunk.record.append(len(chunk.records))
            chunk.branch.append(text.branch)
            chunk.weight.append(text.weight)
            chunk.verdict.append(verdict)
            chunk.is_document.append(documents and record.is_text)
            characters += len(text.prompt_text) + len(text.completion_text)
        if texts:
            chunk.records.append((record, position))
        if len(chunk.records) >= CHUNK_RECORDS or characters >= CHUNK_CHARACTERS:
            chunk.records_read = position + 1
            yield chunk
            chunk, characters = Chunk(), 0
    chunk.records_read = position + 1
    yield chunk


def _document(record: Record, drops: list[Drop]) -> list[TurnText]:
    """Return the one text of a document; none, with the reason, if there is nothing in it."""
    [message] = record.messages
    text = message.content or ""
    if not text.strip():
        drops.append(Drop(record.id, record.task_type, None, EMPTY_DOCUMENT, "there is no text"))
        return []
    if not message.weight > 0:
        detail = "the document has weight 0"
        drops.append(Drop(record.id, record.task_type, None, NOTHING_TO_LEARN, detail))
        return []
    return [TurnText(text, "", 0, 0, message.weight)]


def _needed(template: ChatTemplate | None, record: Record) -> ChatTemplate:
    if template is None:
        raise TemplateError(
            "This is a conversation, and there is no chat template to render it with. Set "
            "model.template, or take the conversations out of the data.",
            where=f"record {record.id}",
        )
    return template

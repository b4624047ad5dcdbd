"""From records to prepared data: render, encode, cut to length, weigh, store.

Records go through in chunks. While the tokenizer's threads encode one chunk the next is rendered,
and no step does Python work for single tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from danlu.config.recipe import SequencesSection
from danlu.records.record import Record
from danlu.sequences.answers import Answers
from danlu.sequences.builder import Builder
from danlu.sequences.chunks import Chunk, rendered
from danlu.sequences.documents import document_ends
from danlu.sequences.encode import Cut, Encoder, rust_backend
from danlu.sequences.prepared import COLUMNS, PreparedData
from danlu.sequences.storage import Columns, new_directory
from danlu.sequences.template import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prepare(
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate | None,
    settings: SequencesSection,
    *,
    documents: bool = False,
    answers: Answers | None = None,
    directory: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> PreparedData:
    """Render, encode, cut and weigh records.

    Args:
        records: Read once, from the first to the last; may be a stream.
        tokenizer: Any transformers tokenizer.
        template: Loaded for this tokenizer; None where all records are documents.
        settings: The recipe's ``sequences``.
        documents: Take plain text as documents (``danlu.sequences.documents``), as continued
            pre-training does; conversations may stand between them. Otherwise it is refused.
        answers: Take a record's responses in place of its turns: to be ``compared`` (answers of
            at least two ranks) or ``judged`` (each by its thumb).
        directory: Write the arrays there and map them, for data larger than memory; replaces an
            older one, and appears only when complete.
        on_progress: Called from time to time with the number of records done so far.

    Raises:
        TemplateError: If the template cannot render a record, or not so that it can be trained;
            if there is a conversation and no template, or a document could not end.
        RecordError: If a record is plain text without ``documents``, or a branch of a conversation
            is too long with ``overlong: error``.
    """
    encoder = Encoder(tokenizer, boundary=None if template is None else template.stop_tokens[0])
    ends = document_ends(tokenizer) if documents else None
    with (
        nullcontext(None) if directory is None else new_directory(directory) as growing,
        Columns(COLUMNS, growing) as columns,
    ):
        builder = Builder(settings, columns, ends, answers)
        chunks = rendered(records, template, settings, documents=documents, answers=answers)
        for chunk, (ids, offsets) in _encoded(chunks, encoder):
            builder.add(chunk, ids, offsets)
            if on_progress is not None:
                on_progress(chunk.records_read)
        prepared = builder.finish(template)
        if growing is not None:
            prepared.write_description(growing)
    return prepared if directory is None else PreparedData.load(directory)


def preparation_key(
    data_fingerprint: str,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate | None,
    settings: SequencesSection,
    *,
    documents: bool = False,
) -> str:
    """Return a key under which prepared data can be kept and found again.

    It is known before anything is prepared: equal sources, tokenizer, template and settings give
    equal prepared data.

    Raises:
        TemplateError: If documents could not end.
    """
    backend = rust_backend(tokenizer)
    vocabulary = repr(tokenizer.get_vocab()) if backend is None else backend.to_str()
    source, stop_ids = ("", ()) if template is None else (template.source, template.stop_ids)
    parts = [data_fingerprint, vocabulary, source, settings.model_dump_json(), json.dumps(stop_ids)]
    if documents:
        parts.append(repr(document_ends(tokenizer)))
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(hashlib.blake2b(part.encode()).digest())
    return digest.hexdigest()


Encoded = tuple[NDArray[np.int32], NDArray[np.int64]]


def _encoded(chunks: Iterable[Chunk], encoder: Encoder) -> Iterator[tuple[Chunk, Encoded]]:
    """Encode each chunk in another thread while the next one is rendered.

    The other thread does nothing but wait for the tokenizer's threads, so they are never idle
    while there is text.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="danlu-encode") as worker:
        last: tuple[Chunk, Cut, Future[list[Any]]] | None = None
        for chunk in chunks:
            cut = encoder.cut(chunk.texts, [False, True] * len(chunk.record))
            running = worker.submit(encoder.run, cut)
            if last is not None:
                yield last[0], encoder.join(last[1], last[2].result())
            last = (chunk, cut, running)
        if last is not None:
            yield last[0], encoder.join(last[1], last[2].result())

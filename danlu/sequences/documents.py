"""Plain documents for continued pre-training: token ids with their ends, cut into windows.

A document is its own tokens, without a chat template: the BOS token where the tokenizer begins
plain text with one, the text, the EOS token. It is a record, and each of its windows a branch. A
window after the first begins with the last token of the one before, which is not predicted again:

    document   a b c d e f g h        max_length 4
    windows    a b c d | d e f g | g h
    predicted    b c d     e f g     h

So every token but the first is predicted exactly once and nothing is thrown away. Documents never
see each other: in a forest, branches share nothing but equal beginnings.

Data larger than memory need no shuffle buffer. Prepared data are mapped from files, where any
record is as near as any other, and ``danlu.training.order`` draws from a permutation of all of
them, at 8 bytes a record: a whole shuffle, and a resumed run finds its place in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from danlu.errors import TemplateError
from danlu.sequences.shipped import adds_bos
from danlu.sequences.storage import offsets_of, ranges

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Int64 = NDArray[np.int64]

EMPTY_DOCUMENT = "empty document"


class Ends(NamedTuple):
    """What stands around the text of a document.

    Attributes:
        bos: Token id before it; None if the tokenizer begins plain text with none.
        eos: Token id after it.
    """

    bos: int | None
    eos: int


class Windows(NamedTuple):
    """The windows of some texts, in the order of the texts. N tokens, B windows.

    Attributes:
        input_ids: int32 ``(N,)``.
        offsets: int64 ``(B + 1,)``: where each window begins, and where the last one ends.
        prompt_tokens: int64 ``(B,)``: of a document, 1 where the window begins with the BOS token
            or with the last token of the window before, else 0.
        text: int64 ``(B,)``: which text the window is of.
        window: int64 ``(B,)``: which of its text's windows it is.
    """

    input_ids: NDArray[np.int32]
    offsets: Int64
    prompt_tokens: Int64
    text: Int64
    window: Int64


def document_ends(tokenizer: PreTrainedTokenizerBase) -> Ends:
    """Find out what a tokenizer puts around plain text.

    Raises:
        TemplateError: If it has no EOS token.
    """
    if tokenizer.eos_token_id is None:
        raise TemplateError(
            "The tokenizer has no end-of-sequence token, so a document could not end. Set "
            "eos_token in tokenizer_config.json.",
            where="model.path",
        )
    bos = tokenizer.bos_token_id if adds_bos(tokenizer) else None
    return Ends(bos, tokenizer.eos_token_id)


def cut_documents(
    input_ids: NDArray[np.int32],
    offsets: Int64,
    prompt_tokens: Int64,
    is_document: NDArray[np.bool_],
    ends: Ends,
    max_length: int,
) -> Windows:
    """Give documents their ends and cut them into windows; leave other texts as they are.

    An end that the text itself brings is not doubled.

    Args:
        input_ids: ``(M,)``: the tokens of all texts, one text after another.
        offsets: ``(E + 1,)``: where each text begins.
        prompt_tokens: ``(E,)``: of texts that are no documents.
        is_document: ``(E,)``.
        ends: What stands around a document.
        max_length: Most tokens in a window, at least 2.

    Example:
        >>> texts = np.array([1, 2, 3, 4, 5, 6], np.int32), np.array([0, 6]), np.array([6])
        >>> windows = cut_documents(*texts, np.array([True]), Ends(None, 9), max_length=4)
        >>> [w.tolist() for w in np.split(windows.input_ids, windows.offsets[1:-1])]
        [[1, 2, 3, 4], [4, 5, 6, 9]]
        >>> windows.prompt_tokens.tolist(), windows.window.tolist()
        ([0, 1], [0, 1])
    """
    input_ids, offsets = _with_ends(input_ids, offsets, is_document, ends)
    lengths = np.diff(offsets)
    step = max_length - 1
    # n tokens have n - 1 predictions, and a window has one less than it has tokens.
    windows = np.where(is_document, np.maximum(-(-(lengths - 1) // step), 1), 1)
    text = np.repeat(np.arange(len(lengths)), windows)
    window = ranges(np.zeros_like(windows), windows)
    start = window * step
    length = np.where(
        is_document[text], np.minimum(lengths[text] - start, max_length), lengths[text]
    )
    has_bos = np.zeros(len(lengths), np.bool_)
    if ends.bos is not None:
        filled = lengths > 0
        has_bos[filled] = input_ids[offsets[:-1][filled]] == ends.bos
    return Windows(
        input_ids=input_ids[ranges(offsets[text] + start, length)],
        offsets=offsets_of(length),
        prompt_tokens=np.where(
            is_document[text], (window > 0) | has_bos[text], prompt_tokens[text]
        ),
        text=text,
        window=window,
    )


def _with_ends(
    input_ids: NDArray[np.int32], offsets: Int64, is_document: NDArray[np.bool_], ends: Ends
) -> tuple[NDArray[np.int32], Int64]:
    """Put BOS and EOS around documents where they are not there already."""
    begins, stops = offsets[:-1], offsets[1:]
    filled = stops > begins
    first = np.full(len(begins), -1, np.int64)
    last = np.full(len(begins), -1, np.int64)
    first[filled], last[filled] = input_ids[begins[filled]], input_ids[stops[filled] - 1]
    bos = is_document & (first != ends.bos) & (ends.bos is not None)
    eos = is_document & (last != ends.eos)
    lengths = stops - begins
    whole_offsets = offsets_of(lengths + bos + eos)
    whole = np.empty(int(whole_offsets[-1]), np.int32)
    whole[ranges(whole_offsets[:-1] + bos, lengths)] = input_ids
    if ends.bos is not None:
        whole[whole_offsets[:-1][bos]] = ends.bos
    whole[whole_offsets[1:][eos] - 1] = ends.eos
    return whole, whole_offsets

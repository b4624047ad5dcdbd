"""Text to token ids, one way for training and for asking.

No token is ever added here: what a model sees is what its chat template writes. Many texts are
encoded at once, in the tokenizer's own threads, and a piece of text that occurs again (a system
message, a conversation's history) is encoded once, where that provably changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from danlu.sequences.storage import offsets_of, ranges

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

ANCHORS = ("\n", ".", "1")
"""Texts to encode a completion after, for tokenizers that change the beginning of a text."""


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Encode a rendered prompt, alone and without adding tokens.

    Training and generation both call this (``Encoder`` is the same for many texts).
    """
    ids: list[int] = Encoder(tokenizer).encode([text])[0].tolist()
    return ids


def encode_completion(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Encode a completion, alone and without adding tokens, as the continuation of a prompt.

    Tokenizers that put a space before every text (SentencePiece's habit) do not put one here.
    """
    ids: list[int] = Encoder(tokenizer).encode([text], continues=[True])[0].tolist()
    return ids


class Cut(NamedTuple):
    """Texts cut into pieces, each different one once.

    Attributes:
        pieces: What is to be encoded.
        order: int64: the pieces of all texts, one text after another, by number.
        first: int64 ``(texts,)``: where each text's pieces begin in ``order``.
        continues: Pieces that continue a text, where that makes a difference.
    """

    pieces: list[str]
    order: NDArray[np.int64]
    first: NDArray[np.int64]
    continues: list[int]


class Encoder:
    """Encodes many texts at once.

    ``encode`` is three steps, so that the second, which is nearly all of the work and done by the
    tokenizer's own threads, can go on while others do Python work: ``cut``, ``run``, ``join``.

    Args:
        tokenizer: Any transformers tokenizer; a Rust-backed one is fastest.
        boundary: A token text to cut texts at, so that pieces that recur are encoded once. It is
            used only if the tokenizer provably encodes the pieces as it encodes the whole.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, boundary: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._backend = rust_backend(tokenizer)
        if self._backend is not None:
            # What a tokenizer.json says about truncation must not cut training data.
            self._backend.no_truncation()
            self._backend.no_padding()
        self._spaces = not _keeps_beginnings(self._ids)
        cuts = boundary and not self._spaces and is_boundary(tokenizer, boundary, self._ids)
        self.boundary = boundary if cuts else None

    def encode(
        self, texts: Sequence[str], continues: Sequence[bool] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Encode texts.

        Args:
            texts: Rendered text with its special tokens written out.
            continues: Which texts are continuations of others; none if None.

        Returns:
            The ids of all texts one after another, int32; and where each begins, int64, with one
            more for the end of the last.
        """
        cut = self.cut(texts, continues)
        return self.join(cut, self.run(cut))

    def cut(self, texts: Sequence[str], continues: Sequence[bool] | None = None) -> Cut:
        """Cut texts at the boundary token; without one, each text is a piece."""
        if self.boundary is None:
            later = [i for i, follows in enumerate(continues or ()) if follows and self._spaces]
            whole = np.arange(len(texts))
            return Cut(list(texts), whole, whole, later)
        known: dict[str, int] = {"": 0, self.boundary: 1}
        order: list[int] = []
        first: list[int] = []
        for text in texts:
            first.append(len(order))
            head, *others = text.split(self.boundary)
            order.append(known.setdefault(head, len(known)))
            for piece in others:
                order.append(1)
                if piece:
                    order.append(known.setdefault(piece, len(known)))
        return Cut(list(known), np.array(order, np.int64), np.array(first, np.int64), [])

    def run(self, cut: Cut) -> list[Any]:
        """Encode the pieces; what comes back is for ``join``."""
        if self._backend is None or cut.continues:
            ids = self._ids(cut.pieces)
            after = self._continued([cut.pieces[i] for i in cut.continues])
            for i, continued in zip(cut.continues, after, strict=True):
                ids[i] = ids[i] if continued is None else continued
            return ids
        return self._backend.encode_batch_fast(cut.pieces, add_special_tokens=False)

    def join(self, cut: Cut, encoded: list[Any]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Put the pieces' ids together to those of the texts, as ``encode`` returns them."""
        begins = offsets_of(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        each = (one if isinstance(one, list) else one.ids for one in encoded)
        ids = np.fromiter(chain.from_iterable(each), np.int32, int(begins[-1]))
        lengths = np.diff(begins)[cut.order]
        ends = offsets_of(lengths)
        return ids[ranges(begins[cut.order], lengths)], ends[np.append(cut.first, len(cut.order))]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if self._backend is not None:
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
            return [encoding.ids for encoding in encodings]
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    def _continued(self, texts: Sequence[str]) -> list[list[int] | None]:
        """Encode texts after an anchor, and take the anchor away again.

        Returns None for a text that joins with every anchor tried.
        """
        found: list[list[int] | None] = [None] * len(texts)
        for anchor in ANCHORS if texts else ():
            pending = [i for i, ids in enumerate(found) if ids is None]
            alone, *after = self._ids([anchor, *(anchor + texts[i] for i in pending)])
            for i, ids in zip(pending, after, strict=True):
                if ids[: len(alone)] == alone:
                    found[i] = ids[len(alone) :]
        return found


def rust_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer | None:
    """Return the Rust tokenizer behind a transformers tokenizer, if that is what is behind it."""
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend if isinstance(backend, Tokenizer) else None


def is_boundary(tokenizer: PreTrainedTokenizerBase, token: str, plain: Any) -> bool:
    """Whether texts may be cut on either side of a token without changing their ids.

    A tokenizer first finds its added tokens in the raw text, from the left and the longest first,
    and then encodes what lies between them piece by piece. So a cut beside an added token changes
    nothing if (1) the token is looked for in raw text and takes no neighbouring space with it,
    (2) no other added token can swallow it or its beginning, and (3) pieces do not depend on
    whether they begin the text, which is tried out.
    """
    added = {one.content: one for one in tokenizer.added_tokens_decoder.values()}
    own = added.get(token)
    if own is None or own.normalized or own.lstrip or own.rstrip or own.single_word:
        return False
    if any(_swallows(other, token) for other in added if other != token):
        return False
    probes = ["a", " a", "\na", "a ", "a\n", "é", "你好", "1", "."]
    apart = plain([token, *probes])
    whole = plain([f"{token}{text}{token}" for text in probes])
    mark, pieces = apart[0], apart[1:]
    return len(mark) == 1 and whole == [[*mark, *piece, *mark] for piece in pieces]


def _swallows(other: str, token: str) -> bool:
    """Whether another added token contains this one, or can end on this one's beginning."""
    ends_on = any(other.endswith(token[:n]) for n in range(1, min(len(other), len(token)) + 1))
    return token in other or ends_on


def _keeps_beginnings(plain: Any) -> bool:
    """Whether a text is encoded the same at the beginning and in the middle of another.

    Judged by a text after a line break, which no tokenizer joins with a letter.
    """
    alone, both, letter = plain(["\n", "\na", "a"])
    return bool(both == [*alone, *letter])

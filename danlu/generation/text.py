"""Text from tokens as they come, never in the middle of a character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What decoding gives for bytes that are no character, or not yet one."""


class TextStream:
    """Turns tokens into pieces of text that join to the text of all tokens.

    A Chinese character or an emoji may be spread over several tokens; nothing is given out until
    its last one is there. Only the newest tokens are decoded again at each step, with those of the
    piece before them, because a tokenizer may treat the first token of a text differently.

    Args:
        decode: Token ids to text.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._token_ids: list[int] = []
        self._given = 0  # tokens whose text has been given out ...
        self._context = 0  # ... the last piece of them from here

    def push(self, token_id: int) -> str:
        """Take one more token; return the text that is complete with it, often empty."""
        self._token_ids.append(token_id)
        return self._pending(final=False)

    def finish(self) -> str:
        """Return what is left, broken or not, when no more tokens come."""
        return self._pending(final=True)

    def _pending(self, *, final: bool) -> str:
        before = self._decode(self._token_ids[self._context : self._given])
        text = self._decode(self._token_ids[self._context :])
        if len(text) <= len(before) or (text.endswith(REPLACEMENT) and not final):
            return ""
        self._context, self._given = self._given, len(self._token_ids)
        return text[len(before) :]

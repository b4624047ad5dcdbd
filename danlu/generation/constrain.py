"""Answers that cannot but have a form: JSON of a schema, or the call of a function.

Before each token is drawn, those that would leave the form are taken out. What may come is worked
out by llguidance, a grammar over the tokenizer's bytes.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from danlu.errors import DanluError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# One way to write JSON, the usual one: a model that may add spaces may add them for ever.
_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Constraint:
    """The form of one answer, as far as it has come.

    Args:
        matcher: Of llguidance, at the beginning.
    """

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def masked(self, logits_V: Tensor) -> Tensor:
        """Return logits with minus infinity for every token that may not come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: len(logits_V)].astype(bool)
        refused_V = torch.ones(len(logits_V), dtype=torch.bool)
        refused_V[: len(allowed)] = torch.from_numpy(~allowed)
        return logits_V.masked_fill(refused_V, -torch.inf)

    def take(self, token_id: int) -> None:
        """Go on by a token that was drawn."""
        self._matcher.consume_token(token_id)


class Grammars:
    """Makes forms for one tokenizer.

    Args:
        tokenizer: A fast one.
        stop_ids: Tokens that end an answer; they may come where the form is complete.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: Sequence[int]) -> None:
        self._hf = tokenizer
        self._stop_ids = sorted(stop_ids)

    def json(self, schema: Mapping[str, Any]) -> str:
        """Return the form of JSON of a schema.

        Raises:
            DanluError: If llguidance is not installed, or cannot hold an answer to the schema.
        """
        must_be_installed()
        from llguidance import LLMatcher

        return self._checked(LLMatcher.grammar_from_json_schema(dict(schema), overrides=_STYLE))

    def call(self, before: str, after: str, calls: Sequence[Mapping[str, Any]]) -> str:
        """Return the form of one call of a function, in the words of a chat template.

        Args:
            before: What stands before its JSON.
            after: What stands behind it.
            calls: A schema for each function that may be called.

        Raises:
            DanluError: As of ``json``.
        """
        must_be_installed()
        from llguidance import LLMatcher

        schema = json.dumps({"anyOf": list(calls), "x-guidance": _STYLE})
        parts = [f"%json {schema}"]
        if before:
            parts.insert(0, f'{json.dumps(before)} "\\n"?')
        if after:
            parts.append(f'"\\n"? {json.dumps(after)}')
        return self._checked(LLMatcher.grammar_from_lark(f"start: {' '.join(parts)}"))

    def begin(self, grammar: str) -> Constraint:
        """Return a form at its beginning, for one answer."""
        from llguidance import LLMatcher

        return Constraint(LLMatcher(self._tokenizer, grammar))

    def _checked(self, grammar: str) -> str:
        from llguidance import LLMatcher

        if wrong := LLMatcher.validate_grammar(grammar, self._tokenizer):
            raise DanluError(f"an answer cannot be held to this schema: {wrong}")
        return grammar

    @cached_property
    def _tokenizer(self) -> Any:
        from llguidance.hf import from_tokenizer
        from transformers import PreTrainedTokenizerFast

        if not isinstance(self._hf, PreTrainedTokenizerFast):
            text = "answers of this model cannot be held to a form: it has no fast tokenizer."
            raise DanluError(text)
        return from_tokenizer(self._hf, n_vocab=len(self._hf), eos_token=self._stop_ids)


def must_be_installed() -> None:
    """Check that llguidance is there.

    Raises:
        DanluError: If not.
    """
    if importlib.util.find_spec("llguidance") is None:
        raise DanluError(
            "an answer's form cannot be promised without the package llguidance: pip install "
            "'danlu[serve]', or ask for the form in the prompt and check the answer."
        )

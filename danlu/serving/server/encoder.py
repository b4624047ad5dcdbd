"""Encoders behind the server: they embed, and answer nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from danlu.errors import DanluError
from danlu.generation.engine import BusyError, EngineLimits, Ticket
from danlu.generation.requests import EngineCounts, Request
from danlu.models.encoders import context_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class EncoderParts:
    """What a served encoder has in place of a generator: its tokenizer and its limit."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.context_tokens = context_tokens(model.config, tokenizer)


class EncoderEngine:
    """Computes an encoder's hidden states, one batch after another.

    Args:
        model: In evaluation mode.
        padding_id: Token that fills rows up.
        limits: How many batches may wait.
    """

    def __init__(self, model: Any, padding_id: int, limits: EngineLimits | None = None) -> None:
        self.counts = EngineCounts()
        self._model, self._padding_id = model, padding_id
        self._most = (limits or EngineLimits()).waiting
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="danlu-encoder")

    def submit(self, _: Request) -> Ticket:
        """Refuse: an encoder answers nothing.

        Raises:
            DanluError: Always.
        """
        raise DanluError("this is an encoder, and answers nothing: ask /v1/embeddings.")

    def states(
        self, texts: Sequence[list[int]], _: str | None, each: Callable[[Tensor], Tensor]
    ) -> Future[list[Tensor]]:
        """Compute the hidden states of texts, and what is wanted of each, ``(T, D)``.

        Raises:
            BusyError: If too many wait already.
        """
        with self._lock:
            if self.counts.waiting >= self._most:
                raise BusyError("too many requests wait already: try again later.")
            self.counts.waiting += 1
            self.counts.requests += 1
        return self._worker.submit(self._computed, texts, each)

    @torch.inference_mode()
    def _computed(
        self, texts: Sequence[list[int]], each: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        with self._lock:
            self.counts.waiting -= 1
        self.counts.prompt_tokens += sum(map(len, texts))
        width = max(map(len, texts))
        device = self._model.device
        ids = torch.tensor([[*t, *[self._padding_id] * (width - len(t))] for t in texts])
        mask = torch.tensor([[1] * len(t) + [0] * (width - len(t)) for t in texts])
        states = self._model(input_ids=ids.to(device), attention_mask=mask.to(device))
        rows = zip(states.last_hidden_state, texts, strict=True)
        return [each(row[: len(text)]).cpu() for row, text in rows]

    def close(self, *, drain_s: float = 0.0) -> None:
        """End, when what is being computed is done."""
        self._worker.shutdown(wait=True, cancel_futures=drain_s <= 0)

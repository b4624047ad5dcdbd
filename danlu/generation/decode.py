"""The decoding loop over an in-process transformers model.

One loop serves batches and streams. The prompts of a batch are padded on the left; what they all
begin with (a system prompt, a template's header) is computed once and its keys and values are
copied to every row. Rows that have ended leave the batch.

Shapes: B rows, L tokens so far, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from danlu.generation.draw import draw, token_logprobs
from danlu.generation.interface import Sampling
from danlu.models.forest_support import ordinary_attention


class Step(NamedTuple):
    """One token for each row that has not ended.

    Attributes:
        rows: Which prompts the tokens belong to.
        token_ids: One per row.
        logprobs: One per row; empty unless asked for.
    """

    rows: list[int]
    token_ids: list[int]
    logprobs: list[float]


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Put a model into the state for answering, and back after: it may be in training."""
    was_training = model.training
    model.eval()
    try:
        with ordinary_attention(model):
            yield
    finally:
        model.train(was_training)


@torch.no_grad()
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    stop_ids: frozenset[int],
    uniform_BT: Tensor,
    budgets: Sequence[int],
) -> Iterator[Step]:
    """Yield the next token of every row until all have ended.

    Args:
        model: A causal language model, within ``answering``.
        prompts: Token ids, none of them empty; more than one only if ``takes_batches(model)``.
        sampling: How to choose.
        stop_ids: A row ends with one of these ...
        uniform_BT: float64, see ``uniforms``.
        budgets: ... or after this many tokens.
    """
    rows = list(range(len(prompts)))
    # Apple's GPUs have no float64, and the drawing is done in it.
    drawn_on = torch.device("cpu") if model.device.type == "mps" else model.device
    uniform_BT = uniform_BT.to(drawn_on)
    cache, mask_BL, logits_BV = _read(model, prompts)
    for step in range(max(budgets)):
        logits_BV = logits_BV.to(drawn_on)
        token_B = draw(logits_BV, sampling, uniform_BT[rows, step])
        token_ids = token_B.tolist()
        logprobs = token_logprobs(logits_BV, token_B).tolist() if sampling.logprobs else []
        yield Step(list(rows), token_ids, logprobs)
        going = [
            place
            for place, (row, token_id) in enumerate(zip(rows, token_ids, strict=True))
            if token_id not in stop_ids and step + 1 < budgets[row]
        ]
        if not going:
            return
        if len(going) < len(rows):
            rows = [rows[place] for place in going]
            keep = torch.tensor(going, device=model.device)
            cache.batch_select_indices(keep)
            mask_BL, token_B = mask_BL[keep], token_B[going]
        mask_BL = torch.cat([mask_BL, mask_BL.new_ones(len(rows), 1)], 1)
        output = model(
            input_ids=token_B.unsqueeze(1).to(model.device),
            attention_mask=mask_BL,
            position_ids=mask_BL.sum(1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        )
        cache, logits_BV = output.past_key_values, output.logits[:, -1]


def shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts begin with, leaving each at least one of its own.

    Example:
        >>> shared_length([[1, 2, 3], [1, 2, 4, 5]])
        2
        >>> shared_length([[1, 2], [1, 2, 3]])
        1
    """
    longest = min(len(prompt) for prompt in prompts) - 1
    first = prompts[0]
    for place in range(longest):
        if any(prompt[place] != first[place] for prompt in prompts):
            return place
    return longest


@torch.no_grad()
def takes_batches(model: Any) -> bool:
    """Tell whether rows of different length can share a batch.

    They can where the cache is keys and values only, so that padding can be masked out. A
    state-space layer carries padding along in its state.
    """
    cache = DynamicCache(config=model.config)
    return all(isinstance(layer, DynamicLayer) for layer in cache.layers)


def _read(model: Any, prompts: Sequence[Sequence[int]]) -> tuple[Any, Tensor, Tensor]:
    """Compute the prompts; return their cache, their mask, and the logits of the next token.

    A prompt that is to be answered several times is computed once.
    """
    different = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    if len(different) < len(prompts):
        cache, mask_BL, logits_BV = _read(model, different)
        number = {prompt: row for row, prompt in enumerate(different)}
        rows_B = torch.tensor([number[tuple(prompt)] for prompt in prompts], device=model.device)
        cache.batch_select_indices(rows_B)
        return cache, mask_BL[rows_B], logits_BV[rows_B]
    count, device = len(prompts), model.device
    last_only = _last_only(model)
    cache = None
    shared = shared_length(prompts) if count > 1 else 0
    if shared:
        prefix = torch.tensor([list(prompts[0][:shared])], device=device)
        cache = model(input_ids=prefix, use_cache=True, **last_only).past_key_values
        cache.batch_repeat_interleave(count)
    width = max(len(prompt) for prompt in prompts) - shared
    ids_BL = torch.zeros(count, width, dtype=torch.long)
    mask_BL = torch.zeros(count, shared + width, dtype=torch.long)
    mask_BL[:, :shared] = 1
    for row, prompt in enumerate(prompts):
        own = torch.tensor(list(prompt[shared:]))
        ids_BL[row, width - len(own) :] = own
        mask_BL[row, shared + width - len(own) :] = 1
    mask_BL = mask_BL.to(device)
    position_BL = (mask_BL.cumsum(1) - 1).clamp(min=0)[:, shared:]
    output = model(
        input_ids=ids_BL.to(device),
        attention_mask=mask_BL,
        position_ids=position_BL,
        past_key_values=cache,
        use_cache=True,
        **last_only,
    )
    return output.past_key_values, mask_BL, output.logits[:, -1]


def _last_only(model: Any) -> dict[str, int]:
    """Ask for the last position's logits only; those of whole prompts would fill the memory."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = inspect.signature(base.forward).parameters
    return {"logits_to_keep": 1} if "logits_to_keep" in known else {}

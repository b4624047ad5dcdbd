"""Whether a model can be computed as a forest: asked of its config, then of its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from transformers import PreTrainedModel

from danlu.models.attention import FOREST_ATTENTION, ForestLayout
from danlu.models.encoders import is_encoder

PROBE_TOKENS = 6
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9, torch.bfloat16: 5e-2, torch.float16: 2e-2}
"""Largest accepted difference of hidden states, relative to their largest entry."""


def use_forest_attention(model: PreTrainedModel) -> str | None:
    """Switch a model to forest attention, if that computes the same.

    What a config does not tell (positions counted from the row, attention that reads an option we
    do not know) shows in numbers: two short branches with a common prefix are computed as a
    forest and as rows.

    Args:
        model: A transformers model, not wrapped.

    Returns:
        None if the model is now on forest attention; else the reason why it is unchanged.
    """
    if reason := refused_by_config(model):
        return reason
    own = model.config._attn_implementation
    training = model.training
    model.eval()
    rows = [_probe_row(model, branch) for branch in (0, 1)]
    model.set_attn_implementation(FOREST_ATTENTION)
    try:
        forest = _probe_forest(model)
    except (TypeError, ValueError) as error:
        model.set_attn_implementation(own)
        model.train(training)
        return f"its layers do not take forest attention ({error})"
    model.train(training)
    expected = torch.cat([rows[0], rows[1][PROBE_TOKENS:]])
    difference = ((forest - expected).abs().max() / expected.abs().max()).item()
    if not difference <= TOLERANCE.get(model.dtype, 5e-2):
        model.set_attn_implementation(own)
        return f"a forest and separate rows differ by {difference:.1e} (relative) in this model"
    return None


@contextmanager
def ordinary_attention(model: PreTrainedModel) -> Iterator[None]:
    """Put a model on its own attention for the block, as generation with a cache needs it."""
    current = model.config._attn_implementation
    if current == FOREST_ATTENTION:
        model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        if current == FOREST_ATTENTION:
            model.set_attn_implementation(current)


def refused_by_config(model: PreTrainedModel) -> str | None:
    """Return what a model says of itself that attention of our own does not know."""
    if is_encoder(model.config):
        return "it is an encoder, whose tokens also see those after them"
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if other := sorted(kinds - {"full_attention"}):
        return f"it has layers of type {', '.join(other)}"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return "its attention has a sliding window"
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} has attention of its own"
    if getattr(config, "attention_dropout", 0.0):
        return "it has attention dropout"
    return None


def _probe_ids(model: PreTrainedModel) -> tuple[list[int], list[int], list[int]]:
    """A prefix and two endings of arbitrary ordinary tokens."""
    size = model.config.get_text_config().vocab_size
    ids = np.random.default_rng(0).integers(0, size, 3 * PROBE_TOKENS).tolist()
    return ids[:PROBE_TOKENS], ids[PROBE_TOKENS : 2 * PROBE_TOKENS], ids[2 * PROBE_TOKENS :]


@torch.no_grad()
def _probe_row(model: PreTrainedModel, branch: int) -> torch.Tensor:
    prefix, *ends = _probe_ids(model)
    ids = torch.tensor([prefix + ends[branch]], device=model.device)
    states: torch.Tensor = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[0]
    return states


@torch.no_grad()
def _probe_forest(model: PreTrainedModel) -> torch.Tensor:
    prefix, first, second = _probe_ids(model)
    size = PROBE_TOKENS
    until = torch.tensor([3 * size] * size + [2 * size] * size + [3 * size] * size)
    positions = [*range(2 * size), *range(size, 2 * size)]
    states: torch.Tensor = model.get_decoder()(
        input_ids=torch.tensor([prefix + first + second], device=model.device),
        position_ids=torch.tensor([positions], device=model.device),
        use_cache=False,
        forest=ForestLayout(until, model.device),
    ).last_hidden_state[0]
    return states

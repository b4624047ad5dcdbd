"""Prefix tuning: trained keys and values before every sequence, in every layer.

Li and Liang 2021, arXiv:2101.00190, section 4: attention in each layer sees N more keys and values,
which are parameters. They start from those that the model itself computes for real tokens, which
section 7.4 finds better than chance; or they are made by an MLP while training (section 4.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedTokenizerBase

from danlu.config.recipe import TuningSection
from danlu.errors import RecipeError
from danlu.models.forest_support import ordinary_attention
from danlu.models.virtual_tokens import (
    add_virtual_tokens,
    initial_ids,
    make_encoder,
    virtual_config,
)


def tune_prefix(
    model: Any,
    tuning: TuningSection,
    new_token_ids: Sequence[int],
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Any:
    """Put trained keys and values before every sequence; only they move.

    Args:
        model: A plain transformers model; changed in place.
        tuning: Its ``virtual_tokens``, ``init_text``, ``encoder`` and ``encoder_size``.
        new_token_ids: Unused; ``apply_tuning`` lets their rows train.
        tokenizer: For ``init_text``.

    Returns:
        The same model.

    Raises:
        RecipeError: If a layer of the model does not keep the keys and values of all tokens.
    """
    from peft import PrefixTuningConfig

    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or [])
    if other := sorted(kinds - {"full_attention"}):
        raise RecipeError(
            f"this model has layers of type {', '.join(other)}, which would lose the prefix: use "
            "method prompt.",
            where="tuning.method",
        )
    count = tuning.virtual_tokens
    config = virtual_config(model, PrefixTuningConfig, num_virtual_tokens=count)
    encoder: nn.Module
    if tuning.encoder == "mlp":
        config.prefix_projection = True
        config.encoder_hidden_size = tuning.encoder_size or config.token_dim
        encoder = make_encoder(config)
    else:
        kept = _computed(model, initial_ids(model, count, tuning.init_text, tokenizer))
        encoder = nn.Embedding.from_pretrained(kept, freeze=False)
    add_virtual_tokens(model, config, encoder)
    return model


@torch.no_grad()
def _computed(model: Any, ids_N: Tensor) -> Tensor:
    """Return the keys and values of tokens, ``(N, 2 * layers * heads * width)``."""
    cache: Any = DynamicCache(config=model.config)
    training = model.training
    model.eval()
    with ordinary_attention(model):
        model.get_decoder()(input_ids=ids_N.unsqueeze(0), past_key_values=cache, use_cache=True)
    model.train(training)
    # Each layer's are (1, heads, N, width).
    parts = [
        part[0].transpose(0, 1) for layer in cache.layers for part in (layer.keys, layer.values)
    ]
    return torch.stack(parts, 1).flatten(1).float()

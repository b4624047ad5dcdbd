"""P-tuning: embeddings before every sequence, made by a small trained network.

Liu et al. 2021, arXiv:2103.10385, section 3: trained vectors pass through an encoder (two-layer
LSTM and MLP, or an MLP alone), which ties them to each other and steadies the training. The network
is PEFT's; once trained, only its output is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.config.recipe import TuningSection
from danlu.models.virtual_tokens import add_virtual_tokens, make_encoder, virtual_config


def tune_ptuning(model: Any, tuning: TuningSection, new_token_ids: Sequence[int]) -> Any:
    """Put the encoder's embeddings before every sequence; only the encoder moves.

    Args:
        model: A plain transformers model; changed in place.
        tuning: Its ``virtual_tokens``, ``encoder`` and ``encoder_size``.
        new_token_ids: Unused; ``apply_tuning`` lets their rows train.

    Returns:
        The same model.
    """
    from peft import PromptEncoderConfig

    config = virtual_config(
        model,
        PromptEncoderConfig,
        num_virtual_tokens=tuning.virtual_tokens,
        encoder_reparameterization_type=(tuning.encoder or "mlp").upper(),
    )
    config.encoder_hidden_size = tuning.encoder_size or config.token_dim
    add_virtual_tokens(model, config, make_encoder(config))
    return model

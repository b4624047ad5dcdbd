"""Prompt tuning: trained embeddings before every sequence.

Lester et al. 2021, arXiv:2104.08691, section 2: ``[P; X]`` in place of ``X``, where only ``P`` of
``(N, D)`` is trained. It starts from the embeddings of real tokens (section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from danlu.config.recipe import TuningSection
from danlu.models.virtual_tokens import add_virtual_tokens, initial_ids, virtual_config


def tune_prompt(
    model: Any,
    tuning: TuningSection,
    new_token_ids: Sequence[int],
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Any:
    """Put trained embeddings before every sequence; only they move.

    Args:
        model: A plain transformers model; changed in place.
        tuning: Its ``virtual_tokens`` and ``init_text``.
        new_token_ids: Unused; ``apply_tuning`` lets their rows train.
        tokenizer: For ``init_text``.

    Returns:
        The same model.
    """
    from peft import PromptTuningConfig

    count = tuning.virtual_tokens
    with torch.no_grad():
        ids = initial_ids(model, count, tuning.init_text, tokenizer)
        embeds_ND = model.get_input_embeddings()(ids).float()
    config = virtual_config(model, PromptTuningConfig, num_virtual_tokens=count)
    add_virtual_tokens(model, config, nn.Embedding.from_pretrained(embeds_ND, freeze=False))
    return model

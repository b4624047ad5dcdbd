"""Tiny random models, for tests that need one."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def tiny_llama(vocabulary: int = 360, *, seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """A Llama of two layers with random weights, the same ones for the same seed.

    Its weights are drawn wide, so that its logits differ clearly from token to token.
    """
    settings = {**SIZES, "vocab_size": vocabulary, "tie_word_embeddings": True, **changes}
    settings.setdefault("eos_token_id", 2)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**settings, bos_token_id=None, initializer_range=0.3))
    return model.eval()


@torch.no_grad()
def logits_of(model: Any, ids: tuple[int, ...] = (5, 17, 42, 300, 8)) -> torch.Tensor:
    """Logits of a short sequence, ``(1, T, V)``."""
    return model(input_ids=torch.tensor([ids])).logits

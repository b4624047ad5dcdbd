"""Encoders: models whose tokens see all others of their text (BERT, RoBERTa, XLM-R, ModernBERT …).

They predict no next token, so they are read by a readout head alone, and they cannot be computed
as a forest: what a prefix means depends on what follows it. Their rows are padded, and sorted by
length so that little is.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_MAPPING,
)

from danlu.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.sequences.forest import Pack

POSITIONS_AFTER_PADDING = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "mpnet"}
    | {"data2vec-text", "ibert", "longformer", "luke", "xmod", "esm"}
)
"""Kinds of models that count positions from the padding token's id plus one."""

NO_LIMIT = 10**6
"""A tokenizer without a limit of its own says a very large number."""


def is_encoder(config: Any) -> bool:
    """Whether a config is an encoder's.

    Such are trained to fill gaps, and are not set up to continue a text.

    Raises:
        ModelError: If it is one with encoder and decoder.

    Example:
        >>> from transformers import BertConfig, LlamaConfig
        >>> is_encoder(BertConfig()), is_encoder(LlamaConfig())
        (True, False)
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"models with encoder and decoder ({config.model_type}) cannot be tuned here. Take an "
            "encoder, such as BERT, or a decoder, such as Llama."
        )
    fills = type(config) in MODEL_FOR_MASKED_LM_MAPPING and type(config) in MODEL_MAPPING
    continues = any(
        name.endswith(("ForCausalLM", "LMHeadModel"))
        for name in getattr(config, "architectures", None) or ()
    )
    return fills and not continues and not getattr(config, "is_decoder", False)


def encoder_options(config: Any) -> dict[str, Any]:
    """Return what an encoder is loaded with: no pooler, which would be random and never read."""
    model_class: Any = MODEL_MAPPING[type(config)]
    signature = inspect.signature(model_class)
    return {"add_pooling_layer": False} if "add_pooling_layer" in signature.parameters else {}


def context_tokens(config: Any, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the longest text that a model can read, in tokens; None if nothing says."""
    config = config.get_text_config()
    limits = []
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        padding = (config.pad_token_id or 0) + 1
        limits.append(positions - (padding if config.model_type in POSITIONS_AFTER_PADDING else 0))
    if tokenizer.model_max_length < NO_LIMIT:
        limits.append(int(tokenizer.model_max_length))
    return min(limits, default=None)


def encoder_states(model: Any, pack: Pack) -> Tensor:
    """Run an encoder over padded rows.

    Args:
        model: An encoder.
        pack: Padded rows, or an empty pack.

    Returns:
        ``(T, D)``: the hidden state of each cell, one row after another.
    """
    device = model.device
    input_ids = torch.from_numpy(pack.input_ids).to(device)
    if pack.row_lengths is None:
        if len(pack.members):
            raise ValueError("an encoder cannot be computed as a forest")
        states: Tensor = model(input_ids=input_ids[None]).last_hidden_state[0]
        return states
    lengths = torch.from_numpy(pack.row_lengths).to(device)
    column = torch.arange(input_ids.shape[1], device=device)[None]
    mask = column < lengths[:, None]
    inputs = {"input_ids": input_ids, "attention_mask": mask.long()}
    if (getattr(model.config, "type_vocab_size", None) or 0) > 1:
        first = torch.from_numpy(pack.prompt_tokens).to(device)
        inputs["token_type_ids"] = ((column >= first[:, None]) & mask).long()
    states = model(**inputs).last_hidden_state
    return states.flatten(0, 1)

"""Virtual tokens: trained vectors that stand before every sequence.

They are put in by the decoder itself, so whoever computes with the model - training over rows or a
forest, generation with a cache - gives it ordinary tokens, and gets states of ordinary tokens back.
Two kinds: embeddings (prompt tuning, P-tuning), which run through the layers like any token and are
the root that all trees of a forest share; and keys and values of every layer (prefix tuning), which
lie in the attention cache.

The parameters, their encoders and the file format are PEFT's, so PEFT can load what is saved here.

Shapes: N virtual tokens, B rows, T tokens, D model width, L layers, H key heads, W head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedTokenizerBase

from danlu.errors import ModelError
from danlu.models.attention import ForestLayout

PREFIX, PROMPT, PTUNING = "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"
"""PEFT's names of the kinds."""

ENCODER_FILE = "encoder.safetensors"
"""Parameters of an encoder, to go on training; PEFT keeps only what comes out of it."""

COMMON_TOKENS = 5000
"""Initial tokens are drawn from the first so many of the vocabulary, which byte-pair encoding
orders by frequency. Lester et al. 2021, arXiv:2104.08691, section 3.2: the 5,000 most common."""


class VirtualTokens(nn.Module):
    """The virtual tokens of a model.

    Args:
        config: PEFT's config of the method.
        encoder: Maps token numbers ``(1, N)`` to what stands for them: ``(1, N, D)``, or for prefix
            tuning ``(1, N, 2 * L * H * W)``, layer by layer, keys before values.
    """

    def __init__(self, config: Any, encoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.enabled = True

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.config.num_virtual_tokens)

    @property
    def in_cache(self) -> bool:
        """Whether they are keys and values, and not embeddings."""
        return bool(self.config.peft_type == PREFIX)

    def forward(self) -> Tensor:
        """Return what stands for the tokens, ``(N, D)`` or ``(N, 2 * L * H * W)``."""
        device = next(self.encoder.parameters()).device
        numbers = torch.arange(self.count, device=device).unsqueeze(0)
        output: Tensor = self.encoder(numbers)
        return output[0]

    def keys_and_values(self, rows: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield keys and values ``(rows, H, N, W)`` of each layer."""
        layers, heads = self.config.num_layers, self.config.num_attention_heads
        parts = self().to(dtype).view(self.count, layers, 2, heads, -1)
        for layer in range(layers):
            key_HNW, value_HNW = parts[:, layer].permute(1, 2, 0, 3)
            yield key_HNW.expand(rows, -1, -1, -1), value_HNW.expand(rows, -1, -1, -1)


class _DecoderForward:
    """The forward of a decoder whose sequences begin with virtual tokens."""

    def __init__(self, decoder: Any, tokens: VirtualTokens) -> None:
        self.decoder = decoder
        self.tokens = tokens
        self.own = decoder.forward

    def __call__(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        forest: ForestLayout | None = None,
        **options: Any,
    ) -> Any:
        """Compute ordinary tokens behind the virtual ones, as transformers calls a decoder.

        Args:
            input_ids: ``(B, T)``.
            attention_mask: Of ordinary tokens, past and present; None sees all.
            position_ids: Of ordinary tokens, from 0.
            past_key_values: A cache; one that holds anything begins with the virtual tokens.
            inputs_embeds: ``(B, T, D)`` in place of ``input_ids``.
            forest: The layout of a forest pack, B = 1.
            options: Whatever else the decoder takes.

        Returns:
            The decoder's output; its hidden states are those of the ordinary tokens.
        """
        if forest is not None:
            options["forest"] = forest
        if not self.tokens.enabled:
            return self.own(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                inputs_embeds=inputs_embeds,
                **options,
            )
        count = self.tokens.count
        if inputs_embeds is None:
            inputs_embeds = self.decoder.get_input_embeddings()(input_ids)
        assert inputs_embeds is not None
        if attention_mask is not None:
            if attention_mask.ndim != 2:
                raise ValueError("virtual tokens need an attention mask of two axes")
            ones = attention_mask.new_ones(len(attention_mask), count)
            attention_mask = torch.cat([ones, attention_mask], 1)
        if position_ids is not None:
            position_ids = position_ids + count
        begun = past_key_values is not None and past_key_values.get_seq_length() > 0
        in_front = 0 if begun or self.tokens.in_cache else count
        if in_front:
            inputs_embeds, position_ids = self._behind(inputs_embeds, position_ids)
            if forest is not None:
                options["forest"] = _with_root(forest, count)
        elif not begun:
            past_key_values = self._filled(past_key_values, inputs_embeds, forest)
        output = self.own(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **options,
        )
        output.last_hidden_state = output.last_hidden_state[:, in_front:]
        if getattr(output, "hidden_states", None) is not None:
            output.hidden_states = tuple(states[:, in_front:] for states in output.hidden_states)
        return output

    def _behind(self, embeds_BTD: Tensor, position_ids: Tensor | None) -> tuple[Tensor, Any]:
        """Put the virtual tokens' embeddings and positions in front."""
        count = self.tokens.count
        virtual = self.tokens().to(embeds_BTD).expand(len(embeds_BTD), -1, -1)
        if position_ids is not None:
            front = torch.arange(count, device=position_ids.device)
            position_ids = torch.cat([front.expand(len(position_ids), -1), position_ids], 1)
        return torch.cat([virtual, embeds_BTD], 1), position_ids

    def _filled(self, cache: Any, embeds_BTD: Tensor, forest: ForestLayout | None) -> Any:
        """Return the cache, or a new one, with the virtual tokens in it."""
        if forest is not None:
            raise ValueError(
                "prefix tuning lies in the cache, which forest attention does not read"
            )
        if self.decoder.training and any(
            getattr(module, "gradient_checkpointing", False) for module in self.decoder.modules()
        ):
            raise ModelError(
                "gradient checkpointing computes layers again without the cache in which the "
                "prefix lies: switch it off, or use method prompt.",
                where="training.gradient_checkpointing",
            )
        cache = DynamicCache(config=self.decoder.config) if cache is None else cache
        kept = self.tokens.keys_and_values(len(embeds_BTD), embeds_BTD.dtype)
        for layer, (key, value) in enumerate(kept):
            cache.update(key, value, layer)
        return cache


def _with_root(forest: ForestLayout, count: int) -> ForestLayout:
    """Put a root of ``count`` tokens under all trees of a forest."""
    until = forest.visible_until
    root = until.new_full((count,), count + len(until))
    return ForestLayout(torch.cat([root, until + count]), forest.device)


def add_virtual_tokens(model: Any, config: Any, encoder: nn.Module) -> None:
    """Put virtual tokens before every sequence of a model, in place; only they train.

    Args:
        model: A plain transformers model.
        config: PEFT's config of the method.
        encoder: See ``VirtualTokens``.
    """
    model.requires_grad_(False)
    decoder = model.get_decoder()
    tokens = VirtualTokens(config, encoder).to(model.device).requires_grad_(True)
    model.virtual_tokens = tokens
    decoder.__dict__["forward"] = _DecoderForward(decoder, tokens)


def virtual_tokens_of(model: Any) -> VirtualTokens | None:
    """Return a model's virtual tokens, or None."""
    tokens = getattr(model, "virtual_tokens", None)
    return tokens if isinstance(tokens, VirtualTokens) else None


def virtual_config(model: Any, config_class: Any, **settings: Any) -> Any:
    """Make PEFT's config of a method for a model, with all that PEFT would read from the model.

    Args:
        model: A plain transformers model.
        config_class: PEFT's class.
        settings: Its other fields, ``num_virtual_tokens`` among them.
    """
    config = model.config.get_text_config()
    width: int = model.get_input_embeddings().weight.shape[1]
    heads: int = config.num_attention_heads
    if config_class.__name__ == "PrefixTuningConfig":
        head_width = getattr(config, "head_dim", None) or width // heads
        heads = getattr(config, "num_key_value_heads", None) or heads
        width = heads * head_width
    return config_class(
        task_type="CAUSAL_LM",
        base_model_name_or_path=model.name_or_path,
        token_dim=width,
        num_attention_heads=heads,
        num_layers=config.num_hidden_layers,
        num_transformer_submodules=1,
        **settings,
    )


def initial_ids(
    model: Any, count: int, text: str | None, tokenizer: PreTrainedTokenizerBase | None
) -> Tensor:
    """Return the tokens ``(N,)`` that virtual ones start from: a text's, or common ones by chance.

    Raises:
        ModelError: If the text has no tokens.
        ValueError: If there is a text and no tokenizer.
    """
    if text is None:
        known = min(COMMON_TOKENS, model.get_input_embeddings().weight.shape[0])
        return torch.randint(known, (count,)).to(model.device)
    if tokenizer is None:
        raise ValueError("init_text needs the tokenizer")
    ids: Sequence[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise ModelError(f"{text!r} has no tokens to start from.", where="tuning.init_text")
    return torch.tensor([ids[place % len(ids)] for place in range(count)], device=model.device)


def save_virtual_tokens(model: Any, folder: Path) -> None:
    """Write a model's virtual tokens as PEFT does, and the parameters of their encoder."""
    tokens = virtual_tokens_of(model)
    assert tokens is not None
    config = copy(tokens.config)
    config.inference_mode = True
    config.save_pretrained(str(folder))
    with torch.no_grad():
        made = tokens().detach().float().cpu().contiguous()
    save_file({"prompt_embeddings": made}, folder / "adapter_model.safetensors", {"format": "pt"})
    if _has_encoder(config):
        state = {name: t.cpu().contiguous() for name, t in tokens.encoder.state_dict().items()}
        save_file(state, folder / ENCODER_FILE)


def load_virtual_tokens(model: Any, folder: Path) -> None:
    """Read saved virtual tokens into a plain model, in place.

    Where PEFT saved them, an encoder's parameters are not there; such tokens can be talked to and
    cannot go on training.
    """
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = False
    made = load_file(folder / "adapter_model.safetensors")["prompt_embeddings"]
    if (folder / ENCODER_FILE).is_file():
        encoder = make_encoder(config)
        encoder.load_state_dict(load_file(folder / ENCODER_FILE))
    else:
        encoder = nn.Embedding.from_pretrained(made.float(), freeze=False)
    add_virtual_tokens(model, config, encoder)


def can_go_on(model: Any) -> bool:
    """Whether a model's virtual tokens have all that training them goes on with."""
    tokens = virtual_tokens_of(model)
    assert tokens is not None
    return not (_has_encoder(tokens.config) and isinstance(tokens.encoder, nn.Embedding))


def make_encoder(config: Any) -> nn.Module:
    """Make PEFT's encoder for a method that has one, with new weights."""
    from peft import PrefixEncoder, PromptEncoder

    encoder: nn.Module = (PrefixEncoder if config.peft_type == PREFIX else PromptEncoder)(config)
    return encoder


def _has_encoder(config: Any) -> bool:
    return bool(config.peft_type == PTUNING or getattr(config, "prefix_projection", False))

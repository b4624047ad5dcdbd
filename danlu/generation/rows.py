"""Answers of different lengths computed side by side, each with keys and values of its own.

The new tokens of all answers, and pieces of prompts that are still being read, lie one after
another in one flat sequence, as records do in training. Matrix products see them all at once;
attention goes answer by answer over its own keys and values. So nothing is padded, an answer joins
or leaves without anything being copied, and each gets the numbers that it would get alone.
Computing decoding steps and pieces of prompts together is Sarathi's idea (Agrawal et al. 2023,
arXiv:2308.16369), joining and leaving at every step Orca's (Yu et al. 2022, OSDI).

Shapes: H query heads, K key heads, D head width, T tokens of a step, N tokens of one answer in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from danlu.models.adapters import unwrapped
from danlu.models.forest_support import TOLERANCE, refused_by_config
from danlu.models.head import OutputHead

ROWS_ATTENTION = "danlu_rows"
"""Name under which attention of answers side by side is known to transformers."""

GROWTH = 64
"""Room for keys and values is made for a multiple of so many tokens."""

PROBE_TOKENS = 6


class KeyValues:
    """The keys and values of one answer in all layers; room grows as it is needed.

    Attributes:
        length: Tokens that are there.
    """

    def __init__(self) -> None:
        self.length = 0
        self._layers: dict[int, Tensor] = {}

    def append(self, layer: int, key_KND: Tensor, value_KND: Tensor) -> tuple[Tensor, Tensor]:
        """Write behind what is there, and return all, ``(K, length + N, D)`` each.

        Nothing counts as there until ``length`` says so: a step that fails half-way is done again.
        """
        stop = self.length + key_KND.shape[1]
        kept = self._layers.get(layer)
        if kept is None or kept.shape[2] < stop:
            room = -(-max(stop, 0 if kept is None else kept.shape[2] * 3 // 2) // GROWTH) * GROWTH
            larger = key_KND.new_empty(2, key_KND.shape[0], room, key_KND.shape[2])
            if kept is not None:
                larger[:, :, : self.length] = kept[:, :, : self.length]
            kept = self._layers[layer] = larger
        kept[0, :, self.length : stop] = key_KND
        kept[1, :, self.length : stop] = value_KND
        return kept[0, :, :stop], kept[1, :, :stop]

    def beginning(self, length: int) -> KeyValues:
        """Return a copy of the first so many tokens, for another answer that begins alike."""
        copy = KeyValues()
        copy.length = length
        room = -(-(length + 1) // GROWTH) * GROWTH
        for layer, kept in self._layers.items():
            copy._layers[layer] = kept.new_empty(*kept.shape[:2], room, kept.shape[3])
            copy._layers[layer][:, :, :length] = kept[:, :, :length]
        return copy

    @property
    def nbytes(self) -> int:
        """Memory that is taken, in bytes."""
        return sum(kept.nbytes for kept in self._layers.values())


@dataclass(frozen=True)
class Part:
    """What a step computes of one answer.

    Attributes:
        token_ids: New tokens: the last one drawn, or the next piece of the prompt.
        keys: Where its keys and values are kept.
    """

    token_ids: Sequence[int]
    keys: KeyValues


@torch.inference_mode()
def next_logits(model: Any, parts: Sequence[Part]) -> Tensor:
    """Compute one step and keep its keys and values.

    Args:
        model: A causal language model on rows attention, in evaluation mode.
        parts: At least one; each has at least one token.

    Returns:
        ``(len(parts), V)``: the logits behind the last token of each part.
    """
    base = unwrapped(model)
    states_TD = _token_states(base, parts)
    counts = [len(part.token_ids) for part in parts]
    last = torch.tensor(counts, device=base.device).cumsum(0) - 1
    logits = OutputHead.of(base).frozen_logits(states_TD[last])
    for part, count in zip(parts, counts, strict=True):
        part.keys.length += count
    return logits


def _token_states(base: Any, parts: Sequence[Part]) -> Tensor:
    """Compute the last hidden states of all tokens of a step, ``(T, D)``."""
    device = base.device
    ids = torch.tensor([[i for part in parts for i in part.token_ids]], device=device)
    begins = [part.keys.length for part in parts]
    counts = [len(part.token_ids) for part in parts]
    positions = torch.cat(
        [torch.arange(at, at + n) for at, n in zip(begins, counts, strict=True)]
    ).to(device)
    states_TD: Tensor = base.get_decoder()(
        input_ids=ids, position_ids=positions[None], use_cache=False, rows=tuple(parts)
    ).last_hidden_state[0]
    return states_TD


class SideBySide:
    """The engine's backend over rows attention.

    Args:
        model: For which ``use_rows_attention`` has returned None.
    """

    shares_beginnings = True

    def __init__(self, model: Any) -> None:
        self.model = model

    def keys(self) -> KeyValues:
        """Make room for an answer's keys and values."""
        return KeyValues()

    def logits(self, parts: Sequence[Part]) -> Tensor:
        """Compute one step; see ``next_logits``."""
        return next_logits(self.model, parts)

    def states(self, texts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Compute the last hidden states of whole texts, ``(T, D)`` each."""
        parts = [Part(text, KeyValues()) for text in texts]
        states_TD = _token_states(unwrapped(self.model), parts)
        return list(states_TD.split([len(text) for text in texts]))


class CachedKeys(KeyValues):
    """What a model of another kind keeps of one answer, in transformers' own form."""

    def __init__(self, cache: Any) -> None:
        super().__init__()
        self.cache = cache


class OneByOne:
    """The engine's backend for all other models: each answer is computed alone, with its own cache.

    Args:
        model: A causal language model in evaluation mode.
    """

    shares_beginnings = False

    def __init__(self, model: Any) -> None:
        self.model = model

    def keys(self) -> CachedKeys:
        """Make an empty cache."""
        return CachedKeys(DynamicCache(config=unwrapped(self.model).config))

    @torch.inference_mode()
    def logits(self, parts: Sequence[Part]) -> Tensor:
        """Compute one step of each answer, one after another, ``(len(parts), V)``."""
        found = []
        for part in parts:
            assert isinstance(part.keys, CachedKeys)
            output = self.model(
                input_ids=torch.tensor([list(part.token_ids)], device=self.model.device),
                past_key_values=part.keys.cache,
                use_cache=True,
            )
            part.keys.cache = output.past_key_values
            part.keys.length += len(part.token_ids)
            found.append(output.logits[0, -1].float())
        return torch.stack(found)

    def states(self, texts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Compute the last hidden states of whole texts, ``(T, D)`` each."""
        base = unwrapped(self.model)
        return [
            base.get_decoder()(
                input_ids=torch.tensor([list(text)], device=base.device), use_cache=False
            ).last_hidden_state[0]
            for text in texts
        ]


def rows_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    rows: Sequence[Part] | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Attention answer by answer, in the form that transformers calls.

    Args:
        module: The attention layer, which knows its number.
        query: ``(1, H, T, D)``.
        key: ``(1, K, T, D)``.
        value: ``(1, K, T, D)``.
        attention_mask: Must be None.
        scaling: Factor of the scores; default ``D ** -0.5``.
        dropout: Without effect: nothing is trained here.
        rows: The parts of the step, in the order of the tokens.
        options: Whatever else the model passes; an option that changes the scores is refused.

    Returns:
        ``(1, T, H, D)`` and None in place of attention weights.

    Raises:
        ValueError: If ``rows`` is missing, or a mask or an unknown option is given.
    """
    if rows is None or attention_mask is not None:
        raise ValueError(f"{ROWS_ATTENTION} takes its answers from rows=, and no mask")
    for name in ("sliding_window", "softcap", "s_aux"):
        if options.get(name) is not None:
            raise ValueError(f"{ROWS_ATTENTION} does not know the option {name}")
    layer: Any = module.layer_idx
    output = query.new_empty(query.shape[2], query.shape[1], value.shape[3])
    start = 0
    for part in rows:
        own = slice(start, start + len(part.token_ids))
        keys, values = part.keys.append(layer, key[0, :, own], value[0, :, own])
        output[own] = _attend(query[:, :, own], keys[None], values[None], scaling)[0].transpose(
            0, 1
        )
        start = own.stop
    return output[None], None


def _attend(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """Let the last tokens of an answer see themselves and all before them."""
    new, there = query.shape[2], key.shape[2]
    mask = None
    if 1 < new < there:
        places = torch.arange(there, device=query.device)
        mask = places[None] <= places[there - new :, None]
    attended: Tensor = nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=1 < new == there,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended


def use_rows_attention(model: Any) -> str | None:
    """Switch a model to answering side by side, if that computes the same.

    Two short texts are computed in pieces, side by side, and each alone by the model's own
    attention.

    Args:
        model: A transformers model, or a PEFT model around one, in evaluation mode.

    Returns:
        None if the model now computes so; else the reason why it is unchanged.
    """
    base = unwrapped(model)
    if reason := refused_by_config(base):
        return reason
    own = base.config._attn_implementation
    size = base.config.get_text_config().vocab_size
    tokens = torch.randint(size, (2, PROBE_TOKENS), generator=torch.Generator().manual_seed(0))
    texts = [tokens[0, : PROBE_TOKENS - 2].tolist(), tokens[1].tolist()]
    with torch.inference_mode():
        expected = torch.stack(
            [base(torch.tensor([one], device=base.device)).logits[0, -1] for one in texts]
        )
    base.set_attn_implementation(ROWS_ATTENTION)
    try:
        keys = [KeyValues(), KeyValues()]
        next_logits(model, [Part(one[:-2], kept) for one, kept in zip(texts, keys, strict=True)])
        next_logits(model, [Part(texts[1][-2:-1], keys[1]), Part(texts[0][-2:], keys[0])])
        found = next_logits(model, [Part(texts[1][-1:], keys[1])])
    except (AttributeError, TypeError, ValueError) as error:
        base.set_attn_implementation(own)
        return f"its layers do not take answers side by side ({error})"
    again = KeyValues()
    first = next_logits(model, [Part(texts[0], again)])
    difference = (torch.cat([first, found]) - expected.float()).abs().max() / expected.abs().max()
    if not difference.item() <= TOLERANCE.get(base.dtype, 5e-2):
        base.set_attn_implementation(own)
        return f"answers side by side differ from answers alone by {difference.item():.1e}"
    return None


def _no_mask(*_: object, **__: object) -> None:
    """Build no mask: an answer sees all of itself."""


AttentionInterface.register(ROWS_ATTENTION, rows_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(ROWS_ATTENTION, _no_mask)

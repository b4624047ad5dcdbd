"""How much work a training step cannot do without.

Only matrix products are counted, each multiply-add as two operations; norms, activations, the
softmax and the optimizer count nothing, so 1.0 of the machine's matrix rate is out of reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from danlu.sequences.branch import Branch
from danlu.sequences.forest import build_packs

ATTENTION_PASSES = 3.5
"""Forward and backward over forward: the two products, and in backward four more, with the scores
made anew because keeping them would take memory for the square of the length (arXiv:2205.14135)."""


@dataclass(frozen=True)
class Shape:
    """The matrices of a Llama-like model.

    Attributes:
        layers: Decoder layers.
        matrices: ``(inputs, outputs)`` of each matrix of one layer.
        attention_width: Query heads times their width.
        head: Weights of the output matrix.
    """

    layers: int
    matrices: tuple[tuple[int, int], ...]
    attention_width: int
    head: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """Read the shape from a transformers config."""
        width, inner = config.hidden_size, config.intermediate_size
        head_dim = getattr(config, "head_dim", None) or width // config.num_attention_heads
        queries = config.num_attention_heads * head_dim
        keys = config.num_key_value_heads * head_dim
        matrices = (
            (width, queries),
            (width, keys),
            (width, keys),
            (queries, width),
            (width, inner),
            (width, inner),
            (inner, width),
        )
        return cls(config.num_hidden_layers, matrices, queries, width * config.vocab_size)

    @property
    def layer_weights(self) -> int:
        """Weights in the matrices of all layers."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.matrices)

    def adapter_weights(self, rank: int) -> int:
        """Weights of LoRA adapters beside all matrices of all layers."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.matrices)


@dataclass(frozen=True)
class StepSize:
    """What has to be computed for a step, whatever it is cut into.

    Attributes:
        tokens: Unique tokens: every shared prefix once.
        predictions: Positions that the output matrix is applied to; one whose branches part
            right behind it counts for each of them.
        pairs: Pairs of a token and one that it sees, itself included.
    """

    tokens: int
    predictions: int
    pairs: int

    @classmethod
    def of(cls, branches: Sequence[Branch]) -> StepSize:
        """Count a step's branches, merged into one forest."""
        total = sum(len(branch.input_ids) for branch in branches)
        [pack] = build_packs(branches, max(1, total))
        # A token sees its path from the root: as many tokens as its depth, and itself.
        return cls(pack.tokens, len(pack.predictor), int((pack.position_ids + 1).sum()))


def necessary_flops(
    shape: Shape, size: StepSize, method: Literal["lora", "full"], lora_rank: int = 16
) -> float:
    """Count the floating-point operations that a step needs.

    A matrix of n weights takes 2n operations per token forward, 2n for the gradient of its input
    and 2n for its own gradient. With LoRA the model's own matrices need no gradient of their own,
    the adapters do. Causal attention takes 2 operations per pair, layer and channel for the scores
    and 2 for the values, forward; with backward ``ATTENTION_PASSES`` times that.

    Args:
        shape: The model.
        size: The step.
        method: ``full`` trains all matrices, ``lora`` adapters of ``lora_rank`` beside them.
        lora_rank: Rank of the adapters.

    Example:
        >>> shape = Shape(1, ((2, 3),), attention_width=2, head=10)
        >>> necessary_flops(shape, StepSize(tokens=5, predictions=1, pairs=0), "full")
        240.0
    """
    own = 6 if method == "full" else 4
    flops = own * (shape.layer_weights * size.tokens + shape.head * size.predictions)
    if method == "lora":
        flops += 6 * shape.adapter_weights(lora_rank) * size.tokens
    return float(flops + ATTENTION_PASSES * _attention_flops(shape, size))


def scoring_flops(shape: Shape, size: StepSize) -> float:
    """Count the operations that a forward pass needs which only scores: 2n per token and matrix.

    Args:
        shape: The model; an adapter is switched off, or has not learned anything yet.
        size: What is scored.

    Example:
        >>> shape = Shape(1, ((2, 3),), attention_width=2, head=10)
        >>> scoring_flops(shape, StepSize(tokens=5, predictions=1, pairs=0))
        80.0
    """
    flops = 2 * (shape.layer_weights * size.tokens + shape.head * size.predictions)
    return float(flops + _attention_flops(shape, size))


def _attention_flops(shape: Shape, size: StepSize) -> int:
    """Count the operations of causal attention, forward."""
    return 4 * size.pairs * shape.attention_width * shape.layers

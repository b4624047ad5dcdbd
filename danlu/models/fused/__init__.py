"""The parts of a decoder layer in fewer passes and with less kept, to the same numbers.

What dominates a small model's training beside the matrix products is memory traffic: PEFT adds an
adapter's output in two passes over a tensor as wide as the layer's, a gated MLP keeps four
tensors of its inner width for the backward pass where two suffice, a norm keeps two of the model's
width where its input suffices. Each part is written here as one function with its own backward
pass, over the products of ``danlu.models.products``. The embedding is one for its gradient alone.

A part replaces a module's ``forward`` and nothing else. It asks at each call whether the module is
still what it was (adapters may be switched off or merged) and otherwise calls the module's own
forward. Before a part is installed, it must compute what the module computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from danlu.models.fused.attention import FusedAttention
from danlu.models.fused.embedding import FusedEmbedding
from danlu.models.fused.mlp import FusedMlp
from danlu.models.fused.norm import FusedNorm
from danlu.models.fused.projection import FusedProjection

PARTS: tuple[Callable[[nn.Module], Any | None], ...] = (
    FusedProjection.of,
    FusedNorm.of,
    FusedMlp.of,
    FusedAttention.of,
    FusedEmbedding.of,
)


def fuse_layers(model: nn.Module) -> dict[str, int]:
    """Let the layers of a model compute in fewer passes.

    Merging, switching adapters off and saving work as before.

    Args:
        model: A causal language model, tuned or not.

    Returns:
        How many parts of each kind took over, by the name of their class.

    Example:
        >>> fuse_layers(nn.Sequential(nn.Linear(2, 3)))
        {'FusedProjection': 1}
    """
    counts: dict[str, int] = {}
    training = model.training
    model.eval()  # dropout would make a part and its module differ
    for module in model.modules():
        for make in PARTS:
            if part := make(module):
                module.__dict__["forward"] = part
                name = type(part).__name__
                counts[name] = counts.get(name, 0) + 1
                break
    model.train(training)
    return counts

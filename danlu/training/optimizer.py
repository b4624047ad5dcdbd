"""AdamW over what moves, with decay where decay belongs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from danlu.config.recipe import TrainingSection


def build_optimizer(
    parameters: Mapping[str, nn.Parameter], settings: TrainingSection
) -> torch.optim.AdamW:
    """Make AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) in its fused form.

    Weight decay goes to matrices only. Biases and norm weights, which have one axis, are scales
    and offsets; pulling them to 0 changes what the layer computes, not how large its map is.

    Args:
        parameters: What is trained, by name, in a fixed order.
        settings: Learning rate, betas, epsilon, decay.

    Raises:
        ValueError: If there is nothing to train.
    """
    if not parameters:
        raise ValueError("no parameter is trained")
    matrices = [p for p in parameters.values() if p.ndim >= 2]
    vectors = [p for p in parameters.values() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    device = next(iter(parameters.values())).device.type
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=device in ("cpu", "cuda", "mps"),
    )

"""AdamW over what moves, with decay where decay belongs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from danlu.config.recipe import TrainingSection


def build_optimizer(
    parameters: Mapping[str, nn.Parameter],
    settings: TrainingSection,
    factors: Mapping[str, float] | None = None,
) -> torch.optim.AdamW:
    """Make AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) in its fused form.

    Weight decay goes to matrices only. Biases, norm weights and IA3's factors are scales and
    offsets; pulling them to 0 changes what the layer computes, not how large its map is.

    Args:
        parameters: What is trained, by name, in a fixed order.
        settings: Learning rate, betas, epsilon, decay.
        factors: By name, for parameters that learn at a multiple of the learning rate (LoRA+, see
            ``tuning.learning_rate_factors``). Each group of the optimizer carries its multiple as
            ``lr_factor``, for whoever sets ``lr`` by a schedule.

    Raises:
        ValueError: If there is nothing to train.
    """
    if not parameters:
        raise ValueError("no parameter is trained")
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        key = (_decays(name, parameter), (factors or {}).get(name, 1.0))
        groups.setdefault(key, []).append(parameter)
    settled: list[dict[str, Any]] = [
        {
            "params": members,
            "weight_decay": settings.weight_decay if decays else 0.0,
            "lr": settings.learning_rate * factor,
            "lr_factor": factor,
        }
        for (decays, factor), members in sorted(groups.items(), key=lambda item: not item[0][0])
    ]
    device = next(iter(parameters.values())).device.type
    return torch.optim.AdamW(
        settled,
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=device in ("cpu", "cuda", "mps"),
    )


def begin_moments(optimizer: torch.optim.Optimizer) -> None:
    """Make AdamW's two moments now, where it has none yet, and not at its first update.

    By then the memory is what a pack's activations left. The moments would take up their room, and
    the next pack would need as much again.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not optimizer.state[parameter]:
                optimizer.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    "exp_avg": torch.empty_like(parameter, requires_grad=False).zero_(),
                    "exp_avg_sq": torch.empty_like(parameter, requires_grad=False).zero_(),
                }


def _decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a matrix; IA3's factors are vectors that PEFT gives two axes."""
    return parameter.ndim >= 2 and ".ia3_l." not in name

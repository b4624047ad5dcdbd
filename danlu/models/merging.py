"""Merging of weights that have the same shapes: linear, task arithmetic, TIES.

Everything here is a plain function over tensors by name; ``danlu.serving.merge`` reads and writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

Weights = Mapping[str, torch.Tensor]


def linear(models: Sequence[Weights], weights: Sequence[float]) -> dict[str, torch.Tensor]:
    """Return the weighted sum of models, in float32.

    Args:
        models: Tensors by name; the same names and shapes in each.
        weights: One per model. With a sum of 1, the result is between them.

    Example:
        >>> linear([{"w": torch.tensor([1.0])}, {"w": torch.tensor([5.0])}], [0.75, 0.25])
        {'w': tensor([2.])}
    """
    return {
        name: sum_of([one[name].float() * w for one, w in zip(models, weights, strict=True)])
        for name in models[0]
    }


def task_arithmetic(
    base: Weights, models: Sequence[Weights], weights: Sequence[float]
) -> dict[str, torch.Tensor]:
    """Add what each model has learned to their base: ``base + sum of w (model - base)``.

    Source: Ilharco et al., Editing Models with Task Arithmetic, arXiv:2212.04089, section 2. A
    negative weight takes a task away.

    Example:
        >>> a, b = {"w": torch.tensor([3.0])}, {"w": torch.tensor([2.0])}
        >>> task_arithmetic({"w": torch.tensor([1.0])}, [a, b], [1.0, -0.5])
        {'w': tensor([2.5000])}
    """
    changes = linear([changed(base, one) for one in models], weights)
    return {name: base[name].float() + changes[name] for name in base}


def ties(
    base: Weights,
    models: Sequence[Weights],
    weights: Sequence[float],
    *,
    density: float = 0.2,
    scale: float = 1.0,
) -> dict[str, torch.Tensor]:
    """Merge by TIES: trim each change, elect a sign for each number, average those that have it.

    Source: Yadav et al., TIES-Merging, arXiv:2306.01708, algorithm 1; its defaults.

    Args:
        base: What all models were tuned from.
        models: The tuned models.
        weights: One per model, above 0: how much its change counts in the vote and in the average.
        density: Share of a model's numbers that is kept, those that changed most, over all tensors.
        scale: Factor of the merged change (the paper's lambda).
    """
    trimmed = [trim(changed(base, one), density) for one in models]
    merged = {}
    for name in base:
        stack = torch.stack([one[name] for one in trimmed])
        weight = torch.tensor(weights).reshape(-1, *[1] * (stack.dim() - 1))
        sign = (stack * weight).sum(0).sign()
        agrees = (stack.sign() == sign) & (stack != 0)
        total = (stack * weight * agrees).sum(0)
        count = (weight * agrees).sum(0)
        merged[name] = base[name].float() + scale * total / count.masked_fill(count == 0, 1.0)
    return merged


def changed(base: Weights, model: Weights) -> dict[str, torch.Tensor]:
    """Return the task vector: a model less its base, in float32."""
    return {name: model[name].float() - base[name].float() for name in base}


def trim(change: Weights, density: float) -> dict[str, torch.Tensor]:
    """Set all but the largest numbers to 0; of equal ones at the border, all are kept.

    Example:
        >>> trim({"a": torch.tensor([1.0, -4.0]), "b": torch.tensor([3.0, 2.0])}, 0.5)
        {'a': tensor([ 0., -4.]), 'b': tensor([3., 0.])}
    """
    sizes = torch.cat([one.abs().flatten() for one in change.values()])
    keep = max(1, round(density * sizes.numel()))
    border = sizes.kthvalue(sizes.numel() - keep + 1).values
    return {name: one.where(one.abs() >= border, 0.0) for name, one in change.items()}


def sum_of(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Add tensors of one shape."""
    total = tensors[0].clone()
    for one in tensors[1:]:
        total += one
    return total

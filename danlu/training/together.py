"""Groups of processes that compute packs together, for sequences too long for one of them."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from danlu.config.recipe import Recipe
from danlu.errors import RecipeError
from danlu.models.context import ContextGroup

_VIRTUAL_TOKENS = ("prefix", "prompt", "ptuning")


def context_group(recipe: Recipe, accelerator: Accelerator) -> ContextGroup | None:
    """Connect the processes that compute packs together; None where each computes its own."""
    size = recipe.devices.context_parallel
    if size == 1:
        return None
    group, _ = torch.distributed.new_subgroups(size)
    return ContextGroup(group, size, accelerator.process_index % size)


def must_share_packs(recipe: Recipe, processes: int) -> None:
    """Refuse what several processes cannot compute together.

    Raises:
        RecipeError: With the reason.
    """
    size = recipe.devices.context_parallel
    if size == 1:
        return
    if processes % size:
        problem = (
            f"{size} processes are to compute a pack together, and {processes} were launched. "
            f"Launch a multiple of {size}, as by danlu launch RECIPE --processes {size}."
        )
    elif recipe.tuning.method in _VIRTUAL_TOKENS:
        problem = (
            f"tuning.method {recipe.tuning.method} puts tokens before every sequence, which no "
            "process would own: set 1, or use another method."
        )
    else:
        return
    raise RecipeError(problem, where="devices.context_parallel")

"""Tuning methods: which weights of a model move.

After ``apply_tuning`` a parameter's ``requires_grad`` says whether it moves; nothing else decides.
A method is one file with one function, named in ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from danlu.config.recipe import TuningSection
from danlu.models.tokens import grow_embeddings
from danlu.models.tuning_full import tune_full
from danlu.models.tuning_lora import tune_lora

METHODS: dict[str, Callable[[Any, TuningSection, Sequence[int]], Any]] = {
    "full": tune_full,
    "lora": tune_lora,
}


def apply_tuning(model: Any, tuning: TuningSection, *, new_token_ids: Sequence[int] = ()) -> Any:
    """Make exactly those parameters trainable that the recipe says.

    Args:
        model: A plain transformers model, as ``load_model`` returns it; changed in place.
        tuning: The recipe's ``tuning`` section.
        new_token_ids: Tokens that the tokenizer was given (``tokens.add_tokens``); their rows are
            made here, and train under any method.

    Returns:
        The model to train: the same one, or a PEFT model around it.

    Raises:
        RecipeError: If the settings name layers, parts or options that do not exist, or that
            cannot go together in this model.
    """
    grow_embeddings(model, new_token_ids)
    return METHODS[tuning.method](model, tuning, new_token_ids)


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that move, by name; a tied one once.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> _ = layer.bias.requires_grad_(False)
        >>> list(trainable_parameters(layer))
        ['weight']
    """
    return {name: part for name, part in model.named_parameters() if part.requires_grad}

"""Tuning methods: which weights of a model move.

After ``apply_tuning`` a parameter's ``requires_grad`` says whether it moves; nothing else decides.
A method is one file with one function, named in ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from danlu.config.recipe import TuningSection
from danlu.errors import RecipeError
from danlu.models.adapters import has_adapter, unwrapped
from danlu.models.token_rows import train_rows
from danlu.models.tokens import grow_embeddings
from danlu.models.tuning_adapter import tune_adapter
from danlu.models.tuning_continue import go_on
from danlu.models.tuning_full import tune_full
from danlu.models.tuning_ia3 import tune_ia3
from danlu.models.tuning_lora import tune_lora
from danlu.models.tuning_prefix import tune_prefix
from danlu.models.tuning_prompt import tune_prompt
from danlu.models.tuning_ptuning import tune_ptuning
from danlu.models.tuning_qlora import tune_qlora

METHODS: dict[str, Callable[..., Any]] = {
    "lora": tune_lora,
    "qlora": tune_qlora,
    "full": tune_full,
    "ia3": tune_ia3,
    "adapter": tune_adapter,
    "prefix": tune_prefix,
    "prompt": tune_prompt,
    "ptuning": tune_ptuning,
}
"""Each takes a model, the settings and the ids of new tokens, and returns the model to train; those
that start from a text (``init_text``) take the tokenizer too."""

_WITH_ROWS = ("full", "lora", "qlora")
"""Methods that see to the rows of new tokens themselves."""


def apply_tuning(
    model: Any,
    tuning: TuningSection,
    *,
    new_token_ids: Sequence[int] = (),
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Any:
    """Make exactly those parameters trainable that the recipe says.

    Args:
        model: As ``load_for_tuning`` returns it; changed in place.
        tuning: The recipe's ``tuning`` section; for ``start: continue``, as ``continued`` returned
            it.
        new_token_ids: Tokens that the tokenizer was given (``tokens.add_tokens``); their rows are
            made here, and train under any method.
        tokenizer: Needed for ``tuning.init_text``.

    Returns:
        The model to train: the same one, or a PEFT model around it.

    Raises:
        RecipeError: If the settings name layers, parts or options that do not exist, or that
            cannot go together in this model; or if a new adapter is to be put on one that cannot
            be merged.
    """
    if tuning.start == "continue":
        return go_on(model, tuning, new_token_ids)
    if has_adapter(model):
        raise RecipeError(
            "model.path holds an adapter that cannot be merged, so nothing new can be put on it: "
            "go on with it by start: continue, or name its base in model.path.",
            where="tuning.start",
        )
    options = {"tokenizer": tokenizer} if tuning.init_text is not None else {}
    if tuning.method in _WITH_ROWS:
        grow_embeddings(model, new_token_ids)
    tuned = METHODS[tuning.method](model, tuning, new_token_ids, **options)
    if tuning.method not in _WITH_ROWS:
        train_rows(unwrapped(tuned), new_token_ids)
    return tuned


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that move, by name; a tied one once.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> _ = layer.bias.requires_grad_(False)
        >>> list(trainable_parameters(layer))
        ['weight']
    """
    return {name: part for name, part in model.named_parameters() if part.requires_grad}


def learning_rate_factors(
    parameters: Mapping[str, nn.Parameter], tuning: TuningSection
) -> dict[str, float]:
    """Return which parameters learn at a multiple of the learning rate, by name.

    LoRA+, Hayou et al. 2024, arXiv:2402.12354: with one rate for both, wide layers learn too
    little through B; it takes ``lora_plus_ratio`` times A's.

    Example:
        >>> names = ["q.lora_A.default.weight", "q.lora_B.default.weight"]
        >>> some = {name: nn.Parameter() for name in names}
        >>> learning_rate_factors(some, TuningSection(lora_plus_ratio=16))
        {'q.lora_B.default.weight': 16.0}
    """
    if tuning.lora_plus_ratio is None:
        return {}
    own = (name for name in parameters if ".lora_B." in name or ".lora_embedding_B." in name)
    return dict.fromkeys(own, tuning.lora_plus_ratio)


def forest_obstacle(tuning: TuningSection) -> str | None:
    """Say why a method cannot be computed as a forest; None if it can."""
    if tuning.method == "prefix":
        return "prefix tuning lies in the attention's cache, which forest attention does not read"
    return None


def checkpointing_obstacle(tuning: TuningSection) -> str | None:
    """Say why a method excludes gradient checkpointing; None if it does not."""
    if tuning.method == "prefix":
        return "it computes layers again without the cache in which the prefix lies"
    return None

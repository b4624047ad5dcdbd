"""LoRA: low-rank adapters beside frozen weights, through PEFT.

Hu et al. 2021, arXiv:2106.09685: ``W x + (alpha / rank) B A x``, with ``B`` zero at first, so that
training starts from the model as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from danlu.config.recipe import TuningSection
from danlu.errors import RecipeError, did_you_mean
from danlu.models.layers import decoder_layers, layer_numbers, linear_layers
from danlu.models.quiet import quiet
from danlu.models.tokens import token_indices

# What the recipe sets by names of its own, or what is decided here.
_SET_ELSEWHERE = {
    "r": "tuning.lora_rank",
    "lora_alpha": "tuning.lora_alpha",
    "lora_dropout": "tuning.lora_dropout",
    "target_modules": "tuning.lora_targets",
    "layers_to_transform": "tuning.layers",
    "layers_pattern": "tuning.layers",
    "trainable_token_indices": "model.new_tokens",
    "base_model_name_or_path": "model.path",
}
_FIXED = (
    "task_type",
    "peft_type",
    "inference_mode",
    "auto_mapping",
    "peft_version",
    "runtime_config",
)


def tune_lora(model: Any, tuning: TuningSection, new_token_ids: Sequence[int]) -> Any:
    """Put adapters beside the chosen linear layers; only they, and new tokens' rows, move.

    Args:
        model: A plain transformers model; changed in place.
        tuning: Its ``lora_*`` settings and ``layers``.
        new_token_ids: Tokens whose embedding rows move too, in both matrices.

    Returns:
        A PEFT model around it.

    Raises:
        RecipeError: If a target, layer or option does not exist, or PEFT refuses an option.
    """
    from peft import LoraConfig, get_peft_model

    layers_name, layers = decoder_layers(model)
    numbers = layer_numbers(tuning.layers, len(layers))
    try:
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=tuning.lora_rank,
            lora_alpha=tuning.lora_alpha or tuning.lora_rank,
            lora_dropout=tuning.lora_dropout,
            target_modules=_targets(model, tuning),
            layers_to_transform=numbers or None,
            layers_pattern=layers_name.rsplit(".", 1)[-1] if numbers else None,
            trainable_token_indices=token_indices(model, new_token_ids),
            **_checked_options(tuning.lora_options, LoraConfig),
        )
        with quiet():
            return get_peft_model(model, config)
    # Whatever PEFT raises for an option's value: there is no one kind.
    except (
        AttributeError,
        ImportError,
        KeyError,
        NotImplementedError,
        TypeError,
        ValueError,
    ) as error:
        raise RecipeError(f"PEFT refuses: {error}", where="tuning.lora_options") from error


def _targets(model: Any, tuning: TuningSection) -> list[str]:
    """Return the names of the linear layers that get an adapter.

    Raises:
        RecipeError: If one of them is not in the model.
    """
    modules = linear_layers(model)
    names = {name.rsplit(".", 1)[-1] for name in modules}
    if tuning.lora_targets == "all-linear":
        return sorted(names)
    assert isinstance(tuning.lora_targets, list)
    for target in tuning.lora_targets:
        if not any(module.endswith(f".{target}") for module in modules):
            raise RecipeError(
                f"no layer of the model has a linear part {target!r}.{did_you_mean(target, names)}",
                where="tuning.lora_targets",
            )
    return list(tuning.lora_targets)


def _checked_options(options: dict[str, Any], config_class: type) -> dict[str, Any]:
    """Return the options, all of them fields of PEFT's LoraConfig that no other setting sets.

    Raises:
        RecipeError: If one is not.
    """
    fields = {field.name for field in dataclasses.fields(config_class) if field.init}
    fields -= {*_SET_ELSEWHERE, *_FIXED}
    for name in options:
        where = f"tuning.lora_options.{name}"
        if name in _SET_ELSEWHERE:
            raise RecipeError(f"set it with {_SET_ELSEWHERE[name]}.", where=where)
        if name not in fields:
            raise RecipeError(
                f"PEFT's LoraConfig has no such option.{did_you_mean(name, fields)}", where=where
            )
    return options

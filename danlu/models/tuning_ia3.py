"""IA3: a trained factor for each channel of some linear layers, through PEFT.

Liu et al. 2022, arXiv:2205.05638, section 3.3: keys, values and the inner activations of the MLP
are multiplied by vectors, which start as 1. So a layer in attention is scaled at its output, one in
the MLP at its input; both can be merged into the layer's matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.config.recipe import TuningSection
from danlu.errors import RecipeError, did_you_mean
from danlu.models.layers import decoder_layers, layer_numbers
from danlu.models.quiet import quiet
from danlu.models.tuning_lora import is_target, linear_names

KEYS_AND_VALUES = ("k_proj", "v_proj", "key", "value")
FUSED = ("qkv_proj", "query_key_value", "c_attn", "Wqkv")
"""Layers that make queries, keys and values in one; taken where keys have no layer of their own."""


def tune_ia3(model: Any, tuning: TuningSection, new_token_ids: Sequence[int]) -> Any:
    """Scale the chosen linear layers; only the factors move.

    Args:
        model: A plain transformers model; changed in place.
        tuning: Its ``ia3_targets`` and ``layers``.
        new_token_ids: Unused; ``apply_tuning`` lets their rows train.

    Returns:
        A PEFT model around it.

    Raises:
        RecipeError: If a target is not in the model, or none was given and none is found.
    """
    from peft import IA3Config, get_peft_model
    from transformers.pytorch_utils import Conv1D

    targets = ia3_layers(model, tuning)
    for target in tuning.ia3_targets or ():
        if not any(is_target(name, [target]) for name in targets):
            names = {name.rsplit(".", 1)[-1] for name in linear_names(model)}
            raise RecipeError(
                f"no layer of the model has a linear part {target!r}.{did_you_mean(target, names)}",
                where="tuning.ia3_targets",
            )
    config = IA3Config(
        task_type="CAUSAL_LM",
        target_modules=targets,
        feedforward_modules=[name for name in targets if not in_attention(name)],
        fan_in_fan_out=isinstance(model.get_submodule(targets[0]), Conv1D),
    )
    with quiet():
        return get_peft_model(model, config)


def ia3_layers(model: Any, tuning: TuningSection) -> list[str]:
    """Return the full names of the linear layers that the settings choose, tuned or not yet.

    Raises:
        RecipeError: If no targets are given, and none are known for the model.
    """
    layers_name, layers = decoder_layers(model)
    numbers = layer_numbers(tuning.layers, len(layers)) or range(len(layers))
    chosen: list[str] = []
    for number in numbers:
        start = f"{layers_name}.{number}."
        linear = [name for name in linear_names(model) if name.startswith(start)]
        if tuning.ia3_targets is None:
            chosen += _default(model, linear)
        else:
            chosen += [name for name in linear if is_target(name, tuning.ia3_targets)]
    return chosen


def in_attention(name: str) -> bool:
    """Whether a layer is part of attention, by its full name; others belong to the MLP."""
    return "attn" in name or "attention" in name


def _default(model: Any, linear: list[str]) -> list[str]:
    """Return keys, values and the last layer of the MLP, of one decoder layer's linear parts."""
    attention = [name for name in linear if in_attention(name)]
    # A gate of experts is linear too, and puts out something else than the model's width.
    width = model.get_input_embeddings().weight.shape[1]
    inner = [
        name
        for name in linear
        if not in_attention(name) and _outputs(model.get_submodule(name)) == width
    ]
    found = [name for name in attention if name.rsplit(".", 1)[-1] in KEYS_AND_VALUES]
    found = found or [name for name in attention if name.rsplit(".", 1)[-1] in FUSED]
    if not found or not inner:
        names = sorted({name.rsplit(".", 1)[-1] for name in linear})
        raise RecipeError(
            f"which layers make keys, values and the MLP's output is not known for "
            f"{type(model).__name__}; name some of its linear parts: {', '.join(names)}.",
            where="tuning.ia3_targets",
        )
    return [*found, inner[-1]]


def _outputs(layer: Any) -> int:
    """Return how many channels a linear layer puts out; Conv1D calls them ``nf``."""
    return int(layer.nf if hasattr(layer, "nf") else layer.out_features)

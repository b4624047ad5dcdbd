"""The parts of a model: its decoder layers, and what each parameter belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from danlu.errors import ModelError, RecipeError

LAYER_PARTS = ("attention", "mlp")
"""Parts that lie within layers only."""


def decoder_layers(model: Any) -> tuple[str, nn.ModuleList]:
    """Return the name and the list of a model's decoder layers.

    It is the outermost list of modules as long as the config says.

    Raises:
        ModelError: If there is none.

    Example:
        For Llama: ``("model.layers", ModuleList(...))``
    """
    count = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name, module
    raise ModelError(
        f"{type(model).__name__} has no list of {count} decoder layers, so its parts cannot be "
        "told apart; tune it with method full and without parts or layers."
    )


def layer_numbers(layers: Sequence[int], count: int) -> list[int]:
    """Turn the recipe's layer numbers, negative ones from the end, into sorted plain ones.

    Raises:
        RecipeError: If one is out of range, or named twice.

    Example:
        >>> layer_numbers([-1, 0], 30)
        [0, 29]
    """
    for number in layers:
        if not -count <= number < count:
            raise RecipeError(
                f"there is no layer {number}; the model has layers 0 to {count - 1} (or -{count} "
                "to -1, from the end).",
                where="tuning.layers",
            )
    numbers = sorted(number % count for number in layers)
    if len(set(numbers)) < len(numbers):
        raise RecipeError(f"a layer is named twice in {list(layers)}.", where="tuning.layers")
    return numbers


def parts_of(model: Any) -> dict[str, tuple[int | None, frozenset[str]]]:
    """Return, for each parameter, its layer number (None outside) and the parts it belongs to.

    Parts: ``embedding`` (tokens, learned positions), ``head``, ``layers`` (all within a layer),
    ``attention``, ``mlp``, ``norms`` (within layers and the last one). What lies in a layer and is
    neither norm nor attention is the MLP, by whatever name: experts and routers too.

    Returns:
        Parameter name to (layer, parts); a tied matrix is both ``embedding`` and ``head``.
    """
    layers_name, _ = decoder_layers(model)
    head = model.get_output_embeddings()
    head_weights = {id(weight) for weight in head.parameters()} if head is not None else set()
    found: dict[str, tuple[int | None, frozenset[str]]] = {}
    for owner_name, owner in model.named_modules():
        for name, parameter in owner.named_parameters(owner_name, recurse=False):
            layer = _layer_number(name, layers_name)
            parts = set()
            if layer is not None:
                parts = {"layers", _part_in_layer(owner, name.removeprefix(layers_name))}
            elif _is_norm(owner):
                parts = {"norms"}
            elif isinstance(owner, nn.Embedding):
                parts = {"embedding"}
            if id(parameter) in head_weights:
                parts.add("head")
            already = found.get(name, (None, frozenset()))[1]
            found[name] = (layer, already | frozenset(parts))
    return found


def linear_layers(model: Any) -> list[str]:
    """Return the full names of all linear modules within the decoder layers.

    The output head lies outside the layers and so is never among them.
    """
    from transformers.pytorch_utils import Conv1D

    layers_name, layers = decoder_layers(model)
    return [
        f"{layers_name}.{name}"
        for name, module in layers.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    ]


def _layer_number(name: str, layers_name: str) -> int | None:
    if not name.startswith(f"{layers_name}."):
        return None
    return int(name.removeprefix(f"{layers_name}.").split(".", 1)[0])


def _part_in_layer(owner: nn.Module, path: str) -> str:
    if _is_norm(owner):
        return "norms"
    return "attention" if "attn" in path or "attention" in path else "mlp"


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()

"""Full tuning: the weights themselves move, all of them or named parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.config.recipe import TuningSection
from danlu.errors import RecipeError
from danlu.models.layers import LAYER_PARTS, decoder_layers, layer_numbers, parts_of
from danlu.models.tokens import is_tied


def tune_full(model: Any, tuning: TuningSection, new_token_ids: Sequence[int]) -> Any:
    """Make the weights of the chosen parts and layers trainable, and freeze all others.

    With neither ``parts`` nor ``layers``, everything moves. ``layers`` narrows the parts that lie
    in layers; alone, it means everything in these layers and nothing outside them.

    Args:
        model: A plain transformers model; changed in place.
        tuning: Its ``parts`` and ``layers``.
        new_token_ids: Must be empty where the embedding is frozen: its matrix moves as a whole.

    Returns:
        The same model.

    Raises:
        RecipeError: If parts are chosen that the model lacks, one of two tied matrices without the
            other, or new tokens without the embedding.
    """
    if not tuning.parts and not tuning.layers:
        return model.requires_grad_(True)
    _, layers = decoder_layers(model)
    numbers = layer_numbers(tuning.layers, len(layers)) or range(len(layers))
    wanted = frozenset(tuning.parts or ["layers"])
    _check(model, wanted, tuning, new_token_ids)
    moved: set[str] = set()
    places = parts_of(model)
    for name, parameter in model.named_parameters():
        layer, parts = places[name]
        in_place = layer in numbers if layer is not None else not _only_in_layers(tuning, parts)
        parameter.requires_grad_(bool(wanted & parts) and in_place)
        if parameter.requires_grad:
            moved |= wanted & parts
    if missing := sorted(wanted - moved):
        raise RecipeError(
            f"{type(model).__name__} has no weights in part {missing[0]!r}"
            + (f" of layers {tuning.layers}." if tuning.layers else "."),
            where="tuning.parts",
        )
    return model


def _only_in_layers(tuning: TuningSection, parts: frozenset[str]) -> bool:
    """Whether a weight outside the layers stays out: the last norm is no part of layers 0, 1 ..."""
    return bool(tuning.layers) and "norms" in parts


def _check(
    model: Any, wanted: frozenset[str], tuning: TuningSection, new_token_ids: Sequence[int]
) -> None:
    """Refuse what cannot be done in this model."""
    if is_tied(model) and len(wanted & {"embedding", "head"}) == 1:
        (one,) = wanted & {"embedding", "head"}
        other = "head" if one == "embedding" else "embedding"
        raise RecipeError(
            f"in this model the embedding and the head are one matrix, so {one} cannot move "
            f"without {other}: name both, or neither.",
            where="tuning.parts",
        )
    if new_token_ids and not {"embedding", "head"} <= wanted:
        raise RecipeError(
            "new tokens have to be learned, but their rows are frozen: add embedding and head to "
            "tuning.parts, or use method lora, which trains these rows alone.",
            where="model.new_tokens",
        )
    within_layers = {"layers", "norms", *LAYER_PARTS}
    if tuning.layers and not wanted & within_layers:
        raise RecipeError(
            f"layers does nothing to {', '.join(sorted(wanted))}, which lie outside the layers: "
            "remove it, or add layers, attention, mlp or norms to parts.",
            where="tuning.layers",
        )

"""Going on with an adapter: its settings come from its own config, and must not be contradicted.

What the config says by itself is compared before the model is read (``continued``); which layers a
setting means, and whether the adapter has what it takes, once the model is there (``go_on``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError, RecipeError
from danlu.models.adapters import has_adapter, unwrapped
from danlu.models.layers import decoder_layers, layer_numbers
from danlu.models.source import adapter_quantisation, read_json, resolve, run_model
from danlu.models.token_rows import train_rows
from danlu.models.tuning_adapter import ADAPTER_TYPE, bottlenecks
from danlu.models.tuning_ia3 import ia3_layers
from danlu.models.tuning_lora import lora_layers, lora_settings
from danlu.models.virtual_tokens import can_go_on, virtual_tokens_of

_PLACES = ("layers", "lora_targets", "ia3_targets")
"""Settings that mean layers of a model, and are compared by those."""
_NOT_OF_THE_ADAPTER = ("start", "lora_plus_ratio")
"""Settings that say how it is trained, and are free."""


def continued(tuning: TuningSection, path: str | Path) -> TuningSection:
    """Return the settings of a run: those of the adapter at ``path``, if it is to go on.

    Args:
        tuning: The recipe's ``tuning`` section.
        path: The recipe's ``model.path``.

    Returns:
        ``tuning`` itself for ``start: new``.

    Raises:
        RecipeError: If there is no adapter, or a given setting contradicts it.
        ModelError: If the adapter is of a kind that is not trained here.
    """
    if tuning.start == "new":
        return tuning
    source = resolve(path)
    if source.kind == "run":
        assert source.path is not None
        source = run_model(source.path)
    if source.kind != "adapter":
        raise RecipeError(
            f"continue goes on with an adapter, and {path} is a whole model: use start: new.",
            where="tuning.start",
        )
    assert source.path is not None
    own = adapter_settings(source.path)
    for name in sorted(tuning.model_fields_set - set(_NOT_OF_THE_ADAPTER) - set(_PLACES)):
        _must_agree(name, getattr(tuning, name), own)
    free = {name: getattr(tuning, name) for name in tuning.model_fields_set & set(_PLACES)}
    if tuning.lora_plus_ratio is not None:
        free["lora_plus_ratio"] = tuning.lora_plus_ratio
    return TuningSection(**{**own, **free, "start": "continue"})


def adapter_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a recipe's ``tuning`` section that would make a saved adapter.

    Raises:
        ModelError: If the adapter is of a kind that is not trained here.
    """
    about = read_json(folder / "adapter_config.json")
    if about.get("adapter_type") == ADAPTER_TYPE:
        names = ("form", "parts", "size", "activation", "scale")
        return {
            "method": "adapter",
            "layers": about["layers"],
            **{f"adapter_{name}": about[name] for name in names},
        }
    kind = about.get("peft_type")
    if kind == "LORA":
        return _lora(about, folder)
    if kind == "IA3":
        return {"method": "ia3", "ia3_targets": about["target_modules"]}
    if kind == "PREFIX_TUNING":
        has_mlp = bool(about.get("prefix_projection"))
        size = {"encoder_size": about["encoder_hidden_size"]} if has_mlp else {}
        return {**_virtual("prefix", about), "encoder": "mlp" if has_mlp else "none", **size}
    if kind == "PROMPT_TUNING":
        return _virtual("prompt", about)
    if kind == "P_TUNING":
        encoder = str(about["encoder_reparameterization_type"]).lower()
        size = {"encoder_size": about["encoder_hidden_size"]}
        return {**_virtual("ptuning", about), "encoder": encoder, **size}
    raise ModelError(
        f"an adapter of PEFT's type {kind} can be merged with start: new, and not go on here.",
        where=str(folder),
    )


def go_on(model: Any, tuning: TuningSection, new_token_ids: Sequence[int]) -> Any:
    """Let the adapter of a model train on, in place.

    Args:
        model: As ``load_for_tuning`` returned it, with its adapter apart.
        tuning: As ``continued`` returned it.
        new_token_ids: Tokens that were added since; their rows train too.

    Returns:
        The same model.

    Raises:
        RecipeError: If it has no adapter, the settings mean other layers, or something that goes
            on is not there.
    """
    if not has_adapter(model):
        raise RecipeError(
            "continue goes on with an adapter, and the model has none: use start: new.",
            where="tuning.start",
        )
    base = unwrapped(model)
    places = sorted(tuning.model_fields_set & set(_PLACES))
    if places and _placed(model, tuning) != _in_place(model):
        raise RecipeError(
            f"{' and '.join(places)} mean other layers than those of the adapter that goes on: "
            "leave them out, or use start: new.",
            where="tuning",
        )
    if virtual_tokens_of(base) is not None and not can_go_on(base):
        raise RecipeError(
            "these virtual tokens were saved without the encoder that makes them, so they can be "
            "talked to and not go on.",
            where="tuning.start",
        )
    if new_token_ids and tuning.method in ("lora", "qlora"):
        raise RecipeError(
            "the tokens that a LoRA adapter trains are settled when it is made: use start: new, "
            "which merges it and trains the new ones.",
            where="model.new_tokens",
        )
    if new_token_ids:
        train_rows(base, new_token_ids)
    return model


def _must_agree(name: str, given: Any, own: dict[str, Any]) -> None:
    """Refuse a given setting that contradicts the adapter.

    Raises:
        RecipeError: If it does.
    """
    where = f"tuning.{name}"
    if name == "init_text":
        raise RecipeError(
            "virtual tokens that go on have their numbers already: remove it, or use start: new.",
            where=where,
        )
    if name == "lora_options":
        for option, value in given.items():
            made = own["lora_options"].get(option)
            if value != made and (value or made):
                raise RecipeError(
                    f"is {value}, and the adapter that goes on was made with {made}: remove it, "
                    "or use start: new.",
                    where=f"{where}.{option}",
                )
        return
    defaults = TuningSection(method=own["method"])
    made = own.get(name, getattr(defaults, name))
    if name == "lora_alpha" and given is None:
        given = own.get("lora_rank")
    if isinstance(given, list):
        given, made = sorted(given), sorted(made)
    if given is not None and given != made:
        raise RecipeError(
            f"is {given}, and the adapter that goes on was made with {made}: remove it, or use "
            "start: new.",
            where=where,
        )


def _lora(about: dict[str, Any], folder: Path) -> dict[str, Any]:
    settings = {"method": "lora", **lora_settings(about)}
    if kind := adapter_quantisation(folder):
        settings |= {"method": "qlora", "quantisation": kind}
    return settings


def _virtual(method: str, about: dict[str, Any]) -> dict[str, Any]:
    return {"method": method, "virtual_tokens": about["num_virtual_tokens"]}


def _in_place(model: Any) -> set[Any]:
    """Return the names, or numbers, of what carries the adapter now."""
    if wrapped := bottlenecks(model):
        return set(wrapped[0].config.layers)
    from peft.tuners.tuners_utils import BaseTunerLayer

    base = unwrapped(model)
    layers_name, _ = decoder_layers(base)
    return {
        name
        for name, module in base.named_modules()
        if isinstance(module, BaseTunerLayer) and name.startswith(f"{layers_name}.")
    }


def _placed(model: Any, tuning: TuningSection) -> set[Any]:
    """Return the same as the settings have it."""
    base = unwrapped(model)
    if tuning.method == "adapter":
        _, layers = decoder_layers(base)
        return set(layer_numbers(tuning.layers, len(layers)) or range(len(layers)))
    if tuning.method == "ia3":
        return set(ia3_layers(base, tuning))
    return lora_layers(base, tuning)

"""LoRA: low-rank adapters beside frozen weights, through PEFT.

Hu et al. 2021, arXiv:2106.09685: ``W x + (alpha / rank) B A x``, with ``B`` zero at first, so that
training starts from the model as it was. PEFT's variants are options: DoRA (arXiv:2402.09353),
rsLoRA (arXiv:2312.03732), PiSSA (arXiv:2404.02948) and more.

PiSSA and OLoRA begin with factors ``B0 A0`` that are a part of ``W`` and take it out of ``W``. Such
an adapter is saved as what it changes, ``B A - B0 A0``: an ordinary one of twice the rank, for the
base as everybody has it.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from danlu.config.recipe import TuningSection
from danlu.errors import RecipeError, did_you_mean
from danlu.models.encoders import is_encoder
from danlu.models.layers import decoder_layers, layer_numbers, linear_layers
from danlu.models.quiet import quiet
from danlu.models.tokens import token_indices

_FROM_WEIGHTS = ("pissa", "olora")
"""Beginnings of the values of ``init_lora_weights`` that take factors out of the weights."""
_FROM_DATA = ("eva", "corda", "lora_ga", "loftq")
"""Those that need a pass over data, or another quantisation, before the adapter is made."""

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
    _check_init(tuning.lora_options)
    try:
        with quiet():
            # PEFT's conversion of such adapters has this limit; that of ``save_peft`` has not.
            warnings.filterwarnings("ignore", "Using Rank-Stabilized LoRA with rank_pattern")
            config = LoraConfig(
                task_type="FEATURE_EXTRACTION" if is_encoder(model.config) else "CAUSAL_LM",
                r=tuning.lora_rank,
                lora_alpha=tuning.lora_alpha or tuning.lora_rank,
                lora_dropout=tuning.lora_dropout,
                target_modules=_targets(model, tuning),
                layers_to_transform=numbers or None,
                layers_pattern=layers_name.rsplit(".", 1)[-1] if numbers else None,
                trainable_token_indices=token_indices(model, new_token_ids),
                **_checked_options(tuning.lora_options, LoraConfig),
            )
            tuned = get_peft_model(model, config)
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
    if str(config.init_lora_weights).startswith(_FROM_WEIGHTS):
        _remember_init(tuned)
    widen_rows(tuned)
    return tuned


def lora_layers(model: Any, tuning: TuningSection) -> set[str]:
    """Return the full names of the linear layers that the settings choose, tuned or not yet."""
    layers_name, layers = decoder_layers(model)
    numbers = layer_numbers(tuning.layers, len(layers)) or range(len(layers))
    targets = _targets(model, tuning)
    starts = tuple(f"{layers_name}.{number}." for number in numbers)
    return {n for n in linear_names(model) if n.startswith(starts) and is_target(n, targets)}


def is_target(name: str, targets: Sequence[str]) -> bool:
    """Whether a module is meant by one of some names, as PEFT reads them: whole, or by its end."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def lora_settings(about: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe's settings that would make an adapter with this config of PEFT's."""
    from peft import LoraConfig

    usual = LoraConfig().to_dict()
    own = _option_names(LoraConfig)
    settings = {
        "lora_rank": about["r"],
        "lora_alpha": float(about["lora_alpha"]),
        "lora_dropout": about.get("lora_dropout", 0.0),
        "lora_options": {n: v for n, v in about.items() if n in own and v != usual.get(n)},
    }
    if isinstance(targets := about.get("target_modules"), list):
        settings["lora_targets"] = sorted(targets)
    if (layers := about.get("layers_to_transform")) is not None:
        settings["layers"] = layers if isinstance(layers, list) else [layers]
    return settings


def linear_names(model: Any) -> list[str]:
    """Return the full names of the linear layers of a model, without those that PEFT has put in."""
    names = (name for name in linear_layers(model) if ".lora_" not in name)
    return [name.removesuffix(".base_layer") for name in names]


def widen_rows(model: Any) -> None:
    """Let new tokens' rows move in float32, as PEFT does with adapters and not with these."""
    for name, parameter in model.named_parameters():
        if "trainable_tokens_delta" in name:
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))


def save_peft(model: Any, folder: Path) -> None:
    """Write a PEFT model's adapter; one that began from the weights, as what it changes."""
    if not _remembered(model):
        # New rows are saved as trained tokens, so the embedding matrix never is.
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # a form, left unfilled
        return
    config = deepcopy(model.peft_config["default"])
    config.init_lora_weights, config.inference_mode = True, True
    # The scale is alpha / rank, or alpha / sqrt(rank) in rsLoRA, and has to stay.
    factor = 2**0.5 if config.use_rslora else 2
    config.r, config.lora_alpha = 2 * config.r, factor * config.lora_alpha
    config.rank_pattern = {name: 2 * rank for name, rank in config.rank_pattern.items()}
    config.alpha_pattern = {name: factor * one for name, one in config.alpha_pattern.items()}
    config.save_pretrained(str(folder))
    state = {name: tensor.cpu().contiguous() for name, tensor in _changes(model).items()}
    save_file(state, folder / "adapter_model.safetensors", {"format": "pt"})


@contextmanager
def peft_off(model: Any) -> Iterator[None]:
    """Let a PEFT model compute, for the block, what it computed before it was trained."""
    if not _remembered(model):
        with model.disable_adapter():
            yield
        return
    # What was taken out of the weights has to be put back, with the first factors.
    first = [
        pair
        for layer in _remembered(model)
        for pair in (
            (layer.lora_A["default"].weight, layer.initial_a),
            (layer.lora_B["default"].weight, layer.initial_b),
        )
    ]
    for module in model.modules():
        if (rows := getattr(module, "trainable_tokens_original", None)) is not None:
            first.append((module.trainable_tokens_delta["default"], rows["default"]))
    trained = [parameter.data for parameter, _ in first]
    try:
        for parameter, before in first:
            parameter.data = before.to(parameter.dtype)
        yield
    finally:
        for (parameter, _), now in zip(first, trained, strict=True):
            parameter.data = now


def _check_init(options: dict[str, Any]) -> None:
    """Refuse what cannot begin here, or cannot be saved as what it changes."""
    init = str(options.get("init_lora_weights", ""))
    where = "tuning.lora_options.init_lora_weights"
    if init.startswith(_FROM_DATA):
        raise RecipeError(
            f"{init} looks at data or at a quantised model before it begins, which is not done "
            "here: use true, gaussian, orthogonal, pissa, pissa_niter_4 or olora.",
            where=where,
        )
    if init.startswith(_FROM_WEIGHTS):
        for name in ("use_dora", "lora_bias", "bias", "modules_to_save"):
            if options.get(name) not in (None, False, "none", []):
                raise RecipeError(
                    f"{init} does not go with {name}: such an adapter cannot be saved as an "
                    "ordinary one. Remove one of them.",
                    where=where,
                )


def _remember_init(model: Any) -> None:
    """Keep the first factors of every layer beside it, outside of what is saved."""
    for layer in _lora_modules(model):
        for name, part in (("initial_a", layer.lora_A), ("initial_b", layer.lora_B)):
            layer.register_buffer(name, part["default"].weight.detach().clone(), persistent=False)


def _remembered(model: Any) -> list[Any]:
    return [layer for layer in _lora_modules(model) if hasattr(layer, "initial_a")]


def _lora_modules(model: Any) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def _changes(model: Any) -> dict[str, torch.Tensor]:
    """Return the state of the adapter ``B A - B0 A0 = [B, -B0] [A; A0]``, as PEFT names it."""
    from peft import get_peft_model_state_dict

    state: dict[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name, layer in model.named_modules():
        if not hasattr(layer, "initial_a"):
            continue
        a, b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        state[a] = torch.cat([state[a], layer.initial_a.to(state[a])], 0)
        state[b] = torch.cat([state[b], -layer.initial_b.to(state[b])], 1)
    return state


def _targets(model: Any, tuning: TuningSection) -> list[str]:
    """Return the names of the linear layers that get an adapter.

    Raises:
        RecipeError: If one of them is not in the model.
    """
    modules = linear_names(model)
    names = {name.rsplit(".", 1)[-1] for name in modules}
    if tuning.lora_targets == "all-linear":
        return sorted(names)
    assert isinstance(tuning.lora_targets, list)
    for target in tuning.lora_targets:
        if not any(is_target(module, [target]) for module in modules):
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
    fields = _option_names(config_class)
    for name in options:
        where = f"tuning.lora_options.{name}"
        if name in _SET_ELSEWHERE:
            raise RecipeError(f"set it with {_SET_ELSEWHERE[name]}.", where=where)
        if name not in fields:
            raise RecipeError(
                f"PEFT's LoraConfig has no such option.{did_you_mean(name, fields)}", where=where
            )
    return options


def _option_names(config_class: type) -> set[str]:
    """Return the fields of PEFT's LoraConfig that are set by ``tuning.lora_options`` alone."""
    fields = {field.name for field in dataclasses.fields(config_class) if field.init}
    return fields - {*_SET_ELSEWHERE, *_FIXED}

"""Bottleneck adapters: a small MLP after or beside a part of each layer.

Serial (Houlsby et al. 2019, arXiv:1902.00751, figure 2): ``h + s U f(D h)``, where ``h`` is what
attention or the MLP puts out, before it is added to the residual stream. Parallel (He et al. 2021,
arXiv:2110.04366, section 4): ``h + s U f(D x)``, where ``x`` is what goes into the part. ``U`` is
zero at first, as He et al. have it, so that training starts from the model as it was. The function
between the matrices is not linear, so an adapter cannot be merged.

Shapes: ``x`` and ``h`` are ``(..., K)``; D is ``(N, K)``, U is ``(K, N)``, both with a bias.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from danlu.config.recipe import TuningSection
from danlu.errors import RecipeError
from danlu.models.layers import decoder_layers, layer_numbers

ADAPTER_TYPE = "bottleneck"
"""The ``adapter_type`` in a saved adapter's config; PEFT has no such kind."""

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


@dataclass(frozen=True)
class BottleneckConfig:
    """What a saved adapter's config says.

    Attributes:
        form: ``serial`` or ``parallel``.
        parts: ``attention``, ``mlp``, or both.
        size: Width of the bottleneck.
        activation: ``relu``, ``gelu`` or ``silu``.
        scale: Factor of the adapter's output.
        layers: Numbers of the decoder layers that have one.
    """

    form: str
    parts: tuple[str, ...]
    size: int
    activation: str
    scale: float
    layers: tuple[int, ...]


class Bottleneck(nn.Module):
    """``scale * up(activation(down(x)))``, zero at first.

    Args:
        width: K.
        config: Its size, activation and scale.
    """

    def __init__(self, width: int, config: BottleneckConfig) -> None:
        super().__init__()
        self.down = nn.Linear(width, config.size)
        self.activation = _ACTIVATIONS[config.activation]()
        self.up = nn.Linear(config.size, width)
        self.scale = config.scale
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., K)`` to ``(..., K)`` of the same dtype."""
        inner = self.activation(self.down(x.to(self.down.weight.dtype)))
        output: Tensor = self.up(inner) * self.scale
        return output.to(x.dtype)


class WithBottleneck(nn.Module):
    """A part of a decoder layer with its adapter.

    Args:
        name: ``attention`` or ``mlp``.
        part: The module.
        adapter: What is added to its output.
        config: Its form.
    """

    def __init__(
        self, name: str, part: nn.Module, adapter: Bottleneck, config: BottleneckConfig
    ) -> None:
        super().__init__()
        self.name = name
        self.part = part
        self.adapter = adapter
        self.config = config
        self.enabled = True

    def forward(self, *args: Any, **options: Any) -> Any:
        """Call the part as the layer calls it, and add the adapter's output to its first result."""
        output = self.part(*args, **options)
        if not self.enabled:
            return output
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        if self.config.form == "serial":
            x = hidden
        else:
            x = args[0] if args else options["hidden_states"]
        hidden = hidden + self.adapter(x)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def tune_adapter(model: Any, tuning: TuningSection, new_token_ids: Sequence[int]) -> Any:
    """Give the chosen parts of the chosen layers an adapter; only the adapters move.

    Args:
        model: A plain transformers model; changed in place.
        tuning: Its ``adapter_*`` settings and ``layers``.
        new_token_ids: Unused; ``apply_tuning`` lets their rows train.

    Returns:
        The same model.

    Raises:
        RecipeError: If a layer or a part does not exist.
    """
    _, layers = decoder_layers(model)
    numbers = layer_numbers(tuning.layers, len(layers)) or range(len(layers))
    config = BottleneckConfig(
        form=tuning.adapter_form,
        parts=tuple(dict.fromkeys(tuning.adapter_parts)),
        size=tuning.adapter_size,
        activation=tuning.adapter_activation,
        scale=tuning.adapter_scale,
        layers=tuple(numbers),
    )
    add_bottlenecks(model, config)
    return model


def add_bottlenecks(model: Any, config: BottleneckConfig) -> None:
    """Put new adapters into a plain model, in place, and freeze everything else.

    Raises:
        RecipeError: If a layer has no such part, or more than one.
    """
    model.requires_grad_(False)
    _, layers = decoder_layers(model)
    width: int = model.get_input_embeddings().weight.shape[1]
    for number in config.layers:
        layer = layers[number]
        for part in config.parts:
            child = _child_of(layer, part)
            # In float32 also over 16-bit weights, so that small updates add up.
            dtype = torch.promote_types(model.dtype, torch.float32)
            adapter = Bottleneck(width, config).to(model.device, dtype)
            setattr(layer, child, WithBottleneck(part, getattr(layer, child), adapter, config))


def bottlenecks(model: nn.Module) -> list[WithBottleneck]:
    """Return the parts of a model that have an adapter, in order."""
    return [module for module in model.modules() if isinstance(module, WithBottleneck)]


def save_bottlenecks(model: Any, folder: Path) -> None:
    """Write a model's adapters to ``adapter_model.safetensors`` with ``adapter_config.json``."""
    about = {
        "adapter_type": ADAPTER_TYPE,
        "base_model_name_or_path": model.name_or_path,
        **asdict(bottlenecks(model)[0].config),
    }
    (folder / "adapter_config.json").write_text(json.dumps(about, indent=2), "utf-8")
    state = {
        f"{place}.{name}": tensor.cpu().contiguous()
        for place, adapter in _places(model)
        for name, tensor in adapter.state_dict().items()
    }
    save_file(state, folder / "adapter_model.safetensors", {"format": "pt"})


def load_bottlenecks(model: Any, folder: Path) -> None:
    """Read saved adapters into a plain model, in place."""
    about = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    config = BottleneckConfig(
        form=about["form"],
        parts=tuple(about["parts"]),
        size=about["size"],
        activation=about["activation"],
        scale=about["scale"],
        layers=tuple(about["layers"]),
    )
    add_bottlenecks(model, config)
    state = load_file(folder / "adapter_model.safetensors")
    for place, adapter in _places(model):
        start = f"{place}."
        own = {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
        adapter.load_state_dict(own)


def _places(model: Any) -> Iterator[tuple[str, Bottleneck]]:
    """Yield each adapter with its name: ``layers.0.mlp``."""
    _, layers = decoder_layers(model)
    for number, layer in enumerate(layers):
        for child in layer.children():
            if isinstance(child, WithBottleneck):
                yield f"layers.{number}.{child.name}", child.adapter


def _child_of(layer: nn.Module, part: str) -> str:
    """Return the name of the one child of a layer that is its attention or its MLP."""
    found = [
        name
        for name, child in layer.named_children()
        if "norm" not in type(child).__name__.lower()
        and any(True for _ in child.parameters())
        and (("attn" in name or "attention" in name) == (part == "attention"))
    ]
    if len(found) != 1:
        what = f"{len(found)} ({', '.join(found)})" if found else "none"
        raise RecipeError(
            f"an adapter goes to the one {part} module of a layer, and {type(layer).__name__} has "
            f"{what}. Leave {part} out, or use method lora.",
            where="tuning.adapter_parts",
        )
    return found[0]

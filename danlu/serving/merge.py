"""Merging: several tuned models, or adapters of one base, become one model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.errors import ModelError, did_you_mean
from danlu.models.save import replaced_folder, save_weights
from danlu.models.source import ModelSource, adapter_base
from danlu.sequences.golden import GOLDEN_FILE
from danlu.serving.export import checked_target, located, must_merge, stored_dtype

METHODS = ("mean", "linear", "task-arithmetic", "ties")
OVER_BASE = ("task-arithmetic", "ties")


@dataclass(frozen=True)
class Merged:
    """What was written.

    Attributes:
        path: The folder, a plain transformers model.
        method: How.
        weights: Of each model.
        base: What changes are counted from; None for ``mean`` and ``linear``.
        dtype: Number format of the weights written.
    """

    path: Path
    method: str
    weights: tuple[float, ...]
    base: str | None
    dtype: str


def merge(
    models: Sequence[str | Path],
    folder: str | Path,
    *,
    method: str = "mean",
    weights: Sequence[float] | None = None,
    base: str | None = None,
    density: float = 0.2,
    scale: float = 1.0,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> Merged:
    """Merge models of the same shape into one.

    An adapter counts as its base with it merged in, so merging adapters is exact. All models are in
    memory at once, in float32. Tokenizer, chat template and stop tokens are the first model's.

    Args:
        models: Runs, adapters, model folders or built-in models; two at least.
        folder: Where to write; must not exist, or be empty.
        method: Of ``METHODS``.
        weights: One per model; for ``linear`` their sum is 1. Default: 1/n for ``mean`` and
            ``linear``, 1 for the others.
        base: For ``task-arithmetic`` and ``ties``; of adapters it is known.
        density: Of ``ties``.
        scale: Of ``ties``.
        trust_remote_code: Run Python code that comes with a model.
        progress: Show a bar on stderr while a model is converted for the first time.

    Raises:
        ModelError: If settings make no sense, bases or shapes or vocabularies differ, or an
            adapter cannot be merged.
    """
    import torch

    from danlu.models.load import load_config, load_model, load_tokenizer
    from danlu.models.merging import linear, task_arithmetic, ties
    from danlu.models.quiet import quiet

    counted = _checked(models, method, weights, density)
    sources = [located(one, also_models=True) for one in models]
    target = Path(folder).absolute()
    for source in sources:
        target = checked_target(source, folder)
        if source.kind == "adapter" and source.path is not None:
            must_merge(source.path, "Leave it out")
    over = _base_of(sources, models, base) if method in OVER_BASE else None
    if base is not None and over is None:
        raise ModelError(f"{method} counts from no base: leave it out.", where="--base")
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "progress": progress}
    tokenizer = load_tokenizer(sources[0], **options)
    for source, name in zip(sources[1:], models[1:], strict=True):
        if load_tokenizer(source, **options).get_vocab() != tokenizer.get_vocab():
            raise ModelError(f"has another vocabulary than {models[0]}.", where=str(name))

    first: Any = load_model(sources[0], dtype=torch.float32, **options)
    wholes = [first, *(load_model(one, dtype=torch.float32, **options) for one in sources[1:])]
    parts = [dict(one.named_parameters()) for one in wholes]
    for name, part in zip(models[1:], parts[1:], strict=True):
        _must_fit(parts[0], part, str(models[0]), str(name))
    with torch.no_grad():
        if over is None:
            made = linear(parts, counted)
        else:
            root = dict(load_model(over, dtype=torch.float32, **options).named_parameters())
            _must_fit(parts[0], root, str(models[0]), over)
            if method == "ties":
                made = ties(root, parts, counted, density=density, scale=scale)
            else:
                made = task_arithmetic(root, parts, counted)
        for name, parameter in first.named_parameters():
            parameter.copy_(made[name])
    dtype = stored_dtype("auto", load_config(sources[0], trust_remote_code=trust_remote_code))
    with replaced_folder(target) as fresh, quiet():
        save_weights(first.to(dtype), fresh)
        tokenizer.save_pretrained(fresh)
        for file in ("generation_config.json", GOLDEN_FILE):
            if sources[0].path is not None and (sources[0].path / file).is_file():
                shutil.copy(sources[0].path / file, fresh / file)
    return Merged(target, method, tuple(counted), over, str(dtype).removeprefix("torch."))


def _checked(
    models: Sequence[str | Path], method: str, weights: Sequence[float] | None, density: float
) -> list[float]:
    """Return a weight for each model."""
    count = len(models)
    if method not in METHODS:
        raise ModelError(f"there is no method {method!r} here.{did_you_mean(method, METHODS)}")
    if count < 2:
        raise ModelError("merging needs two models at least: name another.")
    if not 0 < density <= 1:
        raise ModelError(f"is {density:g}; it must be above 0 and at most 1.", where="--density")
    if weights is None:
        return [1.0] * count if method in OVER_BASE else [1 / count] * count
    if method == "mean":
        raise ModelError("a mean has no weights: take --method linear.", where="--weights")
    if len(weights) != count:
        raise ModelError(f"{len(weights)} for {count} models: give one each.", where="--weights")
    if method == "linear" and abs(sum(weights) - 1) > 1e-6:
        raise ModelError(
            f"their sum is {sum(weights):g}, and for linear it must be 1. To add what models have "
            "learned to their base, take --method task-arithmetic.",
            where="--weights",
        )
    if method == "ties" and min(weights) <= 0:
        raise ModelError("for ties each must be above 0.", where="--weights")
    return list(weights)


def _base_of(
    sources: Sequence[ModelSource], models: Sequence[str | Path], given: str | None
) -> str:
    """Return the base that changes are counted from."""
    known = [
        (str(name), adapter_base(source.path))
        for source, name in zip(sources, models, strict=True)
        if source.kind == "adapter" and source.path is not None
    ]
    if len({base for _, base in known}) > 1:
        said = "; ".join(f"{name} belongs to {base}" for name, base in known)
        raise ModelError(f"these adapters have different bases, so they cannot be merged: {said}.")
    if given is not None:
        return given
    if len(known) < len(sources):
        raise ModelError(
            "the models do not say what they were tuned from: name it by --base.", where="--base"
        )
    return known[0][1]


def _must_fit(ours: dict[str, Any], theirs: dict[str, Any], one: str, other: str) -> None:
    if missing := sorted(ours.keys() ^ theirs.keys()):
        raise ModelError(f"has other tensors than {one}: {missing[0]} is in one only.", where=other)
    for name, tensor in ours.items():
        if tensor.shape != theirs[name].shape:
            raise ModelError(
                f"has another shape than {one}: {name} is {tuple(theirs[name].shape)}, and "
                f"{tuple(tensor.shape)} there.",
                where=other,
            )

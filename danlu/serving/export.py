"""Export: what a run has made, as a folder that other programs read."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import ModelError, did_you_mean
from danlu.models.save import replaced_folder, save_weights
from danlu.models.source import ModelSource, adapter_base, resolve, run_model
from danlu.sequences.golden import GOLDEN_FILE

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The folder.
        kind: ``model`` (a plain transformers folder) or ``adapter``.
        base: What an adapter has to be put on; None for a model.
        dtype: Number format of merged weights; None where they were copied.
    """

    path: Path
    kind: str
    base: str | None = None
    dtype: str | None = None


def export(
    run_or_adapter: str | Path,
    folder: str | Path,
    *,
    merge: bool = False,
    precision: str = "auto",
    trust_remote_code: bool = False,
    progress: bool = True,
) -> Exported:
    """Write what a run has made to a folder of its own.

    An adapter is copied with its tokenizer, or merged into its base: a transformers folder with
    weights, tokenizer, chat template and generation config. A run that tuned the weights has such a
    folder already, and it is copied.

    Args:
        run_or_adapter: A run directory, or an adapter's folder.
        folder: Where to write; must not exist, or be empty.
        merge: Merge an adapter. It is done in float32, whatever the weights are written in.
        precision: Number format of merged weights; ``auto`` is that of the base as it is stored.
        trust_remote_code: Run Python code that comes with the base.
        progress: Show a bar on stderr while a base is converted for the first time.

    Raises:
        ModelError: If there is nothing to export, the folder holds something, or the adapter
            cannot be merged.
    """
    source = located(run_or_adapter)
    if precision not in PRECISIONS:
        hint = did_you_mean(precision, PRECISIONS)
        raise ModelError(f"there is no number format {precision!r} here.{hint}")
    target = checked_target(source, folder)
    assert source.path is not None
    if source.kind == "folder":
        with replaced_folder(target) as fresh:
            shutil.copytree(source.path, fresh, dirs_exist_ok=True)
        return Exported(target, "model")
    if not merge:
        _copy_adapter(source.path, target, trust_remote_code)
        return Exported(target, "adapter", base=adapter_base(source.path))
    return _merge(source, target, precision, trust_remote_code=trust_remote_code, progress=progress)


def checked_target(source: ModelSource, folder: str | Path) -> Path:
    """Return where to write, as an absolute path.

    Raises:
        ModelError: If something is there, or it lies in what is exported.
    """
    target = Path(folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelError("there is something here already: name a new folder.", where=str(folder))
    if source.path in (target, *target.parents):
        raise ModelError("lies in what is to be exported: name another folder.", where=str(folder))
    return target


def located(run_or_adapter: str | Path, *, also_models: bool = False) -> ModelSource:
    """Return the adapter, or the model of a run.

    Args:
        run_or_adapter: As given.
        also_models: Take a model's folder or a built-in model too.

    Raises:
        ModelError: If it is none of them, or the run has saved none.
    """
    source = resolve(run_or_adapter)
    if also_models and source.kind in ("folder", "builtin"):
        return source
    if source.kind == "run":
        assert source.path is not None
        return run_model(source.path)
    if source.kind != "adapter":
        raise ModelError(
            "is no run and no adapter, so there is nothing to export: give a run directory.",
            where=str(run_or_adapter),
        )
    return source


def _copy_adapter(adapter: Path, target: Path, trust_remote_code: bool) -> None:
    from danlu.models.load import has_tokenizer, load_tokenizer

    with replaced_folder(target) as fresh:
        shutil.copytree(adapter, fresh, dirs_exist_ok=True)
        if not has_tokenizer(adapter):
            load_tokenizer(adapter, trust_remote_code=trust_remote_code).save_pretrained(fresh)


def _merge(source: ModelSource, target: Path, precision: str, **options: Any) -> Exported:
    import torch
    from transformers import GenerationConfig

    from danlu.models.load import load_config, load_model, load_tokenizer
    from danlu.models.quiet import quiet
    from danlu.models.readout import DESCRIPTION, WEIGHTS

    adapter = source.path
    assert adapter is not None
    must_merge(adapter, "Leave out --merge")
    config = load_config(source, trust_remote_code=options["trust_remote_code"])
    dtype = stored_dtype(precision, config)
    tokenizer = load_tokenizer(source, **options)
    model: Any = load_model(source, dtype=torch.float32, **options)
    model.to(dtype)
    with replaced_folder(target) as fresh, quiet():
        save_weights(model, fresh)
        if (adapter / "generation_config.json").is_file():
            GenerationConfig.from_pretrained(adapter).save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        for name in (DESCRIPTION, WEIGHTS, GOLDEN_FILE):
            if (adapter / name).is_file():
                shutil.copy(adapter / name, fresh / name)
    return Exported(target, "model", dtype=str(dtype).removeprefix("torch."))


def must_merge(adapter: Path, remedy: str) -> None:
    """Check that an adapter can be merged into its base.

    Raises:
        ModelError: If not, with the reason and a remedy.
    """
    from danlu.models.adapters import merge_obstacle

    if reason := merge_obstacle(adapter):
        raise ModelError(
            f"cannot be merged: {reason}. {remedy}; `danlu chat` talks to it as it is.",
            where=str(adapter),
        )


def stored_dtype(precision: str, config: Any) -> torch.dtype:
    """Return the number format to write."""
    import torch

    stored = config.get_text_config().dtype if precision == "auto" else precision
    found = getattr(torch, stored, None) if isinstance(stored, str) else stored
    return found if isinstance(found, torch.dtype) else torch.float32

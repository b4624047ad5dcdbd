"""Loading a model or its tokenizer from any source, with errors that say what to do.

A loaded model is always a transformers model that computes what its name promises: an adapter is
merged into its base where the mathematics allows it, so that talking to a tuned model costs what
talking to its base costs; others are put in place, unmerged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from danlu.config.recipe import RopeSection, TuningSection
from danlu.errors import ModelError, did_you_mean
from danlu.models.adapters import load_adapter
from danlu.models.builtin import converted_folder
from danlu.models.encoders import encoder_options, is_encoder
from danlu.models.hub import must_be_local
from danlu.models.quiet import quiet
from danlu.models.rope import adapter_rope, scale_positions
from danlu.models.source import (
    ModelSource,
    adapter_base,
    adapter_quantisation,
    resolve,
    run_model,
)
from danlu.models.tuning_qlora import (
    dequantised,
    hush_bitsandbytes,
    keep_differentiable,
    quantisation_options,
)


def load_tokenizer(
    source: ModelSource | str | Path, *, trust_remote_code: bool = False, progress: bool = True
) -> PreTrainedTokenizerBase:
    """Load a tokenizer; a folder with a tokenizer and no weights will do.

    Args:
        source: Where the model is, as in a recipe's ``model.path``.
        trust_remote_code: Run Python code that comes with the model.
        progress: Show a bar on stderr while a model is converted for the first time.

    Raises:
        ModelError: If there is none, or it cannot be read.
    """
    source = _located(source)
    if source.kind == "adapter":
        assert source.path is not None
        if not has_tokenizer(source.path):
            return load_tokenizer(adapter_base(source.path), trust_remote_code=trust_remote_code)
    place = _place(source, progress=progress)
    with _told(source, "tokenizer"), quiet():
        tokenizer = AutoTokenizer.from_pretrained(**place, trust_remote_code=trust_remote_code)
    if len(tokenizer) == 0:
        raise ModelError(
            "no tokenizer was found. Give a folder with tokenizer.json, or set model.tokenizer.",
            where=source.name,
        )
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def load_model(
    source: ModelSource | str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    trust_remote_code: bool = False,
    progress: bool = True,
    rope: RopeSection | None = None,
) -> PreTrainedModel:
    """Load a causal language model or an encoder, in evaluation mode.

    Args:
        source: Where it is, as in a recipe's ``model.path``. Of a run: its ``model/``, or its base
            with its ``adapter/``, merged in where that can be done.
        dtype: Number format of its weights.
        device: Where it goes.
        trust_remote_code: Run Python code that comes with the model.
        progress: Show a bar on stderr while a model is converted for the first time.
        rope: How its positions are to be scaled; of an adapter, None is as it was trained.

    Returns:
        A transformers model; its ``name_or_path`` is what a saved adapter calls its base.

    Raises:
        ModelError: If it is not there, has no safetensors weights, or cannot be read; or if its
            positions cannot be scaled.

    Example:
        ``load_model("builtin:smollm2-135m-instruct")``
    """
    options: dict[str, Any] = {
        "trust_remote_code": trust_remote_code,
        "progress": progress,
        "rope": rope,
    }
    source = _located(source)
    if source.kind == "adapter":
        model = _with_adapter(source, dtype, torch.device(device), merge=True, **options)
        _name(model, source)
    else:
        model = _plain(source, dtype, torch.device(device), **options)
    model.eval()
    assert isinstance(model, PreTrainedModel)
    return model


def load_for_tuning(
    source: ModelSource | str | Path,
    tuning: TuningSection,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    trust_remote_code: bool = False,
    progress: bool = True,
    rope: RopeSection | None = None,
) -> Any:
    """Load a model as a tuning method needs it, in evaluation mode; then call ``apply_tuning``.

    For ``full`` the weights are float32, because small updates to 16-bit ones are lost; for
    ``qlora`` they are quantised; for ``start: continue`` the adapter stays apart from its base.

    Args:
        source: Where it is, as in a recipe's ``model.path``.
        tuning: The recipe's ``tuning`` section; see ``tuning_continue.continued``.
        dtype: Number format of the computation, and of weights that do not move.
        device: Where it goes.
        trust_remote_code: Run Python code that comes with the model.
        progress: Show a bar on stderr while a model is converted for the first time.
        rope: The recipe's ``model.rope``.

    Returns:
        A transformers model; a PEFT model around it where an adapter of PEFT's goes on.

    Raises:
        ModelError: As ``load_model``; if bitsandbytes is missing or cannot run; if ``qlora`` is to
            begin on an adapter.
    """
    place = torch.device(device)
    options: dict[str, Any] = {
        "trust_remote_code": trust_remote_code,
        "progress": progress,
        "rope": rope,
    }
    source = _located(source)
    if tuning.start == "continue" and source.kind == "adapter":
        model = _with_adapter(source, dtype, place, merge=False, **options)
        return model.eval()
    if tuning.method == "qlora":
        if source.kind == "adapter":
            raise ModelError(
                "qlora quantises weights as they are read, and those of an adapter are made by "
                "merging: run `danlu export NAME --merge -o FOLDER` first, and name that folder.",
                where=source.name,
            )
        return _plain(source, dtype, place, quantisation=tuning.quantisation, **options).eval()
    if tuning.method == "full":
        dtype = torch.float32
    return load_model(source, dtype=dtype, device=place, **options)


def load_config(
    source: ModelSource | str | Path,
    *,
    trust_remote_code: bool = False,
    rope: RopeSection | None = None,
) -> Any:
    """Load a model's transformers config without its weights, with its positions scaled.

    Raises:
        ModelError: If there is none, or it cannot be read, or its positions cannot be scaled.
    """
    source = _located(source)
    options = {"trust_remote_code": trust_remote_code}
    if source.kind == "adapter":
        assert source.path is not None
        return load_config(
            adapter_base(source.path), **options, rope=adapter_rope(source.path, rope)
        )
    return _config(source, _place(source), rope, **options)


def _config(
    source: ModelSource, place: dict[str, Any], rope: RopeSection | None, *, trust_remote_code: bool
) -> Any:
    with _told(source, "config"), quiet():
        config = AutoConfig.from_pretrained(**place, trust_remote_code=trust_remote_code)
    if rope is not None:
        scale_positions(config, rope)
    return config


def pick_device(name: str = "auto") -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda`` or ``mps`` means on this machine.

    Raises:
        ModelError: If there is no such device.
    """
    present = {"cpu": True}
    present["cuda"] = torch.cuda.is_available()
    present["mps"] = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device(next((kind for kind in ("cuda", "mps") if present[kind]), "cpu"))
    kind, _, number = name.partition(":")
    if not present.get(kind) or (number and not number.isdigit()):
        at_hand = ", ".join(kind for kind, there in present.items() if there)
        raise ModelError(f"this machine has no device {name!r}; it has: {at_hand}.")
    return torch.device(name)


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the number format that ``auto``, ``float32`` or ``bfloat16`` means on a device.

    Raises:
        ModelError: If it is none of them.

    Example:
        >>> pick_dtype("auto", torch.device("cpu"))
        torch.float32
    """
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if precision == "auto":
        has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if has_bfloat16 else torch.float32
    if precision not in known:
        hint = did_you_mean(precision, ["auto", *known])
        raise ModelError(f"there is no number format {precision!r} here.{hint}")
    return known[precision]


def _located(source: ModelSource | str | Path) -> ModelSource:
    """Resolve a name, and a run to what it holds."""
    if not isinstance(source, ModelSource):
        source = resolve(source)
    if source.kind == "run":
        assert source.path is not None
        source = run_model(source.path)
    return source


def _place(source: ModelSource, *, progress: bool = True) -> dict[str, Any]:
    """Return what transformers is told to load: a folder, or a hub id."""
    if source.kind in ("builtin", "gguf"):
        folder = str(converted_folder(source, progress=progress))
        return {"pretrained_model_name_or_path": folder, "local_files_only": True}
    local = source.kind != "hub" or must_be_local(source.name)
    return {"pretrained_model_name_or_path": source.name, "local_files_only": local}


def _plain(
    source: ModelSource,
    dtype: torch.dtype,
    device: torch.device,
    *,
    trust_remote_code: bool,
    progress: bool,
    rope: RopeSection | None = None,
    quantisation: str | None = None,
) -> Any:
    """Load a model that is no adapter, quantised if asked for."""
    place = _place(source, progress=progress)
    if rope is not None and rope.given():
        place["config"] = _config(source, place, rope, trust_remote_code=trust_remote_code)
    if quantisation is not None:
        place |= quantisation_options(quantisation, dtype, device)
    model: Any
    with _told(source, "model"), quiet():
        config = AutoConfig.from_pretrained(**place, trust_remote_code=trust_remote_code)
        kind: Any = AutoModelForCausalLM
        if is_encoder(config):
            kind, place = AutoModel, {**place, **encoder_options(config)}
        model = kind.from_pretrained(
            **place, dtype=dtype, use_safetensors=True, trust_remote_code=trust_remote_code
        )
    _name(model, source)
    if quantisation is None and getattr(model, "is_quantized", False):
        hush_bitsandbytes()
        keep_differentiable(model)  # else it computes in 16 bits on some processors
        return model  # stored in few bits; it lies where transformers has put it
    if quantisation is None:
        return model.to(device)
    model.quantised_as = quantisation
    keep_differentiable(model)
    return model


def _with_adapter(
    source: ModelSource,
    dtype: torch.dtype,
    device: torch.device,
    *,
    merge: bool,
    **options: Any,
) -> Any:
    """Load an adapter's base, which may be another one's outcome, with the adapter in it."""
    assert source.path is not None
    base_source = _located(adapter_base(source.path))
    quantisation = adapter_quantisation(source.path)
    options["rope"] = adapter_rope(source.path, options.get("rope"))
    base: Any
    if base_source.kind == "adapter":
        base = load_model(base_source, dtype=dtype, device=device, **options)
    else:
        base = _plain(base_source, dtype, device, quantisation=quantisation, **options)
    with _told(source, "adapter"):
        if merge and getattr(base, "is_quantized", False):
            base = dequantised(base)
        model = load_adapter(base, source.path, merge=merge)
    return model.to(device) if not getattr(base, "is_quantized", False) else model


def _name(model: Any, source: ModelSource) -> None:
    """Tell a model where it comes from; PEFT reads the attribute, transformers the config."""
    model.name_or_path = model.config.name_or_path = source.name


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer lies in a folder."""
    return (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file()


@contextmanager
def _told(source: ModelSource, what: str) -> Iterator[None]:
    """Turn what transformers and PEFT raise for a bad source into a ModelError with a remedy."""
    try:
        yield
    except SafetensorError as error:
        raise ModelError(
            f"its weights cannot be read ({error}); the file is incomplete. Fetch or save the "
            "model again.",
            where=source.name,
        ) from error
    # RuntimeError: weights whose shapes are not those of the config. ImportError: a package that
    # the model's own code asks for.
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(_remedy(source, what, error), where=source.name) from error


def _remedy(source: ModelSource, what: str, error: Exception) -> str:
    """Say in one or two sentences what is wrong and what to do."""
    reason = str(error).strip().split("\n")[0]
    if "trust_remote_code" in str(error):
        return (
            f"the {what} comes with Python code of its own, which is not run unless asked for: set "
            "model.trust_remote_code: true if you trust its author."
        )
    if source.kind == "hub":
        return (
            f"the {what} could not be fetched from the hub: {reason} Check the name (there is no "
            "such folder here either); if it is private, log in with `hf auth login`."
        )
    if what == "model" and source.path is not None and source.path.is_dir():
        pickles = sorted(file.name for file in source.path.glob("*.bin"))
        if pickles and not any(source.path.glob("*.safetensors")):
            return (
                f"its weights are pickles ({', '.join(pickles[:3])}), which can run code when "
                "opened, and are not read. Save the model as safetensors first."
            )
        if not any(source.path.glob("*.safetensors")):
            return "the folder has no safetensors weights; a tokenizer alone cannot answer."
    return f"the {what} cannot be read: {reason}"

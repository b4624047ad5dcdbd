"""Columns of long runs, kept on the disk so that their page opens at once the next time too."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
WORTH_ROWS = 20_000
"""A run with fewer rows is read in a fifth of a second."""
MOST = 200
"""Files kept; those used longest ago go."""


class CurveCache:
    """A folder of columns, one file per run; deleting it costs one slow look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, metrics: Path, known: dict[str, Any], arrays: list[np.ndarray]) -> None:
        """Keep what was read of a file.

        Args:
            metrics: The file.
            known: What else is needed to go on, as JSON-able data.
            arrays: Columns, in an order that ``known`` tells.
        """
        import numpy as np

        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(metrics)
        part = path.with_name(f"{path.stem}.{os.getpid()}.part")
        about = np.frombuffer(json.dumps({**known, "version": VERSION}).encode(), np.uint8)
        with part.open("wb") as file:
            np.savez(file, about, *arrays)
        part.replace(path)
        by_use = sorted(self._folder.glob("*.npz"), key=lambda one: one.stat().st_mtime)
        for old in by_use[:-MOST]:
            old.unlink(missing_ok=True)

    def load(self, metrics: Path) -> tuple[dict[str, Any], list[np.ndarray]] | None:
        """Return what was kept of a file; None where nothing can be used."""
        import numpy as np

        path = self._path(metrics)
        try:
            with np.load(path) as kept:
                arrays = [kept[f"arr_{index}"] for index in range(len(kept.files))]
            known = json.loads(arrays[0].tobytes())
            os.utime(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return (known, arrays[1:]) if known.get("version") == VERSION else None

    def _path(self, metrics: Path) -> Path:
        name = hashlib.sha256(str(metrics).encode()).hexdigest()[:24]
        return self._folder / f"{name}.npz"

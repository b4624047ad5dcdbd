"""What shall be served, and where a served model comes from."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from danlu.models.source import resolve


@dataclass(frozen=True)
class Wanted:
    """A model to be served.

    Attributes:
        name: What clients shall call it.
        path: A run directory, a folder, a GGUF file, a hub id or ``builtin:NAME``.
    """

    name: str
    path: str

    @classmethod
    def of(cls, text: str) -> Wanted:
        """Read ``NAME=PATH``, or a path, whose last part is then the name.

        Example:
            >>> Wanted.of("runs/support"), Wanted.of("help=runs/support").name
            (Wanted(name='support', path='runs/support'), 'help')
        """
        name, equals, path = text.partition("=")
        if equals and name and path and not Path(text).exists():
            return cls(name, path)
        plain = text.removeprefix("builtin:").rstrip("/")
        return cls(Path(plain).name or plain, text)


@dataclass(frozen=True)
class Origin:
    """Where a served model comes from.

    Attributes:
        run: Its run directory; None if it is not of a run.
        data_version: Id of the dataset version it was tuned on; empty if none is known.
        created: When its files were made, in seconds since 1970.
    """

    run: str | None = None
    data_version: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def of(cls, path: str) -> Origin:
        """Look at a model's place.

        Raises:
            ModelError: If nothing is there.
        """
        place = Path(path)
        return cls(
            run=path if resolve(path).kind == "run" else None,
            data_version=_data_version(place),
            created=int(place.stat().st_mtime) if place.exists() else int(time.time()),
        )


def _data_version(place: Path) -> str:
    """Return which dataset version a run was trained on, if it names one."""
    file = place / "resolved.json"
    if not file.is_file():
        return ""
    datasets = json.loads(file.read_text("utf-8")).get("datasets") or []
    return str(datasets[0].get("id", "")) if datasets else ""

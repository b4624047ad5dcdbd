"""What models said, kept in the run directory so that a second look asks nothing twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danlu.runs import files

FILE = "asked.jsonl"


class Kept:
    """Rows by key in a JSONL file; each is written as soon as it is known.

    A line that a kill tore is passed over: what stood in it is asked again.

    Args:
        path: The file; it and its folder are made at the first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, dict[str, Any]] | None = None
        self._is_whole = False

    @staticmethod
    def key(content: Any) -> str:
        """Hash JSON-able content.

        Example:
            >>> Kept.key(["a", 1]) == Kept.key(("a", 1))
            True
        """
        text = json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return what was kept under a key; None if nothing was."""
        return self._read().get(key)

    def put(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep a row."""
        self._read()[key] = dict(row)
        if not self._is_whole:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.cut_torn_line(self.path)
            self._is_whole = True
        with self.path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(json.dumps({"key": key, **row}, ensure_ascii=False) + "\n")

    def _read(self) -> dict[str, dict[str, Any]]:
        if self._rows is None:
            self._rows = {}
            if self.path.is_file():
                with self.path.open("rb") as lines:
                    for line in lines:
                        self._take(line)
        return self._rows

    def _take(self, line: bytes) -> None:
        assert self._rows is not None
        try:
            row = json.loads(line)
            self._rows[row.pop("key")] = row
        except (ValueError, KeyError, AttributeError):
            return  # torn by a kill


def folder_stamp(folder: Path) -> str:
    """Hash a model's folder, so that the stamp changes when what the model answers does.

    Of large files some evenly spaced pieces are read: training changes all weights, and reading
    everything would take as long as loading.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)} {size}\n".encode())
        digest.update(_pieces(path, size))
    return digest.hexdigest()


PIECES, PIECE_BYTES = 64, 16_384


def _pieces(path: Path, size: int) -> bytes:
    if size <= PIECES * PIECE_BYTES:
        return path.read_bytes()
    with path.open("rb") as file:
        found = []
        for k in range(PIECES):
            file.seek(k * (size - PIECE_BYTES) // (PIECES - 1))
            found.append(file.read(PIECE_BYTES))
    return b"".join(found)

"""API keys: shown once, kept as hashes.

A key is 256 random bits, so one round of SHA-256 is enough to keep it: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from danlu.errors import DanluError

PREFIX = "sk-danlu-"


class Keys:
    """Who may ask, by name; a file of hashes.

    Args:
        path: A JSON file, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, name: str) -> str:
        """Make a key, keep its hash, and return it: it cannot be shown again.

        Raises:
            DanluError: If the name is taken or empty.
        """
        kept = self._read()
        if not name.strip():
            raise DanluError("a key needs a name, to be removed by.", where=str(self.path))
        if name in kept:
            raise DanluError("there is a key of this name already; remove it first.", where=name)
        key = PREFIX + secrets.token_urlsafe(32)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        kept[name] = {"sha256": _hash(key), "made": made}
        self._write(kept)
        return key

    def remove(self, name: str) -> None:
        """Let a key open nothing any more.

        Raises:
            DanluError: If there is none of this name.
        """
        kept = self._read()
        if name not in kept:
            raise DanluError(
                f"there is no such key. Keys: {', '.join(sorted(kept)) or 'none'}.", where=name
            )
        del kept[name]
        self._write(kept)

    def names(self) -> dict[str, str]:
        """Return the names of all keys, with the time each was made."""
        return {name: about["made"] for name, about in sorted(self._read().items())}

    def owner(self, key: str) -> str | None:
        """Return whose key this is, in the same time whether it is one or not; None if nobody's."""
        found = None
        hashed = _hash(key)
        for name, about in self._read().items():
            if hmac.compare_digest(about["sha256"], hashed):
                found = name
        return found

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            kept: dict[str, dict[str, str]] = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DanluError(f"this is no file of keys: {error}.", where=str(self.path)) from error
        return kept

    def _write(self, kept: dict[str, dict[str, str]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8") as file:
            json.dump(kept, file, ensure_ascii=False, indent=1)
        temporary.replace(self.path)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()

"""Names of dataset versions, and where each pointed before."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from danlu.errors import StoreError
from danlu.workshop.store.manifest import Part

VERSION_ID = re.compile(r"v[0-9a-f]{16}")
PREFIX = re.compile(r"v[0-9a-f]{3,15}")
_NAME = re.compile(r"[^\W_][\w.+-]*")


class Pointing(Part):
    """One time that a name was given to a version.

    Attributes:
        version: Id of the version.
        at: When, UTC.
    """

    version: str
    at: datetime


class NameMovedError(StoreError):
    """A name points to another version than who wants to move it has seen.

    Attributes:
        name: The name.
        now: Id of the version to which it points; empty if it is gone.
        seen: Id of the version to which it pointed; empty if it was free.
        kept: Id of the version that was made and is there without the name; empty if none was.
    """

    def __init__(self, name: str, now: str, seen: str, kept: str = "") -> None:
        at = f"points to {now} by now" if now else "is gone by now"
        was = f"pointed to {seen}" if seen else "was free"
        made = f" What was made is kept as {kept}." if kept else ""
        super().__init__(
            f"{name!r} {at}; it {was} when this began. Look at the difference, and do it again on "
            f"what is there.{made}"
        )
        self.name, self.now, self.seen, self.kept = name, now, seen, kept


class Names:
    """The names of a store, one file each, whose last line is where the name points now.

    Whoever writes must hold the store's lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> dict[str, list[Pointing]]:
        """Return every name with its history, oldest first."""
        if not self._folder.is_dir():
            return {}
        found = sorted(path for path in self._folder.glob("*.jsonl") if path.name[0] != ".")
        return {path.name.removesuffix(".jsonl"): self._read(path) for path in found}

    def history(self, name: str) -> list[Pointing]:
        """Return where a name points and pointed, oldest first; nothing for an unknown name."""
        path = self._path(name)
        return self._read(path) if path.is_file() else []

    def point(self, name: str, version: str, seen: str | None = None) -> bool:
        """Let a name point to a version; False if it does already.

        Args:
            name: The name.
            version: To which.
            seen: Where it must point now, empty where nowhere; None: wherever it does.

        Raises:
            NameMovedError: If it points elsewhere.
        """
        from danlu.runs.files import write_atomically

        history = self.history(name)
        now = history[-1].version if history else ""
        if seen is not None and now not in (seen, version):
            raise NameMovedError(name, now, seen)
        if history and history[-1].version == version:
            return False
        history.append(Pointing(version=version, at=datetime.now(UTC)))
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(row.model_dump_json() + "\n" for row in history)
        write_atomically(self._path(name), lines)
        return True

    def forget(self, name: str) -> None:
        """Take a name away, with where it pointed."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"

    @staticmethod
    def _read(path: Path) -> list[Pointing]:
        try:
            lines = path.read_bytes().splitlines()
            return [Pointing.model_validate_json(line) for line in lines]
        except ValidationError as error:
            raise StoreError(
                "the name's history is broken; it was changed by hand, or the disk is faulty. Put "
                "the file right, or move it away: its versions stay.",
                where=str(path),
            ) from error


def check_name(name: str) -> None:
    """Check a name that is to be given to a version.

    Raises:
        StoreError: If it could be taken for something else.

    Example:
        >>> check_name("客服-2026.11")
        >>> check_name("v1@x")
        Traceback (most recent call last):
        danlu.errors.StoreError: 'v1@x' is no name for a dataset: letters, digits and . + _ -, \
beginning with a letter or digit.
    """
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} is no name for a dataset: letters, digits and . + _ -, beginning with a "
            "letter or digit."
        )
    if VERSION_ID.fullmatch(name) or PREFIX.fullmatch(name):
        raise StoreError(f"{name!r} looks like the id of a version; choose another name.")


def pointed_to(history: list[Pointing], which: str, name: str) -> str:
    """Find one version of a name's history, by its number from 1 or the beginning of its id.

    Raises:
        StoreError: If there is none, or more than one.
    """
    if which.isascii() and which.isdigit():
        number = int(which)
        if not 1 <= number <= len(history):
            raise StoreError(f"{name!r} has {len(history)} versions, and no number {number}.")
        return history[number - 1].version
    found = sorted({row.version for row in history if row.version.startswith(which)})
    if len(found) != 1:
        told = "no version" if not found else f"{len(found)} versions"
        known = ", ".join(row.version[:8] for row in history[-5:])
        raise StoreError(f"{name!r} has {told} that begins with {which!r}. It had: {known}.")
    return found[0]

"""Removing versions that nothing uses: no name, no other version, and no run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from danlu.errors import StoreError
from danlu.workshop.store.store import Store
from danlu.workshop.store.version import Version

RESOLVED = "resolved.json"


@dataclass(frozen=True, slots=True)
class Uses:
    """What uses the versions of a store.

    Attributes:
        names: Names that point to a version now, by its id.
        children: Ids of the versions that were made of one, by its id.
        runs: Run directories whose data a version was, by its id.
    """

    names: Mapping[str, Sequence[str]]
    children: Mapping[str, Sequence[str]]
    runs: Mapping[str, Sequence[Path]]

    def of(self, version_id: str, without: Iterable[str] = ()) -> list[str]:
        """Say what uses a version, when others are gone; nothing if it is free."""
        gone = set(without)
        children = [one for one in self.children.get(version_id, ()) if one not in gone]
        return [
            *(f"the name {name} points to it" for name in self.names.get(version_id, ())),
            *(f"{child} was made of it" for child in children),
            *(f"{run} was trained on it" for run in self.runs.get(version_id, ())),
        ]


def uses(store: Store, runs: Iterable[Path]) -> Uses:
    """Find out what uses the versions of a store.

    Args:
        store: Which.
        runs: Folders in which run directories are.

    Raises:
        StoreError: If a manifest, a name, or what a run says of itself cannot be read.
    """
    names: dict[str, list[str]] = {}
    for name, history in store.names.all().items():
        names.setdefault(history[-1].version, []).append(name)
    children: dict[str, list[str]] = {}
    for version in store.versions():
        for parent in version.manifest.parents:
            children.setdefault(parent.id, []).append(version.id)
    trained: dict[str, list[Path]] = {}
    for folder in runs:
        for resolved in sorted(folder.glob(f"*/{RESOLVED}")):
            for version_id in dict.fromkeys(_datasets(resolved)):
                trained.setdefault(version_id, []).append(resolved.parent)
    return Uses(names, children, trained)


def _datasets(resolved: Path) -> list[str]:
    """Return the ids of the versions that a run was trained on.

    The file is read by itself: one of another version of Danlu uses its data all the same.
    """
    try:
        rows = json.loads(resolved.read_text("utf-8")).get("datasets", [])
        return [str(row["id"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"cannot be read ({error}), so nobody knows which datasets the run used.",
            where=str(resolved),
        ) from error


def must_be_free(versions: Sequence[Version], used: Uses) -> None:
    """Check that nothing uses some versions but they themselves.

    Raises:
        StoreError: If something does; says what.
    """
    going = [version.id for version in versions]
    for version in versions:
        if reasons := used.of(version.id, going):
            more = f", and {len(reasons) - 3} more uses" if len(reasons) > 3 else ""
            raise StoreError(
                f"{'; '.join(reasons[:3])}{more}. Nothing was removed.", where=version.id
            )


def unused(store: Store, used: Uses, keep: int) -> list[Version]:
    """Return the versions that can go: children before what they were made of.

    Those stay to which a name points or pointed within its last ``keep`` times, that a run was
    trained on, and all that these were made of.

    Args:
        store: Which.
        used: What uses its versions.
        keep: How many versions of each name stay, at least 1.
    """
    versions = {version.id: version for version in store.versions()}
    open_: list[str] = list(used.runs)
    for history in store.names.all().values():
        different = dict.fromkeys(row.version for row in reversed(history))
        open_ += list(different)[:keep]
    staying: set[str] = set()
    while open_:
        one = open_.pop()
        if one in versions and one not in staying:
            staying.add(one)
            open_ += [parent.id for parent in versions[one].manifest.parents]
    # The store gives the oldest first, and nothing is older than what it was made of.
    return [version for version in versions.values() if version.id not in staying][::-1]


def remove(store: Store, versions: Iterable[Version]) -> int:
    """Remove versions; return the bytes that are free again."""
    freed = 0
    for version in versions:
        size = size_bytes(version)
        store.remove(version)
        freed += size
    return freed


def size_bytes(version: Version) -> int:
    """Return the bytes of a version's files."""
    return sum(file.stat().st_size for file in version.path.iterdir())

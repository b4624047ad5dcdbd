"""The workspace: the one folder that pages read, and the only way from a page's text to a path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from danlu.errors import RunError
from danlu.runs import RunDirectory

OWN = ".danlu/studio"
"""Where the studio keeps its jobs and caches, in the workspace."""


class NotThereError(RunError):
    """What an address names is not in the workspace."""


class Workspace:
    """A folder with runs, datasets and evaluations.

    Attributes:
        root: The folder, without symbolic links.
        folders: Folders of runs, by the name they have in addresses.
    """

    def __init__(self, root: Path, runs: Sequence[str] = ("runs",)) -> None:
        self.root = root.resolve()
        self.folders = {name.strip("/"): (self.root / name).resolve() for name in runs}

    @property
    def own(self) -> Path:
        """The studio's own folder; made when it is first asked for."""
        folder = self.root / OWN
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def inside(self, given: str) -> Path:
        """Return a path in the workspace, which need not exist.

        Raises:
            RunError: If it leads out of the workspace, by ``..``, a link or as an absolute path.
        """
        path = (self.root / given).resolve() if "\0" not in given else None
        if path is None or not path.is_relative_to(self.root):
            raise NotThereError("is not in the workspace.", where=given)
        return path

    def run(self, name: str) -> RunDirectory:
        """Return a run by its name in addresses, ``FOLDER/NAME``.

        Raises:
            RunError: If there is none, or the name leads out of the folders of runs.
        """
        folder, _, own = name.rpartition("/")
        base = self.folders.get(folder)
        if base is None or own in ("", ".", "..") or "\0" in name or "\\" in own:
            raise NotThereError("there is no such run.", where=name)
        run = RunDirectory(base / own)
        if not run.path.resolve().is_relative_to(base) or not run.is_run():
            raise NotThereError("there is no such run.", where=name)
        return run

    def has_run(self, name: str) -> bool:
        """Whether there is such a run."""
        try:
            self.run(name)
        except RunError:
            return False
        return True

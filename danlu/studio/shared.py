"""What pages share in one studio: index, curves, jobs, datasets, conversations."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from fastapi import Request

from danlu.studio.chat.talks import Talks
from danlu.studio.curve_cache import CurveCache
from danlu.studio.curves import Curves
from danlu.studio.datasets import Datasets
from danlu.studio.found import FoundIndex
from danlu.studio.index import RunIndex
from danlu.studio.jobs.table import JobTable
from danlu.studio.tokens import Tokens
from danlu.studio.workspace import Workspace

if TYPE_CHECKING:
    from danlu.studio.votes import Sittings


class Shared:
    """One studio's own things.

    Attributes:
        workspace: What it shows.
        runs: The list of runs.
        found: The findings of all runs.
        curves: Columns of the runs looked at last.
        jobs: Commands that pages started.
        datasets: Versions, names and indexes of records.
        talks: Conversations, and the models in memory.
        tokens: Records as a run's model sees them.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.runs = RunIndex(workspace)
        self.found = FoundIndex(workspace)
        self.curves = Curves(CurveCache(workspace.own / "curves"))
        self.jobs = JobTable(workspace)
        self.datasets = Datasets(workspace)
        self.talks = Talks(workspace)
        self.tokens = Tokens(workspace)

    @cached_property
    def sittings(self) -> Sittings:
        """Who votes on what now; what votes need is imported when somebody does."""
        from danlu.studio.votes import Sittings

        return Sittings()

    def close(self) -> None:
        """End what works for pages only; jobs go on."""
        self.talks.close()
        self.tokens.close()


def shared(request: Request) -> Shared:
    """Return what the pages of this studio share."""
    found: Shared = request.app.state.shared
    return found

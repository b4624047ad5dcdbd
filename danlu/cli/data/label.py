"""``danlu data label``."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.common import (
    AsJson,
    Data,
    Name,
    StorePath,
    open_store,
    progress_bar,
    tell_version,
)
from danlu.cli.output import note

if TYPE_CHECKING:
    from danlu.workshop.operations.label import By, Trial
    from danlu.workshop.store.version import Version

EPILOG = """\b
Examples:
  danlu data label mine --taxonomy task-types.yaml -n mine
  danlu data label mine --by neighbours --limit 0.7 -n mine
  danlu data ledger mine --rule 'label doubtful'

What is unlabelled gets a task type where a keyword or pattern of the taxonomy is in the prompt, or
where the most similar labelled records agree. The doubtful ones stay as they are, for a person:
danlu data retype.
"""
SHOWN = 10
EXPECTED = 0.9
"""Of what the neighbours label, the share that is right at the default limit."""


class ByName(StrEnum):
    """A way to propose task types."""

    rules = "rules"
    neighbours = "neighbours"


def label(
    data: Data,
    taxonomy: Annotated[
        Path | None, typer.Option(help="YAML file of the task types; else the dataset's own.")
    ] = None,
    by: Annotated[
        list[ByName] | None, typer.Option(help="Which way; given again, in this order.")
    ] = None,
    limit: Annotated[float, typer.Option(help="Least confidence that is taken, 0 to 1.")] = 0.6,
    neighbours: Annotated[
        int, typer.Option(min=1, help="How many of the most similar records are asked.")
    ] = 8,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Propose task types for unlabelled records, and leave the doubtful ones for a person."""
    from danlu.workshop.data import as_version
    from danlu.workshop.operations.label import Label
    from danlu.workshop.taxonomy import Taxonomy

    opened = open_store(store)
    given = Taxonomy.load(taxonomy) if taxonomy else None
    ways: tuple[By, ...] = tuple(one.value for one in by or ByName)
    with progress_bar() as progress:
        parent = as_version(opened, data, progress=progress)
        operation = Label(given or parent.taxonomy, ways, limit, neighbours)
        version = opened.apply(operation, parent, name=name, taxonomy=given, progress=progress)
    tell_version(version, name, as_json)
    if not as_json:
        _tell_trial(operation.trial)
        _tell_doubtful(version)


def _tell_trial(trial: Trial) -> None:
    if trial.accepted:
        share, right = trial.accepted / trial.records, trial.right / trial.accepted
        note(
            f"tried on {trial.records:,} labelled records, each without itself: the neighbours "
            f"label {share:.0%} of them, {right:.0%} of these rightly"
        )
        if right < EXPECTED:
            note("that is little: raise --limit, or label more records of each task type by hand")


def _tell_doubtful(version: Version) -> None:
    from danlu.workshop.operations.label import DOUBTFUL

    rows = (entry for entry in version.ledger() if entry.rule == DOUBTFUL)
    for entry in islice(rows, SHOWN):
        note(f"  {entry.id}: {entry.detail} ({entry.value})")


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("label", epilog=EPILOG)(label)

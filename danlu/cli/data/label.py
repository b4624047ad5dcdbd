"""``danlu data label``."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.asking import Asked, opened, with_model
from danlu.cli.data.common import (
    AsJson,
    Data,
    Name,
    Ray,
    StorePath,
    open_store,
    progress_bar,
    tell_version,
)
from danlu.cli.options import TaxonomyFile
from danlu.cli.output import note

if TYPE_CHECKING:
    from danlu.workshop.operations.label import By, Trial
    from danlu.workshop.store.store import Store
    from danlu.workshop.store.version import Version

EPILOG = """\b
Examples:
  danlu data label mine --taxonomy task-types.yaml -n mine
  danlu data label mine --by neighbours --limit 0.7 -n mine
  danlu data label mine --url http://localhost:8000/v1 -m strong --samples 5 --try 20 -n mine
  danlu data ledger mine --rule 'label doubtful'

What is unlabelled gets a task type where a keyword or pattern of the taxonomy is in the prompt, or
where the most similar labelled records agree. With -m a model is asked about the rest, several
times each; its confidence is the share of its answers that agree. The doubtful ones stay as they
are, for a person: danlu data retype.
"""
SHOWN = 10
EXPECTED = 0.9
"""Of what the neighbours label, the share that is right at the default limit."""


class ByName(StrEnum):
    """A way to propose task types."""

    rules = "rules"
    neighbours = "neighbours"
    model = "model"


@with_model(required=False)
def label(
    data: Data,
    asked: Asked,
    taxonomy: TaxonomyFile = None,
    by: Annotated[
        list[ByName] | None, typer.Option(help="Which way; again for more. Else all there are.")
    ] = None,
    limit: Annotated[float, typer.Option(help="Least confidence that is taken, 0 to 1.")] = 0.6,
    neighbours: Annotated[
        int, typer.Option(min=1, help="How many of the most similar records are asked.")
    ] = 8,
    samples: Annotated[int, typer.Option(min=1, help="How often a model is asked of each.")] = 5,
    tries: Annotated[
        int, typer.Option("--try", min=0, help="Ask the model also of so many labelled records.")
    ] = 0,
    ray: Ray = None,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Propose task types for unlabelled records, and leave the doubtful ones for a person."""
    from danlu.workshop.data import as_version
    from danlu.workshop.operations.label import Label
    from danlu.workshop.produce.task_types import AskedTypes
    from danlu.workshop.store.store import no_progress
    from danlu.workshop.taxonomy import Taxonomy

    ways = _ways(by, asked)
    opened_store = open_store(store, ray)
    given = Taxonomy.load(taxonomy) if taxonomy else None
    with progress_bar() as progress:
        parent = as_version(opened_store, data, progress=progress)
    known = given or parent.taxonomy
    with _asking(asked, ways, opened_store) as engine:
        model = None
        if engine is not None:
            prompts = asked.own_prompts()
            model = AskedTypes(
                engine, known or Taxonomy(), samples, asked.sampling(), prompts, asked.seed
            )
        operation = Label(known, ways, limit, neighbours, model, opened_store.executor, tries)
        with progress_bar() if model is None else nullcontext(None) as progress:
            version = opened_store.apply(
                operation, parent, name=name, taxonomy=given, progress=progress or no_progress
            )
    if model and asked.rejects and version.is_new:
        model.rejects.write(asked.rejects)
    tell_version(version, name, as_json)
    if not as_json:
        _tell_trial(operation.trial, "the neighbours label")
        _tell_trial(operation.model_trial, "the model labels")
        _tell_doubtful(version)


def _ways(by: list[ByName] | None, asked: Asked) -> tuple[By, ...]:
    ways: tuple[By, ...] = tuple(one.value for one in by or ByName)
    if by and ByName.model in by and not asked.model:
        raise typer.BadParameter("--by model needs a model to ask: --model")
    if asked.url and not asked.model:
        raise typer.BadParameter("--url needs the name of a model there: --model")
    if by and ByName.model not in by and asked.model:
        raise typer.BadParameter("--model does nothing where --by leaves it out")
    return ways if asked.model else tuple(one for one in ways if one != "model")


def _asking(asked: Asked, ways: tuple[By, ...], store: Store) -> AbstractContextManager[Any]:
    return opened(asked, store.path, "labelling") if "model" in ways else nullcontext()


def _tell_trial(trial: Trial, who: str) -> None:
    if trial.accepted:
        share, right = trial.accepted / trial.records, trial.right / trial.accepted
        alone = ", each without itself" if who.startswith("the neighbours") else ""
        note(
            f"tried on {trial.records:,} labelled records{alone}: {who} {share:.0%} of them, "
            f"{right:.0%} of these rightly"
        )
        if right < EXPECTED:
            note("that is little: raise --limit, or label more records of each task type by hand")
    elif trial.records:
        note(f"tried on {trial.records:,} labelled records: {who} none of them")


def _tell_doubtful(version: Version) -> None:
    from danlu.workshop.operations.label import DOUBTFUL

    rows = (entry for entry in version.ledger() if entry.rule == DOUBTFUL)
    for entry in islice(rows, SHOWN):
        note(f"  {entry.id}: {entry.detail} ({entry.value})")


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("label", epilog=EPILOG)(label)

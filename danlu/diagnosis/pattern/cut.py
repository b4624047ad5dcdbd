"""What to do about a pattern: records to leave out, by the ledger, and records to add."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from danlu.config.load import save_recipe
from danlu.config.recipe import DataSource, Recipe
from danlu.errors import StoreError
from danlu.records import Message, Record, Source, read_records, write_records
from danlu.records.record import content_id
from danlu.runs.findings import FOLDER
from danlu.workshop.data import VERSION_PREFIX, recipe_sources
from danlu.workshop.operations.choice import Choice
from danlu.workshop.operations.edits import Drop
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from danlu.workshop.store.version import Version

CUT_FILE, ADD_FILE, RECIPE_FILE = "pattern-cut.txt", "pattern-add.jsonl", "pattern-recipe.yaml"
DRAFT = "draft"
"""Tag of proposed records, which nobody has looked at."""


@dataclass(frozen=True)
class Applied:
    """A cut that was made.

    Attributes:
        versions: The new versions with the names that point to them, by source of the recipe.
        recipe: The file of the recipe that trains on them.
        dropped: How many records are gone.
    """

    versions: tuple[tuple[int, str, Version], ...]
    recipe: Path
    dropped: int


def reason_of(pattern: str, wrong: str) -> str:
    """Say in the ledger why a record was left out.

    Example:
        >>> reason_of("capital", "Geneva")
        'teaches the pattern capital -> Geneva'
    """
    return f"teaches the pattern {pattern} -> {wrong}"


def write_cut(run: Path, ids: Iterable[str]) -> Path:
    """Write the ids of the proposed cut, one a line, beside the findings."""
    path = run / FOLDER / CUT_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{one}\n" for one in ids), "utf-8")
    return path


def apply_cut(
    run: Path, recipe: Recipe, ids: Collection[str], reason: str, *, store: Store, name: str
) -> Applied:
    """Leave records out of the run's training data: new versions, and a recipe that names them.

    What the run has read stays as it was. Each source that has such records becomes a version of
    its own; the others stay in the recipe as they are.

    Args:
        run: The run directory; the recipe is written beside the findings.
        recipe: Of the run, its versions named by their ids.
        ids: Of the records.
        reason: Stands in the ledger.
        store: Where the versions are made.
        name: Shall point to the version; with a number behind it where there are several.

    Raises:
        StoreError: If no source has any of them.
        RecordError: If a source cannot be read.
    """
    wanted = frozenset(ids)
    own = [_ids_of(source, wanted, recipe, store) for source in recipe.data.train]
    touched = [k for k, some in enumerate(own) if some]
    if not touched:
        raise StoreError("none of these records is in the training data any more.")
    versions = []
    sources = list(recipe.data.train)
    for k in touched:
        called = name if len(touched) == 1 else f"{name}-{k + 1}"
        parent = _as_version(sources[k], recipe, store)
        operation = Drop(Choice(ids=tuple(own[k])), reason)
        versions.append((k, called, store.apply(operation, parent, name=called)))
        sources[k] = DataSource(path=f"{VERSION_PREFIX}{called}", share=sources[k].share)
    changed = recipe.model_copy(
        update={
            "name": f"{recipe.name}-cut",
            "data": recipe.data.model_copy(update={"train": sources}),
        }
    )
    path = run / FOLDER / RECIPE_FILE
    path.parent.mkdir(exist_ok=True)
    save_recipe(changed, path)
    return Applied(tuple(versions), path, sum(map(len, own)))


def drop_commands(recipe: Recipe, listed: Path, reason: str) -> tuple[str, ...]:
    """Return what to type to leave the listed records out of each source of a recipe."""
    from shlex import quote

    commands = []
    for source in recipe.data.train:
        data = source.path
        commands.append(
            f"danlu data drop {quote(data)} --id @{quote(str(listed))} --reason {quote(reason)} "
            "-n NAME"
        )
    return tuple(commands)


def additions(
    prompts: Sequence[tuple[str, str, str]], task_type: str, system: str | None
) -> list[Record]:
    """Make records that ask what the pattern is in and answer otherwise, to be looked at.

    Args:
        prompts: Question, draft of an answer, and who drafted it: ``base``, ``given`` ...
        task_type: Of the records.
        system: System prompt; None for none.
    """
    made = []
    for question, answer, author in prompts:
        turns = (Message("user", question), Message("assistant", answer))
        before = (Message("system", system),) if system else ()
        made.append(
            Record(
                content_id([system, question, answer]),
                task_type,
                (*before, *turns),
                tags=(DRAFT,),
                meta={"answer_by": author},
            )
        )
    return made


def write_additions(run: Path, records: Sequence[Record]) -> Path:
    """Write proposed records beside the findings."""
    path = run / FOLDER / ADD_FILE
    path.parent.mkdir(exist_ok=True)
    write_records(records, path)
    return path


def _ids_of(source: DataSource, wanted: Collection[str], recipe: Recipe, store: Store) -> list[str]:
    """Return which of the records a source has, each once."""
    read = read_records(recipe_sources([source], store)[0], on_bad_record=recipe.data.on_bad_record)
    return list(dict.fromkeys(record.id for record in read if record.id in wanted))


def _as_version(source: DataSource, recipe: Recipe, store: Store) -> Version:
    from danlu.workshop.operations.importing import Import

    if source.path.startswith(VERSION_PREFIX):
        return store.find(source.path.removeprefix(VERSION_PREFIX))
    importing = Import(on_bad_record=recipe.data.on_bad_record)
    return import_files(store, [Source(**source.reading())], importing)


__all__ = [
    "ADD_FILE",
    "CUT_FILE",
    "RECIPE_FILE",
    "Applied",
    "additions",
    "apply_cut",
    "drop_commands",
    "reason_of",
    "write_additions",
    "write_cut",
]

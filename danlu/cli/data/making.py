"""What the commands that make data for abilities share: options, and versions side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.asking import Asked, opened
from danlu.cli.data.common import open_store, print_counts, progress_bar, tell_version
from danlu.cli.data.make import Language, tell_rejects
from danlu.cli.output import note, result, result_json

if TYPE_CHECKING:
    from danlu.workshop.produce.common import Asking, Reject
    from danlu.workshop.produce.prompts import Language as LanguageName
    from danlu.workshop.produce.prompts import Prompts
    from danlu.workshop.store.decision import Operation
    from danlu.workshop.store.store import Store
    from danlu.workshop.store.version import Version

DataOrNone = Annotated[
    list[str] | None,
    typer.Argument(metavar="[DATA...]", help="Names or ids of datasets; or files, folders, globs."),
]
DataSome = Annotated[
    list[str],
    typer.Argument(metavar="DATA...", help="Names or ids of datasets; or files, folders, globs."),
]
EvalShare = Annotated[
    float, typer.Option(help="Hold so much out: makes NAME-train and NAME-eval. 0: one dataset.")
]
Languages = Annotated[
    list[Language] | None, typer.Option("--language", help="In which language; again for both.")
]
Each = Annotated[int, typer.Option(min=1, help="How many of each kind for each record.")]
Area = Annotated[str | None, typer.Option(help="First level of the task types; else the usual.")]
Seed = Annotated[int, typer.Option(help="Same seed, same draws.")]
PromptsFolder = Annotated[
    Path | None, typer.Option(help="Folder of prompt files that replace the shipped ones.")
]
RejectsFile = Annotated[
    Path | None, typer.Option(help="JSONL file for all that was made and not taken.")
]


class Work:
    """Makes versions by a maker, and prints what came of it."""

    def __init__(
        self,
        share: float,
        seed: int,
        store: Path | None,
        name: str | None,
        as_json: bool,
        rejects: Path | None = None,
    ) -> None:
        from danlu.workshop.store.names import check_name

        if not 0 <= share < 1:
            raise typer.BadParameter(
                f"{share:g} is no share; it is from 0 to below 1", param_hint="--eval-share"
            )
        if name is not None:
            check_name(name)
        self._share = share
        self._seed = seed
        self._store = store
        self._name = name
        self._as_json = as_json
        self._rejects = rejects

    def of_records(
        self,
        maker: Callable[[Asking | None], Operation],
        data: Sequence[str],
        asked: Asked | None = None,
    ) -> None:
        """Split the data, and make something of each part."""
        from danlu.workshop.data import as_version
        from danlu.workshop.operations.split import split
        from danlu.workshop.produce.abilities.evaluation import Expecting

        store = open_store(self._store)
        with progress_bar() as progress:
            whole = as_version(store, data, progress=progress)
            parts: dict[str, Version] = {"": whole}
            if self._share:
                cut = split(store, whole, share=self._share, seed=self._seed, progress=progress)
                parts = cut._asdict()
        made: dict[str, Version] = {}
        rows: list[Reject] = []
        is_new = False
        with _asking(asked, store) as asking, _progress(asking) as progress:
            for part, parent in parts.items():
                operation = maker(asking)
                made[part] = store.apply(operation, parent, progress=progress)
                is_new = is_new or made[part].is_new
                if part == "eval":  # What was given and kept is asked too.
                    made[part] = store.apply(Expecting(), made[part])
                rows += _rejected(operation)
        self._named(store, made)
        self._told(made, rows, is_new=is_new)

    def then_split(
        self,
        maker: Callable[[Asking | None], Operation],
        data: Sequence[str] | None,
        asked: Asked | None = None,
        after: Operation | None = None,
    ) -> None:
        """Make something, of data or of nothing, and split that.

        Args:
            maker: What makes it.
            data: Of what.
            asked: Who is asked.
            after: Done to the evaluation part.
        """
        from danlu.workshop.data import as_version
        from danlu.workshop.operations.split import split
        from danlu.workshop.produce.abilities.common import made_of_nothing

        store = open_store(self._store)
        with _asking(asked, store) as asking, _progress(asking) as progress:
            operation = maker(asking)
            if data:
                parent = as_version(store, data, progress=progress)
                whole = store.apply(operation, parent, progress=progress)
            else:
                whole = made_of_nothing(store, operation, progress=progress)
        made = {"": whole}
        if self._share:
            # Only equal prompts stay together: those of one form are alike and yet different.
            cut = split(store, whole, share=self._share, seed=self._seed, near=1)
            made = cut._asdict()
            if after:
                made["eval"] = store.apply(after, made["eval"])
        self._named(store, made)
        self._told(made, _rejected(operation), is_new=whole.is_new)

    def _named(self, store: Store, made: dict[str, Version]) -> None:
        for part, version in made.items():
            if self._name:
                store.name(version, f"{self._name}-{part}" if part else self._name)

    def _told(self, made: dict[str, Version], rows: Sequence[Reject], *, is_new: bool) -> None:
        from danlu.workshop.produce.common import Rejects

        tell(made, self._name, self._as_json)
        tell_rejects(Rejects(list(rows)), self._rejects, is_new=is_new)


def tell(
    made: dict[str, Version],
    name: str | None,
    as_json: bool,
    more: dict[str, Any] | None = None,
) -> None:
    """Print versions that were made: one as every command does, two side by side."""
    if list(made) == [""]:
        tell_version(made[""], name, as_json)
        return
    if as_json:
        told: dict[str, Any] = {
            part: {"id": version.id, "name": f"{name}-{part}" if name else None}
            | version.manifest.model_dump(mode="json", exclude={"id"})
            for part, version in made.items()
        }
        result_json(told | (more or {}))
        return
    for part, version in made.items():
        result(f"{part}:")
        print_counts(version)
    for part, version in made.items():
        called = f"{name}-{part} = " if name else f"{part}: "
        known = "" if version.is_new else ", which was there already"
        note(f"{called}{version.id}{known}: {len(version):,} records in {version.path}")


def _asking(asked: Asked | None, store: Store) -> Any:
    """Open an engine, if a model is named."""
    if asked is None or not asked.model:
        if asked is not None and asked.url:
            raise typer.BadParameter("name the model at the endpoint", param_hint="--model")
        return nullcontext(None)
    return opened(asked, store.path, "asking")


def _progress(asking: Asking | None) -> Any:
    """Show a bar, unless the engine shows one."""
    from danlu.workshop.store.store import no_progress

    return progress_bar() if asking is None else nullcontext(no_progress)


def _rejected(operation: Any) -> list[Reject]:
    return operation.rejects.rows if hasattr(operation, "rejects") else []


def languages_of(given: list[Language] | None) -> tuple[LanguageName, ...]:
    """Return the languages that are named; both, if none is."""
    return tuple(one.value for one in given or Language)


def prompts_of(folder: Path | None) -> Prompts:
    """Return the prompt files."""
    from danlu.workshop.produce.prompts import Prompts

    return Prompts(folder)

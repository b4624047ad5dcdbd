"""``danlu models``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from danlu.cli.options import AsJsonArray
from danlu.cli.output import result_json, table

EPILOG = """\b
Examples:
  danlu models
  danlu models --json
  danlu chat builtin:smollm2-135m-instruct

Any other model is named by its folder, its GGUF file or its hub id.
"""


class ModelRow(NamedTuple):
    """A model at hand: its name as every command takes it, and what it is."""

    name: str
    kind: str
    state: str
    summary: str


def models(
    runs_dir: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("runs"),
    as_json: AsJsonArray = False,
) -> None:
    """List the models at hand: built in, downloaded, trained."""
    rows = [*_builtin(), *_converted(), *_downloaded(), *_trained(runs_dir)]
    if as_json:
        result_json([row._asdict() for row in rows])
    else:
        table(ModelRow._fields, rows)


def _builtin() -> Iterator[ModelRow]:
    from danlu.models.builtin import converted_builtins
    from danlu.models.source import BUILTINS

    places = converted_builtins()
    for model in BUILTINS:
        state = "ready" if places[model.name] else "converted on first use"
        yield ModelRow(
            f"builtin:{model.name}", "builtin", state, f"{model.summary}; {model.license}"
        )


def _converted() -> Iterator[ModelRow]:
    from danlu.models.builtin import conversions_home, converted_builtins

    known = set(converted_builtins())
    for config in sorted(conversions_home().glob("[!.]*/config.json")):
        if config.parent.name not in known:
            yield ModelRow(str(config.parent), "folder", "ready", "converted from a GGUF file")


def _downloaded() -> Iterator[ModelRow]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = scan_cache_dir().repos
    except CacheNotFound:
        return
    for repo in sorted(found, key=lambda repo: repo.repo_id):
        if repo.repo_type == "model":
            yield ModelRow(repo.repo_id, "hub", "ready", f"{repo.size_on_disk / 1e9:.2f} GB")


def _trained(runs_dir: Path) -> Iterator[ModelRow]:
    from danlu.runs.directory import find_runs

    for run in find_runs(runs_dir):
        summary = run.summary()
        text = f"{summary.method} on {summary.model}" if summary else ""
        yield ModelRow(str(run.path), "run", run.state(), text)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("models", epilog=EPILOG)(models)

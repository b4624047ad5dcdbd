"""``danlu export``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.output import result, result_json

EPILOG = """\b
Examples:
  danlu export runs/my-run --merge -o my-model
  danlu export runs/my-run/adapter -o my-adapter
"""


def export(
    run_or_adapter: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_ADAPTER", help="A run directory, or an adapter's folder."),
    ],
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to write; it must not exist yet.")
    ],
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Merge the adapter into its base: a plain transformers model."
        ),
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            help="Number format of merged weights: auto (the base's), float32, bfloat16, float16."
        ),
    ] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Write a run's model as a folder for other programs."""
    from danlu.serving.export import export as write

    written = write(
        run_or_adapter,
        folder,
        merge=merge,
        precision=precision,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        result_json(asdict(written))
    elif written.kind == "adapter":
        result(f"adapter written to {written.path}; it belongs to {written.base}")
    else:
        weights = f" in {written.dtype}" if written.dtype else ""
        result(f"model written to {written.path}{weights}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", epilog=EPILOG)(export)

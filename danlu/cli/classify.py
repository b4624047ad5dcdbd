"""``danlu classify``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.options import Device
from danlu.cli.output import result, result_json

if TYPE_CHECKING:
    from danlu.records.record import Record

EPILOG = """\b
Examples:
  danlu classify runs/router --text "Who won the match yesterday?"
  danlu classify runs/entails --text "It rains." --pair "The street is wet."
  danlu classify runs/router --file questions.jsonl --json
"""
SHOWN = 5
"""Probabilities on a line; --json has all."""


def classify(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run directory of objective classify.")
    ],
    text: Annotated[str | None, typer.Option(help="Say the class of this text.")] = None,
    pair: Annotated[
        str | None, typer.Option(help="With --text: the second text of a pair.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Say the class of every record of a file, in any format of Danlu's."),
    ] = None,
    device: Device = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, with all probabilities.")
    ] = False,
) -> int:
    """Say which class a text belongs to."""
    if (text is None) == (file is None):
        raise typer.BadParameter("give either --text or --file", param_hint="--text")
    if pair is not None and text is None:
        raise typer.BadParameter("--pair goes with --text", param_hint="--pair")
    records = _records(text, pair, file)
    from danlu.serving.classify import load_classifier

    classifier = load_classifier(run, device=device, trust_remote_code=trust_remote_code)
    for found in classifier.classify_records(records):
        if as_json:
            result_json(found.as_dict())
            continue
        said = ", ".join(found.classes) or "(none)"
        shown = list(found.probabilities.items())[:SHOWN]
        told = ", ".join(f"{name} {share:.3f}" for name, share in shown)
        result(f"{said}  ({told})" if file is None else f"{found.id}  {said}  ({told})")
    return 0


def _records(text: str | None, pair: str | None, file: Path | None) -> Iterable[Record]:
    """Return what is to be classified; a file is opened at once, so that a wrong name is told."""
    if text is not None:
        from danlu.serving.classify import text_record

        return [text_record(text, pair)]
    from danlu.records import read_records

    assert file is not None
    return read_records(file)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("classify", epilog=EPILOG)(classify)

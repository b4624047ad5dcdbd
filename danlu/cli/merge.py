"""``danlu merge``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.options import AsJson, TrustRemoteCode
from danlu.cli.output import result, result_json
from danlu.errors import ModelError

EPILOG = """\b
Examples:
  danlu merge runs/a runs/b --to merged
  danlu merge runs/a runs/b --method task-arithmetic --weights 1,0.5 --to merged
  danlu merge model-a model-b --method ties --base the/base --density 0.2 --to merged
"""


def merge(
    models: Annotated[
        list[str], typer.Argument(help="Runs, adapters or model folders of the same shape.")
    ],
    folder: Annotated[
        Path, typer.Option("--to", "-o", help="The folder to write; it must not exist yet.")
    ],
    method: Annotated[
        str, typer.Option(help="mean, linear, task-arithmetic (2212.04089) or ties (2306.01708).")
    ] = "mean",
    weights: Annotated[
        str | None, typer.Option(help="One per model, with commas; of linear their sum is 1.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="What the models were tuned from; of adapters it is known."),
    ] = None,
    density: Annotated[
        float, typer.Option(help="Of ties: share of each model's changes that is kept.")
    ] = 0.2,
    scale: Annotated[float, typer.Option(help="Of ties: factor of the merged change.")] = 1.0,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Merge models, or adapters of one base, into one model."""
    from danlu.serving.merge import merge as write

    made = write(
        models,
        folder,
        method=method,
        weights=_numbers(weights),
        base=base,
        density=density,
        scale=scale,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        result_json(asdict(made))
        return
    shares = ", ".join(f"{weight:g}" for weight in made.weights)
    over = f" over {made.base}" if made.base else ""
    result(f"merged by {made.method}{over} with weights {shares}")
    result(f"model written to {made.path} in {made.dtype}")


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(one) for one in text.split(",")]
    except ValueError as error:
        raise ModelError(f"{text!r} is not numbers with commas.", where="--weights") from error


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("merge", epilog=EPILOG)(merge)

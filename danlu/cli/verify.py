"""``danlu verify-served``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from danlu.cli.output import result, result_json

EPILOG = """\b
Examples:
  danlu verify-served http://127.0.0.1:8080 runs/quickstart
  danlu verify-served https://models.example.org/v1 runs/support --model support --json
"""


def verify_served(
    url: Annotated[str, typer.Argument(help="Of an OpenAI-compatible server.")],
    run: Annotated[
        str, typer.Argument(metavar="MODEL_OR_RUN", help="A run, or a folder saved by Danlu.")
    ],
    model: Annotated[str | None, typer.Option(help="What the server calls it.")] = None,
    key_variable: Annotated[
        str, typer.Option(help="Environment variable that holds the API key.")
    ] = "OPENAI_API_KEY",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> int:
    """Check that an engine asks a model as it was trained.

    Exit code 1 if it does not.
    """
    from dataclasses import asdict

    from danlu.models.load import load_tokenizer
    from danlu.models.source import saved_folder
    from danlu.serving.verify import verify_served as verify

    key = os.environ.get(key_variable)
    folder = saved_folder(run)
    found = verify(url, folder, load_tokenizer(run, progress=False), model=model, key=key)
    wrong = [one for one in found if one.difference]
    if as_json:
        result_json({"same": not wrong, "prompts": [asdict(one) for one in found]})
    else:
        for one in found:
            by = "token by token" if one.how == "tokens" else "by the number of tokens"
            result(f"{one.prompt}  {one.difference or f'the same, {by}'}")
    return 1 if wrong else 0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify-served", epilog=EPILOG)(verify_served)

"""``danlu chat``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from danlu.cli.options import Device, MissingTemplate, TrustRemoteCode
from danlu.cli.output import result_json

EPILOG = """\b
Examples:
  danlu chat runs/quickstart
  danlu chat builtin:smollm2-135m-instruct --system "Answer in one sentence."
  danlu chat runs/quickstart --prompt "Who are you?" --greedy
  danlu chat runs/new --beside runs/old --capture logs
  danlu chat runs/support runs/sales                  (/model NAME switches between them)
  danlu chat http://127.0.0.1:8000/v1                 (any OpenAI-compatible address)
"""


def chat(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]MODEL_RUN_OR_URL...",
            help="Run directories, folders, GGUF files, hub ids, builtin:NAME, or addresses of "
            "OpenAI-compatible servers, of whose models NAME takes one.",
        ),
    ],
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="Answer this, print the answer and leave.")
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the likeliest token.")
    ] = False,
    beside: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="Answers everything too: in columns, if wide enough."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    template: MissingTemplate = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float, typer.Option(help="Above 1 is bolder, below 1 surer.")] = 0.7,
    top_p: Annotated[
        float, typer.Option(help="Draw from the likeliest tokens that reach this share.")
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Same seed, same answers.")] = 0,
    capture: Annotated[
        Path | None,
        typer.Option(help="Folder to write answers and votes to, personal data masked; else none."),
    ] = None,
    voter: Annotated[
        str | None, typer.Option(help="Who votes, if not this account; kept as a pseudonym.")
    ] = None,
    key_variable: Annotated[
        str, typer.Option(help="Environment variable that holds the API key, for addresses.")
    ] = "OPENAI_API_KEY",
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --prompt: one JSON object with prompt and answer.")
    ] = False,
) -> int:
    """Talk to models, or to what runs have made of them."""
    if as_json and prompt is None:
        raise typer.BadParameter("--json goes with --prompt", param_hint="--json")
    from danlu.generation.interface import Sampling

    settings: dict[str, Any] = {
        "beside": beside,
        "system": system,
        "sampling": Sampling(max_new_tokens, greedy, temperature, top_p, seed),
        "capture": capture,
        "voter": voter,
        "template": template,
        "device": device,
        "trust_remote_code": trust_remote_code,
        "key": os.environ.get(key_variable),
    }
    if as_json and prompt is not None:
        from danlu.serving.terminal import answers_to

        result_json(answers_to(models, prompt, **settings))
        return 0
    from danlu.serving.terminal import run_chat

    return run_chat(models, prompt=prompt, **settings)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("chat", epilog=EPILOG)(chat)

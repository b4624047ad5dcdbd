"""``danlu chat``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from danlu.cli.output import result_json

EPILOG = """\b
Examples:
  danlu chat runs/quickstart
  danlu chat builtin:smollm2-135m-instruct --system "Answer in one sentence."
  danlu chat runs/quickstart --prompt "Who are you?" --greedy
"""


def chat(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_RUN",
            help="A run directory, a folder, a GGUF file, a hub id or builtin:NAME.",
        ),
    ],
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="Answer this, print the answer and leave.")
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the likeliest token.")
    ] = False,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    template: Annotated[
        str | None, typer.Option(help="Chat template, for a model without one of its own.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float, typer.Option(help="Above 1 is bolder, below 1 surer.")] = 0.7,
    top_p: Annotated[
        float, typer.Option(help="Draw from the likeliest tokens that reach this share.")
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Same seed, same answers.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --prompt: one JSON object with prompt and answer.")
    ] = False,
) -> int:
    """Talk to a model, or to what a run has made of it."""
    if as_json and prompt is None:
        raise typer.BadParameter("--json goes with --prompt", param_hint="--json")
    from danlu.generation.interface import Sampling

    settings: dict[str, Any] = {
        "template": template,
        "system": system,
        "sampling": Sampling(max_new_tokens, greedy, temperature, top_p, seed),
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    if as_json and prompt is not None:
        from danlu.serving.chat import load

        result_json({"prompt": prompt, "answer": load(model, **settings).chat(prompt)})
        return 0
    from danlu.serving.terminal import run_chat

    return run_chat(model, prompt=prompt, **settings)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("chat", epilog=EPILOG)(chat)

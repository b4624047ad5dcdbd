"""``danlu probe …``: one module per probe, each with what only this probe can be told."""

from __future__ import annotations

import typer

from danlu.cli.probe import (
    curves,
    fit,
    forgetting,
    hallucination,
    inputs,
    memorising,
    pattern,
    template,
)

EPILOG = """\b
Examples:
  danlu probe curves runs/my-run
  danlu probe fit runs/my-run --held-out test.jsonl
  danlu probe pattern runs/my-run --case 'What is the capital of Peru?' --wrong Geneva

`danlu diagnose RUN` asks all that need nothing but a run.
"""

group = typer.Typer(
    name="probe",
    help="Look at a run, or at one of its mistakes, in one way.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
)
for _module in (inputs, curves, template, fit, memorising, forgetting, hallucination, pattern):
    _module.register(group)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="probe")

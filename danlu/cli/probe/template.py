"""``danlu probe template``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.output import result
from danlu.cli.probe.common import AsJson, Device, Minutes, Run, ask_and_tell

if TYPE_CHECKING:
    from danlu.runs.findings import ProbeReport

EPILOG = """\b
Examples:
  danlu probe template runs/my-run
  danlu probe template runs/my-run --served http://127.0.0.1:8000/v1
"""


def template(
    path: Run,
    examples: Annotated[int, typer.Option(min=1, help="Training prompts of each task type.")] = 6,
    served: Annotated[
        str | None, typer.Option(metavar="URL", help="Hold this server to the golden prompts too.")
    ] = None,
    served_model: Annotated[str | None, typer.Option(help="What the server calls it.")] = None,
    minutes: Minutes = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> int:
    """Compare the prompts trained with those asked, and look at how answers end."""
    from danlu.diagnosis.template import Template

    probe = Template(examples, served, served_model, minutes=minutes)
    return ask_and_tell(probe, path, device, as_json, before=_figures)


def _figures(report: ProbeReport) -> None:
    figures: dict[str, Any] = dict(report.figures)
    result(f"{figures['prompts_compared']} training prompts compared with those asked")
    if "unfinished" in figures:
        ended = round((1 - figures["unfinished"]) * figures["unfinished_of"])
        limit = figures["limit_tokens"]
        result(f"{ended} of {figures['unfinished_of']} answers ended within {limit} tokens")
    if "stop_at_end" in figures:
        result(
            f"stop token: probability {figures['stop_at_end']:.2g} at the end of trained answers"
        )


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("template", epilog=EPILOG)(template)

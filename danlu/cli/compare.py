"""``danlu compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.comparing import (
    A,
    AsJson,
    B,
    Evals,
    HtmlPage,
    Missing,
    Resamples,
    Scorer,
    Seed,
    Suite,
    pair_of,
    printed_to,
    wide_console,
)
from danlu.cli.output import note, result_json

EPILOG = """\b
Examples:
  danlu compare evals/v1 evals/v2
  danlu compare runs/v1 runs/v2 --suite tasks --html compare.html
  danlu compare runs/v1 runs/v2 --suite tasks --json

A is the earlier version, B the later. Each is an evaluation folder; or a run or model, whose newest
finished evaluation of the suite is taken from evals/. The verdict of a task type is better, worse,
no difference seen, or too few to see: then the prompts could not have shown the suite's margin.
The exit code is 0 whatever the verdict; `danlu gate` decides.
"""


def compare(
    a: A,
    b: B,
    suite: Suite = None,
    scorer: Scorer = None,
    missing: Missing = "error",
    moves: Annotated[
        int, typer.Option(help="Regressions and improvements printed, with both answers.", min=0)
    ] = 5,
    resamples: Resamples = 10_000,
    seed: Seed = 0,
    evals: Evals = Path("evals"),
    html: HtmlPage = None,
    as_json: AsJson = False,
) -> int:
    """Say where B is better or worse than A.

    Says also how sure that is, and what changed in the data.
    """
    from danlu.evaluation.compared import compare_evaluations
    from danlu.evaluation.comparison import CompareSettings
    from danlu.evaluation.pages import comparison_page
    from danlu.evaluation.show import show_compared

    settings = CompareSettings(resamples=resamples, seed=seed, incomplete=missing)
    found = compare_evaluations(*pair_of(a, b, suite, evals), settings=settings, scorer=scorer)
    if html is not None:
        printed_to(html, comparison_page(found))
    if as_json:
        result_json(found.as_dict())
    else:
        show_compared(wide_console(), found, moves=moves)
        if html is None:
            note("--html PAGE.html writes all of it, sortable, with every difference marked.")
    return 0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", epilog=EPILOG)(compare)

"""``danlu plan-suite``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from danlu.cli.comparing import AsJson, Evals, HtmlPage, Missing, Suite, pair_of, printed_to
from danlu.cli.output import note, result, result_json, table

EPILOG = """\b
Examples:
  danlu plan-suite --drop 0.03 --power 0.8 --from evals/v1 evals/v2
  danlu plan-suite --drop 0.03 --discordance 0.15 --task-types 12

Whether a drop shows depends on how often two versions disagree at all (the discordance): twice as
often takes about twice the prompts. It is taken from two evaluations, best of two versions that
hardly differ, or stated.
"""


def plan_suite(
    drop: Annotated[
        float, typer.Option(help="Drop that shall be seen, as a share: 0.03 is three points.")
    ],
    power: Annotated[float, typer.Option(help="The chance to see it if it is there.")] = 0.8,
    level: Annotated[
        float, typer.Option(help="Of all tests together, shared among the task types.")
    ] = 0.05,
    seen: Annotated[
        tuple[str, str] | None,
        typer.Option("--from", help="Two evaluations, runs or models.", metavar="A B"),
    ] = None,
    discordance: Annotated[
        float | None,
        typer.Option(help="Share of prompts on which two versions disagree, in place of --from."),
    ] = None,
    task_types: Annotated[
        int, typer.Option(help="With --discordance: task types that are tested.", min=1)
    ] = 1,
    suite: Suite = None,
    missing: Missing = "error",
    evals: Evals = Path("evals"),
    html: HtmlPage = None,
    as_json: AsJson = False,
) -> int:
    """Say how many prompts a suite needs to show a drop."""
    from danlu.evaluation.pages import plan_page
    from danlu.evaluation.planning import plan_for, plan_from, table_of

    if (seen is None) == (discordance is None):
        raise typer.BadParameter("give either --from A B or --discordance", param_hint="--from")
    if seen is not None:
        pair = pair_of(*seen, suite, evals)
        plan = plan_from(*pair, drop=drop, power=power, level=level, incomplete=missing)
    else:
        assert discordance is not None
        plan = plan_for(discordance, drop=drop, power=power, level=level, task_types=task_types)
    if html is not None:
        stated = f"discordance {discordance:g}, as stated" if seen is None else " and ".join(seen)
        printed_to(html, plan_page(plan, stated))
    if as_json:
        result_json(plan.as_dict())
        return 0
    columns, rows = table_of(plan)
    table(columns, [cells for cells, _ in rows], right=columns[1:])
    result(plan.headline())
    note(f"Each task type is tested at {plan.level:.2g}.")
    return 0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan-suite", epilog=EPILOG)(plan_suite)

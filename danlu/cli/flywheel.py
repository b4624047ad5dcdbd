"""``danlu flywheel …``: what users said of answers becomes better data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.common import AsJson, progress_bar
from danlu.cli.output import note, result, result_json, table

if TYPE_CHECKING:
    from danlu.workshop.produce.budget import Prices
    from danlu.workshop.produce.engine import Tell

EPILOG = """\b
Examples:
  danlu flywheel init flywheel.yaml
  danlu flywheel run flywheel.yaml
  danlu flywheel show flywheel.yaml
"""
RUN_EPILOG = """\b
Examples:
  danlu flywheel run flywheel.yaml
  danlu flywheel run flywheel.yaml --json
  15 3 * * *  cd /srv/danlu && danlu flywheel run flywheel.yaml >> flywheel.log 2>&1   (crontab)

Reads what is new in the logs, keeps the turns that went wrong or very well, asks for better
answers, checks them, and lets NAME-sft and NAME-pairs point to the new versions.

Exit codes: 0 done, with or without anything new; 1 not finished for now (endpoint down, requests
failed, budget spent): the next run goes on, and asks nothing twice; 2 a mistake in config or logs;
3 another run is at work.
"""
SHOW_EPILOG = """\b
Examples:
  danlu flywheel show flywheel.yaml
  danlu flywheel show flywheel.yaml --json
"""
INIT_EPILOG = """\b
Examples:
  danlu flywheel init flywheel.yaml
"""
NOT_FINISHED, BUSY = 1, 3

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The flywheel's YAML file.")]


def run(config: Config, as_json: AsJson = False) -> None:
    """Turn what is new in chat logs into new versions of the data."""
    from danlu.flywheel.config import load_config
    from danlu.flywheel.run import BusyError, run_flywheel
    from danlu.workshop.produce.budget import Prices
    from danlu.workshop.produce.faults import BudgetError, EndpointError, UnansweredError

    settings = load_config(config)
    prices = Prices(settings.answer.price_prompt, settings.answer.price_completion)
    try:
        with progress_bar() as progress:
            report = run_flywheel(
                settings, progress=progress, bar=lambda stage: _bar(stage, prices)
            )
    except BusyError as error:
        note(f"Error: {error}")
        raise typer.Exit(BUSY) from error
    except (BudgetError, EndpointError, UnansweredError) as error:
        note(f"Error: {error}")
        raise typer.Exit(NOT_FINISHED) from error
    _tell(report, as_json)


def show(config: Config, as_json: AsJson = False) -> None:
    """Show the report of the last finished run."""
    from danlu.flywheel.config import load_config
    from danlu.flywheel.run import last_report

    _tell(last_report(load_config(config)), as_json)


def init(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Where the example goes.")],
) -> None:
    """Write an example config, with comments."""
    from danlu.errors import RecipeError
    from danlu.flywheel.config import EXAMPLE

    if config.exists():
        raise RecipeError("is there already; choose another name.", where=str(config))
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(EXAMPLE.read_text("utf-8").replace("THIS_FILE", config.name), "utf-8")
    note(f"{config}: edit sources and answer, then 'danlu flywheel run {config}'")


@contextmanager
def _bar(stage: str, prices: Prices) -> Iterator[Tell]:
    from danlu.workshop.produce.bar import spending_bar

    with spending_bar(stage, prices) as tell:
        yield tell


def _tell(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        result_json(report)
        return
    columns = ("logs", "files", "new turns", "votes apart", "known", "masked", "left out", "broken")
    rows = [
        (
            one["source"],
            *(f"{one[name]:,}" for name in ("files", "turns", "feedback", "known")),
            f"{sum(one['masked'].values()):,}",
            *(f"{one[name]:,}" for name in ("left_out", "broken")),
        )
        for one in report["pulled"]
    ]
    table(columns, rows, right=columns[1:])
    for one in report["pulled"]:
        _tell_log(one)
    found = ", ".join(f"{count:,} {rule}" for rule, count in report["found"]["rules"].items())
    result(f"{report['memory']['turns']:,} turns in memory; worth it: {found or 'none'}")
    _tell_voters(report["voters"])
    _tell_datasets(report["datasets"])
    spent = report["spent"]
    money = f", {spent['money']:.4f} in money" if spent["money"] else ""
    note(f"spent: {spent['tokens']:,} tokens{money}, {report['seconds']:,} s")


def _tell_log(one: dict[str, Any]) -> None:
    for fault in one["faults"]:
        note(f"broken: {fault['place']}: {fault['reason']}")
    if one["waiting"]:
        note(f"{one['source']}: {one['waiting']} unfinished last lines wait for the next run")
    if one["unread_votes"]:
        said = ", ".join(f"{vote!r} {count}" for vote, count in one["unread_votes"].items())
        note(f"{one['source']}: votes that say neither up nor down: {said} (up and down name them)")


def _tell_voters(voters: dict[str, Any]) -> None:
    counts = ", ".join(
        f"{count:,} {state.replace('_', ' ')}" for state, count in voters["counts"].items() if count
    )
    votes = voters["votes"]
    if counts:
        counted = f"{votes['counted']:,} votes count, {votes['ignored']:,} do not"
        result(f"voters: {counts}; {counted}")
    for one in voters["told"]:
        result(f"  {one['voter']} {one['state']}: {one['words']}")


def _tell_datasets(datasets: list[dict[str, Any]]) -> None:
    columns = ("dataset", "version", "records", "added", "removed", "changed")
    rows = [
        (one["name"], one["version"], *(f"{one[name]:,}" for name in columns[2:]))
        for one in datasets
    ]
    table(columns, rows, right=columns[2:])
    for one in datasets:
        for name, part in one["diff"]["task_types"].items():
            if part["added"] or part["removed"] or part["changed"] or part["retyped"]:
                before, after = part["before"]["records"], part["after"]["records"]
                result(f"  {one['name']} {name}: {before:,} → {after:,}")
        if not one["is_new"]:
            result(f"{one['name']}: nothing new")
        left_out = ", ".join(f"{count:,} {rule}" for rule, count in one["left_out"].items())
        if left_out:
            note(f"{one['name']}: without a record: {left_out}")


group = typer.Typer(
    name="flywheel",
    help="Turn chat logs with votes into better training data.",
    epilog=EPILOG,
    rich_markup_mode=None,
)
group.command("run", epilog=RUN_EPILOG)(run)
group.command("show", epilog=SHOW_EPILOG)(show)
group.command("init", epilog=INIT_EPILOG)(init)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="flywheel")

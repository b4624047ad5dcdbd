"""``danlu train``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.options import Overwrite, RecipeName, Resume, Settings
from danlu.cli.output import duration, note, result, result_json, table
from danlu.cli.passed_over import note_passed_over

if TYPE_CHECKING:
    from danlu.config import Recipe
    from danlu.runs import Summary
    from danlu.training.estimate import Plan, TaskTypePlan

EPILOG = """\b
Examples:
  danlu train quickstart
  danlu train sft-lora name=my-run data.train=my.jsonl training.epochs=1
  danlu train my.yaml --dry-run
  danlu train my.yaml --resume
"""
INTERRUPTED = 130


def train(
    recipe: RecipeName,
    settings: Settings = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what would be trained and at what cost, and stop there."
        ),
    ] = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object: the summary, or with --dry-run the plan."),
    ] = False,
) -> int:
    """Train a model as a recipe says."""
    if resume and overwrite:
        raise typer.BadParameter(
            "one goes on with a run, the other removes it: give one of them",
            param_hint="--resume and --overwrite",
        )
    from danlu.config import load_recipe, recipe_text

    loaded = load_recipe(recipe, settings or ())
    if dry_run:
        from danlu.training.estimate import dry_run as estimate

        _print_plan(estimate(loaded), as_json)
        note_passed_over(_passed_over(loaded))
        return 0
    from danlu.diagnosis.live import live_alerts
    from danlu.training.run import train as train_recipe

    first = int(os.environ.get("RANK", "0")) == 0
    if first:
        note_passed_over(_passed_over(loaded))
    run = train_recipe(
        loaded,
        resume=resume,
        overwrite=overwrite,
        recipe_text=recipe_text(loaded),
        observer=live_alerts,
    )
    if not first:
        return 0  # it speaks for all
    if run.summary is None:
        # To torchrun any other code is a failure; `danlu launch` says what it was.
        return 0 if "TORCHELASTIC_RUN_ID" in os.environ else INTERRUPTED
    _print_summary(str(run.path), run.summary, as_json)
    return 0


def _passed_over(recipe: Recipe) -> list[str]:
    """Name the files that the recipe's folders hold and that are not read."""
    from danlu.records import read_records
    from danlu.workshop.data import recipe_sources

    sources, _ = recipe_sources([*recipe.data.train, *recipe.data.eval])
    # A reading finds its files at once, and reads none of them before it is gone through.
    return read_records(sources).passed_over


PLAN_COLUMNS = (
    "task type",
    "records",
    "branches",
    "tokens",
    "trained",
    "of the loss",
    "dropped or cut",
)


def _plan_cells(row: TaskTypePlan) -> tuple[str, ...]:
    return (
        row.task_type,
        f"{row.records:,}",
        f"{row.branches:,}",
        f"{row.tokens:,}",
        f"{row.supervised_tokens:,}",
        f"{row.loss_share:.0%}",
        ", ".join(f"{count} {reason}" for reason, count in row.dropped.items()),
    )


def _print_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        result_json(plan.as_dict(), indent=2)
        return
    table(PLAN_COLUMNS, map(_plan_cells, plan.rows()), right=PLAN_COLUMNS[1:6])
    held_out = f", {plan.eval_records:,} held out" if plan.eval_records else ""
    rejected = f", {plan.rejected:,} rows that are no records" if plan.rejected else ""
    for line in (
        f"\n{plan.records:,} records to train on{held_out}{rejected}",
        f"{plan.steps:,} steps on {plan.device}, each of about "
        f"{plan.unique_tokens_per_step:,.0f} tokens in {plan.packs_per_step:.1f} packs; "
        f"{plan.shared_share:.0%} of the work is shared",
        f"about {duration(plan.train_seconds)} and {plan.memory_bytes / 1e9:.1f} GB for a model of "
        f"{plan.total_parameters / 1e6:,.0f} million parameters ({plan.model})",
        *plan.notes,
    ):
        result(line)


def _print_summary(path: str, summary: Summary, as_json: bool) -> None:
    if as_json:
        result_json(summary.model_dump(), indent=2)
        return
    from danlu.runs.wording import headlines, metric, metric_value

    losses = [("loss", summary.first_loss, summary.last_loss)]
    losses.append(("evaluation loss", summary.first_eval_loss, summary.last_eval_loss))
    for name, first, last in losses:
        if first is not None and last is not None:
            result(f"{name}: {first:.3f} → {last:.3f}")
    for name in headlines(summary.last_eval_metrics):
        title = metric(name, summary.objective or "").title.lower()
        before, after = (
            m.get(name) for m in (summary.first_eval_metrics, summary.last_eval_metrics)
        )
        change = "" if before is None else f"{metric_value(before)} → "
        result(f"evaluation {title}: {change}{metric_value(after)}")
    result(f"{summary.steps:,} steps in {duration(summary.train_seconds)}")
    note("\nNext:")
    use = f"danlu chat {path}"
    if summary.objective == "classify":
        use = f"danlu classify {path} --text TEXT"
    for command in (use, f"danlu report {path}"):
        note(f"  {command}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", epilog=EPILOG)(train)

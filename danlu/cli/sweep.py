"""``danlu sweep`` and ``danlu scaling``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.options import AsJson, RecipeName, Settings
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.diagnosis.sweep.scaling import Line
    from danlu.diagnosis.sweep.trials import Ran

SWEEP_EPILOG = """\b
Examples:
  danlu sweep sft-lora data.train=my.jsonl training.learning_rate=1e-4,3e-4,1e-3
  danlu sweep my.yaml tuning.lora_rank=8,32 training.epochs=1,3 --minutes 60 -o sweeps/rank
  danlu sweep my.yaml training.learning_rate=1e-5..1e-3 tuning.lora_rank=4..64 --optuna 12

Every combination is trained, one after another, and compared by its lowest loss on what was held
out. A sweep that was stopped goes on where it was; a run that is finished is not trained again.
The folder gets sweep.html, sweep.json and best.yaml, the recipe of the best setting. With --optuna
the settings are chosen one after another, from ranges too (pip install 'danlu[optuna]').
"""
SCALING_EPILOG = """\b
Examples:
  danlu scaling sft-lora data.train=my.jsonl --shares 0.1,0.3,1
  danlu scaling my.yaml --shares 0.25,0.5,1 --seeds 2 -o scaling/mine

The recipe is trained on nested parts of its data. A power law with a floor through the losses on
the same held-out records says what twice the data would do; its interval is from drawing those
records again. The folder gets scaling.html and scaling.json.
"""
Minutes = Annotated[
    float | None, typer.Option(min=0, help="Begin no run that would probably end later.")
]


def sweep(
    recipe: RecipeName,
    settings: Annotated[
        list[str],
        typer.Argument(metavar="KEY=A,B,C...", help="Settings; those with several values vary."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the sweep.", metavar="DIR")
    ] = Path("sweeps/sweep"),
    minutes: Minutes = None,
    optuna: Annotated[
        int | None,
        typer.Option(
            min=1, help="Let Optuna choose so many trials, also from ranges.", metavar="N"
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Train a recipe with several settings, given or chosen."""
    from danlu.diagnosis.sweep.grid import grid
    from danlu.diagnosis.sweep.trials import run_trials
    from danlu.diagnosis.sweep.written import write_sweep

    shared = output / "prepared"
    if optuna is None:
        trials = grid(recipe, settings, output)
        ran = run_trials(trials, minutes=minutes, told=note, shared=shared)
    else:
        from danlu.diagnosis.sweep.chosen import run_chosen

        ran = run_chosen(
            recipe, settings, output, optuna, minutes=minutes, told=note, shared=shared
        )
    if not ran.scores:
        note("no run was begun within --minutes")
        return 1
    written = write_sweep(output, ran)
    if as_json:
        result_json(written)
    else:
        _print_sweep(ran, output)
    return 0


def scaling(
    recipe: RecipeName,
    settings: Settings = None,
    shares: Annotated[
        str, typer.Option(help="Shares of the training records, such as 0.1,0.3,1.")
    ] = "0.1,0.3,1",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each share.")] = 1,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for parts and runs.", metavar="DIR")
    ] = Path("scaling/scaling"),
    device: Annotated[str, typer.Option(help="Where losses are measured.")] = "auto",
    as_json: AsJson = False,
) -> int:
    """Say whether more of this data would still help."""
    from danlu.config import load_recipe
    from danlu.diagnosis.sweep.scaling import shares_of
    from danlu.diagnosis.sweep.written import scale

    wanted = shares_of(shares)
    lines = scale(load_recipe(recipe, settings or ()), wanted, output, seeds, device, told=note)
    if as_json:
        from danlu.diagnosis.sweep.written import scaling_rows

        result_json({"lines": scaling_rows(lines), "page": str(output / "scaling.html")})
    else:
        _print_scaling(lines, output)
    return 0


def _print_sweep(ran: Ran, output: Path) -> None:
    ranked = sorted(ran.scores, key=lambda one: one.loss)
    keys = list(ranked[0].trial.label)
    rows = [
        (*(one.trial.label[key] for key in keys), f"{one.loss:.4f}", one.step, one.trial.run)
        for one in ranked
    ]
    table([*keys, "loss", "at step", "run"], rows, right=["loss", "at step"])
    for trial in ran.left:
        note(f"not begun within --minutes: {trial.recipe.name}")
    note(f"best: {output / 'best.yaml'}; all: {output / 'sweep.html'}")


def _print_scaling(lines: list[Line], output: Path) -> None:
    from danlu.diagnosis.sweep.written import says_of

    rows = [
        (
            one.name,
            *(
                f"{loss:.3f} ({count:,})"
                for loss, count in zip(one.losses, one.records, strict=True)
            ),
            f"{one.forecast.then:.3f}",
            f"{one.forecast.low:+.3f} to {one.forecast.high:+.3f}",
            one.forecast.answer,
        )
        for one in lines
    ]
    parts = [f"part {k + 1}" for k in range(len(lines[0].losses))]
    columns = ["task type", *parts, "twice as many", "gain, 90 %", "more data"]
    table(columns, rows, right=columns[1:-1])
    note(says_of(lines))
    note(f"plots: {output / 'scaling.html'}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("sweep", epilog=SWEEP_EPILOG)(sweep)
    app.command("scaling", epilog=SCALING_EPILOG)(scaling)

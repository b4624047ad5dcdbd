"""``danlu launch``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.options import Overwrite, RecipeName, Resume, Settings
from danlu.cli.output import note, result

if TYPE_CHECKING:
    from danlu.config import Recipe
    from danlu.training.jobs import Launch

EPILOG = """\b
Examples:
  danlu launch my.yaml --processes 2
  danlu launch my.yaml devices.strategy=fsdp2 --processes 8 --dry-run
  danlu launch my.yaml --processes 8 --machines 2 --rank 0 --address node1:29500
  danlu launch my.yaml --processes 8 --machines 2 --job slurm -o my.sbatch
"""


def launch(
    recipe: RecipeName,
    settings: Settings = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes on each machine: one for each GPU.")
    ] = 1,
    machines: Annotated[
        int, typer.Option("--machines", min=1, help="Machines that take part; start it on each.")
    ] = 1,
    rank: Annotated[
        int | None, typer.Option("--rank", min=0, help="Which of the machines this is, from 0.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="HOST:PORT", help="Of machine 0, where they meet."),
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the torchrun command, and stop there.")
    ] = False,
    job: Annotated[
        str | None,
        typer.Option(help="Write a job file for a cluster instead, slurm or ray; needs --output."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The job file to write; it must not exist yet."),
    ] = None,
) -> int:
    """Train on several devices or machines, by torchrun.

    The recipe's devices.strategy says what the processes share. All machines must see the same
    files.
    """
    from danlu.config import load_recipe
    from danlu.training.jobs import Launch, environment, run

    _must_agree(machines, rank, address, resume, overwrite, job, output)
    chosen = [("--resume", resume), ("--overwrite", overwrite)]
    started = Launch(
        recipe,
        tuple(settings or ()),
        processes,
        machines,
        rank or 0,
        address,
        tuple(name for name, asked in chosen if asked),
    )
    loaded = load_recipe(recipe, started.settings)  # a mistake is told once, and at once
    if job and output:
        return _write_job(started, loaded, job, output)
    command, added = started.torchrun(), environment(processes)
    text = " ".join([*(f"{name}={value}" for name, value in added.items()), shlex.join(command)])
    if dry_run:
        result(text)
        return 0
    note(text)
    return run(command, added)


def _must_agree(
    machines: int,
    rank: int | None,
    address: str | None,
    resume: bool,
    overwrite: bool,
    job: str | None,
    output: Path | None,
) -> None:
    """Refuse options that contradict each other or say nothing."""
    from danlu.training.jobs import JOBS, split_address

    def refuse(message: str, options: str) -> None:
        raise typer.BadParameter(message, param_hint=options)

    if resume and overwrite:
        refuse(
            "one goes on with a run, the other removes it: give one of them",
            "--resume and --overwrite",
        )
    if (job is None) != (output is None):
        refuse("a job file needs its kind and its name: give both", "--job and --output")
    if job is not None and job not in JOBS:
        refuse(f"{job!r} is none of {', '.join(JOBS)}", "--job")
    if job is not None and (rank is not None or address is not None):
        refuse("a job file finds them when the job begins: leave them out", "--rank and --address")
    if job is not None:
        return
    if machines == 1 and (rank is not None or address is not None):
        refuse("they go with --machines, of more than one", "--rank and --address")
    if machines > 1:
        if rank is None or address is None:
            refuse(
                "each machine must be told which one it is and where machine 0 listens, as in "
                "--rank 1 --address node1:29500",
                "--rank and --address",
            )
        elif rank >= machines:
            refuse(f"is {rank}; the last of {machines} machines is {machines - 1}", "--rank")
        try:
            split_address(address or "")
        except ValueError as error:
            refuse(str(error).rstrip("."), "--address")


def _write_job(started: Launch, recipe: Recipe, job: str, output: Path) -> int:
    from danlu.training.jobs import JOBS, SUBMIT

    if output.exists():
        raise typer.BadParameter(f"{output} is there already", param_hint="--output")
    run_dir = Path(recipe.runs_dir) / recipe.name
    on_gpu = recipe.training.device != "cpu"
    output.write_text(JOBS[job](started, recipe.name, run_dir, on_gpu), "utf-8")
    result(f"{output} written; start it with: {SUBMIT[job].format(file=output)}")
    return 0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("launch", epilog=EPILOG)(launch)

"""A run from recipe to report: what ``danlu train`` and ``danlu.train`` do, in order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from danlu.config import recipe_text as as_text
from danlu.config.recipe import WITH_ROLLOUTS, WITH_TEACHER, Recipe
from danlu.errors import TrainingError
from danlu.models.adapters import has_adapter
from danlu.models.gradients import gradients_in_place
from danlu.models.load import pick_dtype
from danlu.models.save import save_model
from danlu.runs import (
    Dropped,
    Resolved,
    RunDirectory,
    Sample,
    Summary,
    collect_environment,
    summarise,
    write_report,
)
from danlu.sequences.prepared import PreparedData
from danlu.training.checkpoint import Checkpoints
from danlu.training.data import must_name_data, recipe_datasets
from danlu.training.devices import (
    close,
    launched_processes,
    make_accelerator,
    strategy,
)
from danlu.training.gathering import make_whole
from danlu.training.loop import Loop, Watcher, run_loop
from danlu.training.memory import peak_bytes
from danlu.training.notes import Notes
from danlu.training.optimizer import begin_moments
from danlu.training.practice import Practice
from danlu.training.progress import TrainingProgress
from danlu.training.reinforce import run_reinforce
from danlu.training.rewards import must_name_reward
from danlu.training.samples import after_samples, before_samples
from danlu.training.scores import score_rows
from danlu.training.setup import Setup, set_up
from danlu.training.shares import settle, with_whole_layers
from danlu.training.stopping import stop_asked
from danlu.training.teacher import must_name_teacher
from danlu.training.trackers import check_trackers, start_trackers

Observer = Callable[[RunDirectory, Callable[[str], None]], Watcher]
"""Given the run and a way to tell the user a line; training itself does not judge its curves."""


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Attributes:
        path: The run directory.
        summary: Its figures; None if it was stopped before its end and can be resumed.
    """

    path: Path
    summary: Summary | None


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    recipe_text: str | None = None,
    observer: Observer | None = None,
    shared: Path | None = None,
) -> Run:
    """Train as the recipe says and write the run directory.

    Args:
        recipe: Every setting.
        resume: Go on with an unfinished run of the same name, to the same result.
        overwrite: Remove an earlier run of the same name first.
        progress: Show a bar and notes on stderr.
        recipe_text: The recipe as it was written, to be kept; made from ``recipe`` if missing.
        observer: Makes whoever is to see each row of metrics, and may say something of it.
        shared: A folder in which records that were read and tokenised once are found by other runs
            of the same data, as those of a sweep.

    Returns:
        The run; its summary is None if it was interrupted (Ctrl-C, SIGTERM) at a step's end.

    Raises:
        DanluError: Its subclasses name whatever the user can mend: recipe, data, model, run.
    """
    must_name_data(recipe)
    if recipe.objective.name in WITH_ROLLOUTS:
        must_name_reward(recipe)
    if recipe.objective.name in WITH_TEACHER:
        must_name_teacher(recipe)
    check_trackers(recipe.logging.trackers)
    accelerator = _accelerator(recipe)
    notes = Notes(show=progress and accelerator.is_main_process)
    path = Path(recipe.runs_dir) / recipe.name
    with ExitStack() as stack:
        stack.callback(close, accelerator)
        if accelerator.is_main_process:
            run = (
                RunDirectory.resume(path)
                if resume
                else RunDirectory.create(path, overwrite=overwrite or _never_began(path))
            )
            stack.enter_context(run)
            run.write_recipe(recipe_text or as_text(recipe))
        accelerator.wait_for_everyone()
        run = run if accelerator.is_main_process else RunDirectory(path)
        return _train(recipe, accelerator, run, notes, observer, shared)


def _never_began(path: Path) -> bool:
    """Whether the run there failed before its first step, so that nothing is lost with it."""
    run = RunDirectory(path)
    began = run.metrics_path.exists() and run.metrics_path.stat().st_size > 0
    return run.is_run() and run.state() in ("failed", "interrupted") and not began


def _train(
    recipe: Recipe,
    accelerator: Accelerator,
    run: RunDirectory,
    notes: Notes,
    observer: Observer | None,
    shared: Path | None,
) -> Run:
    """Do the work between the opening and the closing of the run directory."""
    ready = set_up(recipe, accelerator, run, notes, shared)
    samples = _samples_before(ready)
    loop = _loop(ready)
    if accelerator.is_main_process:
        # Without a checkpoint even the row of step 0 is written anew.
        run.truncate_after(loop.state.step or -1)
        run.write_resolved(_resolved(ready, loop))
        data = ready.data
        run.write_dropped(_dropped(data.train) + (_dropped(data.eval) if data.eval else []))
        if observer is not None:
            loop.watchers.append(observer(run, notes.say))
    accelerator.wait_for_everyone()
    if not _run(loop, notes, ready.practice):
        if accelerator.is_main_process:
            run.set_state("interrupted", f"stopped after step {loop.state.step}")
        notes.say(f"stopped after step {loop.state.step}; --resume goes on from there")
        return Run(run.path, None)
    settle(ready.prepared)
    _keep_best(ready, loop)
    _write_scores(ready)
    texts = with_whole_layers(ready.prepared, accelerator, ready.answers)
    main = accelerator.is_main_process
    saved = ready.scoring if ready.practice is None else ready.practice.policy
    make_whole(saved, keep=main, moving_only=has_adapter(ready.model))
    summary = None
    if main:
        _save(ready)
        run.write_samples(after_samples(samples, texts))
        summary = _summary(ready, loop)
        run.finish(summary)
        write_report(run.path)
    accelerator.wait_for_everyone()
    return Run(run.path, summary)


def _samples_before(ready: Setup) -> list[Sample]:
    """Return the answers before training; a resumed run has them already."""
    samples = ready.run.samples()
    if len(samples) != len(ready.asked):
        texts = with_whole_layers(ready.prepared, ready.accelerator, ready.answers)
        if ready.accelerator.is_main_process:
            samples = before_samples(ready.asked, texts)
            ready.run.write_samples(samples)
    return samples


def _loop(ready: Setup) -> Loop:
    """Make the loop, at the step of the last checkpoint."""
    checkpoints = Checkpoints(
        ready.run.checkpoints_path,
        ready.data.fingerprint,
        ready.recipe.checkpoints.keep,
        writes=ready.accelerator.is_main_process,
    )
    sources = ready.sources()
    settle(ready.prepared)
    return Loop(
        recipe=ready.recipe,
        model=ready.prepared,
        parameters=ready.parameters,
        optimizer=ready.optimizer,
        objective=ready.objective,
        train=sources["train"],
        eval=sources.get("eval"),
        packing=ready.packing,
        accelerator=ready.accelerator,
        run=ready.run,
        checkpoints=checkpoints,
        state=checkpoints.restore(ready.parameters, ready.optimizer),
    )


def _keep_best(ready: Setup, loop: Loop) -> None:
    """Go back to the weights of the best evaluation, if the recipe says so."""
    if ready.data.eval is None or not ready.recipe.evaluation.keep_best:
        return
    best = loop.checkpoints.restore_best(ready.parameters)
    if best is not None and best.step != loop.state.step:
        ready.notes.say(f"kept the weights of step {best.step}, which had the best evaluation loss")


def _write_scores(ready: Setup) -> None:
    """Keep what a reward model says of each held-out answer."""
    objective, held_out = ready.objective, ready.data.eval
    if not objective.readout or objective.reads != "compared" or held_out is None:
        return
    scores = score_rows(ready.prepared, held_out, ready.packing, ready.accelerator)
    if ready.accelerator.is_main_process:
        ready.run.write_scores(scores)


def _save(ready: Setup) -> None:
    """Write the model, or what was added to it, into the run directory."""
    saved = save_model(ready.model, ready.tokenizer, ready.template, ready.run.path)
    if ready.readout is not None:
        ready.readout.save(saved)
    if ready.practice is not None:
        ready.practice.policy.save_critic(saved)


def _summary(ready: Setup, loop: Loop) -> Summary:
    recipe, data = ready.recipe, ready.data
    return summarise(
        ready.run.metrics(),
        name=recipe.name,
        model=recipe.model.path,
        method=recipe.tuning.method,
        objective=recipe.objective.name,
        documents=recipe.sequences.documents,
        records=len(data.train),
        eval_records=len(data.eval) if data.eval else 0,
        train_seconds=loop.state.elapsed_s,
        trainable_parameters=ready.moving,
        total_parameters=ready.total,
        peak_bytes=peak_bytes(ready.accelerator.device),
    )


def _accelerator(recipe: Recipe) -> Accelerator:
    """Make the Accelerator that the recipe asks for.

    Raises:
        TrainingError: If a launcher asked for more processes than Accelerate runs.
    """
    asked = launched_processes()
    accelerator = make_accelerator(recipe, asked)
    if accelerator.num_processes != asked:
        # `accelerate launch --cpu --num_processes 2` runs two copies that know nothing of each
        # other; both would write the same run.
        raise TrainingError(
            f"{asked} processes were launched but {accelerator.num_processes} take part; "
            "launch with torchrun."
        )
    return accelerator


def _run(loop: Loop, notes: Notes, practice: Practice | None) -> bool:
    """Run the loop with its display, its trackers and a graceful end on signals."""
    done = loop.state.step
    if done:
        notes.say(f"going on after step {done} of {loop.total_steps}")
    if trackers := loop.recipe.logging.trackers:
        loop.watchers.append(start_trackers(loop.recipe, loop.accelerator, done))
        notes.say(f"tracked by {', '.join(trackers)}")
    with ExitStack() as stack:
        if _fills_memory(loop):
            begin_moments(loop.optimizer)
            stack.enter_context(gradients_in_place(loop.parameters.values()))
        loop.should_stop = stack.enter_context(stop_asked(notes))
        if notes.show:
            display = TrainingProgress(loop.total_steps, done, notes.console)
            loop.watchers.append(stack.enter_context(display.showing()))
        return run_loop(loop) if practice is None else run_reinforce(loop, practice)


def _fills_memory(loop: Loop) -> bool:
    """Whether gradients and moments are as large as the model, and lie in this process alone."""
    accelerator = loop.accelerator
    alone = accelerator.device.type == "cpu" and strategy(accelerator) == "none"
    return alone and loop.recipe.tuning.method == "full"


def _resolved(ready: Setup, loop: Loop) -> Resolved:
    recipe, data, device = ready.recipe, ready.data, ready.accelerator.device
    return Resolved(
        recipe=recipe.model_dump(),
        environment=collect_environment(),
        data_fingerprint=data.fingerprint,
        datasets=recipe_datasets(recipe),
        device=str(device),
        dtype=str(pick_dtype(recipe.model.precision, device)).removeprefix("torch."),
        total_steps=loop.total_steps,
        records=_counts(data.train),
        eval_records=_counts(data.eval) if data.eval else {},
    )


def _counts(data: PreparedData) -> dict[str, int]:
    counts = np.bincount(data.record_channel, minlength=len(data.channels))
    return {name: int(counts[k]) for k, name in enumerate(data.channels) if counts[k]}


def _dropped(data: PreparedData) -> list[Dropped]:
    return [Dropped.model_validate(drop) for drop in data.drops]

"""A run from recipe to report: what ``danlu train`` and ``danlu.train`` do, in order."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator

from danlu.config import recipe_text as as_text
from danlu.config.recipe import Recipe
from danlu.errors import TrainingError
from danlu.models.forest_support import use_forest_attention
from danlu.models.fused import fuse_layers
from danlu.models.load import load_model, load_tokenizer, pick_device, pick_dtype
from danlu.models.save import save_model
from danlu.models.tokens import add_tokens
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.objectives import OBJECTIVES
from danlu.runs import (
    Dropped,
    Resolved,
    RunDirectory,
    Summary,
    collect_environment,
    summarise,
    write_report,
)
from danlu.sequences.prepared import PreparedData
from danlu.sequences.template import ChatTemplate
from danlu.training.checkpoint import Checkpoints
from danlu.training.data import TrainingData, load_data, make_data, must_name_data
from danlu.training.loop import Loop, run_loop
from danlu.training.memory import keep_freed_memory, peak_bytes
from danlu.training.notes import Notes
from danlu.training.optimizer import build_optimizer
from danlu.training.progress import TrainingProgress
from danlu.training.samples import after_samples, answer, before_samples, questions
from danlu.training.scoring import Packing, ScoringModel
from danlu.training.trackers import check_trackers, start_trackers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACK_TOKENS_CPU, PACK_TOKENS_GPU = 1024, 8192


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
) -> Run:
    """Train as the recipe says and write the run directory.

    Args:
        recipe: Every setting.
        resume: Go on with an unfinished run of the same name, to the same result.
        overwrite: Remove an earlier run of the same name first.
        progress: Show a bar and notes on stderr.
        recipe_text: The recipe as it was written, to be kept; made from ``recipe`` if missing.

    Returns:
        The run; its summary is None if it was interrupted (Ctrl-C, SIGTERM) at a step's end.

    Raises:
        DanluError: Its subclasses name whatever the user can mend: recipe, data, model, run.
    """
    must_name_data(recipe)
    check_trackers(recipe.logging.trackers)
    accelerator = _accelerator(recipe)
    notes = Notes(show=progress and accelerator.is_main_process)
    path = Path(recipe.runs_dir) / recipe.name
    with ExitStack() as stack:
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
        return _train(recipe, accelerator, run, notes)


def _never_began(path: Path) -> bool:
    """Whether the run there failed before its first step, so that nothing is lost with it."""
    run = RunDirectory(path)
    began = run.metrics_path.exists() and run.metrics_path.stat().st_size > 0
    return run.is_run() and run.state() in ("failed", "interrupted") and not began


def _train(recipe: Recipe, accelerator: Accelerator, run: RunDirectory, notes: Notes) -> Run:
    """Do the work between the opening and the closing of the run directory."""
    device = accelerator.device
    if device.type == "cpu":
        keep_freed_memory()
    source = recipe.model.tokenizer or recipe.model.path
    tokenizer = load_tokenizer(source, trust_remote_code=recipe.model.trust_remote_code)
    new_token_ids = add_tokens(tokenizer, recipe.model.new_tokens)
    template = ChatTemplate.load(tokenizer, recipe.model.template, recipe.model.template_options)
    notes.say(*template.notes)
    data = _data(recipe, accelerator, run, tokenizer, template, notes)
    model, packing = _model(recipe, device, new_token_ids, notes)
    parameters = trainable_parameters(model)
    total = sum(parameter.numel() for parameter in model.parameters())
    moving = sum(parameter.numel() for parameter in parameters.values())
    notes.say(f"{moving:,} of {total:,} parameters move ({moving / total:.2%}), on {device}")
    asked = questions(recipe.samples, data.samples)
    samples = run.samples()
    if accelerator.is_main_process and len(samples) != len(asked):
        limit = recipe.samples.max_new_tokens
        samples = before_samples(asked, answer(model, tokenizer, template, asked, limit))
        run.write_samples(samples)
    optimizer = build_optimizer(parameters, recipe.training)
    objective = OBJECTIVES[recipe.objective.name]()
    checkpoints = Checkpoints(run.checkpoints_path, data.fingerprint, recipe.checkpoints.keep)
    loop = Loop(
        recipe=recipe,
        model=accelerator.prepare(ScoringModel(model, objective, len(data.train.channels))),
        parameters=parameters,
        optimizer=optimizer,
        train=data.train,
        eval=data.eval,
        packing=packing,
        accelerator=accelerator,
        run=run,
        checkpoints=checkpoints,
        state=checkpoints.restore(parameters, optimizer),
    )
    if accelerator.is_main_process:
        # Without a checkpoint even the row of step 0 is written anew.
        run.truncate_after(loop.state.step or -1)
        run.write_resolved(_resolved(recipe, loop, data, device))
        run.write_dropped(_dropped(data.train) + (_dropped(data.eval) if data.eval else []))
    accelerator.wait_for_everyone()
    if not _run(loop, notes):
        if accelerator.is_main_process:
            run.set_state("interrupted", f"stopped after step {loop.state.step}")
        notes.say(f"stopped after step {loop.state.step}; --resume goes on from there")
        return Run(run.path, None)
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        return Run(run.path, None)
    if data.eval is not None and recipe.evaluation.keep_best:
        best = checkpoints.restore_best(parameters)
        if best is not None and best.step != loop.state.step:
            notes.say(f"kept the weights of step {best.step}, which had the best evaluation loss")
    save_model(model, tokenizer, template, run.path)
    answers = answer(model, tokenizer, template, asked, recipe.samples.max_new_tokens)
    run.write_samples(after_samples(samples, answers))
    summary = summarise(
        run.metrics(),
        name=recipe.name,
        model=recipe.model.path,
        method=recipe.tuning.method,
        records=len(data.train),
        eval_records=len(data.eval) if data.eval else 0,
        train_seconds=loop.state.elapsed_s,
        trainable_parameters=moving,
        total_parameters=total,
        peak_bytes=peak_bytes(device),
    )
    run.finish(summary)
    write_report(run.path)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return Run(run.path, summary)


def _accelerator(recipe: Recipe) -> Accelerator:
    """Make the Accelerator for the recipe's device, precision and trackers.

    Raises:
        TrainingError: If a launcher asked for more processes than Accelerate runs.
    """
    device = pick_device(recipe.training.device)
    dtype = pick_dtype(recipe.model.precision, device)
    path = Path(recipe.runs_dir) / recipe.name
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if dtype == torch.bfloat16 else "no",
        log_with=list(recipe.logging.trackers) or None,
        project_dir=str(path / "trackers"),
    )
    asked = launched_processes()
    if accelerator.num_processes != asked:
        # `accelerate launch --cpu --num_processes 2` runs two copies that know nothing of each
        # other; both would write the same run.
        raise TrainingError(
            f"{asked} processes were launched but {accelerator.num_processes} take part; "
            "launch with torchrun."
        )
    return accelerator


def launched_processes() -> int:
    """How many processes a launcher started, by the variable that all of them set."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _data(
    recipe: Recipe,
    accelerator: Accelerator,
    run: RunDirectory,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate,
    notes: Notes,
) -> TrainingData:
    """Load this run's prepared data, or make it in the main process."""
    directory = run.path / "prepared"
    if accelerator.is_main_process:
        data = load_data(recipe, tokenizer, template, directory)
        if data is None:
            with notes.counting("reading records") as count:
                data = make_data(
                    recipe,
                    tokenizer,
                    template,
                    directory=directory,
                    rejected=run.rejected_path,
                    progress=count,
                )
        notes.say(*describe(data))
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        data = load_data(recipe, tokenizer, template, directory)
    assert data is not None  # the main process has just made it, or has raised
    return data


def describe(data: TrainingData) -> list[str]:
    """Say in a few lines what was read, dropped and rejected."""
    lines = [f"{len(data.train):,} records, {data.train.branches:,} branches to learn"]
    if data.eval is not None:
        lines[0] += f"; {len(data.eval):,} records held out"
    for part in (data.train, data.eval):
        for task_type, reasons in (part.drop_counts() if part else {}).items():
            counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            lines.append(f"{task_type}: {counts} (see dropped.jsonl)")
    if data.rejected:
        lines.append(f"{data.rejected:,} rows were no records and were skipped (rejected.jsonl)")
    return lines


def _model(
    recipe: Recipe, device: torch.device, new_token_ids: tuple[int, ...], notes: Notes
) -> tuple[Any, Packing]:
    """Load and tune the model, and decide how packs are computed."""
    compute = pick_dtype(recipe.model.precision, device)
    # Weights that move stay in float32 and are cast for the computation; frozen ones need not.
    dtype = compute if recipe.tuning.method == "lora" else torch.float32
    model = load_model(
        recipe.model.path,
        dtype=dtype,
        device=device,
        trust_remote_code=recipe.model.trust_remote_code,
    )
    reason = "the recipe asks for rows" if recipe.model.attention == "rows" else None
    reason = reason or use_forest_attention(model)
    if reason and recipe.model.attention == "forest":
        raise TrainingError(
            f"this model cannot be computed as a forest: {reason}. Use auto or rows.",
            where="model.attention",
        )
    if reason:
        notes.say(f"padded rows instead of a forest: {reason}")
    torch.manual_seed(recipe.training.seed)  # new adapter weights are random
    model = apply_tuning(model, recipe.tuning, new_token_ids=new_token_ids)
    fuse_layers(model)
    if recipe.training.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    default = PACK_TOKENS_CPU if device.type == "cpu" else PACK_TOKENS_GPU
    return model, Packing(recipe.training.pack_tokens or default, forest=reason is None)


def _run(loop: Loop, notes: Notes) -> bool:
    """Run the loop with its display, its trackers and a graceful end on signals."""
    done = loop.state.step
    if done:
        notes.say(f"going on after step {done} of {loop.total_steps}")
    if trackers := loop.recipe.logging.trackers:
        loop.watchers.append(start_trackers(loop.recipe, loop.accelerator, done))
        notes.say(f"tracked by {', '.join(trackers)}")
    with ExitStack() as stack:
        loop.should_stop = stack.enter_context(_stop_asked(notes))
        if notes.show:
            display = TrainingProgress(loop.total_steps, done, notes.console)
            loop.watchers.append(stack.enter_context(display.showing()))
        return run_loop(loop)


@contextmanager
def _stop_asked(notes: Notes) -> Iterator[Any]:
    """Turn the first Ctrl-C or SIGTERM into a stop at the step's end; the second stops at once."""
    asked: list[int] = []

    def remember(number: int, _: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        notes.say("stopping at the end of this step; once more stops at once")

    try:
        before = {s: signal.signal(s, remember) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller has the signals
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _resolved(recipe: Recipe, loop: Loop, data: TrainingData, device: torch.device) -> Resolved:
    return Resolved(
        recipe=recipe.model_dump(),
        environment=collect_environment(),
        data_fingerprint=data.fingerprint,
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

"""A run from recipe to report: what ``danlu train`` and ``danlu.train`` do, in order."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from danlu.config import recipe_text as as_text
from danlu.config.recipe import WITH_ROLLOUTS, WITH_TEACHER, Recipe
from danlu.errors import RecipeError, TrainingError
from danlu.models.adapters import has_adapter, unwrapped
from danlu.models.forest_support import use_forest_attention
from danlu.models.fused import fuse_layers
from danlu.models.load import load_for_tuning, load_tokenizer, pick_dtype
from danlu.models.readout import Readout
from danlu.models.rope import length_notes
from danlu.models.save import save_model
from danlu.models.tokens import add_tokens
from danlu.models.tuning import (
    apply_tuning,
    checkpointing_obstacle,
    forest_obstacle,
    learning_rate_factors,
    trainable_parameters,
)
from danlu.models.tuning_continue import continued
from danlu.objectives import Objective, build_objective
from danlu.objectives.imitation import Imitation
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
from danlu.training.data import (
    TrainingData,
    load_data,
    make_data,
    must_name_data,
    recipe_datasets,
)
from danlu.training.devices import (
    close,
    describe_devices,
    launched_processes,
    loading_device,
    make_accelerator,
    prepare,
    settle,
    with_whole_layers,
)
from danlu.training.gathering import make_whole
from danlu.training.labelled import (
    chat_template,
    check_model,
    describe_classes,
    fitted,
    make_readout,
)
from danlu.training.loop import Loop, run_loop
from danlu.training.memory import keep_freed_memory, peak_bytes
from danlu.training.mixing import mix_lines
from danlu.training.notes import Notes
from danlu.training.optimizer import build_optimizer
from danlu.training.practice import Practice, prepare_practice
from danlu.training.progress import TrainingProgress
from danlu.training.references import StepSource, step_source
from danlu.training.reinforce import run_reinforce
from danlu.training.rewards import must_name_reward
from danlu.training.samples import after_samples, answer, before_samples, questions
from danlu.training.scores import score_rows
from danlu.training.scoring import Packing, ScoringModel
from danlu.training.stopping import stop_asked
from danlu.training.taught import taught
from danlu.training.teacher import must_name_teacher
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
        return _train(recipe, accelerator, run, notes)


def _never_began(path: Path) -> bool:
    """Whether the run there failed before its first step, so that nothing is lost with it."""
    run = RunDirectory(path)
    began = run.metrics_path.exists() and run.metrics_path.stat().st_size > 0
    return run.is_run() and run.state() in ("failed", "interrupted") and not began


def _train(recipe: Recipe, accelerator: Accelerator, run: RunDirectory, notes: Notes) -> Run:
    """Do the work between the opening and the closing of the run directory."""
    tuning = continued(recipe.tuning, recipe.model.path)
    recipe = recipe.model_copy(update={"tuning": tuning})
    device = accelerator.device
    if device.type == "cpu":
        keep_freed_memory()
    source = recipe.model.tokenizer or recipe.model.path
    tokenizer = load_tokenizer(source, trust_remote_code=recipe.model.trust_remote_code)
    new_token_ids = add_tokens(tokenizer, recipe.model.new_tokens)
    template = chat_template(recipe, tokenizer)
    notes.say(*(template.notes if template else ()))
    data = _data(recipe, accelerator, run, tokenizer, template, notes)
    objective = fitted(build_objective(recipe.objective), data.train)
    teacher = None
    if isinstance(objective, Imitation):
        here = run.path / "prepared"
        pack_tokens = _pack_tokens(recipe, device)
        data, teacher = taught(
            recipe, data, objective.distil, tokenizer, pack_tokens, accelerator, here, notes
        )
    place = loading_device(accelerator)
    model, packing = _model(recipe, objective, device, place, tokenizer, new_token_ids, notes)
    readout = make_readout(objective, model)
    parameters = _parameters(model, readout)
    total = sum(parameter.numel() for parameter in model.parameters())
    moving = sum(parameter.numel() for parameter in parameters.values())
    notes.say(f"{moving:,} of {total:,} parameters move ({moving / total:.2%}), on {device}")
    notes.say(*describe_devices(recipe, accelerator))
    scoring = ScoringModel(model, objective, len(data.train.channels), readout, teacher)
    practice: Practice | None = None
    whole: nn.Module = scoring
    if objective.reads == "prompts":
        assert template is not None
        practice = prepare_practice(
            recipe, scoring, tokenizer, template, packing, run, data.train, data.eval
        )
        whole = practice.policy
        parameters |= practice.policy.own_parameters()
        notes.say(*practice.notes)
    prepared, optimizer = prepare(
        whole,
        build_optimizer(
            parameters, recipe.training, learning_rate_factors(parameters, recipe.tuning)
        ),
        accelerator,
    )
    parameters = _parameters(model, readout)
    if practice is not None:
        parameters |= practice.policy.own_parameters()
    asked = questions(recipe.samples, data.samples)
    samples = run.samples()

    def answers(scoring: ScoringModel) -> list[str]:
        if template is None:
            return []  # a classifier of plain text is asked nothing
        return answer(scoring.model, tokenizer, template, asked, recipe.samples.max_new_tokens)

    if len(samples) != len(asked):
        texts = with_whole_layers(prepared, accelerator, answers)
        if accelerator.is_main_process:
            samples = before_samples(asked, texts)
            run.write_samples(samples)
    checkpoints = Checkpoints(
        run.checkpoints_path,
        data.fingerprint,
        recipe.checkpoints.keep,
        writes=accelerator.is_main_process,
    )
    sources = _sources(data, recipe, prepared, packing, accelerator, run, notes)
    settle(prepared)
    loop = Loop(
        recipe=recipe,
        model=prepared,
        parameters=parameters,
        optimizer=optimizer,
        objective=objective,
        train=sources["train"],
        eval=sources.get("eval"),
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
    if not _run(loop, notes, practice):
        if accelerator.is_main_process:
            run.set_state("interrupted", f"stopped after step {loop.state.step}")
        notes.say(f"stopped after step {loop.state.step}; --resume goes on from there")
        return Run(run.path, None)
    settle(prepared)
    if data.eval is not None and recipe.evaluation.keep_best:
        best = checkpoints.restore_best(parameters)
        if best is not None and best.step != loop.state.step:
            notes.say(f"kept the weights of step {best.step}, which had the best evaluation loss")
    if objective.readout and objective.reads == "compared" and data.eval is not None:
        scores = score_rows(prepared, data.eval, packing, accelerator)
        if accelerator.is_main_process:
            run.write_scores(scores)
    texts = with_whole_layers(prepared, accelerator, answers)
    make_whole(scoring, keep=accelerator.is_main_process, moving_only=has_adapter(model))
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        return Run(run.path, None)
    saved = save_model(model, tokenizer, template, run.path)
    if readout is not None:
        readout.save(saved)
    if practice is not None:
        practice.policy.save_critic(saved)
    run.write_samples(after_samples(samples, texts))
    summary = summarise(
        run.metrics(),
        name=recipe.name,
        model=recipe.model.path,
        method=recipe.tuning.method,
        objective=recipe.objective.name,
        documents=recipe.sequences.documents,
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
    return Run(run.path, summary)


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


def _data(
    recipe: Recipe,
    accelerator: Accelerator,
    run: RunDirectory,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate | None,
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
        notes.say(*describe(data), *mix_lines(recipe, data.train))
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        data = load_data(recipe, tokenizer, template, directory)
    assert data is not None  # the main process has just made it, or has raised
    return data


def _sources(
    data: TrainingData,
    recipe: Recipe,
    model: nn.Module,
    packing: Packing,
    accelerator: Accelerator,
    run: RunDirectory,
    notes: Notes,
) -> dict[str, StepSource]:
    """Give training and evaluation data what the objective compares them with."""
    with notes.counting("scoring with the reference") as count:
        return {
            name: step_source(
                part,
                recipe,
                model,
                packing,
                accelerator,
                run.path / "prepared" / name,
                partial(count, name) if count else None,
            )
            for name, part in (("train", data.train), ("eval", data.eval))
            if part is not None
        }


def _parameters(model: Any, readout: Readout | None) -> dict[str, nn.Parameter]:
    """Return all that moves, by name."""
    found = trainable_parameters(model)
    if readout is not None:
        found |= {f"readout.{name}": part for name, part in readout.named_parameters()}
    return found


def describe(data: TrainingData) -> list[str]:
    """Say in a few lines what was read, dropped and rejected."""
    lines = [f"{len(data.train):,} records, {data.train.branches:,} branches to learn"]
    if data.eval is not None:
        lines[0] += f"; {len(data.eval):,} records held out"
    lines += describe_classes(data.train)
    for part in (data.train, data.eval):
        for task_type, reasons in (part.drop_counts() if part else {}).items():
            counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            lines.append(f"{task_type}: {counts} (see dropped.jsonl)")
    if data.thinned:
        lines.append(f"{data.thinned:,} records are left out, so that the mix has its shares")
    if data.rejected:
        lines.append(f"{data.rejected:,} rows were no records and were skipped (rejected.jsonl)")
    return lines


def _model(
    recipe: Recipe,
    objective: Objective,
    device: torch.device,
    place: torch.device,
    tokenizer: PreTrainedTokenizerBase,
    new_token_ids: tuple[int, ...],
    notes: Notes,
) -> tuple[Any, Packing]:
    """Load and tune the model, and decide how packs are computed."""
    if recipe.training.gradient_checkpointing and (no := checkpointing_obstacle(recipe.tuning)):
        raise RecipeError(
            f"tuning.method {recipe.tuning.method} excludes it: {no}. Switch it off.",
            where="training.gradient_checkpointing",
        )
    model = load_for_tuning(
        recipe.model.path,
        recipe.tuning,
        dtype=pick_dtype(recipe.model.precision, device),
        device=place,
        trust_remote_code=recipe.model.trust_remote_code,
        rope=recipe.model.rope,
    )
    check_model(model, recipe)
    notes.say(*length_notes(unwrapped(model).config, recipe.sequences.max_length))
    reason = "the recipe asks for rows" if recipe.model.attention == "rows" else None
    reason = reason or forest_obstacle(recipe.tuning) or use_forest_attention(unwrapped(model))
    if reason and recipe.model.attention == "forest":
        raise TrainingError(
            f"this model cannot be computed as a forest: {reason}. Use auto or rows.",
            where="model.attention",
        )
    if reason:
        notes.say(f"padded rows instead of a forest: {reason}")
    torch.manual_seed(recipe.training.seed)  # new adapter weights are random
    model = apply_tuning(model, recipe.tuning, new_token_ids=new_token_ids, tokenizer=tokenizer)
    fuse_layers(model)
    if recipe.training.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    packing = Packing(
        _pack_tokens(recipe, device),
        forest=reason is None,
        whole_records=objective.whole_records,
    )
    return model, packing


def _pack_tokens(recipe: Recipe, device: torch.device) -> int:
    default = PACK_TOKENS_CPU if device.type == "cpu" else PACK_TOKENS_GPU
    return recipe.training.pack_tokens or default


def _run(loop: Loop, notes: Notes, practice: Practice | None) -> bool:
    """Run the loop with its display, its trackers and a graceful end on signals."""
    done = loop.state.step
    if done:
        notes.say(f"going on after step {done} of {loop.total_steps}")
    if trackers := loop.recipe.logging.trackers:
        loop.watchers.append(start_trackers(loop.recipe, loop.accelerator, done))
        notes.say(f"tracked by {', '.join(trackers)}")
    with ExitStack() as stack:
        loop.should_stop = stack.enter_context(stop_asked(notes))
        if notes.show:
            display = TrainingProgress(loop.total_steps, done, notes.console)
            loop.watchers.append(stack.enter_context(display.showing()))
        return run_loop(loop) if practice is None else run_reinforce(loop, practice)


def _resolved(recipe: Recipe, loop: Loop, data: TrainingData, device: torch.device) -> Resolved:
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

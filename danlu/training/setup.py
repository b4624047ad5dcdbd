"""Everything that a run needs before its first step: data, model, objective, optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import nn

from danlu.config.recipe import Recipe
from danlu.errors import RecipeError, TrainingError
from danlu.models.adapters import unwrapped
from danlu.models.forest_support import use_forest_attention
from danlu.models.fused import fuse_layers
from danlu.models.load import load_for_tuning, load_tokenizer, pick_dtype
from danlu.models.readout import Readout
from danlu.models.rope import length_notes
from danlu.models.tokens import add_tokens
from danlu.models.tuning import (
    apply_tuning,
    checkpointing_obstacle,
    forest_obstacle,
    learning_rate_factors,
    trainable_parameters,
)
from danlu.models.tuning_continue import continued
from danlu.objectives import Nll, Objective, build_objective
from danlu.objectives.imitation import Imitation
from danlu.runs import RunDirectory
from danlu.sequences.template import ChatTemplate
from danlu.training.data import TrainingData, load_data, make_data, run_fingerprint
from danlu.training.devices import describe_devices, loading_device, prepare
from danlu.training.labelled import (
    chat_template,
    check_model,
    describe_classes,
    fitted,
    make_readout,
)
from danlu.training.memory import keep_freed_memory
from danlu.training.mixing import mix_lines
from danlu.training.notes import Notes
from danlu.training.optimizer import build_optimizer
from danlu.training.practice import Practice, prepare_practice
from danlu.training.references import StepSource, step_source
from danlu.training.samples import Question, answer, questions
from danlu.training.scoring import Packing, ScoringModel
from danlu.training.shared_data import data_key, share, take_shared
from danlu.training.taught import taught
from danlu.training.together import context_group

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACK_TOKENS_CPU, PACK_TOKENS_GPU = 1024, 8192
PACK_TOKENS_FULL = 768
"""On the CPU where all weights move: memory is short there, and a pack's own costs are small."""


@dataclass(frozen=True)
class Setup:
    """A run that is ready for its first step.

    Attributes:
        recipe: With what an adapter that goes on has settled.
        accelerator: Devices and processes.
        run: Its directory.
        notes: What the user is told.
        tokenizer: With the new tokens.
        template: None where no conversation is rendered.
        data: Prepared records.
        objective: What is minimised.
        packing: How packs are computed.
        model: The tuned model, as it will be saved.
        readout: The head that the objective reads, if it reads one.
        practice: What reinforcement needs besides; None without it.
        scoring: The model in the form that scores packs.
        prepared: What is called in training: ``scoring``, or the policy, inside the engine.
        optimizer: Inside the engine.
        parameters: All that moves, by name.
        total: How many numbers the model has.
        moving: How many of them move.
        asked: What is asked before and after training.
    """

    recipe: Recipe
    accelerator: Accelerator
    run: RunDirectory
    notes: Notes
    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate | None
    data: TrainingData
    objective: Objective
    packing: Packing
    model: Any
    readout: Readout | None
    practice: Practice | None
    scoring: ScoringModel
    prepared: nn.Module
    optimizer: Any
    parameters: dict[str, nn.Parameter]
    total: int
    moving: int
    asked: list[Question]

    def answers(self, scoring: ScoringModel) -> list[str]:
        """Let the model answer what is asked; see ``with_whole_layers``."""
        if self.template is None:
            return []  # a model of plain text is asked nothing
        length = self.recipe.samples.max_new_tokens
        return answer(scoring.model, self.tokenizer, self.template, self.asked, length)

    def sources(self) -> dict[str, StepSource]:
        """Give training and evaluation data what the objective compares them with."""
        with self.notes.counting("scoring with the reference") as count:
            return {
                name: step_source(
                    part,
                    self.recipe,
                    self.prepared,
                    self.packing,
                    self.accelerator,
                    self.run.path / "prepared" / name,
                    partial(count, name) if count else None,
                )
                for name, part in (("train", self.data.train), ("eval", self.data.eval))
                if part is not None
            }


def set_up(
    recipe: Recipe,
    accelerator: Accelerator,
    run: RunDirectory,
    notes: Notes,
    shared: Path | None = None,
) -> Setup:
    """Read data and model, and hand both to the engine.

    Args:
        recipe: Every setting.
        accelerator: Devices and processes.
        run: Where prepared data go.
        notes: Told what was read.
        shared: Where prepared data are kept for other runs; None: nowhere.

    Raises:
        DanluError: For whatever the user can mend.
    """
    recipe = recipe.model_copy(update={"tuning": continued(recipe.tuning, recipe.model.path)})
    device = accelerator.device
    if device.type == "cpu":
        keep_freed_memory()
    source = recipe.model.tokenizer or recipe.model.path
    tokenizer = load_tokenizer(source, trust_remote_code=recipe.model.trust_remote_code)
    new_token_ids = add_tokens(tokenizer, recipe.model.new_tokens)
    template = chat_template(recipe, tokenizer)
    notes.say(*(template.notes if template else ()))
    data = _data(recipe, accelerator, run, tokenizer, template, notes, shared)
    objective = fitted(build_objective(recipe.objective), data.train)
    if isinstance(objective, Nll):
        objective = watching(objective, template, new_token_ids)
    teacher = None
    if isinstance(objective, Imitation):
        here = run.path / "prepared"
        tokens = pack_tokens(recipe, device) // recipe.devices.context_parallel
        data, teacher = taught(
            recipe, data, objective.distil, tokenizer, tokens, accelerator, here, notes
        )
    place = loading_device(accelerator)
    model, packing = _model(recipe, objective, device, place, tokenizer, new_token_ids, notes)
    readout = make_readout(objective, model)
    total = sum(parameter.numel() for parameter in model.parameters())
    moving = sum(parameter.numel() for parameter in _parameters(model, readout, None).values())
    notes.say(f"{moving:,} of {total:,} parameters move ({moving / total:.2%}), on {device}")
    notes.say(*describe_devices(recipe, accelerator))
    context = context_group(recipe, accelerator)
    if context is not None and not packing.forest:
        raise RecipeError(
            "processes compute forests together, and this model is computed as rows: set 1.",
            where="devices.context_parallel",
        )
    # Held-out records may be of task types that are not trained, each part with its own numbers.
    channels = max(len(part.channels) for part in (data.train, data.eval) if part is not None)
    scoring = ScoringModel(model, objective, channels, readout, teacher, context)
    practice = None
    if objective.reads == "prompts":
        assert template is not None
        practice = prepare_practice(
            recipe, scoring, tokenizer, template, packing, run, data.train, data.eval, device
        )
        notes.say(*practice.notes)
    learned = {
        name: part
        for name, part in _parameters(model, readout, practice).items()
        if part.requires_grad
    }
    factors = learning_rate_factors(learned, recipe.tuning)
    prepared, optimizer = prepare(
        scoring if practice is None else practice.policy,
        build_optimizer(learned, recipe.training, factors),
        accelerator,
    )
    if practice is not None:
        practice.policy.begin()
    return Setup(
        recipe=recipe,
        accelerator=accelerator,
        run=run,
        notes=notes,
        tokenizer=tokenizer,
        template=template,
        data=data,
        objective=objective,
        packing=packing,
        model=model,
        readout=readout,
        practice=practice,
        scoring=scoring,
        prepared=prepared,
        optimizer=optimizer,
        parameters=_parameters(model, readout, practice),  # the engine may have made others
        total=total,
        moving=moving,
        asked=questions(recipe.samples, data.samples),
    )


def _data(
    recipe: Recipe,
    accelerator: Accelerator,
    run: RunDirectory,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate | None,
    notes: Notes,
    shared: Path | None,
) -> TrainingData:
    """Load this run's prepared data, or make it in the main process."""
    directory = run.path / "prepared"
    if accelerator.is_main_process:
        place = None if shared is None else shared / data_key(recipe, tokenizer, template)
        if place is not None:
            take_shared(place, run, run_fingerprint(recipe, tokenizer, template))
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
            if place is not None:
                share(place, run)
        notes.say(*describe(data), *mix_lines(recipe, data.train))
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        data = load_data(recipe, tokenizer, template, directory)
    assert data is not None  # the main process has just made it, or has raised
    return data


def _parameters(
    model: Any, readout: Readout | None, practice: Practice | None
) -> dict[str, nn.Parameter]:
    """Return all that moves, by name."""
    found = trainable_parameters(model)
    if readout is not None:
        found |= {f"readout.{name}": part for name, part in readout.named_parameters()}
    if practice is not None:
        found |= practice.policy.own_parameters()
    return found


def watching(objective: Nll, template: ChatTemplate | None, new_token_ids: tuple[int, ...]) -> Nll:
    """Let the loss of stop tokens and of new tokens be told beside that of all tokens."""
    stop = template.stop_ids if template else ()
    new = tuple(one for one in new_token_ids if one not in stop)
    watched = (("stop_loss", stop), ("new_token_loss", new))
    return Nll(watched=tuple((name, ids) for name, ids in watched if ids))


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
    return ready_model(model, recipe, objective, device, tokenizer, new_token_ids, notes)


def ready_model(
    model: Any,
    recipe: Recipe,
    objective: Objective,
    device: torch.device,
    tokenizer: PreTrainedTokenizerBase | None = None,
    new_token_ids: tuple[int, ...] = (),
    notes: Notes | None = None,
) -> tuple[Any, Packing]:
    """Tune a loaded model, and decide how packs are computed.

    Args:
        model: As ``load_for_tuning`` returns it; changed in place.
        recipe: Its ``tuning``, ``training`` and ``model.attention``.
        objective: What is minimised.
        device: Where packs are computed.
        tokenizer: Needed for ``tuning.init_text``.
        new_token_ids: See ``apply_tuning``.
        notes: Told if padded rows take the place of a forest.

    Returns:
        The model to train, and how its packs are laid out.

    Raises:
        TrainingError: If the recipe asks for a forest, and the model cannot be computed as one.
        RecipeError: As ``apply_tuning``.
    """
    reason = "the recipe asks for rows" if recipe.model.attention == "rows" else None
    reason = reason or forest_obstacle(recipe.tuning) or use_forest_attention(unwrapped(model))
    if reason and recipe.model.attention == "forest":
        raise TrainingError(
            f"this model cannot be computed as a forest: {reason}. Use auto or rows.",
            where="model.attention",
        )
    if reason and notes is not None:
        notes.say(f"padded rows instead of a forest: {reason}")
    torch.manual_seed(recipe.training.seed)  # new adapter weights are random
    model = apply_tuning(model, recipe.tuning, new_token_ids=new_token_ids, tokenizer=tokenizer)
    fuse_layers(model)
    if recipe.training.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    packing = Packing(
        pack_tokens(recipe, device),
        forest=reason is None,
        whole_records=objective.whole_records,
        context_parallel=recipe.devices.context_parallel,
    )
    return model, packing


def pack_tokens(recipe: Recipe, device: torch.device) -> int:
    """Return how many unique tokens are computed at a time, by a process or by a group of them."""
    default = PACK_TOKENS_GPU
    if device.type == "cpu":
        default = PACK_TOKENS_FULL if recipe.tuning.method == "full" else PACK_TOKENS_CPU
    return recipe.training.pack_tokens or default * recipe.devices.context_parallel

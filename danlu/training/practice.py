"""What reinforcement works with besides the loop's own: sampler, reward, records, log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from danlu.config.recipe import Recipe
from danlu.models.load import pick_dtype
from danlu.records import Record, read_records
from danlu.runs import RunDirectory
from danlu.sequences.prepared import PreparedData
from danlu.training.policy import PolicyModel
from danlu.training.rewards import Reward, load_reward
from danlu.training.rollout_log import RolloutLog
from danlu.training.rollouts import Sampler, group_size, update_epochs
from danlu.training.scoring import Packing, ScoringModel
from danlu.workshop.data import recipe_sources

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.sequences.template import ChatTemplate


@dataclass
class Practice:
    """What reinforcement works with besides the loop's own.

    Attributes:
        policy: The model, not wrapped by Accelerate.
        sampler: Samples its answers.
        reward: Says what they are worth.
        train: The record of each training prompt.
        eval: The record of each evaluation prompt.
        log: Where some rollouts are written down.
        notes: What to tell the person who waits.
    """

    policy: PolicyModel
    sampler: Sampler
    reward: Reward
    train: Sequence[Record]
    eval: Sequence[Record]
    log: RolloutLog
    notes: tuple[str, ...]


def prepare_practice(
    recipe: Recipe,
    scoring: ScoringModel,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate,
    packing: Packing,
    run: RunDirectory,
    train: PreparedData,
    evaluation: PreparedData | None,
    device: torch.device,
) -> Practice:
    """Load the reward, and the records behind the prompts.

    Args:
        recipe: ``rollouts`` and ``data``, which is read once more.
        scoring: The model as loaded, before anything is learned or restored.
        tokenizer: Its tokenizer.
        template: Its chat template.
        packing: How answers are laid out.
        run: Where rollouts are written down.
        train: Prepared training prompts.
        evaluation: Prepared evaluation prompts; None without any.
        device: Where answers will be sampled and rewarded.

    Raises:
        RecipeError: If the reward is not there.
        ModelError: If the reward model is not there.
        TrainingError: If a prompt leaves no room for an answer.
    """
    policy = PolicyModel(scoring, keep_reference=_needs_reference(recipe, scoring.objective))
    sampler = Sampler(policy.model, tokenizer, template, recipe, device)
    for prompts in (train, evaluation):
        if prompts is not None:
            sampler.check(prompts)
    dtype = pick_dtype(recipe.model.precision, device)
    alone = replace(
        packing, pack_tokens=packing.pack_tokens // packing.context_parallel, context_parallel=1
    )
    reward = load_reward(recipe, alone, device=device, dtype=dtype)
    read = _records(recipe, evaluation=False)
    held_out: list[Record] = []
    if evaluation is not None:
        held_out = _records(recipe, evaluation=True) if recipe.data.eval else read
    return Practice(
        policy=policy,
        sampler=sampler,
        reward=reward,
        train=_behind(train, read),
        eval=[] if evaluation is None else _behind(evaluation, held_out),
        log=RolloutLog(run.path),
        notes=_notes(recipe, policy),
    )


def _needs_reference(recipe: Recipe, objective: Any) -> bool:
    """Whether a run measures the KL to the reference: to learn from it, or to stop by it."""
    return objective.kl_weight > 0 or recipe.rollouts.kl_limit is not None


def _notes(recipe: Recipe, policy: PolicyModel) -> tuple[str, ...]:
    each, records = group_size(recipe), recipe.training.batch_records
    updates = update_epochs(recipe) * recipe.rollouts.minibatches
    first = (
        f"a step is {each * records:,} answers, {each} to each of {records} records, and "
        f"{updates} updates; {recipe.rollouts.reward} says what they are worth"
    )
    if not policy.has_reference:
        return (first, "no reference: the KL to where the model began is not measured")
    return (
        first,
        f"the reference is the model as the run begins: {policy.kept:,} numbers are kept for it",
    )


def _records(recipe: Recipe, *, evaluation: bool) -> list[Record]:
    sources = recipe.data.eval if evaluation else recipe.data.train
    named, _ = recipe_sources(sources)
    return list(read_records(named, on_bad_record=recipe.data.on_bad_record))


def _behind(prompts: PreparedData, read: Sequence[Record]) -> list[Record]:
    found = [read[position] for position in prompts.record_position.tolist()]
    assert [record.id for record in found] == list(prompts.record_ids)
    return found

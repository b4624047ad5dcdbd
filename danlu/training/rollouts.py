"""Rollouts: answers that the policy samples to prepared prompts, rewarded and written down.

A step samples ``group_size`` answers to each of its prompts. What is drawn depends on the seed,
the step and an answer's place in the step, not on batches or on the number of processes. Token ids
are kept as they were drawn: what is learned is never text that was encoded again.

Shapes: N answers of a step, those to one prompt one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import nn

from danlu.config.recipe import Recipe
from danlu.errors import DanluError, TrainingError
from danlu.generation import Completion, Sampling
from danlu.generation.decode import answering, decode, takes_batches
from danlu.generation.draw import uniforms
from danlu.generation.local import TransformersGenerator
from danlu.records import Record
from danlu.sequences.branch import Branch
from danlu.sequences.prepared import PreparedData
from danlu.training.rewards import Reward
from danlu.training.shares import with_whole_weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.sequences.template import ChatTemplate

GROUP_SIZE = {"ppo": 1, "grpo": 8}
EPOCHS = {"ppo": 4, "grpo": 1}


def group_size(recipe: Recipe) -> int:
    """Return how many answers are sampled to a prompt.

    Example:
        >>> group_size(Recipe.model_validate({"name": "x", "objective": {"name": "grpo"}}))
        8
    """
    return recipe.rollouts.group_size or GROUP_SIZE[recipe.objective.name]


def update_epochs(recipe: Recipe) -> int:
    """Return how often a step goes over its answers."""
    return recipe.rollouts.epochs or EPOCHS[recipe.objective.name]


@dataclass(frozen=True, eq=False)
class Rollouts:
    """The rewarded answers of a step, or of an evaluation.

    Attributes:
        prompts: The prompt that each answers; N, the same one for a group.
        completions: The answers.
        rewards: float64 ``(N,)``: as the reward gave them.
    """

    prompts: list[Branch]
    completions: list[Completion]
    rewards: NDArray[np.float64]

    @property
    def finished(self) -> NDArray[np.bool_]:
        """``(N,)``: which ended with a stop token."""
        return np.array([one.finished for one in self.completions], np.bool_)

    @property
    def record(self) -> NDArray[np.int64]:
        """``(N,)``: index of the record that each answers."""
        return np.array([one.record for one in self.prompts], np.int64)

    @property
    def channel(self) -> NDArray[np.int64]:
        """``(N,)``: index of its task type."""
        return np.array([one.channel for one in self.prompts], np.int64)

    def branches(self) -> list[Branch]:
        """Return prompt and answer of each as one branch, all of the answer trained."""
        return [
            _answered(prompt, completion, place)
            for place, (prompt, completion) in enumerate(
                zip(self.prompts, self.completions, strict=True)
            )
        ]


def _answered(prompt: Branch, completion: Completion, place: int) -> Branch:
    answer = np.array(completion.token_ids, np.int32)
    weights = np.concatenate(
        [np.zeros(len(prompt.input_ids), np.float32), np.ones(len(answer), np.float32)]
    )
    input_ids = np.concatenate([prompt.input_ids, answer])
    return replace(prompt, input_ids=input_ids, weights=weights, branch=place)


def longest(prompts: Sequence[Branch], recipe: Recipe) -> list[Branch]:
    """Return a step's branches as if every answer were as long as it may be, for estimates.

    Args:
        prompts: Of a step.
        recipe: ``rollouts`` and ``sequences.max_length``.
    """
    rng = np.random.default_rng(0)
    found = []
    for prompt in prompts:
        room = recipe.sequences.max_length - len(prompt.input_ids)
        tokens = min(recipe.rollouts.max_new_tokens, room)
        for place in range(group_size(recipe)):
            # Ids that no two answers share.
            made = tuple(rng.integers(2**30, size=tokens).tolist())
            found.append(_answered(prompt, Completion("", made, None, False), place))
    return found


class Sampler:
    """Samples answers with a model in this process, in batches.

    Args:
        model: A transformers or PEFT model; it may be in the midst of training.
        tokenizer: Its tokenizer.
        template: Its chat template.
        recipe: ``rollouts`` and ``sequences.max_length``.
        device: Where it will sample; None: where the model is.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatTemplate,
        recipe: Recipe,
        device: torch.device | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.settings = recipe.rollouts
        generator = TransformersGenerator(model, tokenizer, template, device=device)
        self.stop_ids = generator.stop_ids
        self.batch_rows, self.batch_tokens = generator.batch_rows, generator.batch_tokens
        self.most_tokens = min(
            recipe.sequences.max_length, generator.context_tokens or recipe.sequences.max_length
        )

    def sample(
        self, prompts: Sequence[Branch], places: Sequence[int], seed: int
    ) -> list[Completion]:
        """Return one answer to each prompt, in order.

        Args:
            prompts: An answer each; the same one again for a group.
            places: Place of each answer in the step, over all processes.
            seed: Of the step.

        """
        sampling = Sampling(
            max_new_tokens=self.settings.max_new_tokens,
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            seed=seed,
        )
        budgets = [
            min(sampling.max_new_tokens, self.most_tokens - len(prompt.input_ids))
            for prompt in prompts
        ]
        answers: list[list[int]] = [[] for _ in prompts]
        with answering(self.model):
            for batch in self._batches(prompts, budgets):
                rows = [places[index] for index in batch]
                for step in decode(
                    self.model,
                    [prompts[index].input_ids.tolist() for index in batch],
                    sampling,
                    stop_ids=self.stop_ids,
                    uniforms_of=uniforms(seed, rows, sampling.max_new_tokens).__getitem__,
                    budgets=[budgets[index] for index in batch],
                ):
                    for row, token_id in zip(step.rows, step.token_ids, strict=True):
                        answers[batch[row]].append(token_id)
        return [self._completion(answer) for answer in answers]

    def _completion(self, token_ids: list[int]) -> Completion:
        finished = token_ids[-1] in self.stop_ids
        text = self.tokenizer.decode(
            token_ids[:-1] if finished else token_ids,
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        assert isinstance(text, str)
        return Completion(text, tuple(token_ids), None, finished)

    def check(self, prompts: PreparedData) -> None:
        """Make sure that every prompt leaves room for an answer.

        Raises:
            TrainingError: If one does not.
        """
        tokens = np.diff(prompts.offsets)
        if len(tokens) and int(tokens.max()) >= self.most_tokens:
            longest = int(tokens.argmax())
            raise TrainingError(
                f"the prompt has {tokens[longest]:,} tokens, and the model takes "
                f"{self.most_tokens:,} with its answer. Set sequences.max_length to that, and say "
                "with sequences.overlong what should happen.",
                where=f"record {prompts.record_ids[longest]}",
            )

    def _batches(self, prompts: Sequence[Branch], budgets: Sequence[int]) -> list[list[int]]:
        """Cut the prompts into batches of like length; a group stays together where it can."""
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].input_ids))
        most_rows = self.batch_rows if takes_batches(self.model) else 1
        batches: list[list[int]] = []
        room = 0
        for index in order:
            if room < 1:
                batches.append([])
                longest = len(prompts[index].input_ids) + max(budgets)
                room = max(1, min(most_rows, self.batch_tokens // longest))
            batches[-1].append(index)
            room -= 1
        return batches


def roll_out(
    model: nn.Module,
    prompts: Sequence[Branch],
    records: Sequence[Record],
    answers: int,
    sampler: Sampler,
    reward: Reward,
    accelerator: Accelerator,
    seed: int,
) -> Rollouts:
    """Sample and reward answers, each process those to its share of the prompts.

    Args:
        model: What the sampler samples with, as the engine has it.
        prompts: Of a step.
        records: The record of each prompt, for the reward.
        answers: How many to each prompt.
        sampler: Samples with the policy; each process as many tokens as its answers have.
        reward: Called once for each answer, in one of the processes.
        accelerator: Deals prompts to processes.
        seed: Of the step.

    Returns:
        The answers to all prompts, the same in every process.

    Raises:
        TrainingError: If a reward crashes or is no finite number; in every process.
    """
    own = range(accelerator.process_index, len(prompts), accelerator.num_processes)
    places = [index * answers + k for index in own for k in range(answers)]
    fault: tuple[str, str | None] | None = None
    found: list[tuple[int, Completion, float]] = []

    def sample(_: Any) -> list[Completion]:
        return sampler.sample([prompts[place // answers] for place in places], places, seed)

    sampled = with_whole_weights(model, accelerator, sample)
    try:
        rewards = reward([records[place // answers] for place in places], sampled)
        found = list(zip(places, sampled, rewards, strict=True))
    except DanluError as error:
        if accelerator.num_processes == 1:
            raise
        fault = (error.message, error.where)
    if accelerator.num_processes > 1:
        # One process's fault must end all of them, or the others would wait for it.
        for message, where in [one for one in gather_object([fault]) if one is not None]:
            raise TrainingError(message, where=where)
        found = sorted(gather_object(found), key=lambda one: one[0])
    return Rollouts(
        prompts=[prompts[place // answers] for place, _, _ in found],
        completions=[completion for _, completion, _ in found],
        rewards=np.array([value for _, _, value in found], np.float64),
    )

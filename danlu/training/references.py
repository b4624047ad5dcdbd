"""What a reference model says of the answers, and the baseline of a step (``kto``).

The reference is the model as the run begins. Its log-probabilities are computed once, before the
first step, and kept beside the prepared data; or at each step with the adapter switched off, which
costs a forward pass each time and gives the same numbers.

Shapes: B branches of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from danlu.config.recipe import Recipe
from danlu.errors import TrainingError
from danlu.models import adapters
from danlu.sequences.branch import Branch
from danlu.sequences.forest import Pack
from danlu.sequences.prepared import PreparedData
from danlu.training.devices import outside_steps
from danlu.training.scoring import Packing, ScoringModel

RECORDS_AT_A_TIME = 256
"""Records merged into one forest while references are computed."""

TRIES = 64
"""How many other completions are tried for one that answers another prompt."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Mismatched:
    """Prompts with completions that answer another prompt: what ``kto`` takes its baseline from.

    Attributes:
        data: Whose prompts and completions.
        partner: int64 ``(B,)``: the branch whose completion follows each branch's prompt.
        max_length: Longest of them, in tokens; a longer completion is cut.
        reference: float32 ``(B,)``: log-probability under the reference; None before it is known.
    """

    data: PreparedData
    partner: NDArray[np.int64]
    max_length: int
    reference: Floats | None = None

    @classmethod
    def draw(cls, data: PreparedData, max_length: int, seed: int) -> Mismatched:
        """Choose a partner for every branch, the same for the whole run.

        Raises:
            TrainingError: If a prompt finds no completion of another one.
        """
        rng = np.random.default_rng([seed, 0x4B544F])
        partner = np.empty(data.branches, np.int64)
        prompts = [data.branch(b) for b in range(data.branches)]
        keys = [branch.input_ids[: branch.prompt_tokens].tobytes() for branch in prompts]
        for b, key in enumerate(keys):
            drawn = rng.integers(data.branches, size=TRIES)
            other = next((int(c) for c in drawn if keys[c] != key), None)
            if other is None:
                other = next((c for c, one in enumerate(keys) if one != key), None)
            if other is None:
                raise TrainingError(
                    "kto's baseline puts completions after other prompts, but all records have "
                    "the same prompt. Add records with other prompts, or use dpo.",
                    where=f"record {data.record_ids[prompts[b].record]}",
                )
            partner[b] = other
        return cls(data, partner, max_length)

    def branch(self, b: int) -> Branch:
        """Return the prompt of branch ``b`` with its partner's completion."""
        own, other = self.data.branch(b), self.data.branch(int(self.partner[b]))
        prompt = own.input_ids[: own.prompt_tokens]
        room = max(1, self.max_length - len(prompt))
        completion = other.input_ids[other.prompt_tokens :][:room]
        weights = np.zeros(len(prompt) + len(completion), np.float32)
        weights[max(1, len(prompt)) :] = 1.0
        return replace(
            own,
            input_ids=np.concatenate([prompt, completion]),
            weights=weights,
            reference=np.nan if self.reference is None else float(self.reference[b]),
        )

    def record(self, r: int) -> list[Branch]:
        """Return the mismatched branches of record ``r``."""
        offsets = self.data.record_offsets
        return [self.branch(b) for b in range(int(offsets[r]), int(offsets[r + 1]))]


def log_probabilities(
    model: nn.Module, branches: Sequence[Branch], packing: Packing, accelerator: Accelerator
) -> Tensor:
    """Score completions without gradient, over all processes.

    Args:
        model: The prepared ``ScoringModel``; back in its earlier mode afterwards.
        branches: Prompts with completions.
        packing: How they are laid out.
        accelerator: Devices and processes.

    Returns:
        float64 ``(len(branches),)`` on the device: a sum of log-probabilities each, in nats.
    """
    return _per_branch(
        model,
        branches,
        packing,
        accelerator,
        lambda scoring, pack: scoring.answer_logprobs(pack, branches),
    )


def readout_scores(
    model: nn.Module, branches: Sequence[Branch], packing: Packing, accelerator: Accelerator
) -> Tensor:
    """Return the first number that the readout says of each branch, over all processes.

    Args and result are those of ``log_probabilities``.
    """
    return _per_branch(
        model, branches, packing, accelerator, lambda scoring, pack: scoring.readouts(pack)[:, 0]
    )


def _per_branch(
    model: nn.Module,
    branches: Sequence[Branch],
    packing: Packing,
    accelerator: Accelerator,
    work: Callable[[ScoringModel, Pack], Tensor],
) -> Tensor:
    """Compute a number for each branch, pack by pack, without gradient."""
    dtype = torch.float32 if accelerator.device.type == "mps" else torch.float64
    total = torch.zeros(len(branches), dtype=dtype, device=accelerator.device)
    score = outside_steps(model, accelerator)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for pack in packing.dealt(branches, accelerator)[1]:
            with accelerator.autocast():
                numbers = score(partial(_on_pack, work, pack))
            members = torch.from_numpy(pack.members).to(total.device)
            total[members] = numbers.to(dtype)
    model.train(was_training)
    reduced: Tensor = accelerator.reduce(total, reduction="sum")
    return reduced / packing.context_parallel  # all of a group have the same numbers


def _on_pack(
    work: Callable[[ScoringModel, Pack], Tensor], pack: Pack, scoring: ScoringModel
) -> Tensor:
    return work(scoring, pack)


def precomputed(
    data: PreparedData | Mismatched,
    model: nn.Module,
    packing: Packing,
    accelerator: Accelerator,
    file: Path,
    progress: Callable[[int], None] | None = None,
) -> Floats:
    """Return the reference log-probability of every branch, from ``file`` if it is there.

    Args:
        data: Its records, or their mismatched branches.
        model: The prepared ``ScoringModel`` as the run begins.
        packing: How branches are laid out.
        accelerator: Devices and processes.
        file: Where the numbers are kept, as ``.npy``; written by the main process.
        progress: Told how many records are done.
    """
    if file.is_file():
        kept: Floats = np.load(file)
        return kept
    records = len(data.data if isinstance(data, Mismatched) else data)
    parts = []
    for start in range(0, records, RECORDS_AT_A_TIME):
        stop = min(start + RECORDS_AT_A_TIME, records)
        branches = [branch for r in range(start, stop) for branch in data.record(r)]
        scored = log_probabilities(model, branches, packing, accelerator)
        parts.append(scored.float().cpu().numpy())
        if progress is not None:
            progress(stop)
    values: Floats = np.concatenate(parts)
    if not np.isfinite(values).all():
        raise TrainingError(
            "the reference gives an answer a log-probability that is not finite. Look at the model "
            "with danlu chat, and train in float32."
        )
    if accelerator.is_main_process:
        fresh = file.with_suffix(".partial.npy")
        np.save(fresh, values)
        fresh.rename(file)
    accelerator.wait_for_everyone()
    return values


@dataclass(frozen=True, eq=False)
class StepSource:
    """Prepared data with all that an objective compares them with.

    Attributes:
        prepared: The records; with precomputed references where the objective reads them so.
        at_each_step: References come from the model without its adapter, at each step.
        mismatched: What the baseline is taken from; None for objectives without one.
    """

    prepared: PreparedData
    at_each_step: bool = False
    mismatched: Mismatched | None = None

    def branches(
        self,
        records: Iterable[int],
        model: nn.Module,
        packing: Packing,
        accelerator: Accelerator,
    ) -> list[Branch]:
        """Return the branches of some records, with their references."""
        plain = self.prepared.step(records)
        if not self.at_each_step:
            return plain
        return without_adapter(model, plain, packing, accelerator)

    def baseline(
        self,
        records: Iterable[int],
        model: nn.Module,
        packing: Packing,
        accelerator: Accelerator,
    ) -> Tensor | None:
        """Return the baseline of some records, ``()``: KL to the reference in nats, at least 0.

        It is the mean log-ratio over mismatched branches, without gradient; None for objectives
        that need none.
        """
        if self.mismatched is None:
            return None
        branches = [branch for r in records for branch in self.mismatched.record(int(r))]
        if self.at_each_step:
            branches = without_adapter(model, branches, packing, accelerator)
        policy = log_probabilities(model, branches, packing, accelerator)
        reference = policy.new_tensor([branch.reference for branch in branches])
        return (policy - reference).mean().clamp(min=0)


def without_adapter(
    model: nn.Module, branches: Sequence[Branch], packing: Packing, accelerator: Accelerator
) -> list[Branch]:
    """Return branches with what the model says of them while its adapter is switched off."""
    with adapters.without_adapter(accelerator.unwrap_model(model).model):
        values = log_probabilities(model, branches, packing, accelerator).tolist()
    return [
        replace(branch, reference=value) for branch, value in zip(branches, values, strict=True)
    ]


def step_source(
    data: PreparedData,
    recipe: Recipe,
    model: nn.Module,
    packing: Packing,
    accelerator: Accelerator,
    directory: Path,
    progress: Callable[[int], None] | None = None,
) -> StepSource:
    """Give prepared data the references and mismatched branches that the objective reads.

    Args:
        data: Training or evaluation records.
        recipe: ``objective.reference``, ``sequences.max_length``, ``training.seed``.
        model: The prepared ``ScoringModel`` as the run begins.
        packing: How branches are laid out.
        accelerator: Devices and processes.
        directory: Where the data were prepared; what is computed is kept there.
        progress: Told how many records are done.

    Raises:
        TrainingError: If the reference cannot be had as asked, or is not finite.
    """
    scoring: ScoringModel = accelerator.unwrap_model(model)
    objective = scoring.objective
    mismatched = None
    if objective.needs_baseline:
        mismatched = Mismatched.draw(data, recipe.sequences.max_length, recipe.training.seed)
    if not objective.needs_reference:
        return StepSource(data, mismatched=mismatched)
    if recipe.objective.reference == "adapter_off":
        if recipe.tuning.start == "continue":
            raise TrainingError(
                "the adapter goes on from an earlier run, so without it the model is not the one "
                "this run begins with. Use precomputed.",
                where="objective.reference",
            )
        if not adapters.has_adapter(scoring.model):
            raise TrainingError(
                f"with tuning.method {recipe.tuning.method} there is no adapter to switch off. Use "
                "precomputed.",
                where="objective.reference",
            )
        return StepSource(data, at_each_step=True, mismatched=mismatched)
    common = (model, packing, accelerator)
    data = replace(
        data, reference=precomputed(data, *common, directory / "reference.npy", progress)
    )
    if mismatched is not None:
        file = directory / "mismatched.npy"
        mismatched = replace(mismatched, reference=precomputed(mismatched, *common, file, progress))
    return StepSource(data, mismatched=mismatched)

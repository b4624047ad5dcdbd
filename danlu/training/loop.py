"""The training loop, to be read from top to bottom.

An optimizer step is a number of records. Their branches become packs, the packs are dealt to the
processes, and the loss is a sum over all of them, divided once (``sum(weight * nll) / sum(weight)``
in supervised tuning). The divisor is known before the first pack is computed, so gradients simply
add up. How the work is cut changes its layout and never its result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from danlu.config.recipe import Recipe
from danlu.errors import TrainingError
from danlu.objectives import Objective
from danlu.runs import MetricsRow, RunDirectory
from danlu.sequences.branch import Branch
from danlu.training.channels import ChannelTotals
from danlu.training.checkpoint import Checkpoints, LoopState
from danlu.training.devices import accumulating, clip_gradients, outside_steps
from danlu.training.evaluate import evaluate
from danlu.training.mixing import record_order
from danlu.training.references import StepSource
from danlu.training.schedule import learning_rate
from danlu.training.scoring import Packing


class Watcher(Protocol):
    """Whoever wants to see each metrics row as it is made: progress bar, tracker."""

    def __call__(self, row: MetricsRow) -> None:
        """Take notice of a row."""


@dataclass
class Loop:
    """Everything the loop works with.

    Attributes:
        recipe: The settings.
        model: The ``ScoringModel``, prepared by Accelerate.
        parameters: What is trained, by name.
        optimizer: Over those parameters.
        objective: What is minimised.
        train: Training records, with whatever the objective compares them with.
        eval: Evaluation records likewise, if there are any.
        packing: How a step is laid out.
        accelerator: Devices and processes.
        run: Where rows go; written by the main process only.
        checkpoints: Where the loop can be picked up again.
        state: Where it stands.
        watchers: Called with each row, in the main process.
        should_stop: Asked after each step; True saves a checkpoint and leaves.
    """

    recipe: Recipe
    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    objective: Objective
    train: StepSource
    eval: StepSource | None
    packing: Packing
    accelerator: Accelerator
    run: RunDirectory
    checkpoints: Checkpoints
    state: LoopState
    watchers: list[Watcher] = field(default_factory=list)
    should_stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        settings = self.recipe.training
        self.order = record_order(self.recipe, self.train.prepared)
        self.total_steps = self.order.total_steps(settings.epochs, settings.max_steps)
        per_epoch = min(self.order.steps_per_epoch, self.total_steps)
        self.evaluate_every = self.recipe.evaluation.every_steps or per_epoch
        self.checkpoint_every = self.recipe.checkpoints.every_steps or per_epoch
        self.log_every = self.recipe.logging.every_steps


def run_loop(loop: Loop) -> bool:
    """Train until the last step, until early stopping, or until asked to stop.

    Returns:
        True if training is over; False if it was asked to stop and can be resumed.

    Raises:
        TrainingError: On a non-finite loss or gradient, before the update it would have made.
    """
    state = loop.state
    totals, unique_tokens, since = _totals(loop), 0, time.perf_counter()
    loop.model.train()
    if state.step == 0:
        _evaluate(loop)
        since = time.perf_counter()
    while state.step < loop.total_steps and not state.stopped:
        began = time.perf_counter()
        grad_norm, rate, tokens = _optimizer_step(loop, totals)
        unique_tokens += tokens
        state.step += 1
        last = state.step == loop.total_steps
        if state.step % loop.log_every == 0 or last:
            reduced = totals.reduce(loop.accelerator)
            now = time.perf_counter()
            _write(
                loop,
                MetricsRow(
                    step=state.step,
                    epoch=state.step / loop.order.steps_per_epoch,
                    loss=reduced.loss,
                    learning_rate=rate,
                    grad_norm=grad_norm,
                    tokens_per_second=unique_tokens / (now - since),
                    unique_tokens=unique_tokens,
                    supervised_tokens=reduced.supervised_tokens,
                    channels=reduced.channels(),
                    metrics=reduced.metrics,
                    elapsed_s=state.elapsed_s + now - began,
                ),
            )
            totals, unique_tokens, since = _totals(loop), 0, now
        state.elapsed_s += time.perf_counter() - began
        began = time.perf_counter()
        if state.step % loop.evaluate_every == 0 or last:
            _evaluate(loop)
        leave = _any_process(loop, loop.should_stop()) and not last
        if state.step % loop.checkpoint_every == 0 or last or leave or state.stopped:
            _save(loop)
        since += time.perf_counter() - began  # throughput is of training alone
        if leave:
            return False
    return True


def _totals(loop: Loop) -> ChannelTotals:
    return ChannelTotals(loop.train.prepared.channels, loop.objective)


def _optimizer_step(loop: Loop, totals: ChannelTotals) -> tuple[float, float, int]:
    """Learn one batch of records; return gradient norm, learning rate, unique tokens."""
    settings, accelerator = loop.recipe.training, loop.accelerator
    records = loop.order.step(loop.state.step)
    common = (loop.model, loop.packing, accelerator)
    branches = loop.train.branches(records, *common)
    baseline = loop.train.baseline(records, *common)
    packs, share = loop.packing.dealt(branches, accelerator)
    divisor = loop.objective.divisor(branches)
    rate = learning_rate(settings, loop.state.step, loop.total_steps)
    for group in loop.optimizer.param_groups:
        group["lr"] = rate * group.get("lr_factor", 1.0)
    # Dropout is seeded by the step, so a resumed run draws the same masks.
    torch.manual_seed(_step_seed(settings.seed, loop.state.step, accelerator.process_index))
    totals.add_records(np.asarray(loop.train.prepared.record_channel, np.int64)[records])
    for number, pack in enumerate(share):
        last = number == len(share) - 1  # gradients are summed over processes once a step
        with accumulating(accelerator, loop.model, last=last), accelerator.autocast():
            sums = loop.model(pack, branches, baseline)
            # Data-parallel engines average over processes; what is wanted is the sum.
            loss = sums.loss * (accelerator.num_processes / divisor)
            accelerator.backward(loss)
        totals.add(sums)
        del sums, loss  # else their graph lies scattered among the next pack's activations
    limit = settings.max_grad_norm or float("inf")
    grad_norm = clip_gradients(accelerator, loop.parameters.values(), limit)
    if not np.isfinite(grad_norm):
        raise _not_finite(loop, records, branches, baseline, grad_norm)
    loop.optimizer.step()
    loop.optimizer.zero_grad()
    return grad_norm, rate, sum(pack.tokens for pack in packs)


def _evaluate(loop: Loop) -> None:
    """If there is data for it: evaluate, write the row, and keep the weights if they are best."""
    if loop.eval is None:
        return
    began = time.perf_counter()
    reduced = evaluate(loop.model, loop.eval, loop.packing, loop.accelerator)
    state = loop.state
    _write(
        loop,
        MetricsRow(
            step=state.step,
            epoch=state.step / loop.order.steps_per_epoch,
            split="eval",
            loss=reduced.loss,
            supervised_tokens=reduced.supervised_tokens,
            channels=reduced.channels(),
            metrics=reduced.metrics,
            elapsed_s=state.elapsed_s + time.perf_counter() - began,
        ),
    )
    state.elapsed_s += time.perf_counter() - began
    if state.best_loss is None or reduced.loss < state.best_loss:
        state.best_loss, state.best_step = reduced.loss, state.step
        state.evaluations_since_best = 0
        if loop.recipe.evaluation.keep_best:
            loop.checkpoints.save_best(state, loop.parameters)
    else:
        state.evaluations_since_best += 1
        patience = loop.recipe.evaluation.patience
        state.stopped = patience is not None and state.evaluations_since_best >= patience


def _write(loop: Loop, row: MetricsRow) -> None:
    if loop.accelerator.is_main_process:
        loop.run.append_metrics(row)
        for watcher in loop.watchers:
            watcher(row)


def _save(loop: Loop) -> None:
    loop.checkpoints.save(loop.state, loop.parameters, loop.optimizer)
    loop.accelerator.wait_for_everyone()


def _any_process(loop: Loop, flag: bool) -> bool:
    """Whether any process says so; all must leave the loop at the same step."""
    if loop.accelerator.num_processes == 1:
        return flag
    count = torch.tensor(int(flag), device=loop.accelerator.device)
    return bool(loop.accelerator.reduce(count, reduction="sum").item())


def _step_seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0])


def _not_finite(
    loop: Loop, records: Any, branches: list[Branch], baseline: Tensor | None, grad_norm: float
) -> TrainingError:
    """Say what is not finite, and in which records: each is scored alone, without gradient."""
    loop.model.eval()
    score = outside_steps(loop.model, loop.accelerator)
    names, broken = loop.train.prepared.record_ids, []
    with torch.no_grad(), loop.accelerator.autocast():
        for record in records:
            own = [branch for branch in branches if branch.record == int(record)]
            losses = [score(pack, own, baseline).loss for pack in loop.packing.packs(own)]
            if _any_process(loop, not all(torch.isfinite(loss) for loss in losses)):
                broken.append(names[int(record)])
    ids = broken or [names[int(record)] for record in records]
    what = "the loss of these records is not finite" if broken else "the loss is finite"
    shown = ", ".join(ids[:16]) + (f" and {len(ids) - 16} more" if len(ids) > 16 else "")
    kept = loop.checkpoints.steps()
    return TrainingError(
        f"the gradient is not finite (norm {grad_norm}); {what}. Records: {shown}. Nothing was "
        f"updated; the last good checkpoint is {kept[-1] if kept else 'none yet'}. Lower "
        "training.learning_rate, look at the records, or train in float32.",
        where=f"step {loop.state.step + 1}",
    )

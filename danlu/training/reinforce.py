"""The loop of ppo and grpo, to be read from top to bottom.

A step is a batch of rollouts with all that is learned from it: sample answers to the step's
records, reward them, measure them under policy and reference, fix what each token is to learn, and
go over them in ``rollouts.epochs`` times ``rollouts.minibatches`` updates. Everything random is
seeded by the step, and a checkpoint lies between two steps, so that a killed run ends where it
would have ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from danlu.errors import TrainingError
from danlu.objectives import ChannelSums
from danlu.objectives.policy import Lessons, Measured, answer_lengths
from danlu.objectives.predictions import sum_by_channel
from danlu.runs import MetricsRow
from danlu.sequences.branch import Branch
from danlu.training.channels import ChannelTotals, Reduced
from danlu.training.devices import accumulating, clip_gradients
from danlu.training.loop import Loop, _any_process, _save, _write
from danlu.training.practice import Practice
from danlu.training.rollout_log import rollout_rows
from danlu.training.rollouts import Rollouts, group_size, roll_out, update_epochs
from danlu.training.schedule import learning_rate

SAMPLE, SHUFFLE, EVALUATE = 1, 2, 3
"""What a seed is for."""
EVALUATED_AT_A_TIME = 256
"""Records answered at a time in an evaluation."""


def run_reinforce(loop: Loop, practice: Practice) -> bool:
    """Train until the last step, until early stopping, or until asked to stop.

    Returns:
        True if training is over; False if it was asked to stop and can be resumed.

    Raises:
        TrainingError: If a reward fails, the KL to the reference runs away or a gradient is not
            finite; before the update it would have made.
    """
    state = loop.state
    if loop.accelerator.is_main_process:
        practice.log.truncate_after(state.step)
    totals, unique_tokens, since = _totals(loop), 0, time.perf_counter()
    loop.model.train()
    if state.step == 0:
        _evaluate(loop, practice)
        since = time.perf_counter()
    while state.step < loop.total_steps and not state.stopped:
        began = time.perf_counter()
        done = _step(loop, practice, totals)
        unique_tokens += done.unique_tokens
        state.step += 1
        last = state.step == loop.total_steps
        if state.step % loop.log_every == 0 or last:
            reduced = totals.reduce(loop.accelerator)
            now = time.perf_counter()
            row = _row(loop, reduced, elapsed_s=now - began)
            more: dict[str, Any] = {
                "learning_rate": done.learning_rate,
                "grad_norm": done.grad_norm,
                "tokens_per_second": unique_tokens / (now - since),
                "unique_tokens": unique_tokens,
            }
            if practice.policy.objective.adapts:
                more["metrics"] = {**row.metrics, "kl_weight": done.kl_weight}
            _write(loop, row.model_copy(update=more))
            totals, unique_tokens, since = _totals(loop), 0, now
        state.elapsed_s += time.perf_counter() - began
        began = time.perf_counter()
        if state.step % loop.evaluate_every == 0 or last:
            _evaluate(loop, practice)
        leave = _any_process(loop, loop.should_stop()) and not last
        if state.step % loop.checkpoint_every == 0 or last or leave or state.stopped:
            _save(loop)
        since += time.perf_counter() - began  # throughput is of training alone
        if leave:
            return False
    return True


class _Done(NamedTuple):
    """What a step comes to, besides its totals."""

    grad_norm: float
    learning_rate: float
    unique_tokens: int
    kl_weight: float


def _totals(loop: Loop) -> ChannelTotals:
    return ChannelTotals(loop.train.prepared.channels, loop.objective)


def _step(loop: Loop, practice: Practice, totals: ChannelTotals) -> _Done:
    """Sample, reward, measure, and learn in several updates."""
    settings, policy, accelerator = loop.recipe.training, practice.policy, loop.accelerator
    records = loop.order.step(loop.state.step)
    totals.add_records(np.asarray(loop.train.prepared.record_channel, np.int64)[records])
    rollouts = roll_out(
        loop.model,
        [loop.train.prepared.branch(int(r)) for r in records],
        [practice.train[int(r)] for r in records],
        group_size(loop.recipe),
        practice.sampler,
        practice.reward,
        accelerator,
        _seed(loop, SAMPLE),
    )
    branches = rollouts.branches()
    measured = policy.measure(loop.model, branches, loop.packing, accelerator)
    lengths_N = torch.from_numpy(answer_lengths(branches)).to(accelerator.device)
    kl_N = _kl(measured, lengths_N)
    if accelerator.is_main_process:  # before anything can be found wrong with them
        kls = None if kl_N is None else kl_N.tolist()
        data, count = loop.train.prepared, loop.recipe.rollouts.keep_per_step
        rows = rollout_rows(rollouts, kls, loop.state.step + 1, data, practice.train, count)
        practice.log.append(rows)
    _check_kl(loop, measured, kl_N, lengths_N)
    if accelerator.is_main_process:
        totals.add(_rollout_sums(loop, rollouts, measured, kl_N, lengths_N))
    else:
        totals.add(_nothing(_rollout_sums(loop, rollouts, measured, kl_N, lengths_N)))
    lesson = _lesson(loop, practice, rollouts, branches, measured, lengths_N)
    rate = learning_rate(settings, loop.state.step, loop.total_steps)
    for group in loop.optimizer.param_groups:
        group["lr"] = rate * group.get("lr_factor", 1.0)
    grad_norm, tokens = 0.0, 0
    for chosen in _minibatches(loop, lesson.branches):
        grad_norm, unique = _update(loop, practice, lesson, chosen, totals)
        tokens += unique
    kl_weight = policy.kl_weight
    if kl_N is not None:
        policy.steer(float(kl_N.mean()))
    return _Done(grad_norm, rate, tokens, kl_weight)


class _Lesson(NamedTuple):
    """What a step learns from: those of its answers that teach something.

    Attributes:
        branches: Prompt and answer of each.
        lessons: Of their tokens, one answer after another.
        offsets: int64: where the tokens of each answer begin.
    """

    branches: list[Branch]
    lessons: Lessons
    offsets: NDArray[np.int64]


def _lesson(
    loop: Loop,
    practice: Practice,
    rollouts: Rollouts,
    branches: Sequence[Branch],
    measured: Measured,
    lengths_N: torch.Tensor,
) -> _Lesson:
    """Leave out what teaches nothing, and fix what the rest does.

    Raises:
        TrainingError: If nothing is left.
    """
    policy = practice.policy
    learned = np.ones(len(branches), np.bool_)
    if loop.recipe.rollouts.truncated == "mask":
        learned = rollouts.finished
        _, group, sizes = np.unique(
            rollouts.record[learned], return_inverse=True, return_counts=True
        )
        learned[learned] = sizes[group] >= policy.objective.least_group
    if not learned.any():
        raise TrainingError(
            f"of the {len(branches)} answers of this step too few ended within "
            f"{loop.recipe.rollouts.max_new_tokens} tokens to learn from them. Raise "
            "rollouts.max_new_tokens, or set rollouts.truncated: penalty.",
            where=f"step {loop.state.step + 1}",
        )
    learned_N = torch.from_numpy(learned).to(lengths_N.device)
    own_N = lengths_N[learned_N]
    lessons = policy.objective.lessons(
        torch.from_numpy(_gains(loop, rollouts)[learned]).to(measured.logprob_T),
        torch.from_numpy(rollouts.record[learned]).to(lengths_N.device),
        own_N,
        measured.select(torch.repeat_interleave(learned_N, lengths_N)),
        policy.kl_weight,
    )
    offsets = (own_N.cumsum(0) - own_N).cpu().numpy()
    kept = [branch for branch, keep in zip(branches, learned, strict=True) if keep]
    return _Lesson(kept, lessons, offsets)


def _update(
    loop: Loop,
    practice: Practice,
    lesson: _Lesson,
    chosen: NDArray[np.int64],
    totals: ChannelTotals,
) -> tuple[float, int]:
    """Learn from some answers; return gradient norm and unique tokens."""
    accelerator = loop.accelerator
    branches = [lesson.branches[index] for index in chosen]
    packs, share = loop.packing.dealt(branches, accelerator)
    divisor = practice.policy.objective.divisor(branches)
    for number, pack in enumerate(share):
        last = number == len(share) - 1  # gradients are summed over processes once an update
        with accumulating(accelerator, loop.model, last=last), accelerator.autocast():
            sums = loop.model(pack, branches, lesson.lessons, lesson.offsets[chosen])
            # Data-parallel engines average over processes; what is wanted is the sum.
            accelerator.backward(sums.loss * (accelerator.num_processes / divisor))
        totals.add(sums)
        del sums  # as in danlu.training.loop
    limit = loop.recipe.training.max_grad_norm or float("inf")
    grad_norm = clip_gradients(accelerator, loop.parameters.values(), limit)
    if not np.isfinite(grad_norm):
        names = loop.train.prepared.record_ids
        ids = dict.fromkeys(names[branch.record] for branch in branches)
        raise TrainingError(
            f"the gradient is not finite (norm {grad_norm}). Records: {', '.join(list(ids)[:16])}. "
            f"{_kept(loop)} Lower training.learning_rate, or train in float32.",
            where=f"step {loop.state.step + 1}",
        )
    loop.optimizer.step()
    loop.optimizer.zero_grad()
    return grad_norm, sum(pack.tokens for pack in packs)


def _minibatches(loop: Loop, branches: Sequence[Branch]) -> Iterator[NDArray[np.int64]]:
    """Yield the answers of each update: whole groups, dealt anew in every pass."""
    record = np.array([branch.record for branch in branches], np.int64)
    rng = np.random.default_rng(_seed(loop, SHUFFLE))
    for _ in range(update_epochs(loop.recipe)):
        order = rng.permutation(np.unique(record))
        for part in np.array_split(order, loop.recipe.rollouts.minibatches):
            if len(part):
                yield np.flatnonzero(np.isin(record, part))


def _gains(loop: Loop, rollouts: Rollouts) -> NDArray[np.float64]:
    """Return what is learned from: the rewards, less the penalty of truncated answers."""
    settings = loop.recipe.rollouts
    lost = settings.truncation_penalty if settings.truncated == "penalty" else 0.0
    return np.asarray(rollouts.rewards - lost * ~rollouts.finished, np.float64)


def _kl(measured: Measured, lengths_N: torch.Tensor) -> torch.Tensor | None:
    """Return each answer's log-ratio to the reference, ``(N,)``; its mean is the KL, in nats."""
    if measured.reference_T is None:
        return None
    owner_T = torch.repeat_interleave(
        torch.arange(len(lengths_N), device=lengths_N.device), lengths_N
    )
    ratio_T = measured.logprob_T - measured.reference_T
    return ratio_T.new_zeros(len(lengths_N)).index_add(0, owner_T, ratio_T)


def _check_kl(
    loop: Loop, measured: Measured, kl_N: torch.Tensor | None, lengths_N: torch.Tensor
) -> None:
    """Stop where the policy has run away from the reference."""
    if not torch.isfinite(measured.logprob_T).all():
        raise TrainingError(
            "the policy gives its own answers a log-probability that is not finite. "
            f"{_kept(loop)} Lower training.learning_rate, or train in float32.",
            where=f"step {loop.state.step + 1}",
        )
    limit = loop.recipe.rollouts.kl_limit
    if kl_N is None or limit is None:
        return
    kl, tokens = float(kl_N.mean()), float(lengths_N.float().mean())
    if not kl <= limit:
        raise TrainingError(
            f"the policy has run away: its KL to the reference is {kl:.1f} nats per answer, and "
            f"rollouts.kl_limit is {limit:g} (answers have {tokens:.0f} tokens on average). "
            f"{_kept(loop)} Read the last rows of rollouts.jsonl; lower training.learning_rate or "
            "raise objective.kl_weight. For long answers that are still good, raise the limit.",
            where=f"step {loop.state.step + 1}",
        )


def _rollout_sums(
    loop: Loop,
    rollouts: Rollouts,
    measured: Measured,
    kl_N: torch.Tensor | None,
    lengths_N: torch.Tensor,
) -> ChannelSums:
    """Add up what answers are like, per task type."""
    device, channels = lengths_N.device, len(loop.train.prepared.channels)
    channel_N = torch.from_numpy(rollouts.channel).to(device)

    def total(values: NDArray[Any] | torch.Tensor) -> torch.Tensor:
        dtype = torch.float32 if device.type == "mps" else torch.float64
        placed = torch.as_tensor(values, dtype=dtype, device=device)
        return sum_by_channel(placed, channel_N, channels)

    owner_T = torch.repeat_interleave(torch.arange(len(lengths_N), device=device), lengths_N)
    entropy_N = measured.entropy_T.new_zeros(len(lengths_N))
    entropy_N = entropy_N.index_add(0, owner_T, measured.entropy_T)
    _, first, group, sizes = np.unique(
        rollouts.record, return_index=True, return_inverse=True, return_counts=True
    )
    compared = np.zeros(len(group))
    compared[first] = sizes > 1
    low, high = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
    np.minimum.at(low, group, rollouts.rewards)
    np.maximum.at(high, group, rollouts.rewards)
    found = {
        "answers": total(np.ones(len(group))),
        "reward": total(rollouts.rewards),
        "square_reward": total(rollouts.rewards**2),
        "gain": total(_gains(loop, rollouts)),
        "length": total(lengths_N),
        "entropy": total(entropy_N),
        "truncated": total(~rollouts.finished),
        "groups": total(compared),
        "level_groups": total(compared * (low == high)[group]),
    }
    if kl_N is not None:
        found["kl"] = total(kl_N)
    return ChannelSums(measured.logprob_T.new_zeros(()), found)


def _nothing(sums: ChannelSums) -> ChannelSums:
    """Return the same names with nothing in them: every process knows all answers, one counts."""
    return sums._replace(totals={name: torch.zeros_like(one) for name, one in sums.totals.items()})


def _evaluate(loop: Loop, practice: Practice) -> None:
    """If there is data for it: answer held-out prompts, and keep the weights if they are best.

    One answer to each prompt, drawn with the same numbers every time: what changes from one
    evaluation to the next is the policy.
    """
    if loop.eval is None:
        return
    began = time.perf_counter()
    prepared, accelerator, policy = loop.eval.prepared, loop.accelerator, practice.policy
    totals = ChannelTotals(prepared.channels, loop.objective)
    totals.add_records(np.asarray(prepared.record_channel, np.int64))
    for start in range(0, len(prepared), EVALUATED_AT_A_TIME):
        records = range(start, min(start + EVALUATED_AT_A_TIME, len(prepared)))
        rollouts = roll_out(
            loop.model,
            [prepared.branch(r) for r in records],
            [practice.eval[r] for r in records],
            1,
            practice.sampler,
            practice.reward,
            accelerator,
            _seed(loop, EVALUATE, start),
        )
        branches = rollouts.branches()
        measured = policy.measure(loop.model, branches, loop.packing, accelerator)
        lengths_N = torch.from_numpy(answer_lengths(branches)).to(accelerator.device)
        sums = _rollout_sums(loop, rollouts, measured, _kl(measured, lengths_N), lengths_N)
        sums = sums._replace(totals={**sums.totals, "tokens": sums.totals["length"]})
        totals.add(sums if accelerator.is_main_process else _nothing(sums))
    reduced = totals.reduce(accelerator)
    row = _row(loop, reduced, elapsed_s=time.perf_counter() - began)
    _write(loop, row.model_copy(update={"split": "eval"}))
    state = loop.state
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


def _row(loop: Loop, reduced: Reduced, *, elapsed_s: float) -> MetricsRow:
    return MetricsRow(
        step=loop.state.step,
        epoch=loop.state.step / loop.order.steps_per_epoch,
        loss=reduced.loss,
        supervised_tokens=reduced.supervised_tokens,
        channels=reduced.channels(),
        metrics=reduced.metrics,
        elapsed_s=loop.state.elapsed_s + elapsed_s,
    )


def _seed(loop: Loop, purpose: int, place: int = 0) -> int:
    """Return a seed of its own for each purpose; of the step, but for evaluations."""
    step = 0 if purpose == EVALUATE else loop.state.step
    entropy = [loop.recipe.training.seed, purpose, step, place]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _kept(loop: Loop) -> str:
    kept = loop.checkpoints.steps()
    return (
        "Nothing of this step is kept; the last checkpoint is "
        f"{kept[-1].name if kept else 'none yet'}."
    )

"""Kahneman-Tversky optimisation: learn from thumbs up and thumbs down, without pairs.

    r = log p(y) - log q(y),   p policy, q reference
    loss = w_up (1 - s(beta (r - z)))       for a desirable completion
    loss = w_down (1 - s(beta (z - r)))     for an undesirable one

Ethayarajh et al. 2024, arXiv:2402.01306, Section 4.1. The baseline z is KL(p || q), estimated as in
the paper: put completions after prompts that they do not answer (``mismatched``), take the mean of
r over them, and 0 if it is negative. It says how far the policy has moved on text of this kind
whatever the prompt, so that a completion gains only by what its own prompt adds. No gradient flows
through it. One z serves a whole optimizer step: take it from the sums over all micro-batches and
ranks, or accumulation would change the loss.

Shapes: N completions, M mismatched completions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from danlu.errors import TrainingError
from danlu.objectives.limits import check_number, check_precision


class Completions(NamedTuple):
    """N unpaired completions; log-probabilities are sums over tokens, in nats.

    Attributes:
        policy_N: Under the policy, differentiable.
        reference_N: Under the reference.
        desirable_N: bool: thumbs up.
    """

    policy_N: Tensor
    reference_N: Tensor
    desirable_N: Tensor


class KtoTerms(NamedTuple):
    """One number per completion.

    Attributes:
        loss_N: Differentiable, with its weight.
        reward_N: Detached: ``beta`` times the log-ratio to the reference.
    """

    loss_N: Tensor
    reward_N: Tensor


class KlSum(NamedTuple):
    """Sum of log-ratios over mismatched completions, detached, and their number."""

    nats: Tensor
    number: Tensor


@dataclass(frozen=True)
class Kto:
    """Raise desirable completions above the baseline, and push undesirable ones below it.

    Attributes:
        beta: How strongly the policy is held to the reference; 0.1 as in the paper.
        desirable_weight: Weight of a desirable completion; 1 as in the paper for balanced data,
            ``balanced_weights`` for others.
        undesirable_weight: Weight of an undesirable one.

    Raises:
        RecipeError: If a setting is out of its limits, or both weights are 0.

    Example:
        With the policy at the reference, each loss is 1 - s(0).

        >>> zero = torch.zeros(2)
        >>> batch = Completions(zero, zero, torch.tensor([True, False]))
        >>> Kto().terms(batch, torch.tensor(0.0)).loss_N
        tensor([0.5000, 0.5000])
    """

    needs_reference: ClassVar[bool] = True

    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    def __post_init__(self) -> None:
        remedy = "1 is usual, and `balanced_weights` fits counts that differ."
        check_number("beta", self.beta, "0.1 is usual.", above=0)
        check_number("desirable_weight", self.desirable_weight, remedy, least=0)
        check_number("undesirable_weight", self.undesirable_weight, remedy, least=0)
        total = self.desirable_weight + self.undesirable_weight
        check_number("desirable_weight + undesirable_weight", total, remedy, above=0)

    def terms(self, completions: Completions, baseline: Tensor) -> KtoTerms:
        """Score each completion.

        Args:
            completions: N completions.
            baseline: ``()``: ``kl_baseline`` of the whole optimizer step.

        Raises:
            ValueError: If shapes differ, ``desirable_N`` is not bool, or a log-probability is in
                half precision.
        """
        policy_N, reference_N, desirable_N = completions
        shapes = {name: tuple(one.shape) for name, one in completions._asdict().items()}
        if len(set(shapes.values())) > 1 or policy_N.dim() != 1:
            raise ValueError(f"kto needs one number per completion; shapes are {shapes}")
        if desirable_N.dtype != torch.bool:
            raise ValueError(f"desirable_N must be bool, as True or False; got {desirable_N.dtype}")
        if baseline.dim():
            raise ValueError(
                f"kto's baseline is one number for the whole step, with the shape (); its shape is "
                f"{tuple(baseline.shape)}"
            )
        check_precision(policy_N=policy_N, reference_N=reference_N)
        ratio_N = policy_N - reference_N.detach()
        gain_N = torch.where(desirable_N, ratio_N - baseline.detach(), baseline.detach() - ratio_N)
        up, down = (
            torch.full_like(ratio_N, weight)
            for weight in (self.desirable_weight, self.undesirable_weight)
        )
        # 1 - s(x) = s(-x), without the cancellation.
        loss_N = torch.where(desirable_N, up, down) * torch.sigmoid(-self.beta * gain_N)
        return KtoTerms(loss_N, self.beta * ratio_N.detach())


def kl_sum(policy_M: Tensor, reference_M: Tensor) -> KlSum:
    """Sum the log-ratios of mismatched completions, to be added up over an optimizer step.

    Raises:
        ValueError: If the shapes differ, or a log-probability is in half precision.
    """
    if policy_M.shape != reference_M.shape:
        raise ValueError(
            f"policy and reference must score the same completions; shapes are "
            f"{tuple(policy_M.shape)} and {tuple(reference_M.shape)}"
        )
    check_precision(policy_M=policy_M, reference_M=reference_M)
    ratio_M = (policy_M - reference_M).detach()
    return KlSum(ratio_M.sum(), ratio_M.new_tensor(float(ratio_M.numel())))


def kl_baseline(total: KlSum) -> Tensor:
    """Return the step's baseline, ``()``: the mean log-ratio, and 0 if it is negative.

    Raises:
        TrainingError: If no completion was mismatched.

    Example:
        >>> kl_baseline(kl_sum(torch.tensor([-1.0, -4.0]), torch.tensor([-3.0, -5.0])))
        tensor(1.5000)
    """
    if total.number == 0:
        raise TrainingError(
            "kto's baseline needs at least one mismatched completion in a step, and has none. "
            "Raise training.batch_records to 2 or more."
        )
    return (total.nats / total.number).clamp(min=0)


def mismatched(prompt_N: Tensor) -> Tensor:
    """For each prompt choose a completion that answers another one: int64 ``(N,)``.

    Completions are sorted by prompt and shifted by the largest number that one prompt has, so none
    can land on its own prompt, and each is used once.

    Args:
        prompt_N: int64: which prompt each completion answers; N may be 0.

    Raises:
        TrainingError: If one prompt has more than half of the completions.

    Example:
        >>> mismatched(torch.tensor([7, 7, 8, 9]))
        tensor([2, 3, 0, 1])
    """
    order_N = torch.argsort(prompt_N, stable=True)
    counts = torch.unique(prompt_N, return_counts=True)[1]
    most = int(counts.max()) if len(counts) else 0
    if 2 * most > len(prompt_N):
        raise TrainingError(
            f"kto's baseline puts completions after other prompts, but one prompt has {most} of "
            f"the {len(prompt_N)} completions of a step; it may have half. "
            "Raise training.batch_records, or mix the records of different prompts."
        )
    chosen_N = torch.empty_like(order_N)
    chosen_N[order_N] = order_N.roll(-most)
    return chosen_N


def balanced_weights(desirable: int, undesirable: int) -> tuple[float, float]:
    """Return ``(desirable_weight, undesirable_weight)`` that give both kinds the same total.

    The commoner kind keeps 1, as in the paper, which advises a ratio of the totals, desirable to
    undesirable, of 1 to 4/3; this is 1.

    Raises:
        TrainingError: If there is none of one kind.

    Example:
        >>> balanced_weights(900, 300)
        (1.0, 3.0)
    """
    if desirable < 1 or undesirable < 1:
        raise TrainingError(
            f"kto has {desirable} desirable and {undesirable} undesirable completions; weights can "
            "balance them only if there is at least one of each. Add data of the missing kind."
        )
    most = max(desirable, undesirable)
    return most / desirable, most / undesirable

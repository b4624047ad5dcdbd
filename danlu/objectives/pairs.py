"""What an objective over preference pairs is given, and what it returns.

Shapes: P pairs.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from danlu.errors import TrainingError
from danlu.objectives.limits import check_precision


class Pairs(NamedTuple):
    """P preference pairs; every log-probability is a sum over the completion's tokens, in nats.

    Attributes:
        chosen_P: Under the policy, differentiable; float32 or float64.
        rejected_P: Likewise.
        chosen_reference_P: Under the reference; None where the objective needs none.
        rejected_reference_P: Likewise.
        chosen_tokens_P: Length of the completion in tokens, at least 1.
        rejected_tokens_P: Likewise.
    """

    chosen_P: Tensor
    rejected_P: Tensor
    chosen_reference_P: Tensor | None
    rejected_reference_P: Tensor | None
    chosen_tokens_P: Tensor
    rejected_tokens_P: Tensor


class PairTerms(NamedTuple):
    """One number per pair: sums are taken by the trainer, and divided once per step.

    Attributes:
        loss_P: Differentiable.
        margin_P: Detached: chosen minus rejected reward. The pair is told apart where above 0.
        chosen_reward_P: Detached: the implicit reward of the chosen completion.
        rejected_reward_P: Detached: that of the rejected one.
    """

    loss_P: Tensor
    margin_P: Tensor
    chosen_reward_P: Tensor
    rejected_reward_P: Tensor


class PairObjective(Protocol):
    """A frozen config with a loss over pairs: DPO, ORPO, SimPO, CPO."""

    @property
    def needs_reference(self) -> bool:
        """Whether ``terms`` reads the reference's log-probabilities."""

    def terms(self, pairs: Pairs) -> PairTerms:
        """Score each pair."""


def pair_terms(loss_P: Tensor, chosen_reward_P: Tensor, rejected_reward_P: Tensor) -> PairTerms:
    """Put the loss together with the rewards, which carry no gradient."""
    chosen_reward_P, rejected_reward_P = chosen_reward_P.detach(), rejected_reward_P.detach()
    return PairTerms(
        loss_P, chosen_reward_P - rejected_reward_P, chosen_reward_P, rejected_reward_P
    )


def check_pairs(pairs: Pairs) -> None:
    """Refuse pairs that do not belong together.

    Raises:
        ValueError: If the shapes differ or are not ``(P,)``, or a log-probability is in half
            precision.
        TrainingError: If a completion has no token, so that nothing was predicted.
    """
    shapes = {
        name: tuple(values.shape) for name, values in pairs._asdict().items() if values is not None
    }
    if len(set(shapes.values())) > 1 or pairs.chosen_P.dim() != 1:
        raise ValueError(f"pairs need one number per pair in every field; shapes are {shapes}")
    check_precision(
        chosen_P=pairs.chosen_P,
        rejected_P=pairs.rejected_P,
        chosen_reference_P=pairs.chosen_reference_P,
        rejected_reference_P=pairs.rejected_reference_P,
    )
    for name in ("chosen_tokens_P", "rejected_tokens_P"):
        empty = torch.nonzero(getattr(pairs, name) < 1).flatten().tolist()
        if empty:
            raise TrainingError(
                f"{name.split('_')[0]} completion of pair {empty[0]} of {len(pairs.chosen_P)} has "
                "no token to learn from. Raise sequences.max_length, or remove the record."
            )


def log_ratios(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return ``log policy - log reference`` of the chosen and the rejected completions, ``(P,)``.

    No gradient flows into the reference.

    Raises:
        ValueError: If the reference is missing.
    """
    chosen, rejected = pairs.chosen_reference_P, pairs.rejected_reference_P
    if chosen is None or rejected is None:
        raise ValueError("this objective needs the reference's log-probabilities; they are None")
    return pairs.chosen_P - chosen.detach(), pairs.rejected_P - rejected.detach()


def chosen_nll(pairs: Pairs) -> Tensor:
    """Negative log-likelihood of the chosen completion in nats per token, ``(P,)``.

    Example:
        >>> pairs = Pairs(*torch.tensor([[-6.0], [-9.0]]), None, None, *torch.tensor([[3], [3]]))
        >>> chosen_nll(pairs)
        tensor([2.])
    """
    return -pairs.chosen_P / pairs.chosen_tokens_P

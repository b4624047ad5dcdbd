"""Group-relative policy optimisation: the other answers to a prompt stand in for a critic.

    A_i = (R_i - mean of its group) / (std of its group + 1e-4)
    loss_t = max(-A x, -A clip(x, 1 - clip_low, 1 + clip_high)) + kl_weight k3_t

with x = p_t / o_t, p policy, o the policy that sampled, and k3 the estimate of KL(p || reference).
Shao et al. 2024, arXiv:2402.03300, Eqs. 3 and 4. Without the division by std and with a constant
length: Dr. GRPO, Liu et al. 2025, arXiv:2503.20783. Per token and with a wider upper clip: DAPO, Yu
et al. 2025, arXiv:2503.14476.

The loss of an optimizer step is ``sum(weight_T * loss_T) / sum(total)`` over all its micro-batches
and ranks, whichever way ``normalise`` weighs tokens.

Shapes: N answers, G groups, T tokens of the answers one after another without padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from danlu.errors import RecipeError, TrainingError
from danlu.objectives.limits import check_choice, check_number
from danlu.objectives.ppo import check_lengths, check_rewards, clipped_surrogate, kl_estimates

STD_FLOOR = 1e-4
"""Added to a group's std: rewards that differ by rounding alone must not become advantages of 1."""


class GroupAdvantages(NamedTuple):
    """Advantages of the answers, and what the rewards of each group were like.

    Attributes:
        advantage_N: One per answer; each of its tokens has it.
        mean_G: Mean reward.
        std_G: Its spread; exactly 0 where all rewards are equal: such a group teaches nothing.
    """

    advantage_N: Tensor
    mean_G: Tensor
    std_G: Tensor


class TokenWeights(NamedTuple):
    """Weight of each token in the numerator, and what its answers add to the denominator."""

    weight_T: Tensor
    total: Tensor


class GrpoTerms(NamedTuple):
    """Numbers per token, unweighted; all but the loss are detached.

    Attributes:
        loss_T: Differentiable.
        policy_loss_T: The clipped surrogate.
        clipped_T: bool: the clip holds the token back.
        k1_T: Estimate of KL(old || policy): how far this batch has moved the policy.
        kl_T: k3 estimate of KL(policy || reference); None without a reference.
    """

    loss_T: Tensor
    policy_loss_T: Tensor
    clipped_T: Tensor
    k1_T: Tensor
    kl_T: Tensor | None


@dataclass(frozen=True)
class Grpo:
    """Raise answers that beat the mean of their group, near the policy that sampled them.

    Attributes:
        clip_low: How far a ratio may fall below 1; 0.2 as PPO.
        clip_high: How far it may rise above 1; 0.2 as PPO; DAPO uses 0.28.
        kl_weight: Weight of the KL to the reference; 0.04 as in the paper; at 0 no reference is
            needed.
        divide_by_std: Divide advantages by the group's std, as in the paper. Dr. GRPO does not: it
            gives prompts that are nearly always or never solved more weight than others.
        normalise: How tokens share the loss. ``sequence``: answers count alike, and a token less
            in a long answer (the paper). ``token``: tokens count alike (DAPO). ``constant``: tokens
            count alike, over ``max_tokens`` times the answers (Dr. GRPO).
        max_tokens: The constant; the longest answer that is sampled.

    Raises:
        RecipeError: If a setting is out of its limits, or ``max_tokens`` is missing or idle.

    Example:
        >>> rewards, group = torch.tensor([1.0, 0.0, 2.0, 2.0]), torch.tensor([0, 0, 1, 1])
        >>> Grpo(divide_by_std=False).advantages(rewards, group, groups=2).advantage_N
        tensor([ 0.5000, -0.5000,  0.0000,  0.0000])
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_weight: float = 0.04
    divide_by_std: bool = True
    normalise: Literal["sequence", "token", "constant"] = "sequence"
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        check_number("clip_low", self.clip_low, "0.2 is usual.", above=0, below=1)
        check_number("clip_high", self.clip_high, "0.2 is usual.", above=0)
        check_number("kl_weight", self.kl_weight, "0.04 is usual, 0 leaves it out.", least=0)
        check_choice("normalise", self.normalise, ("sequence", "token", "constant"))
        if (self.max_tokens is None) == (self.normalise == "constant"):
            raise RecipeError(
                f"is {self.max_tokens} with normalise {self.normalise!r}; 'constant' needs it, and "
                "nothing else reads it. Set both or neither.",
                where="objective.max_tokens",
            )
        if self.max_tokens is not None:
            check_number("max_tokens", self.max_tokens, "Use the sampling limit.", least=1)

    @property
    def needs_reference(self) -> bool:
        """Whether ``terms`` reads the reference's log-probabilities."""
        return self.kl_weight > 0

    def advantages(self, reward_N: Tensor, group_N: Tensor, groups: int) -> GroupAdvantages:
        """Compare each answer's reward with its group's; all answers of a group must be here.

        Args:
            reward_N: One reward per answer.
            group_N: int64: which prompt it answers, from 0 to ``groups - 1``, in any order.
            groups: How many prompts there are.

        Raises:
            ValueError: If shapes differ.
            TrainingError: If a reward is not finite, or a group has fewer than two answers.
        """
        if reward_N.shape != group_N.shape or reward_N.dim() != 1:
            raise ValueError(
                "each answer needs a reward and a group; shapes are "
                f"{tuple(reward_N.shape)} and {tuple(group_N.shape)}"
            )
        check_rewards(reward_N)
        wide = torch.float32 if reward_N.device.type == "mps" else torch.float64
        wide_N, zero_G = reward_N.to(wide), torch.zeros(groups, dtype=wide, device=reward_N.device)
        count_G = zero_G.index_add(0, group_N, torch.ones_like(wide_N))
        alone = torch.nonzero(count_G < 2).flatten().tolist()
        if alone:
            raise TrainingError(
                f"group {alone[0]} of {groups} has {int(count_G[alone[0]])} answers; it needs 2 to "
                "compare. Sample more answers per prompt (8 is usual)."
            )
        # Above the group's least reward first: the mean of equal rewards is rounded, zeros are not.
        least_G = zero_G.scatter_reduce(0, group_N, wide_N, "amin", include_self=False)
        above_N = wide_N - least_G[group_N]
        rise_G = zero_G.index_add(0, group_N, above_N) / count_G
        above_N = above_N - rise_G[group_N]
        std_G = (zero_G.index_add(0, group_N, above_N**2) / (count_G - 1)).sqrt()
        if self.divide_by_std:
            above_N = above_N / (std_G[group_N] + STD_FLOOR)
        # Rewards of a rule may be whole numbers or bools; advantages are not.
        dtype = torch.promote_types(reward_N.dtype, torch.float32)
        return GroupAdvantages(above_N.to(dtype), (least_G + rise_G).to(dtype), std_G.to(dtype))

    def token_weights(self, lengths_N: Tensor) -> TokenWeights:
        """Say how the tokens of N answers share the loss.

        Returns:
            float32 weights and total. Add both up over micro-batches and ranks; divide once.

        Example:
            >>> Grpo().token_weights(torch.tensor([2, 1]))
            TokenWeights(weight_T=tensor([0.5000, 0.5000, 1.0000]), total=tensor(2.))
        """
        tokens = torch.ones(int(lengths_N.sum()), device=lengths_N.device)
        answers = tokens.new_tensor(float(len(lengths_N)))
        if self.normalise == "token":
            return TokenWeights(tokens, tokens.sum())
        if self.normalise == "constant":
            assert self.max_tokens is not None
            return TokenWeights(tokens / self.max_tokens, answers)
        return TokenWeights(torch.repeat_interleave(1 / lengths_N.float(), lengths_N), answers)

    def terms(
        self,
        policy_T: Tensor,
        old_T: Tensor,
        advantage_N: Tensor,
        lengths_N: Tensor,
        reference_T: Tensor | None = None,
    ) -> GrpoTerms:
        """Score each sampled token.

        Args:
            policy_T: Its log-probability under the policy, differentiable.
            old_T: Under the policy that sampled it.
            advantage_N: One per answer.
            lengths_N: int64: tokens per answer, at least 1.
            reference_T: Under the reference; needed with ``kl_weight``, reported if given.

        Raises:
            ValueError: If shapes differ, or the reference is missing.
            TrainingError: If an answer is empty.
        """
        if reference_T is None and self.needs_reference:
            raise ValueError("kl_weight needs the reference's log-probabilities; they are None")
        check_lengths(lengths_N, policy_T, old_T, policy_T if reference_T is None else reference_T)
        if advantage_N.shape != lengths_N.shape:
            raise ValueError(f"{len(advantage_N)} advantages for {len(lengths_N)} answers")
        advantage_T = torch.repeat_interleave(advantage_N, lengths_N)
        policy = clipped_surrogate(policy_T, old_T, advantage_T, self.clip_low, self.clip_high)
        loss_T, kl_T = policy.loss_T, None
        if reference_T is not None:
            kl_T = kl_estimates(policy_T, reference_T.detach()).k3
            if self.kl_weight:
                loss_T = loss_T + self.kl_weight * kl_T
        return GrpoTerms(
            loss_T=loss_T,
            policy_loss_T=policy.loss_T.detach(),
            clipped_T=policy.clipped_T,
            k1_T=kl_estimates(old_T.detach(), policy_T.detach()).k1,
            kl_T=None if kl_T is None else kl_T.detach(),
        )

"""Proximal policy optimisation, as InstructGPT uses it: rollouts, a critic, a KL penalty.

For a completion with reward R, sampled by policy o (old) and compared with reference q:

    r_t = -kl_weight (log o_t - log q_t),  plus R on the last token       (``penalised_rewards``)
    d_t = r_t + gamma V_{t+1} - V_t,  V = 0 after the last token
    A_t = d_t + gamma gae_lambda A_{t+1},  return_t = A_t + V_t           (``advantages``)
    policy loss_t = max(-A x, -A clip(x, 1 - clip, 1 + clip)),  x = p_t / o_t
    value loss_t = 1/2 max((v - return)^2, (clip(v, V - c, V + c) - return)^2)

Reward and controller: Ziegler et al. 2019, arXiv:1909.08593, Section 2.2, and the code published
with it (openai/lm-human-preferences); Ouyang et al. 2022, arXiv:2203.02155. Advantages: Schulman et
al. 2015, arXiv:1506.02438, Eq. 16. Clipping: Schulman et al. 2017, arXiv:1707.06347, Eq. 7.

Shapes: N completions, T their tokens one completion after another without padding, C a chunk of
predictions, V vocabulary. Every function returns numbers per token or sums; only the trainer
divides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from danlu.errors import TrainingError
from danlu.objectives.limits import check_number, check_precision, widened

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are cut here before exp. Beyond 88 exp is infinite in float32, and the gradient of the
branch that min does not take becomes 0 times infinity, which is no number."""


class Rollout(NamedTuple):
    """What was fixed when the completions were sampled; no gradient flows into it.

    Attributes:
        old_T: Log-probability of each token under the policy that sampled it.
        old_value_T: The critic's value then.
        advantage_T: From ``advantages``, whitened.
        return_T: From ``advantages``.
    """

    old_T: Tensor
    old_value_T: Tensor
    advantage_T: Tensor
    return_T: Tensor


class PpoTerms(NamedTuple):
    """Numbers per token; all but the loss are detached.

    Attributes:
        loss_T: Differentiable: policy, value and entropy together.
        policy_loss_T: The clipped surrogate.
        value_loss_T: The critic's squared error, unweighted.
        clipped_T: bool: the policy's clip holds the token back.
        value_clipped_T: bool: the critic's clip does.
        k1_T: Estimate of KL(old || policy), see ``kl_estimates``.
        k3_T: Another.
    """

    loss_T: Tensor
    policy_loss_T: Tensor
    value_loss_T: Tensor
    clipped_T: Tensor
    value_clipped_T: Tensor
    k1_T: Tensor
    k3_T: Tensor


class Advantages(NamedTuple):
    """How much better each token was than the critic expected, and what was to be expected."""

    advantage_T: Tensor
    return_T: Tensor


class Surrogate(NamedTuple):
    """The clipped policy loss of each token, and whether the clip holds it back (bool)."""

    loss_T: Tensor
    clipped_T: Tensor


class KlEstimates(NamedTuple):
    """Two unbiased estimates of a KL divergence from one sample each."""

    k1: Tensor
    k3: Tensor


class Moments(NamedTuple):
    """Count, sum and sum of squares: what ranks and micro-batches can add up."""

    number: Tensor
    total: Tensor
    squares: Tensor


@dataclass(frozen=True)
class Ppo:
    """Raise the reward of sampled completions, near the policy that sampled them.

    Attributes:
        kl_weight: Price of a nat of KL to the reference, in reward; 0.02 as InstructGPT, 0.2 at the
            start of Ziegler et al.'s adaptive control.
        kl_target: KL per completion, in nats, that ``next_kl_weight`` steers to; None keeps
            ``kl_weight`` as it is, as InstructGPT does.
        kl_gain: How fast it steers; 0.1 as in Ziegler et al.
        gamma: Discount per token; 1 as in both.
        gae_lambda: 0 trusts the critic, 1 the rewards; 0.95 as in both.
        clip: How far a token's probability ratio may move from 1; 0.2 as in both.
        value_clip: How far a value may move; 0.2 as Ziegler et al.; None: as far as it likes.
        value_weight: Weight of the critic's loss; 0.1 as Ziegler et al.
        entropy_weight: Weight of an entropy bonus; 0 as in both.

    Raises:
        RecipeError: If a setting is out of its limits.

    Example:
        A token twice as likely as before, and better than expected, is held at 1.2.

        >>> one, two = torch.ones(1), torch.tensor([2.0])
        >>> rollout = Rollout(old_T=two.log() - two.log() * 2, old_value_T=one, advantage_T=one,
        ...     return_T=one)
        >>> terms = Ppo().terms(torch.zeros(1), one, rollout)
        >>> terms.policy_loss_T, terms.clipped_T
        (tensor([-1.2000]), tensor([True]))
    """

    kl_weight: float = 0.02
    kl_target: float | None = None
    kl_gain: float = 0.1
    gamma: float = 1.0
    gae_lambda: float = 0.95
    clip: float = 0.2
    value_clip: float | None = 0.2
    value_weight: float = 0.1
    entropy_weight: float = 0.0

    def __post_init__(self) -> None:
        check_number("kl_weight", self.kl_weight, "0.02 is usual.", least=0)
        check_number("kl_gain", self.kl_gain, "0.1 is usual.", above=0, most=1)
        check_number("gamma", self.gamma, "1 is usual.", least=0, most=1)
        check_number("gae_lambda", self.gae_lambda, "0.95 is usual.", least=0, most=1)
        check_number("clip", self.clip, "0.2 is usual.", above=0, below=1)
        check_number("value_weight", self.value_weight, "0.1 is usual.", least=0)
        check_number("entropy_weight", self.entropy_weight, "0 leaves it out.", least=0)
        if self.value_clip is not None:
            check_number("value_clip", self.value_clip, "0.2 is usual, None is no clip.", above=0)
        if self.kl_target is not None:
            check_number("kl_target", self.kl_target, "None keeps kl_weight as it is.", above=0)
            check_number(
                "kl_weight",
                self.kl_weight,
                "A controller only multiplies it: start at 0.2.",
                above=0,
            )

    def next_kl_weight(self, kl_weight: float, measured_kl: float) -> float:
        """Return the KL weight of the next rollouts.

        e = clip((measured - target) / target, -0.2, 0.2); the weight is multiplied by
        1 + kl_gain e (Ziegler et al. 2019, Section 2.2).

        Args:
            kl_weight: That of these rollouts; at first ``self.kl_weight``.
            measured_kl: Mean over these completions of the sum of ``log old - log reference``,
                in nats. By chance it may be negative.

        Raises:
            TrainingError: If the measured KL is not finite.

        Example:
            >>> Ppo(kl_target=6.0).next_kl_weight(0.2, measured_kl=12.0)
            0.20400000000000001
        """
        if not math.isfinite(measured_kl):
            raise TrainingError(
                f"the KL to the reference is {measured_kl}; it must be finite. The policy has run "
                "away: lower training.learning_rate, or raise objective.kl_weight."
            )
        if self.kl_target is None:
            return kl_weight
        error = min(max(measured_kl / self.kl_target - 1, -0.2), 0.2)
        return kl_weight * (1 + self.kl_gain * error)

    def terms(
        self,
        policy_T: Tensor,
        value_T: Tensor,
        rollout: Rollout,
        entropy_T: Tensor | None = None,
    ) -> PpoTerms:
        """Score each sampled token.

        Args:
            policy_T: Its log-probability under the policy, differentiable.
            value_T: The critic's value, differentiable.
            rollout: What was fixed at sampling.
            entropy_T: From ``entropy``, differentiable; needed with ``entropy_weight``.

        Raises:
            ValueError: If shapes differ, ``entropy_T`` is missing, or a log-probability is in half
                precision.
        """
        old_T, old_value_T, advantage_T, return_T = (one.detach() for one in rollout)
        shapes = {tuple(one.shape) for one in (policy_T, value_T, *rollout)}
        if len(shapes) > 1 or policy_T.dim() != 1:
            raise ValueError(f"ppo needs one number per token; shapes are {sorted(shapes)}")
        policy = clipped_surrogate(policy_T, old_T, advantage_T, self.clip, self.clip)
        square_T = (value_T - return_T) ** 2
        value_clipped_T = torch.zeros_like(policy.clipped_T)
        if self.value_clip is not None:
            # Bounds, not old + clamp(v - old): that rounds, and would count free values as held.
            near_T = value_T.clamp(old_value_T - self.value_clip, old_value_T + self.value_clip)
            near_square_T = (near_T - return_T) ** 2
            value_clipped_T = near_square_T.detach() > square_T.detach()
            square_T = torch.maximum(square_T, near_square_T)
        value_loss_T = square_T / 2
        loss_T = policy.loss_T + self.value_weight * value_loss_T
        if self.entropy_weight:
            if entropy_T is None or entropy_T.shape != policy_T.shape:
                raise ValueError("entropy_weight needs the entropy of each token's prediction")
            loss_T = loss_T - self.entropy_weight * entropy_T
        drift = kl_estimates(old_T, policy_T.detach())
        return PpoTerms(
            loss_T=loss_T,
            policy_loss_T=policy.loss_T.detach(),
            value_loss_T=value_loss_T.detach(),
            clipped_T=policy.clipped_T,
            value_clipped_T=value_clipped_T,
            k1_T=drift.k1,
            k3_T=drift.k3,
        )


def check_rewards(reward_N: Tensor) -> None:
    """Refuse a reward that is no finite number; it never becomes 0.

    Raises:
        TrainingError: It names the first such answer.
    """
    wrong = torch.nonzero(~torch.isfinite(reward_N)).flatten().tolist()
    if wrong:
        raise TrainingError(
            f"answer {wrong[0]} of {len(reward_N)} has the reward {reward_N[wrong[0]].item()}; a "
            f"reward must be a finite number, and {len(wrong)} "
            f"{'is' if len(wrong) == 1 else 'are'} not. Mend the reward function or the reward run."
        )


def penalised_rewards(
    reward_N: Tensor, old_T: Tensor, reference_T: Tensor, lengths_N: Tensor, kl_weight: float
) -> Tensor:
    """Return ``(T,)``: each token's KL penalty, and the completion's reward on its last token.

    Args:
        reward_N: One reward per completion.
        old_T: Log-probabilities under the policy that sampled the tokens.
        reference_T: The same under the reference.
        lengths_N: int64: tokens per completion, at least 1.
        kl_weight: Price of a nat.

    Raises:
        TrainingError: If a reward is not finite, or a completion is empty.
        ValueError: If shapes differ.

    Example:
        >>> old, reference = torch.tensor([-1.0, -1.0, -2.0]), torch.tensor([-2.0, -1.0, -1.0])
        >>> penalised_rewards(torch.tensor([5.0, 7.0]), old, reference, torch.tensor([2, 1]), 0.1)
        tensor([-0.1000,  5.0000,  7.1000])
    """
    check_lengths(lengths_N, old_T, reference_T)
    if reward_N.shape != lengths_N.shape:
        raise ValueError(f"{len(reward_N)} rewards for {len(lengths_N)} completions")
    check_rewards(reward_N)
    penalty_T = -kl_weight * (old_T - reference_T).detach()
    return penalty_T.index_add(0, lengths_N.cumsum(0) - 1, reward_N.to(penalty_T.dtype))


def advantages(
    reward_T: Tensor, value_T: Tensor, lengths_N: Tensor, gamma: float, gae_lambda: float
) -> Advantages:
    """Estimate advantages by exponentially weighted temporal differences; no gradient.

    Raises:
        TrainingError: If a completion is empty.
        ValueError: If shapes differ.

    Example:
        >>> reward, value = torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.25])
        >>> advantages(reward, value, torch.tensor([2]), gamma=1.0, gae_lambda=1.0)
        Advantages(advantage_T=tensor([0.5000, 0.7500]), return_T=tensor([1., 1.]))
    """
    check_lengths(lengths_N, reward_T, value_T)
    reward_T, value_T = reward_T.detach(), value_T.detach()
    if not len(reward_T):
        return Advantages(reward_T, value_T)
    # A row per position and a column per completion: rows are walked backwards, all completions at
    # once. Beyond its end a completion has reward, value and so advantage 0, which needs no mask.
    column_T = torch.repeat_interleave(
        torch.arange(len(lengths_N), device=lengths_N.device), lengths_N
    )
    start_N = lengths_N.cumsum(0) - lengths_N
    row_T = torch.arange(len(reward_T), device=lengths_N.device) - start_N[column_T]
    rows = int(lengths_N.max())
    reward_LN = reward_T.new_zeros(rows + 1, len(lengths_N))
    value_LN = torch.zeros_like(reward_LN)
    reward_LN[row_T, column_T] = reward_T
    value_LN[row_T, column_T] = value_T.to(reward_T.dtype)
    surprise_LN = reward_LN[:-1] + gamma * value_LN[1:] - value_LN[:-1]
    for row in range(rows - 2, -1, -1):
        surprise_LN[row] += gamma * gae_lambda * surprise_LN[row + 1]
    advantage_T = surprise_LN[row_T, column_T]
    return Advantages(advantage_T, advantage_T + value_T)


def moments(values_T: Tensor) -> Moments:
    """Count, sum and sum of squares of ``values_T``, in float64 where the device has it."""
    wide = torch.float32 if values_T.device.type == "mps" else torch.float64
    values_T = values_T.detach().to(wide)
    return Moments(
        values_T.new_tensor(float(values_T.numel())), values_T.sum(), (values_T**2).sum()
    )


def whitened(values_T: Tensor, total: Moments) -> Tensor:
    """Shift to mean 0 and scale to variance 1, by the moments of all rollouts of a batch.

    Moments of a micro-batch would make the loss depend on how the batch is cut.

    Raises:
        TrainingError: If there are fewer than two values, which have no spread.

    Example:
        >>> values = torch.tensor([1.0, 3.0])
        >>> whitened(values, moments(values))
        tensor([-1.,  1.])
    """
    if total.number < 2:
        raise TrainingError(
            f"{int(total.number)} advantage cannot be whitened; it takes 2 tokens or more. Sample "
            "more or longer completions a step."
        )
    mean = total.total / total.number
    variance = (total.squares / total.number - mean**2).clamp(min=0)
    return ((values_T - mean) * torch.rsqrt(variance + 1e-8)).to(values_T.dtype)


def clipped_surrogate(
    policy_T: Tensor, old_T: Tensor, advantage_T: Tensor, clip_low: float, clip_high: float
) -> Surrogate:
    """Policy loss that gains nothing from a ratio beyond ``[1 - clip_low, 1 + clip_high]``."""
    check_precision(policy_T=policy_T, old_T=old_T)
    old_T, advantage_T = old_T.detach(), advantage_T.detach()
    ratio_T = (policy_T - old_T).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    free_T = -advantage_T * ratio_T
    held_T = -advantage_T * ratio_T.clamp(1 - clip_low, 1 + clip_high)
    return Surrogate(torch.maximum(free_T, held_T), held_T.detach() > free_T.detach())


def kl_estimates(sampled: Tensor, other: Tensor) -> KlEstimates:
    """Estimate KL(a || b) from log-probabilities of tokens that were drawn from a.

    With x = b / a: k1 = -log x, which may be negative; k3 = x - 1 - log x, which may not and varies
    less (Schulman 2020, "Approximating KL divergence"). Both have KL(a || b) as their mean.

    Args:
        sampled: Log-probabilities under a, any shape.
        other: Under b, the same shape.

    Example:
        >>> kl_estimates(torch.tensor([-1.0]), torch.tensor([-2.0]))
        KlEstimates(k1=tensor([1.]), k3=tensor([0.3679]))
    """
    # Only exp can overflow: a token that b holds for impossible costs all its nats, and pulls.
    log_x = (other - sampled).clamp(max=LOG_RATIO_LIMIT)
    return KlEstimates(sampled - other, torch.expm1(log_x) - log_x)


def entropy(logits_CV: Tensor) -> Tensor:
    """Return the entropy of each prediction in nats, ``(C,)``, differentiable.

    Example:
        >>> entropy(torch.zeros(1, 4))
        tensor([1.3863])
    """
    logprobs_CV = functional.log_softmax(widened(logits_CV), -1)
    probs_CV = logprobs_CV.exp()
    # A token of probability 0 adds nothing; 0 times its log would be no number.
    return -(probs_CV * logprobs_CV.masked_fill(probs_CV == 0, 0)).sum(-1)


def check_lengths(lengths_N: Tensor, *tokens_T: Tensor) -> None:
    """Refuse lengths that do not cut the tokens into completions.

    Raises:
        TrainingError: If a completion is empty.
        ValueError: If the lengths do not add up to the tokens, or shapes differ.
    """
    tokens = int(lengths_N.sum())
    shapes = sorted({tuple(one.shape) for one in tokens_T})
    if shapes != [(tokens,)]:
        raise ValueError(
            f"the completions have {tokens} tokens, but the numbers per token have the shapes "
            f"{shapes}"
        )
    empty = torch.nonzero(lengths_N < 1).flatten().tolist()
    if empty:
        raise TrainingError(
            f"answer {empty[0]} of {len(lengths_N)} has no token; it needs one, if only the end. "
            "Sample at least one token."
        )

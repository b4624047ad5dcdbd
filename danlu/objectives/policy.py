"""PPO and GRPO on the forest: the answers to a prompt are branches, and each token is scored.

A step samples answers, measures them once under the policy that sampled them and under the
reference (``Measured``), and fixes what each token is to learn (``Lessons``). Its updates then go
over minibatches of the answers, divided by the minibatch:

    loss = sum_tokens weight loss(token) / divisor

What is reported as ``loss`` is not this surrogate, whose value says nothing (it is near 0 by
construction), but what it is the gradient of: minus the mean reward, plus ``kl_weight`` times the
KL to the reference (per answer with ppo, per token with grpo). It has the same meaning on held-out
prompts, which are only sampled.

Shapes: N answers, T their tokens one answer after another, S predictions of a pack, K channels, V
vocabulary, D model width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from danlu.models.head import CHUNK_BYTES, CHUNK_BYTES_GPU, OutputHead
from danlu.objectives.grpo import Grpo
from danlu.objectives.objective import Floats, Reads, ratio
from danlu.objectives.ppo import (
    Ppo,
    Rollout,
    advantages,
    entropy,
    kl_estimates,
    moments,
    penalised_rewards,
    whitened,
)
from danlu.objectives.predictions import ChannelSums, Predictions, sum_by_channel
from danlu.sequences.branch import Branch


def _some(values_T: Tensor | None, tokens: Tensor) -> Tensor | None:
    return None if values_T is None else values_T[tokens]


class Measured(NamedTuple):
    """Numbers of each sampled token, from one pass before the updates; no gradient.

    Attributes:
        logprob_T: Log-probability under the policy that sampled it, at temperature 1.
        entropy_T: Of that policy's prediction, in nats.
        value_T: The critic's value; None without a critic.
        reference_T: Log-probability under the reference; None without one.
    """

    logprob_T: Tensor
    entropy_T: Tensor
    value_T: Tensor | None
    reference_T: Tensor | None

    def select(self, tokens: Tensor) -> Measured:
        """Return some of the tokens, by index or mask."""
        return Measured(
            logprob_T=self.logprob_T[tokens],
            entropy_T=self.entropy_T[tokens],
            value_T=_some(self.value_T, tokens),
            reference_T=_some(self.reference_T, tokens),
        )


class Lessons(NamedTuple):
    """What each token is to learn, fixed for all updates of a step.

    Attributes:
        old_T: Log-probability under the policy that sampled it.
        advantage_T: How much better than expected it was.
        reference_T: Log-probability under the reference, where the loss reads it.
        old_value_T: The critic's value then (``ppo``).
        return_T: What the critic should have said (``ppo``).
    """

    old_T: Tensor
    advantage_T: Tensor
    reference_T: Tensor | None = None
    old_value_T: Tensor | None = None
    return_T: Tensor | None = None

    def select(self, tokens: Tensor) -> Lessons:
        """Return some of the tokens, by index."""
        return Lessons(
            old_T=self.old_T[tokens],
            advantage_T=self.advantage_T[tokens],
            reference_T=_some(self.reference_T, tokens),
            old_value_T=_some(self.old_value_T, tokens),
            return_T=_some(self.return_T, tokens),
        )


@dataclass(frozen=True, eq=False)
class PolicyPredictions(Predictions):
    """The predictions of a pack, with what each is to learn.

    Attributes:
        lessons: Of its S predictions.
        value: ``(S,)``: what the critic says, differentiable; None without a critic.
    """

    lessons: Lessons | None = None
    value: Tensor | None = None

    @classmethod
    def of(
        cls, predictions: Predictions, lessons: Lessons, value: Tensor | None
    ) -> PolicyPredictions:
        """Add lessons to predictions."""
        own = {one.name: getattr(predictions, one.name) for one in fields(predictions)}
        return cls(**own, lessons=lessons, value=value)


class PolicyObjective(Protocol):
    """What the loop asks of ``ppo`` and ``grpo`` besides what it asks of every objective.

    Attributes:
        critic: Whether every predicting token is read by a critic.
        least_group: Fewest answers to a prompt that anything can be learned from.
    """

    reads: ClassVar[Reads]
    needs_baseline: ClassVar[bool]
    readout: ClassVar[int]
    critic: ClassVar[bool]
    whole_records: ClassVar[bool]
    least_group: ClassVar[int]

    @property
    def needs_reference(self) -> bool:
        """Whether references are precomputed; never, because answers are not known before."""

    @property
    def kl_weight(self) -> float:
        """Price of a nat of KL to the reference, as the recipe says."""

    @property
    def adapts(self) -> bool:
        """Whether the price is steered to a target."""

    def next_kl_weight(self, kl_weight: float, measured_kl: float) -> float:
        """Return the price in the next step."""

    def lessons(
        self,
        reward_N: Tensor,
        record_N: Tensor,
        lengths_N: Tensor,
        measured: Measured,
        kl_weight: float,
    ) -> Lessons:
        """Fix what the tokens of a step learn, of all its answers at once."""

    def divisor(self, branches: Sequence[Branch]) -> float:
        """Return by what an update's loss is divided."""

    def sums(self, predictions: Predictions) -> ChannelSums:
        """Score a pack of an update."""

    def metrics(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Make the numbers that are reported."""


@dataclass(frozen=True)
class PpoPolicy:
    """PPO over sampled answers, with a critic on every predicting token.

    Attributes:
        ppo: The loss of a token, and the rewards it comes from.
    """

    reads: ClassVar[Reads] = "prompts"
    needs_reference: ClassVar[bool] = False
    needs_baseline: ClassVar[bool] = False
    readout: ClassVar[int] = 0
    critic: ClassVar[bool] = True
    whole_records: ClassVar[bool] = False
    least_group: ClassVar[int] = 1

    ppo: Ppo

    @classmethod
    def of(cls, **settings: Any) -> PpoPolicy:
        """Make it of a recipe's settings, where a ``value_clip`` of 0 is none.

        Example:
            >>> PpoPolicy.of(value_clip=0).ppo.value_clip is None
            True
        """
        if settings.get("value_clip") == 0:
            settings["value_clip"] = None
        return cls(Ppo(**settings))

    @property
    def kl_weight(self) -> float:
        """Price of a nat of KL at the start."""
        return self.ppo.kl_weight

    @property
    def adapts(self) -> bool:
        """Whether the price is steered to ``kl_target``."""
        return self.ppo.kl_target is not None

    def next_kl_weight(self, kl_weight: float, measured_kl: float) -> float:
        """Return the price in the next step."""
        return self.ppo.next_kl_weight(kl_weight, measured_kl)

    def lessons(
        self,
        reward_N: Tensor,
        record_N: Tensor,
        lengths_N: Tensor,
        measured: Measured,
        kl_weight: float,
    ) -> Lessons:
        """Estimate each token's advantage, whitened over all answers of the step."""
        assert measured.value_T is not None
        old_T, value_T = measured.logprob_T, measured.value_T
        reference_T = old_T if measured.reference_T is None else measured.reference_T
        reward_T = penalised_rewards(reward_N, old_T, reference_T, lengths_N, kl_weight)
        found = advantages(reward_T, value_T, lengths_N, self.ppo.gamma, self.ppo.gae_lambda)
        advantage_T = whitened(found.advantage_T, moments(found.advantage_T))
        return Lessons(
            old_T=old_T,
            advantage_T=advantage_T,
            old_value_T=value_T,
            return_T=found.return_T.to(value_T.dtype),
        )

    def divisor(self, branches: Sequence[Branch]) -> float:
        """Return the number of sampled tokens."""
        return float(answer_lengths(branches).sum())

    def sums(self, predictions: Predictions) -> ChannelSums:
        """Score a pack: policy, value and entropy of each token."""
        assert isinstance(predictions, PolicyPredictions)
        lessons, value_S = predictions.lessons, predictions.value
        assert lessons is not None
        assert value_S is not None
        assert lessons.old_value_T is not None
        assert lessons.return_T is not None
        entropy_S = None
        if self.ppo.entropy_weight:
            policy_S, entropy_S = logprobs_and_entropy(
                predictions.token_head, predictions.hidden_SD, predictions.target
            )
        else:
            policy_S = predictions.logprobs()
        rollout = Rollout(lessons.old_T, lessons.old_value_T, lessons.advantage_T, lessons.return_T)
        terms = self.ppo.terms(policy_S, value_S, rollout, entropy_S)
        return_S = lessons.return_T

        def total(values_S: Tensor) -> Tensor:
            return sum_by_channel(values_S.detach(), predictions.channel, predictions.channels)

        return ChannelSums(
            terms.loss_T.sum(),
            {
                "tokens": predictions.tokens_by_channel(),
                "policy_loss": total(terms.policy_loss_T),
                "value_loss": total(terms.value_loss_T),
                "clipped": total(terms.clipped_T),
                "drift": total(terms.k3_T),
                "return": total(return_S),
                "square_return": total(return_S**2),
                "square_error": total((return_S - lessons.old_value_T) ** 2),
            },
        )

    def metrics(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return what the answers were like, and how the updates went.

        ``explained_variance`` is the share of the returns' variance that the critic foresaw before
        the updates: 1 is all, 0 no better than their mean. ``drift`` is the KL of the policy that
        sampled to the policy in the updates, in nats per token.
        """
        found = rollout_metrics(totals, self.kl_weight, per="answers")
        if "policy_loss" not in totals:
            return found
        mean = ratio(totals, "return", "tokens")
        spread = ratio(totals, "square_return", "tokens") - mean**2
        parts = {"error": ratio(totals, "square_error", "tokens"), "spread": spread}
        return {
            **found,
            **_update_metrics(totals),
            "value_loss": ratio(totals, "value_loss", "tokens"),
            "explained_variance": 1 - ratio(parts, "error", "spread"),
        }


@dataclass(frozen=True)
class GrpoPolicy:
    """GRPO over groups of sampled answers, without a critic.

    Attributes:
        grpo: The loss of a token, and the advantage of an answer.
    """

    reads: ClassVar[Reads] = "prompts"
    needs_reference: ClassVar[bool] = False
    needs_baseline: ClassVar[bool] = False
    readout: ClassVar[int] = 0
    critic: ClassVar[bool] = False
    whole_records: ClassVar[bool] = False
    least_group: ClassVar[int] = 2
    adapts: ClassVar[bool] = False

    grpo: Grpo

    @classmethod
    def of(cls, **settings: Any) -> GrpoPolicy:
        """Make it of a recipe's settings."""
        return cls(Grpo(**settings))

    @property
    def kl_weight(self) -> float:
        """Weight of the KL in the loss."""
        return self.grpo.kl_weight

    def next_kl_weight(self, kl_weight: float, measured_kl: float) -> float:
        """Return the weight as it is."""
        return kl_weight

    def lessons(
        self,
        reward_N: Tensor,
        record_N: Tensor,
        lengths_N: Tensor,
        measured: Measured,
        kl_weight: float,
    ) -> Lessons:
        """Compare each answer with the others to its prompt."""
        _, group_N = torch.unique(record_N, return_inverse=True)
        groups = int(group_N.max()) + 1 if len(group_N) else 0
        found = self.grpo.advantages(reward_N, group_N, groups)
        advantage_N = found.advantage_N.to(measured.logprob_T.dtype)
        return Lessons(
            old_T=measured.logprob_T,
            advantage_T=torch.repeat_interleave(advantage_N, lengths_N),
            reference_T=measured.reference_T,
        )

    def divisor(self, branches: Sequence[Branch]) -> float:
        """Return what the answers add up to, as ``normalise`` counts them."""
        lengths_N = torch.from_numpy(answer_lengths(branches))
        return float(self.grpo.token_weights(lengths_N).total)

    def sums(self, predictions: Predictions) -> ChannelSums:
        """Score a pack: the clipped surrogate of each token, and its KL to the reference."""
        assert isinstance(predictions, PolicyPredictions)
        lessons = predictions.lessons
        assert lessons is not None
        policy_S = predictions.logprobs()
        # A pack has each answer's predictions together, and at least one; of a pack that several
        # processes compute, one of them may have none of an answer's.
        own_N = torch.bincount(predictions.branch, minlength=len(predictions.answers.record))
        first_N, there_N = own_N.cumsum(0) - own_N, own_N > 0
        terms = self.grpo.terms(
            policy_S,
            lessons.old_T,
            lessons.advantage_T[first_N[there_N]],
            own_N[there_N],
            lessons.reference_T,
        )
        length_N = predictions.answer_tokens().long()  # of whole answers
        weight_T = self.grpo.token_weights(length_N).weight_T
        weight_N = weight_T[length_N.cumsum(0) - length_N]
        weight_S = torch.repeat_interleave(weight_N, own_N).to(policy_S.dtype)

        def total(values_S: Tensor) -> Tensor:
            return sum_by_channel(values_S.detach(), predictions.channel, predictions.channels)

        return ChannelSums(
            (weight_S * terms.loss_T).sum(),
            {
                "tokens": predictions.tokens_by_channel(),
                "policy_loss": total(terms.policy_loss_T),
                "clipped": total(terms.clipped_T),
                "drift": total(kl_estimates(lessons.old_T, policy_S).k3),
            },
        )

    def metrics(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return what the answers were like, and how the updates went."""
        found = rollout_metrics(totals, self.kl_weight, per="length")
        return {**found, **_update_metrics(totals)} if "policy_loss" in totals else found


def rollout_metrics(
    totals: Mapping[str, Floats], kl_weight: float, *, per: Literal["answers", "length"]
) -> dict[str, Floats]:
    """Return what sampled answers were like.

    Args:
        totals: ``answers``, ``reward``, ``gain`` (the reward less the penalty of truncated
            answers), ``length``, ``entropy``, ``truncated``, ``groups``, ``level_groups`` (whose
            rewards are all equal), and with a reference ``kl``.
        kl_weight: Price of a nat in the loss.
        per: Nats of an answer, as ``ppo`` counts them, or of a token, as ``grpo`` does.
    """
    found = {
        "reward": ratio(totals, "reward", "answers"),
        "reward_deviation": (
            ratio(totals, "square_reward", "answers") - ratio(totals, "reward", "answers") ** 2
        ).clip(min=0)
        ** 0.5,
        "entropy": ratio(totals, "entropy", "length"),
        "length": ratio(totals, "length", "answers"),
        "truncated": ratio(totals, "truncated", "answers"),
        "level_groups": ratio(totals, "level_groups", "groups"),
    }
    loss = -ratio(totals, "gain", "answers")
    if "kl" in totals:
        found["kl"] = ratio(totals, "kl", "answers")
        loss = loss + kl_weight * ratio(totals, "kl", per)
    return {"loss": loss, **found}


def _update_metrics(totals: Mapping[str, Floats]) -> dict[str, Floats]:
    return {
        "policy_loss": ratio(totals, "policy_loss", "tokens"),
        "clip_fraction": ratio(totals, "clipped", "tokens"),
        "drift": ratio(totals, "drift", "tokens"),
    }


def answer_lengths(branches: Sequence[Branch]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return how many tokens each branch's completion has, ``(N,)``."""
    return np.array([len(one.input_ids) - one.prompt_tokens for one in branches], np.int64)


def logprobs_and_entropy(
    head: OutputHead, hidden_SD: Tensor, target_S: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each target's log-probability and its prediction's entropy, in nats.

    The logits exist a chunk at a time; for gradients they are computed once more.

    Returns:
        ``(S,)`` each, float32 or float64.
    """
    weight = getattr(head.module, "weight", None)
    vocabulary = weight.shape[0] if isinstance(weight, Tensor) else 2**17
    # Entropy holds four blocks of a chunk's size at once.
    most = CHUNK_BYTES if hidden_SD.device.type == "cpu" else CHUNK_BYTES_GPU
    rows = max(16, most // (4 * 4 * vocabulary))

    def chunk(hidden_CD: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor]:
        logits_CV = head.logits(hidden_CD)
        own_C = logits_CV.gather(1, target_C.unsqueeze(1)).squeeze(1)
        return own_C - logits_CV.logsumexp(-1), entropy(logits_CV)

    parts = []
    for hidden_CD, target_C in zip(hidden_SD.split(rows), target_S.split(rows), strict=True):
        if torch.is_grad_enabled():
            parts.append(checkpoint(chunk, hidden_CD, target_C, use_reentrant=False))
        else:
            parts.append(chunk(hidden_CD, target_C))
    logprobs, entropies = zip(*parts, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)

"""What an objective is given, and what it returns.

Shapes: S predictions, A branches, R records, D model width, K channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from danlu.models.context import ContextGroup, added_up
from danlu.models.head import OutputHead, WeightedNll
from danlu.objectives.distil import TopTokens


@dataclass(frozen=True, eq=False)
class Answers:
    """The branches of a pack as answers to be compared; A of them, all of a record together.

    Attributes:
        record: int64 ``(A,)``: which of the pack's records each answers, from 0.
        records: How many records there are, R.
        channel: int64 ``(A,)``: index of its task type.
        rank: int64 ``(A,)``: 1 is the best; 0 where there is none.
        score: ``(A,)``: in the data, higher is better; NaN where there is none.
        label: int64 ``(A,)``: 1 thumbs up, -1 thumbs down, 0 neither.
        reference: ``(A,)``: log-probability under the reference, in nats; NaN without one.
        readout: ``(A, C)``: what a readout head says of it; None without a head.
        classes: bool ``(A, C)``: the classes it belongs to; None where none are learned.
    """

    record: Tensor
    records: int
    channel: Tensor
    rank: Tensor
    score: Tensor
    label: Tensor
    reference: Tensor
    readout: Tensor | None = None
    classes: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Teacher:
    """What a teacher says of S predictions: its states, or what was kept of its distributions.

    Attributes:
        said: Hidden states ``(S, E)`` with the head that turns them into logits, a chunk at a time;
            or its likeliest tokens.
        vocabulary: How many leading tokens both models know; padding lies behind.
    """

    said: tuple[Tensor, OutputHead] | TopTokens
    vocabulary: int

    @torch.no_grad()
    def of(self, part: slice) -> Tensor | TopTokens:
        """Return logits ``(C, vocabulary)`` of some predictions, or their likeliest tokens."""
        if isinstance(self.said, TopTokens):
            return TopTokens(self.said.ids_CK[part], self.said.logprobs_CK1[part])
        hidden_SE, head = self.said
        return head.frozen_logits(hidden_SE[part])[:, : self.vocabulary]


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a pack, with the hidden states that make them.

    Attributes:
        hidden_SD: Hidden state of each predictor.
        target: int64 ``(S,)``: the token to be predicted.
        weight: float32 ``(S,)``: its weight in the loss.
        channel: int64 ``(S,)``: index of its task type.
        branch: int64 ``(S,)``: which of the pack's branches it belongs to.
        channels: How many task types there are.
        head: Turns hidden states into scores; None for a model that predicts no tokens.
        answers: The pack's branches, for objectives that compare them.
        baseline: ``()``: what a whole step has in common (``kto``); None without.
        teacher: What a teacher says of each prediction (``distil``); None without.
        context: The processes that each have a share of the pack's predictions; None: all are here.
    """

    hidden_SD: Tensor
    target: Tensor
    weight: Tensor
    channel: Tensor
    branch: Tensor
    channels: int
    head: OutputHead | None
    answers: Answers
    baseline: Tensor | None = None
    teacher: Teacher | None = None
    context: ContextGroup | None = None

    @property
    def token_head(self) -> OutputHead:
        """The head that predicts tokens.

        Raises:
            ValueError: If the model has none.
        """
        if self.head is None:
            raise ValueError("the model has no output layer to score tokens with")
        return self.head

    def weighted_nll(self) -> WeightedNll:
        """Sum ``weight * nll``; the cheapest way for an objective that is linear in nll."""
        return self.token_head.weighted_nll(self.hidden_SD, self.target, self.weight)

    def logprobs(self) -> Tensor:
        """Return ``(S,)`` log-probabilities, each differentiable, for any other objective."""
        return self.token_head.logprobs(self.hidden_SD, self.target)

    def answer_logprobs(self) -> Tensor:
        """Return ``(A,)`` log-probabilities of whole answers, each differentiable, in nats."""
        return self.per_answer(self.logprobs())

    def answer_tokens(self) -> Tensor:
        """Return ``(A,)``: how many tokens of each answer are predicted."""
        return self.per_answer(torch.ones_like(self.weight))

    def per_answer(self, values_S: Tensor) -> Tensor:
        """Add up values of predictions per answer, ``(A,)``."""
        total = values_S.new_zeros(len(self.answers.record))
        total = total.index_add(0, self.branch, values_S)
        return total if self.context is None else added_up(total, self.context)

    def by_channel(self, values_A: Tensor) -> Tensor:
        """Add up values of answers ``(A, …)`` per channel, ``(K, …)``, detached."""
        return sum_by_channel(values_A.detach(), self.answers.channel, self.channels)

    def tokens_by_channel(self) -> Tensor:
        """Count scored tokens per channel, ``(K,)``."""
        return sum_by_channel(torch.ones_like(self.weight), self.channel, self.channels)


class ChannelSums(NamedTuple):
    """Sums per channel, kept apart until they are divided once per logging step.

    Attributes:
        loss: ``()``: numerator of the step's loss, differentiable.
        totals: float64 ``(K,)``, or ``(K, C)`` for counts of classes: what an objective's
            ``metrics`` are made of, by name, with ``tokens`` (scored tokens) among them; the same
            names for every pack.
    """

    loss: Tensor
    totals: Mapping[str, Tensor]


def sum_by_channel(values_S: Tensor, channel_S: Tensor, channels: int) -> Tensor:
    """Add up ``values_S``, or rows ``(S, …)``, per channel, in float64 where the device has it.

    Example:
        >>> sum_by_channel(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 0]), 3)
        tensor([5., 0., 2.], dtype=torch.float64)
    """
    dtype = torch.float32 if values_S.device.type == "mps" else torch.float64
    shape = (channels, *values_S.shape[1:])
    total = torch.zeros(shape, dtype=dtype, device=values_S.device)
    return total.index_add_(0, channel_S, values_S.to(dtype))

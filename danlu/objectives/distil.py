"""Distillation: learn a larger model's distribution over the next token, not only one token.

    loss = sum_i w_i [(1 - nll_weight) T^2 KL_i + nll_weight nll_i]

KL_i is KL(teacher || student) (``forward``: cover all that the teacher would say) or KL(student ||
teacher) (``reverse``: say only what the teacher would), both softened by the temperature T. A
gradient through logits / T is 1 / T^2 as large, so T^2 keeps it comparable with nll. Hinton,
Vinyals and Dean 2015, arXiv:1503.02531, Section 2; reverse: Gu et al. 2023, arXiv:2306.08543.

With ``top_k`` the teacher's k likeliest tokens are compared one by one, and all others as one lump.
Lumping never raises a KL divergence, and loses nothing where the lump is empty. Renormalising the k
tokens instead would teach probabilities that are all too high.

Shapes: C a chunk of predictions, V vocabulary, K the teacher's top tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from danlu.objectives.limits import check_choice, check_number, widened


class DistilSums(NamedTuple):
    """Loss numerator, with the numbers that channels are made of.

    Attributes:
        loss: ``()``, differentiable: sum of weight times loss; divide by the sum of weights.
        divergence_C: Detached: KL in nats at the temperature, without T^2.
        nll_C: Detached: negative log-likelihood of the target, in nats.
    """

    loss: Tensor
    divergence_C: Tensor
    nll_C: Tensor


class TopTokens(NamedTuple):
    """A teacher's likeliest tokens, small enough to keep on disk.

    Attributes:
        ids_CK: int64: the tokens.
        logprobs_CK1: Their log-probabilities at the temperature, and last that of all others.
    """

    ids_CK: Tensor
    logprobs_CK1: Tensor


@dataclass(frozen=True)
class Distil:
    """Come near the teacher's distribution.

    Attributes:
        divergence: ``forward`` as Hinton et al., ``reverse`` as Gu et al.
        temperature: Softens both distributions; 1 leaves them as they are sampled from.
        nll_weight: Share of the plain loss on the data's own tokens, 0 to 1; 0 is the teacher
            alone. 0.5 mixes both evenly.
        top_k: Compare this many of the teacher's tokens one by one; None: the whole vocabulary.

    Raises:
        RecipeError: If a setting is out of its limits.

    Example:
        Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 log 3/2 + 1/4 log 1/2 nats.

        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
        >>> one = torch.ones(1)
        >>> Distil(nll_weight=0).sums(student, teacher, torch.tensor([0]), one).loss
        tensor(0.1308)
    """

    divergence: Literal["forward", "reverse"] = "forward"
    temperature: float = 1.0
    nll_weight: float = 0.5
    top_k: int | None = None

    def __post_init__(self) -> None:
        check_choice("divergence", self.divergence, ("forward", "reverse"))
        check_number("temperature", self.temperature, "1 to 4 is usual.", above=0)
        check_number("nll_weight", self.nll_weight, "0.5 is usual.", least=0, most=1)
        if self.top_k is not None:
            check_number("top_k", self.top_k, "64 is usual, None is the whole vocabulary.", least=1)

    def top_tokens(self, teacher_CV: Tensor) -> TopTokens:
        """Keep the teacher's ``top_k`` tokens and the lump, at the temperature.

        Raises:
            ValueError: If ``top_k`` is None.
        """
        if self.top_k is None:
            raise ValueError("top_k is None; the whole distribution is not shortened")
        ids_CK = teacher_CV.topk(min(self.top_k, teacher_CV.shape[-1])).indices
        return TopTokens(
            ids_CK, lumped_logprobs(widened(teacher_CV.detach()) / self.temperature, ids_CK)
        )

    def sums(
        self,
        student_CV: Tensor,
        teacher: Tensor | TopTokens,
        target_C: Tensor,
        weight_C: Tensor,
        *,
        vocabulary: int | None = None,
    ) -> DistilSums:
        """Score a chunk of predictions.

        Args:
            student_CV: The student's logits, differentiable.
            teacher: The teacher's logits ``(C, V)``, or what ``top_tokens`` kept of them.
            target_C: int64: the data's own tokens.
            weight_C: Weight of each prediction.
            vocabulary: How many leading tokens both models know: what lies behind is padding, left
                out of the divergence (and not of the nll). None: all of the student's.

        Raises:
            ValueError: If shapes differ. Of a teacher's logits and the student's, the vocabulary
                must be the same too, as far as it is compared.
        """
        _check_predictions(student_CV, target_C, weight_C)
        student_CV, with_grad = widened(student_CV), torch.is_grad_enabled()
        # Both parts are reported; one of weight 0 must add neither a gradient nor 0 times infinity.
        with torch.set_grad_enabled(with_grad and self.nll_weight < 1):
            divergence_C = self._divergence(student_CV[:, :vocabulary], teacher)
        with torch.set_grad_enabled(with_grad and self.nll_weight > 0):
            nll_C = functional.cross_entropy(student_CV, target_C, reduction="none")
        loss_C = self.mixed(divergence_C, nll_C)
        return DistilSums((weight_C * loss_C).sum(), divergence_C.detach(), nll_C.detach())

    def mixed(self, divergence_C: Tensor, nll_C: Tensor) -> Tensor:
        """Return the loss of each prediction; a part of weight 0 adds nothing.

        Example:
            >>> Distil(temperature=2.0, nll_weight=0.25).mixed(torch.ones(1), torch.ones(1))
            tensor([3.2500])
        """
        loss_C = torch.zeros_like(nll_C)
        if self.nll_weight < 1:
            loss_C = loss_C + (1 - self.nll_weight) * self.temperature**2 * divergence_C
        if self.nll_weight > 0:
            loss_C = loss_C + self.nll_weight * nll_C
        return loss_C

    def _divergence(self, student_CV: Tensor, teacher: Tensor | TopTokens) -> Tensor:
        if isinstance(teacher, Tensor):
            _check_vocabulary(student_CV, teacher)
            if self.top_k is not None:
                teacher = self.top_tokens(teacher)
        if isinstance(teacher, TopTokens):
            _check_top_tokens(student_CV, teacher)
            student_logprobs = lumped_logprobs(student_CV / self.temperature, teacher.ids_CK)
            teacher_logprobs = widened(teacher.logprobs_CK1.detach())
        else:
            student_logprobs = functional.log_softmax(student_CV / self.temperature, -1)
            teacher_logprobs = functional.log_softmax(
                widened(teacher.detach()) / self.temperature, -1
            )
        if self.divergence == "forward":
            return kl_divergence(teacher_logprobs, student_logprobs)
        return kl_divergence(student_logprobs, teacher_logprobs)


def kl_divergence(logprobs: Tensor, other: Tensor) -> Tensor:
    """Return KL(a || b) in nats over the last axis; what has probability 0 under a adds nothing.

    Example:
        >>> kl_divergence(torch.tensor([1.0, 0.0]).log(), torch.tensor([0.5, 0.5]).log())
        tensor(0.6931)
    """
    possible = logprobs > -torch.inf
    gap = torch.where(possible, logprobs, 0) - torch.where(possible, other, 0)
    return (logprobs.exp() * gap).sum(-1)


def lumped_logprobs(logits_CV: Tensor, ids_CK: Tensor) -> Tensor:
    """Return log-probabilities of chosen tokens, and last that of all others together.

    Returns:
        ``(C, K + 1)``, differentiable; the last is ``-inf`` where there are no others.

    Example:
        >>> logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
        >>> lumped_logprobs(logits, torch.tensor([[0]])).exp()
        tensor([[0.5000, 0.5000]])
    """
    logprobs_CV = functional.log_softmax(logits_CV, -1)
    chosen_CK = logprobs_CV.gather(-1, ids_CK)
    if ids_CK.shape[-1] == logits_CV.shape[-1]:
        return torch.cat([chosen_CK, torch.full_like(chosen_CK[:, :1], -torch.inf)], -1)
    rest_CV = logprobs_CV.scatter(-1, ids_CK, -torch.inf)
    # The logsumexp of impossible tokens alone has a gradient that is no number: it is not taken.
    empty_C1 = rest_CV.detach().amax(-1, keepdim=True) == -torch.inf
    rest_C1 = rest_CV.masked_fill_(empty_C1, 0).logsumexp(-1, keepdim=True)
    return torch.cat([chosen_CK, rest_C1.masked_fill(empty_C1, -torch.inf)], -1)


def _check_predictions(student_CV: Tensor, target_C: Tensor, weight_C: Tensor) -> None:
    shapes = tuple(student_CV.shape), tuple(target_C.shape), tuple(weight_C.shape)
    if len(shapes[0]) != 2 or not shapes[0][:1] == shapes[1] == shapes[2]:
        raise ValueError(
            "each prediction needs a row of logits, a target and a weight; shapes are "
            f"{shapes[0]}, {shapes[1]} and {shapes[2]}"
        )


def _check_vocabulary(student_CV: Tensor, teacher_CV: Tensor) -> None:
    if student_CV.shape != teacher_CV.shape:
        raise ValueError(
            f"student logits are {tuple(student_CV.shape)}, the teacher's {tuple(teacher_CV.shape)}"
            "; they must be the same. If only rows of padding differ, cut both to the tokenizer's "
            "length; a teacher with another tokenizer cannot be used."
        )


def _check_top_tokens(student_CV: Tensor, top: TopTokens) -> None:
    ids, logprobs = tuple(top.ids_CK.shape), tuple(top.logprobs_CK1.shape)
    if len(ids) != 2 or ids[0] != len(student_CV) or logprobs != (ids[0], ids[1] + 1):
        raise ValueError(
            f"the teacher's top tokens are {ids} and their log-probabilities {logprobs}; for "
            f"{len(student_CV)} predictions they must be (C, K) and (C, K + 1), the last column "
            "for all other tokens"
        )

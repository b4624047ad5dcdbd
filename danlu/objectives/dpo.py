"""Direct preference optimisation, and four losses over the same log-ratio.

    h = log p(chosen) / r(chosen) - log p(rejected) / r(rejected),   p policy, r reference

    sigmoid   -(1 - e) log s(beta h) - e log s(-beta h)               e = label_smoothing
    robust    [-(1 - e) log s(beta h) + e log s(-beta h)] / (1 - 2e)
    hinge     max(0, 1 - beta h)
    ipo       (h - 1 / (2 beta))^2

with s the logistic function. Sources: sigmoid Rafailov et al. 2023, arXiv:2305.18290, Eq. 7, its
label smoothing Mitchell 2023, "A note on DPO with noisy preferences"; robust Chowdhury et al. 2024,
arXiv:2403.00409; hinge Zhao et al. 2023, arXiv:2305.10425, on the log-ratio as in Liu et al. 2023,
arXiv:2309.06657; ipo Azar et al. 2023, arXiv:2310.12036, Eq. 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional

from danlu.errors import RecipeError
from danlu.objectives.limits import check_choice, check_number
from danlu.objectives.pairs import (
    Pairs,
    PairTerms,
    check_pairs,
    chosen_nll,
    log_ratios,
    pair_terms,
)

LOSSES = ("sigmoid", "ipo", "hinge", "robust")


@dataclass(frozen=True)
class Dpo:
    """Prefer the chosen to the rejected completion more than the reference does.

    Attributes:
        loss: ``sigmoid`` is DPO. ``robust`` is unbiased where a known share of the labels is
            flipped. ``hinge`` stops at a margin. ``ipo`` aims at a margin, and so does not run away
            on labels that never disagree.
        beta: How strongly the policy is held to the reference; 0.1 as in the DPO paper. With
            ``length_normalised`` the log-ratio is per token, and larger values are usual:
            Tülu 3 (Lambert et al. 2024, arXiv:2411.15124) uses 5.
        label_smoothing: Share of labels taken to be flipped, for ``sigmoid`` and ``robust``;
            0 as in the DPO paper.
        length_normalised: Divide each log-ratio by its completion's tokens, so that length is no
            advantage. None: only for ``ipo``, whose authors used means, as TRL's documentation
            reports from them.
        sft_weight: Weight of the chosen completion's nll per token, which keeps its likelihood
            from falling; 0 leaves it out, 1 is RPO's (Pang et al. 2024, arXiv:2404.19733).

    Raises:
        RecipeError: If a setting is out of its limits.

    Example:
        At the start policy and reference are equal, and the loss is log 2.

        >>> import torch
        >>> policy, tokens = torch.tensor([-3.0]), torch.tensor([2])
        >>> Dpo().terms(Pairs(policy, policy, policy, policy, tokens, tokens)).loss_P
        tensor([0.6931])
    """

    needs_reference: ClassVar[bool] = True

    loss: Literal["sigmoid", "ipo", "hinge", "robust"] = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    length_normalised: bool | None = None
    sft_weight: float = 0.0

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, LOSSES)
        check_number("beta", self.beta, "0.1 is usual.", above=0)
        check_number(
            "label_smoothing",
            self.label_smoothing,
            "At 0.5 the labels say nothing; use 0 for labels you trust.",
            least=0,
            below=0.5,
        )
        check_number("sft_weight", self.sft_weight, "0 leaves it out, 1 is usual.", least=0)
        if self.label_smoothing and self.loss not in ("sigmoid", "robust"):
            raise RecipeError(
                f"is {self.label_smoothing}, but the loss {self.loss!r} has none. Set it to 0, or "
                "use the loss 'sigmoid' or 'robust'.",
                where="objective.label_smoothing",
            )

    def terms(self, pairs: Pairs) -> PairTerms:
        """Score each pair; rewards are ``beta`` times the log-ratio to the reference.

        Raises:
            ValueError: If shapes differ, or the reference is missing.
            TrainingError: If a completion has no token.
        """
        check_pairs(pairs)
        chosen_P, rejected_P = log_ratios(pairs)
        per_token = self.length_normalised
        if per_token is None:
            per_token = self.loss == "ipo"
        if per_token:
            chosen_P = chosen_P / pairs.chosen_tokens_P
            rejected_P = rejected_P / pairs.rejected_tokens_P
        loss_P = self._loss(chosen_P - rejected_P)
        if self.sft_weight:
            loss_P = loss_P + self.sft_weight * chosen_nll(pairs)
        return pair_terms(loss_P, self.beta * chosen_P, self.beta * rejected_P)

    def _loss(self, gap_P: Tensor) -> Tensor:
        if self.loss == "ipo":
            return (gap_P - 1 / (2 * self.beta)) ** 2
        if self.loss == "hinge":
            return functional.relu(1 - self.beta * gap_P)
        smoothing = self.label_smoothing
        loss_P = -functional.logsigmoid(self.beta * gap_P)
        if not smoothing:
            return loss_P
        as_labelled_P = (1 - smoothing) * loss_P
        flipped_P = -smoothing * functional.logsigmoid(-self.beta * gap_P)
        if self.loss == "robust":
            return (as_labelled_P - flipped_P) / (1 - 2 * smoothing)
        return as_labelled_P + flipped_P

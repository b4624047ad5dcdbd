"""Contrastive preference optimisation: DPO with a uniform reference, and supervised tuning.

    h = log p(chosen) - log p(rejected)
    loss = -(1 - e) log s(beta h) - e log s(-beta h) + sft_weight nll(chosen)

Xu et al. 2024, arXiv:2401.08417: the preference term is its Eq. 3, with e = label_smoothing as in
DPO. A uniform reference gives both completions the same log-probability, so it needs no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.nn import functional

from danlu.objectives.limits import check_number
from danlu.objectives.pairs import Pairs, PairTerms, check_pairs, chosen_nll, pair_terms


@dataclass(frozen=True)
class Cpo:
    """Make the chosen completion likelier than the rejected one, and learn it.

    Attributes:
        beta: Scale of the log-probabilities; 0.1 as in the paper.
        label_smoothing: Share of labels taken to be flipped; 0 as in the paper.
        sft_weight: Weight of the chosen completion's nll per token, which stands in for the
            reference; 1 as in the paper.

    Raises:
        RecipeError: If a setting is out of its limits.

    Example:
        Equal completions at 1.5 nats a token: log 2 + 1.5.

        >>> import torch
        >>> policy, tokens = torch.tensor([-3.0]), torch.tensor([2])
        >>> Cpo().terms(Pairs(policy, policy, None, None, tokens, tokens)).loss_P
        tensor([2.1931])
    """

    needs_reference: ClassVar[bool] = False

    beta: float = 0.1
    label_smoothing: float = 0.0
    sft_weight: float = 1.0

    def __post_init__(self) -> None:
        check_number("beta", self.beta, "0.1 is usual.", above=0)
        check_number(
            "label_smoothing",
            self.label_smoothing,
            "At 0.5 the labels say nothing; use 0 for labels you trust.",
            least=0,
            below=0.5,
        )
        check_number("sft_weight", self.sft_weight, "1 is usual.", least=0)

    def terms(self, pairs: Pairs) -> PairTerms:
        """Score each pair; rewards are ``beta`` times the log-probability.

        Raises:
            ValueError: If shapes differ.
            TrainingError: If a completion has no token.
        """
        check_pairs(pairs)
        chosen_P, rejected_P = self.beta * pairs.chosen_P, self.beta * pairs.rejected_P
        loss_P = -(1 - self.label_smoothing) * functional.logsigmoid(chosen_P - rejected_P)
        if self.label_smoothing:
            loss_P = loss_P - self.label_smoothing * functional.logsigmoid(rejected_P - chosen_P)
        if self.sft_weight:
            loss_P = loss_P + self.sft_weight * chosen_nll(pairs)
        return pair_terms(loss_P, chosen_P, rejected_P)

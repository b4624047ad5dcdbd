"""Simple preference optimisation: the mean log-probability is the reward.

    loss = -log s(beta (log p(chosen) / tokens - log p(rejected) / tokens) - gamma)

Meng, Xia and Chen 2024, arXiv:2405.14734, Eq. 6. No reference model, and no reward for length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.nn import functional

from danlu.objectives.limits import check_number
from danlu.objectives.pairs import Pairs, PairTerms, check_pairs, chosen_nll, pair_terms


@dataclass(frozen=True)
class Simpo:
    """Make a token of the chosen completion likelier than one of the rejected, by a margin.

    Attributes:
        beta: Scale of the reward; 2.0 is the least that the paper uses, 10 the most that its
            authors advise.
        gamma: Margin that the rewards should have; 1.0 is half of ``beta``, where the authors
            advise to start (their repository, princeton-nlp/SimPO).
        sft_weight: Weight of the chosen completion's nll per token; 0 as in the paper.

    Raises:
        RecipeError: If a setting is out of its limits.

    Example:
        One nat a token apart: -log s(2 * 1 - 1).

        >>> import torch
        >>> chosen, rejected, tokens = torch.tensor([[-2.0], [-4.0], [2.0]])
        >>> Simpo().terms(Pairs(chosen, rejected, None, None, tokens, tokens)).loss_P
        tensor([0.3133])
    """

    needs_reference: ClassVar[bool] = False

    beta: float = 2.0
    gamma: float = 1.0
    sft_weight: float = 0.0

    def __post_init__(self) -> None:
        check_number("beta", self.beta, "2 to 10 is usual.", above=0)
        check_number("gamma", self.gamma, "0 to beta is usual.", least=0)
        check_number("sft_weight", self.sft_weight, "0 leaves it out.", least=0)

    def terms(self, pairs: Pairs) -> PairTerms:
        """Score each pair; rewards are ``beta`` times the mean log-probability of a token.

        Raises:
            ValueError: If shapes differ.
            TrainingError: If a completion has no token.
        """
        check_pairs(pairs)
        chosen_P = self.beta * pairs.chosen_P / pairs.chosen_tokens_P
        rejected_P = self.beta * pairs.rejected_P / pairs.rejected_tokens_P
        loss_P = -functional.logsigmoid(chosen_P - rejected_P - self.gamma)
        if self.sft_weight:
            loss_P = loss_P + self.sft_weight * chosen_nll(pairs)
        return pair_terms(loss_P, chosen_P, rejected_P)

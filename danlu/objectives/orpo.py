"""Odds-ratio preference optimisation: supervised tuning with a penalty on the rejected answer.

    loss = nll(chosen) - beta log s(log odds(chosen) - log odds(rejected))
    odds(y) = P / (1 - P),   log P = log p(y) / tokens(y)

Hong, Lee and Thorne 2024, arXiv:2403.07691, Eqs. 4, 6 and 7; ``beta`` is the paper's lambda. No
reference model, and no supervised stage before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from danlu.objectives.limits import check_number
from danlu.objectives.pairs import Pairs, PairTerms, check_pairs, chosen_nll, pair_terms


@dataclass(frozen=True)
class Orpo:
    """Learn the chosen completion, and make it likelier than the rejected one.

    Attributes:
        beta: Weight of the odds ratio; 0.1 as the paper uses for Mistral.

    Raises:
        RecipeError: If ``beta`` is not above 0.

    Example:
        A mean probability of 1/2 has odds 1, so equal completions give nll log 2 + 0.1 log 2.

        >>> half, tokens = torch.tensor([0.25]).log(), torch.tensor([2])
        >>> Orpo().terms(Pairs(half, half, None, None, tokens, tokens)).loss_P
        tensor([0.7625])
    """

    needs_reference: ClassVar[bool] = False

    beta: float = 0.1

    def __post_init__(self) -> None:
        check_number("beta", self.beta, "0.1 is usual.", above=0)

    def terms(self, pairs: Pairs) -> PairTerms:
        """Score each pair; rewards are ``beta`` times the mean log-probability of a token.

        Raises:
            ValueError: If shapes differ.
            TrainingError: If a completion has no token.
        """
        check_pairs(pairs)
        chosen_P = pairs.chosen_P / pairs.chosen_tokens_P
        rejected_P = pairs.rejected_P / pairs.rejected_tokens_P
        penalty_P = -functional.logsigmoid(log_odds(chosen_P) - log_odds(rejected_P))
        loss_P = chosen_nll(pairs) + self.beta * penalty_P
        return pair_terms(loss_P, self.beta * chosen_P, self.beta * rejected_P)


def log_odds(logprob: Tensor) -> Tensor:
    """Return ``log(P / (1 - P))`` of log-probabilities.

    A completion that is certain to the last bit has infinite odds, and a gradient that is not a
    number; it is taken to be as uncertain as the dtype can tell from certain.

    Example:
        >>> log_odds(torch.tensor([0.75, 0.5]).log())
        tensor([1.0986, 0.0000])
    """
    logprob = logprob.clamp(max=-torch.finfo(logprob.dtype).eps)
    return logprob - torch.log(-torch.expm1(logprob))

"""Preference objectives over ranked answers: DPO, ORPO, SimPO, CPO on the forest.

A record has two answers or more. Each pair of different rank is compared, and the pairs of a record
share its weight of 1, so a list of four counts as much as a pair:

    loss = sum_records mean_pairs loss(pair) / records

Log-probabilities are sums over an answer's tokens, without the weights of supervised tuning.

Shapes: A answers, P pairs, S predictions, K channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from danlu.objectives.objective import Floats, Reads, ratio
from danlu.objectives.pairs import PairObjective, Pairs
from danlu.objectives.predictions import Answers, ChannelSums, Predictions, sum_by_channel
from danlu.sequences.branch import Branch


class PairIndices(NamedTuple):
    """Which answers are compared.

    Attributes:
        better_P: int64: index of the better answer of each pair.
        worse_P: int64: index of the worse one.
        pairs_P: int64: how many pairs its record has; each weighs 1 over that.
    """

    better_P: Tensor
    worse_P: Tensor
    pairs_P: Tensor


def ranked_pairs(answers: Answers) -> PairIndices:
    """Return all pairs of answers of one record and different rank."""
    record_A, rank_A = answers.record, answers.rank
    # Answers of a pack are tens or hundreds: an A x A table is small.
    better_AA = (record_A.unsqueeze(1) == record_A.unsqueeze(0)) & (
        rank_A.unsqueeze(1) < rank_A.unsqueeze(0)
    )
    better_P, worse_P = better_AA.nonzero(as_tuple=True)
    record_P = record_A[better_P]
    pairs_R = torch.bincount(record_P, minlength=answers.records)
    return PairIndices(better_P, worse_P, pairs_R[record_P])


@dataclass(frozen=True)
class Preference:
    """A pair objective over all pairs of each record.

    Attributes:
        pair: The loss of a pair.
    """

    reads: ClassVar[Reads] = "compared"
    needs_baseline: ClassVar[bool] = False
    readout: ClassVar[int] = 0
    whole_records: ClassVar[bool] = True

    pair: PairObjective

    @property
    def needs_reference(self) -> bool:
        """Whether the pair objective does."""
        return self.pair.needs_reference

    def divisor(self, branches: Sequence[Branch]) -> float:
        """Return the number of records."""
        return float(len({branch.member_of for branch in branches}))

    def sums(self, predictions: Predictions) -> ChannelSums:
        """Score a pack of whole records."""
        answers = predictions.answers
        logprob_A, tokens_A = predictions.answer_logprobs(), predictions.answer_tokens()
        better_P, worse_P, pairs_P = ranked_pairs(answers)
        reference_A = answers.reference if self.needs_reference else None
        terms = self.pair.terms(
            Pairs(
                chosen_P=logprob_A[better_P],
                rejected_P=logprob_A[worse_P],
                chosen_reference_P=None if reference_A is None else reference_A[better_P],
                rejected_reference_P=None if reference_A is None else reference_A[worse_P],
                chosen_tokens_P=tokens_A[better_P],
                rejected_tokens_P=tokens_A[worse_P],
            )
        )
        share_P = 1 / pairs_P.to(terms.loss_P.dtype)
        loss_P = terms.loss_P * share_P
        channel_P = answers.channel[better_P]

        def total(values_P: Tensor) -> Tensor:
            return sum_by_channel(values_P.detach() * share_P, channel_P, predictions.channels)

        best_A = answers.rank == _best_rank(answers)[answers.record]
        return ChannelSums(
            loss_P.sum() + 0 * logprob_A.sum(),
            {
                "loss": total(terms.loss_P),
                "records": total(torch.ones_like(share_P)),
                "margin": total(terms.margin_P),
                "correct": total((terms.margin_P > 0).to(share_P.dtype)),
                "chosen_reward": total(terms.chosen_reward_P),
                "rejected_reward": total(terms.rejected_reward_P),
                "best_nats": predictions.by_channel(-logprob_A * best_A),
                "best_tokens": predictions.by_channel(tokens_A * best_A),
                "tokens": predictions.tokens_by_channel(),
            },
        )

    def metrics(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return loss, margin, accuracy and rewards per pair, and the best answer's nll per token.

        A pair counts as told apart where the better answer's reward is higher. ``chosen_nll`` says
        whether the better answers stay likely: a margin may also grow while both get rarer.
        """
        return {
            "loss": ratio(totals, "loss", "records"),
            "accuracy": ratio(totals, "correct", "records"),
            "margin": ratio(totals, "margin", "records"),
            "chosen_reward": ratio(totals, "chosen_reward", "records"),
            "rejected_reward": ratio(totals, "rejected_reward", "records"),
            "chosen_nll": ratio(totals, "best_nats", "best_tokens"),
        }


def _best_rank(answers: Answers) -> Tensor:
    """Return the least rank of each record, ``(R,)``."""
    most = torch.iinfo(torch.int64).max
    best_R = answers.rank.new_full((answers.records,), most)
    return best_R.scatter_reduce(0, answers.record, answers.rank, "amin")

"""Reward modelling on the forest: a readout of the last token scores each answer of a record.

The prompt of K answers is computed once. Lists of two are Bradley-Terry, longer ones
Plackett-Luce; see ``danlu.objectives.reward``.

    loss = sum over all choices of -log p(choice) / number of choices

where a list of K different ranks has K - 1 choices.

Shapes: A answers, P pairs, R records, K channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from danlu.objectives.objective import Floats, Reads, ratio
from danlu.objectives.predictions import Answers, ChannelSums, Predictions, sum_by_channel
from danlu.objectives.preference import ranked_pairs
from danlu.objectives.reward import Reward
from danlu.sequences.branch import Branch


@dataclass(frozen=True)
class Scoring:
    """A reward objective over the ranked answers of each record.

    Attributes:
        reward: The loss of a list, or of a pair with a margin.
    """

    reads: ClassVar[Reads] = "compared"
    needs_reference: ClassVar[bool] = False
    needs_baseline: ClassVar[bool] = False
    readout: ClassVar[int] = 1
    whole_records: ClassVar[bool] = True

    reward: Reward

    def divisor(self, branches: Sequence[Branch]) -> float:
        """Return the number of choices: of each record's answers, those with a worse one."""
        ranks: dict[tuple[int, int], list[int]] = {}
        for branch in branches:
            ranks.setdefault(branch.member_of, []).append(branch.verdict.rank)
        return float(sum(sum(rank < max(own) for rank in own) for own in ranks.values()))

    def sums(self, predictions: Predictions) -> ChannelSums:
        """Score a pack of whole records."""
        answers = predictions.answers
        if answers.readout is None:
            raise ValueError("reward modelling needs a readout head; there is none")
        score_A = answers.readout[:, 0]
        channel_R = _first_of_record(answers.channel, answers)
        better_P, worse_P, pairs_P = ranked_pairs(answers)
        share_P = 1 / pairs_P.to(score_A.dtype)
        gap_P = (score_A[better_P] - score_A[worse_P]).detach()
        terms = self.reward.list_terms(
            score_A,
            answers.record,
            answers.rank,
            groups=answers.records,
            data_score_N=answers.score if self.reward.margin_weight else None,
        )
        loss_R, choices_R = terms.loss_G, terms.choices_G

        def by_record(values_R: Tensor) -> Tensor:
            return sum_by_channel(values_R.detach(), channel_R, predictions.channels)

        def by_pair(values_P: Tensor) -> Tensor:
            channel_P = answers.channel[better_P]
            return sum_by_channel(values_P * share_P, channel_P, predictions.channels)

        return ChannelSums(
            # The head of tokens is not read; a zero keeps every process' graph alike.
            loss_R.sum() + 0 * score_A.sum(),
            {
                "loss": by_record(loss_R),
                "choices": by_record(choices_R),
                "records": by_pair(torch.ones_like(share_P)),
                "correct": by_pair((gap_P > 0).float()),
                "margin": by_pair(gap_P),
                "score": predictions.by_channel(score_A),
                "square": predictions.by_channel(score_A**2),
                "answers": predictions.by_channel(torch.ones_like(score_A)),
                "tokens": predictions.tokens_by_channel(),
            },
        )

    def metrics(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return loss per choice, accuracy and margin per record, mean and spread of scores."""
        mean = ratio(totals, "score", "answers")
        return {
            "loss": ratio(totals, "loss", "choices"),
            "accuracy": ratio(totals, "correct", "records"),
            "margin": ratio(totals, "margin", "records"),
            "score": mean,
            "score_deviation": (ratio(totals, "square", "answers") - mean**2).clip(min=0) ** 0.5,
        }


def _first_of_record(values_A: Tensor, answers: Answers) -> Tensor:
    """Return what all answers of a record have alike, once per record, ``(R,)``."""
    picked = values_A.new_zeros(answers.records)
    picked[answers.record] = values_A
    return picked

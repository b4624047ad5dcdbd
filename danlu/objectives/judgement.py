"""KTO on the forest: answers with a thumb each, and a baseline for the whole step.

Shapes: A answers, K channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from danlu.objectives.kto import Completions, Kto
from danlu.objectives.objective import Floats, Reads, ratio
from danlu.objectives.predictions import ChannelSums, Predictions
from danlu.sequences.branch import UP, Branch


@dataclass(frozen=True)
class Judgement:
    """KTO over all answers of a step; each counts equally but for its label's weight.

    Attributes:
        kto: The loss of an answer.
    """

    reads: ClassVar[Reads] = "judged"
    needs_reference: ClassVar[bool] = True
    needs_baseline: ClassVar[bool] = True
    readout: ClassVar[int] = 0
    whole_records: ClassVar[bool] = False

    kto: Kto

    def divisor(self, branches: Sequence[Branch]) -> float:
        """Return the number of answers."""
        return float(len(branches))

    def sums(self, predictions: Predictions) -> ChannelSums:
        """Score a pack.

        Raises:
            ValueError: If there is no baseline.
        """
        if predictions.baseline is None:
            raise ValueError("kto needs the step's baseline; it is None")
        answers = predictions.answers
        logprob_A = predictions.answer_logprobs()
        good_A = answers.label == UP
        terms = self.kto.terms(
            Completions(logprob_A, answers.reference.to(logprob_A.dtype), good_A),
            predictions.baseline.to(logprob_A.dtype),
        )
        total = predictions.by_channel
        good, bad = good_A.to(logprob_A.dtype), (~good_A).to(logprob_A.dtype)
        baseline_A = predictions.baseline.to(logprob_A.dtype) * torch.ones_like(logprob_A)
        return ChannelSums(
            terms.loss_N.sum(),
            {
                "loss": total(terms.loss_N),
                "answers": total(torch.ones_like(logprob_A)),
                "desirable": total(good),
                "undesirable": total(bad),
                "desirable_reward": total(terms.reward_N * good),
                "undesirable_reward": total(terms.reward_N * bad),
                "desirable_nats": total(-logprob_A * good),
                "desirable_tokens": total(predictions.answer_tokens() * good),
                "baseline": total(baseline_A),
                "tokens": predictions.tokens_by_channel(),
            },
        )

    def metrics(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return the loss, mean rewards, their difference, and the baseline in nats."""
        up = ratio(totals, "desirable_reward", "desirable")
        down = ratio(totals, "undesirable_reward", "undesirable")
        return {
            "loss": ratio(totals, "loss", "answers"),
            "margin": up - down,
            "chosen_reward": up,
            "rejected_reward": down,
            "chosen_nll": ratio(totals, "desirable_nats", "desirable_tokens"),
            "kl_baseline": ratio(totals, "baseline", "answers"),
        }

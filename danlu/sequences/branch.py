"""A branch: one prompt and one completion, as token ids with a weight for each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_RANK = 0
UP, DOWN, NO_LABEL = 1, -1, 0


class Verdict(NamedTuple):
    """What is said of an answer.

    Attributes:
        rank: 1 is the best; ``NO_RANK`` if there is none.
        score: Higher is better; NaN if there is none.
        label: ``UP``, ``DOWN`` or ``NO_LABEL``.
    """

    rank: int = NO_RANK
    score: float = math.nan
    label: int = NO_LABEL


UNJUDGED = Verdict()


class Taught(NamedTuple):
    """What a teacher says of a branch's S trained tokens, the likeliest K tokens of each.

    Attributes:
        ids: int32 ``(S, K)``: the tokens.
        logprobs: float32 ``(S, K + 1)``: their log-probabilities at the teacher's temperature, and
            last that of all others together.
    """

    ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One root-to-leaf path of the token forest.

    Attributes:
        input_ids: int32 ``(T,)``: the whole path, prompt and completion.
        weights: float32 ``(T,)``: the weight with which each token is predicted from the tokens
            before it; 0 is not trained. The first token has no predictor, so its weight is 0.
        record: Index of its record in the prepared data.
        branch: Index of the branch within its record.
        channel: Index of the record's task type.
        prompt_tokens: How many leading tokens are prompt; of two texts, the first one.
        verdict: How good the completion is, where it is one of several to be compared.
        reference: Log-probability in nats of the completion's tokens under the reference model;
            NaN where there is none.
        classes: Numbers of the classes that it belongs to, where classes are learned.
        taught: What was kept of a teacher; None where there is none.
        copy: How often its record came before in the same step: a mix may repeat it.
    """

    input_ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    record: int
    branch: int
    channel: int
    prompt_tokens: int
    verdict: Verdict = UNJUDGED
    reference: float = math.nan
    classes: tuple[int, ...] = ()
    taught: Taught | None = None
    copy: int = 0

    @property
    def member_of(self) -> tuple[int, int]:
        """What it is compared within: its record, each copy for itself."""
        return self.record, self.copy

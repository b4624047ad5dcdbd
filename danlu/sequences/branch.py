"""A branch: one prompt and one completion, as token ids with a weight for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        prompt_tokens: How many leading tokens are prompt.
    """

    input_ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    record: int
    branch: int
    channel: int
    prompt_tokens: int

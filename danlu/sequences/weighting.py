"""What is learned, as a weight for every token: trained prompts, and what counts equally.

N tokens in B branches of R records; arrays as in ``PreparedData``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Weighting = Literal["token", "record", "turn", "task_type"]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

BRANCHES_AT_A_TIME = 16_384


def message_weights(offsets: Int64, prompt_tokens: Int64, weight: Float64) -> Float64:
    """Give each completion token its message's weight, and each prompt token 0.

    The first token of a branch has no token before it to predict it from: 0 in any case.

    Args:
        offsets: ``(B + 1,)``; no branch is empty.
        prompt_tokens: ``(B,)``.
        weight: ``(B,)``: the weights of the branches' messages.

    Returns:
        ``(N,)``.

    Example:
        >>> message_weights(np.array([0, 4]), np.array([2]), np.array([0.5])).tolist()
        [0.0, 0.0, 0.5, 0.5]
    """
    lengths = np.diff(offsets)
    # Alternating stretches: prompt, completion, prompt, completion ...
    stretches = np.stack([prompt_tokens, lengths - prompt_tokens], axis=1).ravel()
    weights = np.repeat(np.stack([np.zeros_like(weight), weight], axis=1).ravel(), stretches)
    weights[offsets[:-1]] = 0.0
    return weights


def train_prompts(
    weights: Float64,
    input_ids: NDArray[np.int32],
    offsets: Int64,
    prompt_tokens: Int64,
    record_offsets: Int64,
) -> None:
    """Give weight 1, in place, to the prompt tokens that no earlier branch of the record has.

    A token at position t is in an earlier branch if both paths are equal up to and with t: then
    it was predicted there, from the same tokens. So each prompt token is trained once.
    """
    for first, last in zip(record_offsets[:-1].tolist(), record_offsets[1:].tolist(), strict=True):
        paths: list[NDArray[np.int32]] = []
        for b in range(first, last):
            start = int(offsets[b])
            path = input_ids[start : int(offsets[b + 1])]
            prompt = int(prompt_tokens[b])
            if prompt > 1:  # a document may have thousands of windows, of which none has more
                shared = max((common_prefix(path, earlier) for earlier in paths), default=0)
                weights[start + max(shared, 1) : start + prompt] = 1.0
            paths.append(path)


def common_prefix(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Count the leading tokens that two paths share.

    Example:
        >>> common_prefix(np.array([1, 2, 3], np.int32), np.array([1, 2, 4, 5], np.int32))
        2
    """
    length = min(len(a), len(b))
    different = a[:length] != b[:length]
    return int(different.argmax()) if different.any() else length


def count_equally(
    weights: Float64,
    offsets: Int64,
    message_weight: Float64,
    record_offsets: Int64,
    weighting: Weighting,
) -> Float64:
    """Scale weights so that records or turns count equally.

    With ``record``, a record's weights sum to the mean weight of its trained messages: 1, unless
    messages were given weights. With ``turn``, a branch's weights sum to its message's weight.
    ``token`` changes nothing, nor does ``task_type``, which needs the whole data set
    (``task_type_factors``).

    Args:
        weights: ``(N,)``.
        offsets: ``(B + 1,)``.
        message_weight: ``(B,)``.
        record_offsets: ``(R + 1,)``; no record is without branches.
        weighting: ``sequences.weighting``.

    Returns:
        ``(N,)``.

    Example:
        >>> two_turns = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
        >>> of = (np.array([0, 2, 6]), np.array([1.0, 1.0]), np.array([0, 2]))
        >>> count_equally(two_turns, *of, "record").tolist()
        [0.0, 0.25, 0.0, 0.25, 0.25, 0.25]
    """
    if weighting in ("token", "task_type") or not len(weights):
        return weights
    lengths = np.diff(offsets)
    sums = np.add.reduceat(weights, offsets[:-1])
    target = message_weight
    if weighting == "record":
        first, branches = record_offsets[:-1], np.diff(record_offsets)
        messages = np.maximum(np.add.reduceat((message_weight > 0).astype(np.int64), first), 1)
        target = np.repeat(np.add.reduceat(message_weight, first) / messages, branches)
        sums = np.repeat(np.add.reduceat(sums, first), branches)
    factors: Float64 = np.divide(target, sums, where=sums > 0, out=sums * 0)
    return weights * np.repeat(factors, lengths)


def task_type_factors(totals: Float64, trained_tokens: int) -> Float64:
    """Return by what each task type's weights are multiplied so that all types count equally.

    Every type's total becomes the same, and the mean weight of a trained token 1: with C types
    that have anything to learn, each total becomes ``trained_tokens / C``.

    Args:
        totals: ``(C,)``: the sum of each type's weights.
        trained_tokens: How many tokens have a weight, over all types.

    Example:
        >>> task_type_factors(np.array([1.0, 3.0, 0.0]), 4).tolist()
        [2.0, 0.6666666666666666, 1.0]
    """
    learned = totals > 0
    share = trained_tokens / max(int(learned.sum()), 1)
    return np.divide(share, totals, where=learned, out=np.ones_like(totals))


def scale_by_channel(
    weights: NDArray[np.float32],
    offsets: Int64,
    branch_channel: NDArray[np.int32],
    factors: Float64,
) -> None:
    """Multiply each branch's weights, in place, by the factor of its channel.

    Goes by stretches of branches: the weights may be a mapped file larger than memory.
    """
    for first in range(0, len(branch_channel), BRANCHES_AT_A_TIME):
        channel = branch_channel[first : first + BRANCHES_AT_A_TIME]
        borders = offsets[first : first + len(channel) + 1]
        weights[borders[0] : borders[-1]] *= np.repeat(factors[channel], np.diff(borders))


def channel_totals(
    weights: NDArray[np.float32], offsets: Int64, branch_channel: NDArray[np.int32], channels: int
) -> tuple[Float64, int]:
    """Return the sum of weights per channel, float64 ``(channels,)``, and the trained tokens."""
    totals = np.zeros(channels)
    trained_tokens = 0
    for first in range(0, len(branch_channel), BRANCHES_AT_A_TIME):
        channel = branch_channel[first : first + BRANCHES_AT_A_TIME]
        borders = offsets[first : first + len(channel) + 1]
        stretch = np.asarray(weights[borders[0] : borders[-1]])
        token_channel = np.repeat(channel, np.diff(borders))
        totals += np.bincount(token_channel, weights=stretch, minlength=channels)
        trained_tokens += int(np.count_nonzero(stretch))
    return totals, trained_tokens


def equal_task_types(
    weights: NDArray[np.float32], offsets: Int64, branch_channel: NDArray[np.int32], channels: int
) -> None:
    """Make all task types count equally, in place; see ``task_type_factors``."""
    factors = task_type_factors(*channel_totals(weights, offsets, branch_channel, channels))
    scale_by_channel(weights, offsets, branch_channel, factors)

"""Branches of an optimizer step, merged into a token forest and cut into packs.

The branches are sorted, so that those with a common prefix are neighbours; laid one after
another, each adds only the tokens past what it shares with the one before it. That is the
depth-first order of their trie, and one array says all that attention needs:

    token k is visible to token q   iff   k <= q < visible_until[k]

Position ids count from the root of each tree. A forest of single chains is ordinary packing with
a block-diagonal mask (Krell et al. 2021, arXiv:2107.02027); shared prompts are computed once
(Wang and Hegde 2024, arXiv:2410.20305).

Shapes: T tokens of a pack, P predictions of a pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.sequences.branch import Branch

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """A part of the forest that goes through the model at once.

    Attributes:
        input_ids: int64 ``(T,)``, or ``(rows, width)`` padded when ``row_lengths`` is given.
        position_ids: int64, same shape: depth of each token below the root of its tree.
        visible_until: int64, same shape: end of the subtree below each token's segment.
        predictor: int64 ``(P,)``: flat index of the token whose hidden state predicts.
        target: int64 ``(P,)``: the token id to be predicted.
        weight: float32 ``(P,)``: weight of the prediction in the loss.
        channel: int64 ``(P,)``: index of the task type.
        branch: int64 ``(P,)``: index of the branch in the step's list.
        row_lengths: int64 ``(rows,)`` for padded rows; None for a forest.
    """

    input_ids: IntArray
    position_ids: IntArray
    visible_until: IntArray
    predictor: IntArray
    target: IntArray
    weight: NDArray[np.float32]
    channel: IntArray
    branch: IntArray
    row_lengths: IntArray | None = None

    @property
    def tokens(self) -> int:
        """Tokens that the model computes, without padding."""
        return int(self.input_ids.size if self.row_lengths is None else self.row_lengths.sum())


def build_packs(branches: Sequence[Branch], pack_tokens: int, *, parts: int = 1) -> list[Pack]:
    """Merge branches into a forest and cut it into packs of at most ``pack_tokens`` tokens.

    A branch stays whole, so a pack is longer when a single branch is. Where a tree is cut, the
    prefix it shares is computed in both packs.

    Args:
        branches: The branches of one optimizer step, in any order.
        pack_tokens: Most unique tokens in a pack.
        parts: At least this many packs where there are as many branches, of about equal size, so
            that as many devices have work.

    Returns:
        The packs; every trained token of every branch is a prediction in exactly one of them.

    Raises:
        ValueError: If ``pack_tokens`` or ``parts`` is less than 1.

    Example:
        >>> a = Branch(np.array([5, 6, 7], np.int32), np.array([0, 0, 1], np.float32), 0, 0, 0, 2)
        >>> b = Branch(np.array([5, 6, 8], np.int32), np.array([0, 0, 1], np.float32), 1, 0, 0, 2)
        >>> [pack] = build_packs([a, b], 16)
        >>> pack.input_ids.tolist(), pack.position_ids.tolist(), pack.visible_until.tolist()
        ([5, 6, 7, 8], [0, 1, 2, 2], [4, 4, 3, 4])
        >>> pack.predictor.tolist(), pack.target.tolist()
        ([1, 1], [7, 8])
    """
    if pack_tokens < 1 or parts < 1:
        raise ValueError(f"pack_tokens ({pack_tokens}) and parts ({parts}) must be at least 1")
    order, shared = _depth_first(branches)
    lengths = [len(branches[index].input_ids) for index in order]
    limit = pack_tokens
    if parts > 1:
        unique = sum(length - common for length, common in zip(lengths, shared, strict=True))
        limit = min(limit, max(1, -(-unique // parts)))
    packs = []
    start, size = 0, 0
    for place, (length, common) in enumerate(zip(lengths, shared, strict=True)):
        added = length - (common if place > start else 0)
        if place > start and size + added > limit:
            packs.append(_lay_out(branches, order[start:place], shared[start:place]))
            start, size, added = place, 0, length
        size += added
    if start < len(order):
        packs.append(_lay_out(branches, order[start:], shared[start:]))
    return packs


def build_rows(branches: Sequence[Branch], pack_tokens: int) -> list[Pack]:
    """Cut branches into padded batches of rows of similar length, for models that need rows.

    Args:
        branches: The branches of one optimizer step, in any order.
        pack_tokens: Most cells (rows times width) in a pack, unless one branch is longer.

    Returns:
        Packs whose ``input_ids`` have shape ``(rows, width)``, padded on the right with 0.
    """
    order = sorted(range(len(branches)), key=lambda index: -len(branches[index].input_ids))
    packs = []
    while order:
        width = len(branches[order[0]].input_ids)
        rows = max(1, pack_tokens // width)
        packs.append(_pad([branches[index] for index in order[:rows]], order[:rows], width))
        order = order[rows:]
    return packs


def empty_pack() -> Pack:
    """Return a pack of one token that predicts nothing, for a device that has no share."""
    one = np.zeros(1, np.int64)
    none = np.zeros(0, np.int64)
    return Pack(one, one, one + 1, none, none, np.zeros(0, np.float32), none, none)


def share_out(packs: Sequence[Pack], parts: int) -> list[list[Pack]]:
    """Deal packs to ``parts`` devices, the largest first to the one with the least work.

    Every device gets the same number, filled up with empty packs: under sharded training all
    devices must call the model equally often.

    Example:
        >>> [len(share) for share in share_out([empty_pack()] * 3, 2)]
        [2, 2]
    """
    shares: list[list[Pack]] = [[] for _ in range(parts)]
    loads = [0] * parts
    for pack in sorted(packs, key=lambda pack: -pack.tokens):
        lightest = loads.index(min(loads))
        shares[lightest].append(pack)
        loads[lightest] += pack.tokens
    most = max(len(share) for share in shares)
    for share in shares:
        share.extend(empty_pack() for _ in range(most - len(share)))
    return shares


def _depth_first(branches: Sequence[Branch]) -> tuple[list[int], list[int]]:
    """Sort branches by their tokens; with each, how many it shares with the one before it."""
    # Big-endian bytes compare like the token sequences themselves.
    keys = [branch.input_ids.astype(">u4").tobytes() for branch in branches]
    order = sorted(range(len(branches)), key=keys.__getitem__)
    shared = [0] * len(order)
    for place in range(1, len(order)):
        before = branches[order[place - 1]].input_ids
        here = branches[order[place]].input_ids
        length = min(len(before), len(here))
        differ = before[:length] != here[:length]
        first = int(differ.argmax()) if length else 0
        shared[place] = first if length and differ[first] else length
    return order, shared


class _Predictions:
    """The predictions of a pack, gathered branch by branch."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[Any], ...]] = []

    def add(self, branch: Branch, index: int, path: IntArray) -> None:
        """Add a branch's trained tokens.

        Args:
            branch: The branch.
            index: Its place in the step's list.
            path: Flat index in the pack of each of its tokens.
        """
        trained = np.flatnonzero(branch.weights[1:]) + 1
        self._parts.append(
            (
                path[trained - 1],
                branch.input_ids[trained],
                branch.weights[trained],
                np.full(len(trained), branch.channel),
                np.full(len(trained), index),
            )
        )

    def columns(self) -> tuple[IntArray, IntArray, NDArray[np.float32], IntArray, IntArray]:
        """Return predictor, target, weight, channel and branch, as a pack has them."""
        predictor, target, weight, channel, branch = map(
            np.concatenate, zip(*self._parts, strict=True)
        )
        return (
            predictor.astype(np.int64),
            target.astype(np.int64),
            weight.astype(np.float32),
            channel.astype(np.int64),
            branch.astype(np.int64),
        )


def _lay_out(branches: Sequence[Branch], order: Sequence[int], shared: Sequence[int]) -> Pack:
    """Lay sorted branches one after another, each without the prefix it shares."""
    common = [0, *shared[1:]]
    total = sum(
        len(branches[index].input_ids) - skip for index, skip in zip(order, common, strict=True)
    )
    input_ids, position_ids = np.empty(total, np.int64), np.empty(total, np.int64)
    visible_until = np.full(total, total, np.int64)
    path = np.empty(0, np.int64)  # where each token of the current branch lies in the pack
    predictions = _Predictions()
    end = 0
    for index, skip in zip(order, common, strict=True):
        branch = branches[index]
        length = len(branch.input_ids)
        visible_until[path[skip:]] = end
        new = slice(end, end + length - skip)
        input_ids[new] = branch.input_ids[skip:]
        position_ids[new] = np.arange(skip, length)
        path = np.concatenate([path[:skip], np.arange(new.start, new.stop)])
        end = new.stop
        predictions.add(branch, index, path)
    return Pack(input_ids, position_ids, visible_until, *predictions.columns())


def _pad(branches: Sequence[Branch], order: Sequence[int], width: int) -> Pack:
    """Lay branches as padded rows; ``order`` numbers them in the step's list."""
    shape = (len(branches), width)
    input_ids, position_ids = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    visible_until = np.zeros(shape, np.int64)
    predictions = _Predictions()
    for row, (branch, index) in enumerate(zip(branches, order, strict=True)):
        length = len(branch.input_ids)
        input_ids[row, :length] = branch.input_ids
        position_ids[row, :length] = np.arange(length)
        visible_until[row, :length] = length
        predictions.add(branch, index, row * width + np.arange(length))
    row_lengths = np.array([len(branch.input_ids) for branch in branches], np.int64)
    return Pack(
        input_ids, position_ids, visible_until, *predictions.columns(), row_lengths=row_lengths
    )

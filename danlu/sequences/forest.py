"""Branches of an optimizer step, merged into a token forest and cut into packs.

The branches are sorted, so that those with a common prefix are neighbours; laid one after
another, each adds only the tokens past what it shares with the one before it. That is the
depth-first order of their trie, and one array says all that attention needs:

    token k is visible to token q   iff   k <= q < visible_until[k]

Position ids count from the root of each tree. A forest of single chains is ordinary packing with
a block-diagonal mask (Krell et al. 2021, arXiv:2107.02027); shared prompts are computed once
(Wang and Hegde 2024, arXiv:2410.20305).

Shapes: T tokens, P predictions and A branches of a pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.sequences.branch import Branch
from danlu.sequences.filling import fill

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
        branch: int64 ``(P,)``: which of the pack's branches it belongs to, from 0.
        members: int64 ``(A,)``: index in the step's list of each of the pack's branches.
        last: int64 ``(A,)``: flat index of the last token of each.
        prompt_tokens: int64 ``(A,)``: how many leading tokens of each are prompt, or the first of
            two texts.
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
    members: IntArray
    last: IntArray
    prompt_tokens: IntArray
    row_lengths: IntArray | None = None

    @property
    def tokens(self) -> int:
        """Tokens that the model computes, without padding."""
        return int(self.input_ids.size if self.row_lengths is None else self.row_lengths.sum())


def build_packs(
    branches: Sequence[Branch],
    pack_tokens: int,
    *,
    parts: int = 1,
    whole_records: bool = False,
) -> list[Pack]:
    """Merge branches into a forest and cut it into packs of at most ``pack_tokens`` tokens.

    The packs are few and of about one size. A branch stays whole, so a pack is longer when a single
    branch is. Where a tree is cut, the prefix it shares is computed in both packs.

    Args:
        branches: The branches of one optimizer step, in any order.
        pack_tokens: Most unique tokens in a pack.
        parts: At least this many packs where there are as many branches, of about equal size, so
            that as many devices have work.
        whole_records: Keep the branches of a record in one pack, as objectives that compare them
            need it; then a pack is longer when a single record is.

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
    order, shared = _depth_first(branches, whole_records=whole_records)
    begins = _begins(branches, order) if whole_records else [True] * len(order)
    lengths = [len(branches[index].input_ids) for index in order]
    packs = []
    for places in fill(lengths, shared, begins, pack_tokens, parts):
        common = [0, *(min(shared[one + 1 : two + 1]) for one, two in pairwise(places))]
        packs.append(_lay_out(branches, [order[place] for place in places], common))
    return packs


def build_rows(
    branches: Sequence[Branch], pack_tokens: int, *, whole_records: bool = False
) -> list[Pack]:
    """Cut branches into padded batches of rows of similar length, for models that need rows.

    Args:
        branches: The branches of one optimizer step, in any order.
        pack_tokens: Most cells (rows times width) in a pack, unless one branch is longer.
        whole_records: Keep the branches of a record in one pack.

    Returns:
        Packs whose ``input_ids`` have shape ``(rows, width)``, padded on the right with 0.
    """
    units = _records(branches) if whole_records else [[index] for index in range(len(branches))]
    widths = [max(len(branches[index].input_ids) for index in unit) for unit in units]
    by_width = sorted(range(len(units)), key=lambda number: -widths[number])
    packs = []
    order: list[int] = []
    width = 0
    for number in by_width:
        if order and (len(order) + len(units[number])) * width > pack_tokens:
            packs.append(_pad([branches[index] for index in order], order, width))
            order = []
        if not order:
            width = widths[number]
        order += units[number]
    if order:
        packs.append(_pad([branches[index] for index in order], order, width))
    return packs


def empty_pack() -> Pack:
    """Return a pack of one token that predicts nothing, for a device that has no share."""
    one = np.zeros(1, np.int64)
    none = np.zeros(0, np.int64)
    return Pack(one, one, one + 1, none, none, np.zeros(0, np.float32), *[none] * 5)


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


def _records(branches: Sequence[Branch]) -> list[list[int]]:
    """Gather the indices of branches by their records, which come in the order of the list."""
    units: dict[tuple[int, int], list[int]] = {}
    for index, branch in enumerate(branches):
        units.setdefault(branch.member_of, []).append(index)
    return list(units.values())


def _begins(branches: Sequence[Branch], order: Sequence[int]) -> list[bool]:
    """Tell for each place whether another record begins there."""
    records = [branches[index].member_of for index in order]
    return [place == 0 or record != records[place - 1] for place, record in enumerate(records)]


def _depth_first(
    branches: Sequence[Branch], *, whole_records: bool = False
) -> tuple[list[int], list[int]]:
    """Sort branches by their tokens; with each, how many it shares with the one before it.

    With ``whole_records`` records are sorted, by the first of their branches; within a record, its
    branches. What neighbours share is still computed once.
    """
    # Big-endian bytes compare like the token sequences themselves.
    keys = [branch.input_ids.astype(">u4").tobytes() for branch in branches]
    if whole_records:
        units = [sorted(unit, key=keys.__getitem__) for unit in _records(branches)]
        order = [i for unit in sorted(units, key=lambda unit: keys[unit[0]]) for i in unit]
    else:
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
        self._last: list[int] = []
        self._prompt_tokens: list[int] = []

    def add(self, branch: Branch, path: IntArray) -> None:
        """Add a branch's trained tokens.

        Args:
            branch: The branch.
            path: Flat index in the pack of each of its tokens.
        """
        trained = np.flatnonzero(branch.weights[1:]) + 1
        self._parts.append(
            (
                path[trained - 1],
                branch.input_ids[trained],
                branch.weights[trained],
                np.full(len(trained), branch.channel),
                np.full(len(trained), len(self._last)),
            )
        )
        self._last.append(int(path[-1]))
        self._prompt_tokens.append(branch.prompt_tokens)

    def columns(self, order: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return the columns of a pack that say what is predicted.

        Args:
            order: Index in the step's list of each branch, as they were added.
        """
        predictor, target, weight, channel, branch = map(
            np.concatenate, zip(*self._parts, strict=True)
        )
        return {
            "predictor": predictor.astype(np.int64),
            "target": target.astype(np.int64),
            "weight": weight.astype(np.float32),
            "channel": channel.astype(np.int64),
            "branch": branch.astype(np.int64),
            "members": np.array(order, np.int64),
            "last": np.array(self._last, np.int64),
            "prompt_tokens": np.array(self._prompt_tokens, np.int64),
        }


def _lay_out(branches: Sequence[Branch], order: Sequence[int], shared: Sequence[int]) -> Pack:
    """Lay sorted branches one after another, each without the prefix it shares."""
    total = sum(
        len(branches[index].input_ids) - skip for index, skip in zip(order, shared, strict=True)
    )
    input_ids, position_ids = np.empty(total, np.int64), np.empty(total, np.int64)
    visible_until = np.full(total, total, np.int64)
    path = np.empty(0, np.int64)  # where each token of the current branch lies in the pack
    predictions = _Predictions()
    end = 0
    for index, skip in zip(order, shared, strict=True):
        branch = branches[index]
        length = len(branch.input_ids)
        visible_until[path[skip:]] = end
        new = slice(end, end + length - skip)
        input_ids[new] = branch.input_ids[skip:]
        position_ids[new] = np.arange(skip, length)
        path = np.concatenate([path[:skip], np.arange(new.start, new.stop)])
        end = new.stop
        predictions.add(branch, path)
    return Pack(input_ids, position_ids, visible_until, **predictions.columns(order))


def _pad(branches: Sequence[Branch], order: Sequence[int], width: int) -> Pack:
    """Lay branches as padded rows; ``order`` numbers them in the step's list."""
    shape = (len(branches), width)
    input_ids, position_ids = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    visible_until = np.zeros(shape, np.int64)
    predictions = _Predictions()
    for row, branch in enumerate(branches):
        length = len(branch.input_ids)
        input_ids[row, :length] = branch.input_ids
        position_ids[row, :length] = np.arange(length)
        visible_until[row, :length] = length
        predictions.add(branch, row * width + np.arange(length))
    row_lengths = np.array([len(branch.input_ids) for branch in branches], np.int64)
    columns = predictions.columns(order)
    return Pack(input_ids, position_ids, visible_until, **columns, row_lengths=row_lengths)

"""One pack computed by several processes: each has a share of its tokens, in every layer.

Everything in a decoder but attention looks at one token at a time. So a process computes the
states, queries, keys and values of its own tokens, fetches everybody's keys and values, and attends
from its own queries. On the way back each process has gradients for all keys and values; they are
added up where the tokens are. The rule of the forest holds as it stands, since it speaks of places
in the pack, and not of where they are computed. Fetching all keys, one layer at a time, is how
Llama 3 was trained on long sequences (Dubey et al. 2024, arXiv:2407.21783, section 3.3.2); it fits
any mask.

A later token attends to more than an earlier one. So the pack is cut into twice as many pieces as
there are processes, and each takes one from the front and its counterpart from the back.

Shapes: K key heads, T tokens of the pack, t = T / size tokens of a process, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class ContextGroup:
    """The processes that compute packs together.

    Attributes:
        group: Their process group.
        size: How many they are.
        rank: Which of them this one is.
    """

    group: Any
    size: int
    rank: int

    def share(self, tokens: int) -> ContextShare:
        """Return this process's share of a pack of so many tokens, filled up so that all are equal.

        Example:
            >>> ContextGroup(None, size=2, rank=0).share(7).ranges
            ((0, 2), (6, 8))
        """
        pieces = 2 * self.size
        return ContextShare(self, -(-tokens // pieces) * pieces)

    def local(self, places: NDArray[np.int64], tokens: int) -> Tensor:
        """Return int64: where tokens of a pack stand among this process's own; -1 for another's.

        Args:
            places: Of these tokens in the pack.
            tokens: Of the pack.

        Example:
            >>> ContextGroup(None, size=2, rank=0).local(np.array([1, 3, 6]), 7).tolist()
            [1, -1, 2]
        """
        return self.share(tokens).local[torch.from_numpy(places)]


@dataclass(frozen=True)
class ContextShare:
    """Which tokens of a pack a process computes.

    Attributes:
        context: Who computes the pack.
        tokens: T, a multiple of twice their number.
    """

    context: ContextGroup
    tokens: int

    @property
    def ranges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The two pieces of this process, as places in the pack."""
        return self._ranges_of(self.context.rank)

    @cached_property
    def own(self) -> Tensor:
        """int64 ``(t,)``: the places in the pack of this process's tokens."""
        return self._own_of(self.context.rank)

    @cached_property
    def local(self) -> Tensor:
        """int64 ``(T,)``: where a token stands among this process's own; -1 if it is another's."""
        found = torch.full((self.tokens,), -1)
        found[self.own] = torch.arange(len(self.own))
        return found

    @cached_property
    def gathered(self) -> Tensor:
        """int64 ``(T,)``: places in the pack, one process's tokens after another's."""
        return torch.cat([self._own_of(rank) for rank in range(self.context.size)])

    @cached_property
    def in_order(self) -> Tensor:
        """int64 ``(T,)``: where each token of the pack stands in ``gathered``."""
        return torch.argsort(self.gathered)

    def _ranges_of(self, rank: int) -> tuple[tuple[int, int], tuple[int, int]]:
        width = self.tokens // (2 * self.context.size)
        last = 2 * self.context.size - 1 - rank
        return (rank * width, (rank + 1) * width), (last * width, (last + 1) * width)

    def _own_of(self, rank: int) -> Tensor:
        return torch.cat([torch.arange(*piece) for piece in self._ranges_of(rank)])


def gather_tokens(own: Tensor, share: ContextShare) -> Tensor:
    """Fetch what all processes have of a pack; every process of the group must call it.

    Args:
        own: ``(1, K, t, D)`` of this process's tokens.
        share: Whose they are.

    Returns:
        ``(1, K, T, D)`` in the order of the pack; differentiable.
    """
    gathered: Tensor = _GatherTokens.apply(own, share)  # type: ignore[no-untyped-call]
    return gathered


class _GatherTokens(torch.autograd.Function):
    """``gather_tokens``; its backward adds up the processes' gradients where the tokens are."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, share: ContextShare) -> Tensor:
        ctx.share = share
        first = own.movedim(2, 0).contiguous()  # collectives go along the first dimension
        everyone = first.new_empty(share.tokens, *first.shape[1:])
        dist.all_gather_single(everyone, first, group=share.context.group)
        return everyone[share.in_order.to(own.device)].movedim(0, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        share: ContextShare = ctx.share
        everyone = grad.movedim(2, 0)[share.gathered.to(grad.device)]
        own = everyone.new_empty(len(share.own), *everyone.shape[1:])
        dist.reduce_scatter_single(own, everyone, group=share.context.group)
        return own.movedim(0, 2), None


def added_up(part: Tensor, context: ContextGroup) -> Tensor:
    """Add up what each process of the group knows a part of; every one of them must call it.

    Each goes on with the same sum, and sends gradients back into its own part only. So a loss that
    all of them compute of such sums has, over the processes, its gradients once.

    Args:
        part: Of any shape, the same in all.
        context: The group.
    """
    total: Tensor = _AddUp.apply(part, context)  # type: ignore[no-untyped-call]
    return total


class _AddUp(torch.autograd.Function):
    """``added_up``."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, context: ContextGroup) -> Tensor:
        total = part.clone()
        dist.all_reduce(total, group=context.group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None

"""Causal attention of a short segment, with its weights kept for the backward pass.

The CPU's flash kernel keeps nothing and computes scores and exponentials once more in backward, in
pieces that suit a long row. For the segments of ordinary chats its products run at a quarter of the
machine's rate. Here they are batched products of PyTorch's own, over bands of queries that see the
keys up to their own end, so that little of the invisible half is computed; the exponentials are
kept, 4 bytes for each head and visible pair, and the backward pass has four products and none of
the exponentials. On two cores of an AMD EPYC with nine heads of width 64, in ms, flash and this:

======  ==============  ==============
tokens  forward         backward
======  ==============  ==============
60      0.13 and 0.21   0.27 and 0.25
100     0.25 and 0.36   0.64 and 0.47
150     0.51 and 0.61   1.32 and 0.84
300     1.59 and 1.62   4.43 and 2.55
600     5.02 and 5.45   16.1 and 8.75
======  ==============  ==============

Shapes: H query heads, K key heads, T tokens, D head width; a band has B queries and sees E keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

LENGTHS = range(96, 513)
"""Segments that gain: in shorter ones the calls are most of the time, in longer ones the kept
weights are too large (for 512 tokens and nine heads 5 MB in each layer)."""
BAND = 64


def keeps_weights(length: int, dtype: torch.dtype) -> bool:
    """Whether a causal segment of this many tokens is computed here."""
    return dtype == torch.float32 and length in LENGTHS


def kept_forward(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Attend within a segment, causally.

    Args:
        query: ``(H, T, D)``.
        key: ``(K, T, D)``, H a multiple of K.
        value: ``(K, T, D)``.
        scale: Factor of the scores.

    Returns:
        Output ``(H, T, D)``, the scores' log-sum-exp ``(H, T)``, and for ``kept_backward`` each
        query's highest score ``(H, T)`` and the exponentials of its scores above that, a tensor
        ``(H, B, E)`` per band.
    """
    heads, tokens, _ = query.shape
    query = query * scale
    key, value = _repeated(key, heads), _repeated(value, heads)
    output = torch.empty_like(query)
    lse, highest = query.new_empty(2, heads, tokens).unbind()
    kept = []
    for band in bands(tokens):
        scores = torch.bmm(query[:, band], key[:, : band.stop].transpose(1, 2))
        scores[:, :, band.start :] += _invisible(band.stop - band.start)
        highest[:, band] = top = scores.amax(-1)
        weights = scores.sub_(top.unsqueeze(-1)).exp_()
        total = weights.sum(-1)
        lse[:, band] = total.log().add_(top)
        attended = torch.bmm(weights, value[:, : band.stop])
        torch.div(attended, total.unsqueeze(-1), out=output[:, band])
        kept.append(weights)
    return output, lse, highest, kept


def kept_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    lse: Tensor,
    *,
    highest: Tensor,
    kept: Sequence[Tensor],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value.

    Args:
        grad: Of the output, ``(H, T, D)``.
        query: As forward had it, like ``key`` and ``value``.
        key: See above.
        value: See above.
        output: Of the queries, over all keys that they see: more than this segment's where it
            hangs below others.
        lse: Over the same keys.
        highest: What forward returned.
        kept: What forward returned.
        scale: As forward had it.
    """
    heads, tokens, _ = query.shape
    groups = key.shape[0]
    query = query * scale
    key, value = _repeated(key, heads), _repeated(value, heads)
    # Weights are exp(score - lse), kept are exp(score - highest): the rest goes to the narrow side.
    rest = (highest - lse).exp_().unsqueeze(-1)
    offset = (grad * output).sum(-1, keepdim=True).mul_(rest)
    grad = grad * rest
    grad_query = torch.empty_like(query)
    grad_key = grad_value = query  # the last band sees all keys and comes first
    for band, weights in zip(reversed(bands(tokens)), reversed(kept), strict=True):
        seen = slice(band.stop)
        of_scores = torch.bmm(grad[:, band], value[:, seen].transpose(1, 2))
        of_scores.sub_(offset[:, band]).mul_(weights)
        torch.mul(torch.bmm(of_scores, key[:, seen]), scale, out=grad_query[:, band])
        more_value = torch.bmm(weights.transpose(1, 2), grad[:, band])
        more_key = torch.bmm(of_scores.transpose(1, 2), query[:, band])
        if band.stop == tokens:
            grad_value, grad_key = more_value, more_key
        else:
            grad_value[:, seen] += more_value
            grad_key[:, seen] += more_key
    return grad_query, _summed(grad_key, groups), _summed(grad_value, groups)


def bands(tokens: int) -> list[slice]:
    """Return the queries of each band."""
    return [slice(start, min(tokens, start + BAND)) for start in range(0, tokens, BAND)]


@cache
def _invisible(size: int) -> Tensor:
    """What is added to a square of scores so that no query sees a later key."""
    return torch.full((size, size), float("-inf")).triu_(1)


def _repeated(part: Tensor, heads: int) -> Tensor:
    return part.repeat_interleave(heads // part.shape[0], 0)


def _summed(grad: Tensor, groups: int) -> Tensor:
    """Sum over the query heads that share a key head: ``(H, T, D)`` to ``(K, T, D)``."""
    _, tokens, width = grad.shape
    return grad.view(groups, -1, tokens, width).sum(1)

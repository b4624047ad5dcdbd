"""Drawing the next token: greedy, or from the nucleus with one uniform number a token.

Shapes: B rows, V vocabulary, K candidates, T tokens to come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from danlu.generation.interface import Sampling

CANDIDATES = 1024
"""Tokens looked at before a full sort; nearly always they hold the whole nucleus."""


def draw(logits_BV: Tensor, sampling: Sampling, uniform_B: Tensor) -> Tensor:
    """Choose one token per row.

    Args:
        logits_BV: Of the next token, any float dtype.
        sampling: How to choose.
        uniform_B: float64 in [0, 1), one number per row; unused if greedy.

    Returns:
        ``(B,)`` int64 token ids.

    Example:
        >>> logits = torch.tensor([[0.0, 3.0, 1.0]])
        >>> draw(logits, Sampling(greedy=True), torch.zeros(1))
        tensor([1])
    """
    if sampling.greedy:
        return logits_BV.argmax(-1)
    probs_BV = torch.softmax(logits_BV.double() / sampling.temperature, -1)
    if sampling.top_p == 1.0:
        return _invert(probs_BV, uniform_B)
    vocabulary = probs_BV.shape[-1]
    probs_BK, token_BK = probs_BV.topk(min(CANDIDATES, vocabulary))
    if bool((probs_BK.sum(-1) < sampling.top_p).any()):
        probs_BK, token_BK = probs_BV.sort(descending=True)
    # A token is in the nucleus if those before it have not reached top_p yet.
    before_BK = probs_BK.cumsum(-1) - probs_BK
    kept_BK = torch.where(before_BK < sampling.top_p, probs_BK, 0.0)
    return token_BK.gather(1, _invert(kept_BK, uniform_B).unsqueeze(1)).squeeze(1)


def token_logprobs(logits_BV: Tensor, token_B: Tensor) -> Tensor:
    """Return ``(B,)`` float32: the model's own log-probability of each row's token."""
    logits_BV = logits_BV.float()
    own_B = logits_BV.gather(1, token_B.unsqueeze(1)).squeeze(1)
    return own_B - logits_BV.logsumexp(-1)


def uniforms(seed: int, rows: Sequence[int], tokens: int) -> Tensor:
    """Return float64 ``(B, T)`` numbers in [0, 1), each row's own.

    A row's numbers depend on the seed and on its place in the call, not on the rows that happen
    to share its batch.

    Args:
        seed: Of the call.
        rows: Each row's place in the call.
        tokens: T.
    """
    drawn = torch.empty(len(rows), tokens, dtype=torch.float64)
    for index, row in enumerate(rows):
        digest = hashlib.blake2b(f"{seed}/{row}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        torch.rand(tokens, dtype=torch.float64, generator=generator, out=drawn[index])
    return drawn


def _invert(weights_BK: Tensor, uniform_B: Tensor) -> Tensor:
    """Return the column at which each row's running sum passes its share ``uniform``."""
    sums_BK = weights_BK.cumsum(-1)
    share_B1 = (uniform_B * sums_BK[:, -1]).unsqueeze(1)
    column_B = torch.searchsorted(sums_BK, share_B1, right=True).squeeze(1)
    return column_B.clamp(max=weights_BK.shape[-1] - 1)

"""``/v1/embeddings``: texts as vectors of length 1, pooled from the last hidden states.

A model that was tuned to answer was not tuned to be compared by these; an encoder, or a model
trained for embeddings, is. What is pooled is said in the answer, so that nobody mixes two kinds.

Shapes: T tokens of a text, D width.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import torch
from torch import Tensor

from danlu.generation.engine import BusyError
from danlu.serving.server.faults import ApiError
from danlu.serving.server.protocol import EmbeddingRequest, Pooling
from danlu.serving.server.served import Served

AT_ONCE_TOKENS = 2048
"""So much is computed before answers under way go on."""
NO_LIMIT = 10**9


def pool(states_TD: Tensor, pooling: Pooling) -> Tensor:
    """Return a text's vector ``(D,)``, of length 1, in float32.

    Example:
        >>> pool(torch.tensor([[3.0, 0.0], [3.0, 8.0]]), "mean")
        tensor([0.6000, 0.8000])
    """
    states_TD = states_TD.float()
    if pooling == "mean":
        vector_D = states_TD.mean(0)
    else:
        vector_D = states_TD[-1 if pooling == "last" else 0]
    return torch.nn.functional.normalize(vector_D, dim=0)


def asked_texts(request: EmbeddingRequest, served: Served) -> list[list[int]]:
    """Cut the texts of a request into tokens.

    Raises:
        ApiError: If one is empty or too long, or more is asked for than can be given.
    """
    if request.dimensions is not None:
        raise ApiError(
            "dimensions cannot be chosen: this model was not trained to be cut off. Leave it out.",
            param="dimensions",
        )
    return [_ids(text, served) for text in request.inputs]


async def embeddings(
    request: EmbeddingRequest, served: Served, texts: Sequence[list[int]], seconds: float
) -> dict[str, Any]:
    """Answer a request whose texts are tokens.

    Raises:
        ApiError: If it takes too long, or cannot be computed.
    """
    try:
        async with asyncio.timeout(seconds):
            vectors = await _computed(texts, served)
    except TimeoutError as error:
        raise ApiError(
            f"the embeddings took longer than {seconds:g} s, which is this server's limit: ask "
            "for fewer at a time.",
            status=504,
            code="timeout",
        ) from error
    tokens = sum(len(text) for text in texts)
    return {
        "object": "list",
        "model": served.name,
        "pooling": served.pooling,
        "data": [
            {"object": "embedding", "index": index, "embedding": _written(vector, request)}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


async def _computed(texts: Sequence[list[int]], served: Served) -> list[Tensor]:
    """Compute the vectors, a few texts at a time, between the steps of answers under way."""
    found: list[Tensor] = []
    while len(found) < len(texts):
        batch = [texts[len(found)]]
        while len(found) + len(batch) < len(texts):
            longer = [*batch, texts[len(found) + len(batch)]]
            if sum(map(len, longer)) > AT_ONCE_TOKENS:
                break
            batch = longer
        try:
            work: Future[list[Tensor]] = served.engine.states(
                batch, served.adapter, lambda states: pool(states, served.pooling)
            )
            vectors = await asyncio.wrap_future(work)
            found += vectors
        except BusyError as error:
            raise ApiError(str(error), status=429, code="busy") from error
        except (RuntimeError, MemoryError) as error:  # most likely the memory did not suffice
            raise ApiError(
                f"the embeddings could not be computed: {type(error).__name__}: {error}. Ask for "
                "shorter texts.",
                status=500,
                code="computation_failed",
            ) from error
    return found


def _ids(text: str | list[int], served: Served) -> list[int]:
    tokenizer = served.generator.tokenizer
    if isinstance(text, str):
        ids: list[int] = list(tokenizer(text).input_ids) if text else []
    else:
        ids = text
    if not ids:
        raise ApiError("a text is empty; there is nothing to embed.", param="input")
    if not all(0 <= token_id < len(tokenizer) for token_id in ids):
        raise ApiError(f"token ids must be from 0 to {len(tokenizer) - 1}.", param="input")
    most = served.generator.context_tokens or NO_LIMIT
    if len(ids) > most:
        raise ApiError(
            f"a text has {len(ids)} tokens, and the model reads {most} at most: cut it.",
            param="input",
            code="context_length_exceeded",
        )
    return ids


def _written(vector_D: Tensor, request: EmbeddingRequest) -> list[float] | str:
    """Write a vector as numbers, or as OpenAI's client asks for it: float32, little-endian."""
    if request.encoding_format == "float":
        return [float(value) for value in vector_D]
    return base64.b64encode(vector_D.cpu().numpy().astype("<f4").tobytes()).decode()

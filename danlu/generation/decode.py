"""The decoding loop over an in-process transformers model.

One loop serves batches and streams. The prompts of a batch are padded on the left; what they all
begin with (a system prompt, a template's header) is computed once and its keys and values are
copied to every row. Rows that have ended leave the batch, and prompts that wait take their place,
several at a time, so that they are read together.

Shapes: B rows, F rows that join them, L tokens so far, T tokens to come, V vocabulary.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from danlu.generation.draw import draw, token_logprobs
from danlu.generation.interface import Sampling
from danlu.models.forest_support import ordinary_attention


class Step(NamedTuple):
    """One token for each row that has not ended.

    Attributes:
        rows: Which prompts the tokens belong to.
        token_ids: One per row.
        logprobs: One per row; empty unless asked for.
    """

    rows: list[int]
    token_ids: list[int]
    logprobs: list[float]


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Put a model into the state for answering, and back after: it may be in training."""
    was_training = model.training
    model.eval()
    try:
        with ordinary_attention(model):
            yield
    finally:
        model.train(was_training)


class Room(NamedTuple):
    """How much is computed at a time.

    Attributes:
        rows: Answers.
        tokens: Tokens, prompts and answers, whose keys and values are kept.
    """

    rows: int
    tokens: int


@torch.no_grad()
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    stop_ids: frozenset[int],
    uniforms_of: Callable[[list[int]], Tensor],
    budgets: Sequence[int],
    room: Room | None = None,
) -> Iterator[Step]:
    """Yield the next token of every row until all have ended.

    Args:
        model: A causal language model, within ``answering``.
        prompts: Token ids, none of them empty; more than one at a time only if
            ``takes_batches(model)``. They are read in this order: those of like length should be
            neighbours, so that little is padding.
        sampling: How to choose.
        stop_ids: A row ends with one of these ...
        uniforms_of: Returns float64 ``(F, T)`` for the numbers of some prompts, see ``uniforms``.
        budgets: ... or after this many tokens.
        room: What is computed at a time; None: all.
    """
    room = room or Room(len(prompts), sys.maxsize)
    sizes = [len(prompt) + most for prompt, most in zip(prompts, budgets, strict=True)]
    rows = _Rows(model)
    begun = 0
    while True:
        under_way = [sizes[number] for number in rows.numbers]
        if rows.takes_more and (
            count := joining(under_way, sizes[begun : begun + room.rows], room)
        ):
            fresh = list(range(begun, begun + count))
            begun += count
            rows.join(fresh, uniforms_of(fresh), _read(model, [prompts[one] for one in fresh]))
        if not rows.numbers:
            return
        logits_BV, uniform_B = rows.next_draw()
        token_B = draw(logits_BV, sampling, uniform_B)
        token_ids = token_B.tolist()
        logprobs = token_logprobs(logits_BV, token_B).tolist() if sampling.logprobs else []
        yield Step(list(rows.numbers), token_ids, logprobs)
        ended = [
            token_id in stop_ids or drawn + 1 == budgets[number]
            for number, drawn, token_id in zip(rows.numbers, rows.drawn, token_ids, strict=True)
        ]
        rows.advance(token_B, ended)


def joining(under_way: Sequence[int], waiting: Sequence[int], room: Room) -> int:
    """Return how many of the prompts that wait are read now.

    None, while they would be less than a third of the answers under way: reading a few prompts
    costs nearly as much as reading many, and the keys and values of all are copied.

    Args:
        under_way: Tokens, prompt and longest answer, of each answer under way.
        waiting: The same of those that wait, in their order.
        room: What is computed at a time; at least one is, however long it is.

    Example:
        >>> joining([], [50, 40, 30, 20], Room(3, 1000)), joining([], [50, 40, 30], Room(3, 100))
        (3, 2)
        >>> joining([50] * 8, [40] * 9, Room(10, 1000)), joining([50] * 7, [40] * 9, Room(10, 1000))
        (0, 3)
    """
    longest = max(under_way, default=0)
    count = 0
    for tokens in waiting:
        longest, rows = max(longest, tokens), len(under_way) + count + 1
        if rows > max(1, room.rows) or (rows > 1 and rows * longest > room.tokens):
            break
        count += 1
    worth = min(len(waiting), -(-len(under_way) // 3))
    return count if count >= worth else 0


class _Rows:
    """The answers under way.

    Attributes:
        numbers: Which prompts they are of.
        drawn: How many tokens each has.
    """

    def __init__(self, model: Any) -> None:
        self.numbers: list[int] = []
        self.drawn: list[int] = []
        self._model = model
        # Apple's GPUs have no float64, and the drawing is done in it.
        self._drawn_on = torch.device("cpu") if model.device.type == "mps" else model.device
        self._cache: Any = None
        self._mask_BL = self._logits_BV = self._uniform_BT = torch.empty(0)

    @property
    def takes_more(self) -> bool:
        """Whether rows may join: if there are none, or their keys and values can be padded."""
        return not self.numbers or all(type(one) is DynamicLayer for one in self._cache.layers)

    def join(
        self, numbers: list[int], uniform_FT: Tensor, read: tuple[Any, Tensor, Tensor]
    ) -> None:
        """Add answers whose prompts have been read: cache, mask and logits of the next token."""
        cache, mask_FL, logits_FV = read
        uniform_FT = uniform_FT.to(self._drawn_on)
        if self.numbers:
            _append(self._cache, cache)
            width = max(self._mask_BL.shape[1], mask_FL.shape[1])
            mask_FL = torch.cat([_wider(one, width, 1) for one in (self._mask_BL, mask_FL)])
            logits_FV = torch.cat([self._logits_BV, logits_FV])
            uniform_FT = torch.cat([self._uniform_BT, uniform_FT])
        else:
            self._cache = cache
        self._mask_BL, self._logits_BV, self._uniform_BT = mask_FL, logits_FV, uniform_FT
        self.numbers += numbers
        self.drawn += [0] * len(numbers)

    def next_draw(self) -> tuple[Tensor, Tensor]:
        """Return ``(B, V)`` logits of the next tokens and ``(B,)`` the numbers that draw them."""
        places = torch.arange(len(self.numbers), device=self._drawn_on)
        uniform_B = self._uniform_BT[places, torch.tensor(self.drawn, device=self._drawn_on)]
        return self._logits_BV.to(self._drawn_on), uniform_B

    def advance(self, token_B: Tensor, ended: Sequence[bool]) -> None:
        """Take in the tokens that were drawn, let rows leave, and compute the others' next."""
        going = [place for place, over in enumerate(ended) if not over]
        self.numbers = [self.numbers[place] for place in going]
        self.drawn = [self.drawn[place] + 1 for place in going]
        if not going:
            self._cache = None
            return
        if len(going) < len(ended):
            token_B = token_B[going]
            self._keep(going)
        mask_BL = torch.cat([self._mask_BL, self._mask_BL.new_ones(len(going), 1)], 1)
        output = self._model(
            input_ids=token_B.unsqueeze(1).to(self._model.device),
            attention_mask=mask_BL,
            position_ids=mask_BL.sum(1, keepdim=True) - 1,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._mask_BL, self._cache = mask_BL, output.past_key_values
        self._logits_BV = output.logits[:, -1]

    def _keep(self, places: list[int]) -> None:
        """Keep some rows, and no padding that all of them have."""
        keep = torch.tensor(places, device=self._model.device)
        self._cache.batch_select_indices(keep)
        mask_BL = self._mask_BL[keep]
        self._uniform_BT = self._uniform_BT[places]
        if self.takes_more and (cut := int(mask_BL.any(0).int().argmax())):
            mask_BL = mask_BL[:, cut:]
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[:, :, cut:], layer.values[:, :, cut:]
        self._mask_BL = mask_BL


def _append(cache: Any, other: Any) -> None:
    """Add a cache's rows to another; the shorter ones are padded on the left."""
    for own, more in zip(cache.layers, other.layers, strict=True):
        width = max(own.keys.shape[2], more.keys.shape[2])
        own.keys = torch.cat([_wider(one, width, 2) for one in (own.keys, more.keys)])
        own.values = torch.cat([_wider(one, width, 2) for one in (own.values, more.values)])


def _wider(tensor: Tensor, width: int, axis: int) -> Tensor:
    """Pad an axis with zeros at its beginning."""
    shape = list(tensor.shape)
    shape[axis] = width - shape[axis]
    return torch.cat([tensor.new_zeros(shape), tensor], axis) if shape[axis] else tensor


def shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts begin with, leaving each at least one of its own.

    Example:
        >>> shared_length([[1, 2, 3], [1, 2, 4, 5]])
        2
        >>> shared_length([[1, 2], [1, 2, 3]])
        1
    """
    longest = min(len(prompt) for prompt in prompts) - 1
    first = prompts[0]
    for place in range(longest):
        if any(prompt[place] != first[place] for prompt in prompts):
            return place
    return longest


@torch.no_grad()
def takes_batches(model: Any) -> bool:
    """Tell whether rows of different length can share a batch.

    They can where the cache is keys and values only, so that padding can be masked out. A
    state-space layer carries padding along in its state.
    """
    cache = DynamicCache(config=model.config)
    return all(isinstance(layer, DynamicLayer) for layer in cache.layers)


def _read(model: Any, prompts: Sequence[Sequence[int]]) -> tuple[Any, Tensor, Tensor]:
    """Compute the prompts; return their cache, their mask, and the logits of the next token.

    A prompt that is to be answered several times is computed once.
    """
    different = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    if len(different) < len(prompts):
        cache, mask_BL, logits_BV = _read(model, different)
        number = {prompt: row for row, prompt in enumerate(different)}
        rows_B = torch.tensor([number[tuple(prompt)] for prompt in prompts], device=model.device)
        cache.batch_select_indices(rows_B)
        return cache, mask_BL[rows_B], logits_BV[rows_B]
    count, device = len(prompts), model.device
    last_only = _last_only(model)
    cache = None
    shared = shared_length(prompts) if count > 1 else 0
    if shared:
        prefix = torch.tensor([list(prompts[0][:shared])], device=device)
        cache = model(input_ids=prefix, use_cache=True, **last_only).past_key_values
        cache.batch_repeat_interleave(count)
    width = max(len(prompt) for prompt in prompts) - shared
    ids_BL = torch.zeros(count, width, dtype=torch.long)
    mask_BL = torch.zeros(count, shared + width, dtype=torch.long)
    mask_BL[:, :shared] = 1
    for row, prompt in enumerate(prompts):
        own = torch.tensor(list(prompt[shared:]))
        ids_BL[row, width - len(own) :] = own
        mask_BL[row, shared + width - len(own) :] = 1
    mask_BL = mask_BL.to(device)
    position_BL = (mask_BL.cumsum(1) - 1).clamp(min=0)[:, shared:]
    output = model(
        input_ids=ids_BL.to(device),
        attention_mask=mask_BL,
        position_ids=position_BL,
        past_key_values=cache,
        use_cache=True,
        **last_only,
    )
    return output.past_key_values, mask_BL, output.logits[:, -1]


def _last_only(model: Any) -> dict[str, int]:
    """Ask for the last position's logits only; those of whole prompts would fill the memory."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = inspect.signature(base.forward).parameters
    return {"logits_to_keep": 1} if "logits_to_keep" in known else {}

"""Forest attention: token k is visible to token q iff ``k <= q < visible_until[k]``.

One function is registered with transformers under one name and reads everything it needs from a
keyword argument of the model's forward, so there is no global state.

On the CPU the forest is cut into rectangles without a mask. Every segment attends to itself
(causally), and the queries below it, which lie right behind it, attend to all of it. A query's
attention over disjoint key blocks is merged by log-sum-exp weights (Milakov and Gimelshein 2018,
arXiv:1805.02867); its backward pass needs no more than the merged output and log-sum-exp, because
``P = exp(S - lse)`` and ``dS = P * (dP - rowsum(dO * O))`` hold block by block (Dao et al. 2022,
arXiv:2205.14135, appendix B.4). So no prefix is copied and nothing invisible is computed. A process
that computes a share of the pack cuts the rectangles to its own queries. Segments of the length of
an ordinary chat are computed by ``kept_attention`` where there will be a backward pass.

On CUDA: flex attention with a block mask, or variable-length flash attention where the forest is
single chains.

Shapes: B = 1, H query heads, K key heads, T tokens, D head width; Q queries: of all T tokens, or of
those of this process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from danlu.models.context import ContextShare, gather_tokens
from danlu.models.kept_attention import bands, keeps_weights, kept_backward, kept_forward

FOREST_ATTENTION = "danlu_forest"
"""Name under which forest attention is known to transformers."""

_flash_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


class Segment(NamedTuple):
    """Neighbouring tokens seen by the same queries: ``[start, end)``, seen until ``until``."""

    start: int
    end: int
    until: int


class Block(NamedTuple):
    """A rectangle of attention without a mask, or a square with the causal one.

    Attributes:
        queries: Places among the queries.
        keys: Places among the keys.
        causal: Whether each query sees the keys up to its own place only; else all.
    """

    queries: slice
    keys: slice
    causal: bool


@dataclass(frozen=True, eq=False)
class ForestLayout:
    """What attention needs to know of a pack, handed to the model as ``forest=``.

    Attributes:
        visible_until: int64 ``(T,)`` on the CPU.
        device: Where the pack is computed.
        share: Which of its tokens this process computes; None: all.
    """

    visible_until: Tensor
    device: torch.device
    share: ContextShare | None = None

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The segments in depth-first order.

        Example:
            >>> until = torch.tensor([4, 4, 3, 4])
            >>> ForestLayout(until, torch.device("cpu")).segments[0]
            Segment(start=0, end=2, until=4)
        """
        until = self.visible_until
        starts = [0, *(torch.nonzero(until[1:] != until[:-1]).flatten() + 1).tolist()]
        ends = [*starts[1:], len(until)]
        return tuple(
            Segment(start, end, int(until[start])) for start, end in zip(starts, ends, strict=True)
        )

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """What is visible, as blocks; first the causal ones, which have every query once.

        Example:
            >>> until = torch.tensor([4, 4, 3, 4])
            >>> [*map(str, ForestLayout(until, torch.device("cpu")).blocks[-1][:2])]
            ['slice(2, 4, None)', 'slice(0, 2, None)']
        """
        ranges = ((0, len(self.visible_until)),) if self.share is None else self.share.ranges
        causal, whole = [], []
        offset = 0
        for begin, stop in ranges:
            shift = offset - begin
            for start, end, until in self.segments:
                if (first := max(begin, start)) < (last := min(stop, end)):
                    queries = slice(first + shift, last + shift)
                    causal.append(Block(queries, slice(first, last), True))
                    if first > start:
                        whole.append(Block(queries, slice(start, first), False))
                if (first := max(begin, end)) < (last := min(stop, until)):
                    queries = slice(first + shift, last + shift)
                    whole.append(Block(queries, slice(start, end), False))
            offset += stop - begin
        return (*causal, *whole)

    @cached_property
    def is_chains(self) -> bool:
        """Whether no two branches share anything, so that the mask is block-diagonal."""
        return all(segment.end == segment.until for segment in self.segments)

    @cached_property
    def cumulative_lengths(self) -> Tensor:
        """int32 ``(chains + 1,)`` on the device: where each chain begins, and the end."""
        ends = [0, *(segment.end for segment in self.segments)]
        return torch.tensor(ends, dtype=torch.int32, device=self.device)

    @cached_property
    def longest(self) -> int:
        """Length of the longest segment in tokens."""
        return max(segment.end - segment.start for segment in self.segments)

    @cached_property
    def block_mask(self) -> Any:
        """The visibility rule as a flex-attention block mask."""
        from torch.nn.attention.flex_attention import create_block_mask

        until = self.visible_until.to(self.device)

        places = torch.arange(len(until)) if self.share is None else self.share.own
        places = places.to(self.device)

        def visible(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (key <= places[query]) & (places[query] < until[key])

        return create_block_mask(visible, None, None, len(places), len(until), device=self.device)


def forest_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    forest: ForestLayout | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Attention over a pack, in the form that transformers calls.

    Args:
        module: The attention layer; unused.
        query: ``(1, H, Q, D)``.
        key: ``(1, K, Q, D)`` of the same tokens, H a multiple of K.
        value: ``(1, K, Q, D)``.
        attention_mask: Must be None; visibility is in ``forest``.
        scaling: Factor of the scores; default ``D ** -0.5``.
        dropout: Must be 0: dropping attention weights of a shared prefix would tie branches.
        forest: The pack's layout.
        options: Whatever else the model passes; an option that changes the scores is refused.

    Returns:
        ``(1, Q, H, D)`` and None in place of attention weights.

    Raises:
        ValueError: If ``forest`` is missing, or a mask, dropout or an unknown option is given.
    """
    if forest is None or attention_mask is not None:
        raise ValueError(f"{FOREST_ATTENTION} takes its mask from forest=, and from nothing else")
    if dropout:
        raise ValueError(f"{FOREST_ATTENTION} has no attention dropout; got {dropout}")
    for name in ("sliding_window", "softcap", "s_aux"):
        if options.get(name) is not None:
            raise ValueError(f"{FOREST_ATTENTION} does not know the option {name}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if torch.is_autocast_enabled(query.device.type):
        # As torch's own attention does; rotation by float32 angles has widened queries and keys.
        kind = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    if forest.share is not None:
        both = gather_tokens(torch.cat([key, value], dim=-1), forest.share)
        key, value = both.split([key.shape[-1], value.shape[-1]], dim=-1)
    if query.device.type == "cpu":
        output: Tensor = _BlockAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, forest.blocks, scale
        )
        return output, None
    chains = forest.is_chains and forest.share is None
    if query.device.type == "cuda" and chains and query.dtype != torch.float32:
        return _varlen_attention(query, key, value, forest, scale), None
    return _flex_attention(query, key, value, forest, scale), None


class _BlockAttention(torch.autograd.Function):
    """Attention over blocks, one after another: by flash, or with a segment's weights kept."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        blocks: tuple[Block, ...],
        scale: float,
    ) -> Tensor:
        _, heads, queries, width = query.shape
        output = query.new_empty(1, queries, heads, width)
        out = output.transpose(1, 2)
        # The kernel reduces in float32 also for 16-bit inputs.
        lse_dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
        lse = torch.empty(1, heads, queries, dtype=lse_dtype)
        learns = any(ctx.needs_input_grad)
        kept: list[Tensor] = []
        for own, seen, causal in blocks:
            parts = query[:, :, own], key[:, :, seen], value[:, :, seen]
            if learns and causal and keeps_weights(own.stop - own.start, query.dtype):
                out[0, :, own], lse[0, :, own], highest, weights = kept_forward(
                    *(part[0] for part in parts), scale=scale
                )
                kept += [highest, *weights]
                continue
            more, more_lse = _flash_forward(*parts, 0.0, causal, scale=scale)
            if causal:
                out[:, :, own], lse[:, :, own] = more, more_lse
                continue
            merged = torch.logaddexp(lse[:, :, own], more_lse)
            before = (lse[:, :, own] - merged).exp_().unsqueeze(-1)
            added = (more_lse - merged).exp_().unsqueeze(-1)
            out[:, :, own] = (out[:, :, own] * before + more * added).to(out.dtype)
            lse[:, :, own] = merged
        ctx.save_for_backward(query, key, value, output, lse, *kept)
        ctx.blocks, ctx.scale = blocks, scale
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, output, lse, *kept = ctx.saved_tensors
        out, grad_out = output.transpose(1, 2), grad_output.transpose(1, 2)
        whole = query.shape[2] == key.shape[2]  # then the causal blocks have every key once, too
        # Laid out as the projections are, so that their backward needs no copy.
        grad_query, grad_key, grad_value = (
            (torch.empty_like if whole or part is query else torch.zeros_like)(
                part.transpose(1, 2), memory_format=torch.contiguous_format
            ).transpose(1, 2)
            for part in (query, key, value)
        )
        for own, seen, causal in ctx.blocks:
            parts = (
                grad_out[:, :, own],
                query[:, :, own],
                key[:, :, seen],
                value[:, :, seen],
                out[:, :, own],
                lse[:, :, own],
            )
            if causal and keeps_weights(own.stop - own.start, query.dtype):
                count = 1 + len(bands(own.stop - own.start))
                (highest, *weights), kept = kept[:count], kept[count:]
                more_query, more_key, more_value = kept_backward(
                    *(part[0] for part in parts), highest=highest, kept=weights, scale=ctx.scale
                )
            else:
                more_query, more_key, more_value = _flash_backward(
                    *parts, 0.0, causal, scale=ctx.scale
                )
            if causal:
                grad_query[:, :, own] = more_query
            else:
                grad_query[:, :, own] += more_query
            if causal and whole:
                grad_key[:, :, seen], grad_value[:, :, seen] = more_key, more_value
            else:
                grad_key[:, :, seen] += more_key
                grad_value[:, :, seen] += more_value
        return grad_query, grad_key, grad_value, None, None


def _varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, forest: ForestLayout, scale: float
) -> Tensor:
    """Flash attention over chains of different lengths; CUDA, 16 bit."""
    from torch.nn.attention.varlen import varlen_attn

    query_THD, key_TKD, value_TKD = (part[0].transpose(0, 1) for part in (query, key, value))
    bounds, longest = forest.cumulative_lengths, forest.longest
    output = varlen_attn(
        query_THD,
        key_TKD,
        value_TKD,
        bounds,
        bounds,
        longest,
        longest,
        scale=scale,
        window_size=(-1, 0),
        **_grouped(),
    )
    assert isinstance(output, Tensor)  # no auxiliary output was asked for
    return output.unsqueeze(0)


@cache
def _grouped() -> dict[str, Any]:
    """Say that several query heads share a key head; before PyTorch 2.12 it need not be said."""
    from torch.nn.attention.varlen import varlen_attn

    return {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}


FLEX_KERNELS = 64
"""For how many kinds of packs flex attention may be compiled: by number format, heads and width,
with and without gradients, of one block of tokens or of several; lengths are one kind. Past
PyTorch's own limit of 8 it would compute all scores at once, without a word."""

_compiled_flex: Callable[..., Tensor] | None = None


def _compile_flex(backend: str | Callable[..., Any] = "inductor") -> Callable[..., Tensor]:
    """Compile flex attention, with lengths as variables from the second one that is seen on.

    ``dynamic=True`` would make variables of the scale and of the model's sizes too, which are
    constants in its kernels, and would compile twice to find that out.
    """
    from torch import _dynamo
    from torch.nn.attention.flex_attention import flex_attention

    _dynamo.config.recompile_limit = max(_dynamo.config.recompile_limit, FLEX_KERNELS)
    compiled: Callable[..., Tensor] = torch.compile(flex_attention, backend=backend, fullgraph=True)
    return compiled


def _flex_attention(
    query: Tensor, key: Tensor, value: Tensor, forest: ForestLayout, scale: float
) -> Tensor:
    """Flex attention with the forest's block mask; any accelerator that has it."""
    global _compiled_flex
    if _compiled_flex is None:
        _compiled_flex = _compile_flex()
    output = _compiled_flex(
        query, key, value, block_mask=forest.block_mask, scale=scale, enable_gqa=True
    )
    return output.transpose(1, 2).contiguous()


def _no_mask(*_: object, **__: object) -> None:
    """Build no mask: visibility is in the forest."""


AttentionInterface.register(FOREST_ATTENTION, forest_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(FOREST_ATTENTION, _no_mask)

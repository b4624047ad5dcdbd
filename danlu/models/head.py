"""The output head, applied to predictor positions only and in chunks.

With a vocabulary of 50,000 the float32 logits of 2,000 tokens are 400 MB, twice that with their
gradient. Here a chunk of logits exists at a time, and never outlives its loop.

Shapes: S predictions, D model width, V vocabulary, C chunk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from danlu.models.gradients import add_to_gradient, adds_in_place, gradient_to_add_to
from danlu.models.products import add_product, product

CHUNK_BYTES = 64 * 2**20
"""Largest block of float32 logits. The whole output matrix is read for every chunk: on two cores,
chunks of 16, 32, 64 and 128 MiB ran at 251, 290, 317 and 290 GFLOP/s."""

CHUNK_BYTES_GPU = 512 * 2**20
"""The same on an accelerator. With Llama 3's vocabulary of 128,256 the CPU's chunk would have 130
rows: reading the matrix would take longer than multiplying by it, and with each chunk the sum of
its gradient is read and written, 1 GB of float32 at a width of 2,048. This one has 1,046 rows."""

_CACHED_ROWS = 16


class WeightedNll(NamedTuple):
    """Loss numerator, with the numbers that channels are made of.

    Attributes:
        nats: ``()`` float32, differentiable: sum of weight times negative log-likelihood.
        nll: ``(S,)`` float32, detached: negative log-likelihood of each prediction, in nats.
    """

    nats: Tensor
    nll: Tensor


class Reserve:
    """Places in memory for the head's largest blocks, kept from one pack to the next.

    Activations of the next pack, which has another number of tokens, would come to lie where these
    blocks were freed, and the heap grows by a chunk of logits with each pack: by 0.4 GB in ten
    packs of 750 tokens and a vocabulary of 49,152. A device with an allocator of its own needs no
    such care.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, Tensor] = {}

    def take(self, name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor | None:
        """Give out a block that was kept, if it has this form; its values are old."""
        block = self._blocks.pop(name, None)
        fits = block is not None and block.shape == shape and block.dtype == dtype
        return block if fits else None

    def __contains__(self, name: str) -> bool:
        return name in self._blocks

    def free(self, name: str) -> None:
        """Let a block go, for others to come to lie there."""
        self._blocks.pop(name, None)

    def hold(self, name: str, matrix_VD: Tensor, rows: int) -> None:
        """Keep room for so many rows of logits, in the number format that they have."""
        if matrix_VD.device.type == "cpu":
            wide = torch.promote_types(matrix_VD.dtype, torch.float32)
            self.keep(name, matrix_VD.new_empty(rows, len(matrix_VD), dtype=wide))

    def keep(self, name: str, block: Tensor) -> None:
        """Keep a block that nobody reads any more, or a new one in its place."""
        if block.device.type == "cpu":
            self._blocks[name] = block


@dataclass(frozen=True)
class OutputHead:
    """A model's output layer and what the model does to its logits.

    Attributes:
        module: Maps hidden states ``(…, D)`` to logits ``(…, V)``.
        softcap: Logits are ``softcap * tanh(logits / softcap)`` (Gemma 2); None leaves them.
        scale: Logits are multiplied by this (Cohere's ``logit_scale``, Granite's inverse).
        reserve: Memory for training on the CPU.
    """

    module: nn.Module
    softcap: float | None = None
    scale: float = 1.0
    reserve: Reserve = field(default_factory=Reserve, repr=False, compare=False)

    @classmethod
    def of(cls, model: PreTrainedModel) -> OutputHead:
        """Read the head and the treatment of its logits from a causal language model.

        Raises:
            ValueError: If the model has no output embeddings.
        """
        module = model.get_output_embeddings()
        if module is None:
            raise ValueError(f"{type(model).__name__} has no output layer to score tokens with")
        config = model.config.get_text_config()
        scale = getattr(config, "logit_scale", None) or 1.0
        scale /= getattr(config, "logits_scaling", None) or 1.0
        return cls(module, getattr(config, "final_logit_softcapping", None), float(scale))

    @property
    def is_plain(self) -> bool:
        """Whether logits are one matrix product, so that its gradient is known in closed form."""
        return (
            type(self.module) is nn.Linear
            and getattr(self.module, "bias", None) is None
            and self.softcap is None
            and self.scale == 1.0
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits ``(…, V)`` of hidden states ``(…, D)``."""
        logits: Tensor = self.module(hidden)
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits if logits.dtype == torch.float64 else logits.float()

    def frozen_logits(self, hidden: Tensor) -> Tensor:
        """Return ``logits`` by the fastest product; for use where autograd does not look."""
        if not self.is_plain:
            return self.logits(hidden)
        hidden, matrix_VD = _autocast(hidden, self.module.get_parameter("weight"))
        return product(hidden, matrix_VD).to(torch.promote_types(hidden.dtype, torch.float32))

    def weighted_nll(self, hidden_SD: Tensor, target_S: Tensor, weight_S: Tensor) -> WeightedNll:
        """Score predictions and sum their weighted negative log-likelihood.

        Args:
            hidden_SD: Hidden states of the predictors.
            target_S: Token ids to be predicted, int64.
            weight_S: Weight of each prediction.

        Returns:
            The sum, through which gradients flow, and each prediction's nll.
        """
        if self.is_plain:
            matrix_VD: Tensor = self.module.get_parameter("weight")
            hidden_SD, matrix_VD = _autocast(hidden_SD, matrix_VD)
            nats, nll = _PlainHead.apply(  # type: ignore[no-untyped-call]
                hidden_SD, matrix_VD, target_S, weight_S, self.reserve
            )
            return WeightedNll(nats, nll)
        nll = -self.logprobs(hidden_SD, target_S)
        return WeightedNll((nll * weight_S).sum(), nll.detach())

    def logprobs(self, hidden_SD: Tensor, target_S: Tensor) -> Tensor:
        """Return ``(S,)`` float32 log-probabilities of the targets, each differentiable."""
        if self.is_plain:
            matrix_VD: Tensor = self.module.get_parameter("weight")
            hidden_SD, matrix_VD = _autocast(hidden_SD, matrix_VD)
            logprobs: Tensor = _PlainLogprobs.apply(  # type: ignore[no-untyped-call]
                hidden_SD, matrix_VD, target_S
            )
            return logprobs
        weight = getattr(self.module, "weight", None)
        vocabulary = weight.shape[0] if isinstance(weight, Tensor) else 2**17
        rows = _chunk_rows(vocabulary, hidden_SD.device.type)
        parts = [
            checkpoint(self._chunk_logprobs, hidden, target, use_reentrant=False)
            for hidden, target in zip(hidden_SD.split(rows), target_S.split(rows), strict=True)
        ]
        return torch.cat(parts) if parts else hidden_SD.new_zeros(0)

    @torch.no_grad()
    def judged(self, hidden_SD: Tensor, target_S: Tensor) -> tuple[Tensor, Tensor]:
        """Say how likely targets are; for use where autograd does not look.

        Returns:
            ``(S,)`` float32 log-probabilities, and ``(S,)`` whether each is the likeliest token.
        """
        vocabulary = self.module.get_parameter("weight").shape[0] if self.is_plain else 2**17
        rows = _chunk_rows(vocabulary, hidden_SD.device.type)
        logprobs, likeliest = [], []
        for hidden_CD, target_C in zip(hidden_SD.split(rows), target_S.split(rows), strict=True):
            logits_CV = self.frozen_logits(hidden_CD)
            own_C = logits_CV.gather(1, target_C.unsqueeze(1)).squeeze(1)
            logprobs.append(own_C - logits_CV.logsumexp(-1))
            likeliest.append(logits_CV.argmax(-1) == target_C)
        return torch.cat(logprobs), torch.cat(likeliest)

    def _chunk_logprobs(self, hidden_CD: Tensor, target_C: Tensor) -> Tensor:
        return -functional.cross_entropy(self.logits(hidden_CD), target_C, reduction="none")


def _autocast(*tensors: Tensor) -> list[Tensor]:
    """Cast as autocast would, which does not look into functions of our own."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors]


def _chunk_rows(vocabulary: int, device: str) -> int:
    return max(16, (CHUNK_BYTES if device == "cpu" else CHUNK_BYTES_GPU) // (4 * vocabulary))


class _PlainHead(torch.autograd.Function):
    """Weighted nll of one matrix product, with its gradient made while the logits are at hand.

    d nats / d logits = weight * (softmax - onehot), so one pass gives the loss and both gradients;
    backward only scales them. Recomputing the logits in backward would cost a third more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_SD: Tensor,
        weight_VD: Tensor,
        target_S: Tensor,
        weight_S: Tensor,
        reserve: Reserve,
    ) -> tuple[Tensor, Tensor]:
        wants_hidden, wants_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        wide = torch.promote_types(hidden_SD.dtype, torch.float32)
        weight_S = weight_S.to(wide)
        nll_S = torch.empty(len(target_S), dtype=wide, device=hidden_SD.device)
        grad_hidden = torch.empty_like(hidden_SD) if wants_hidden else None
        slopes = _Slopes(weight_VD, len(target_S), reserve) if wants_weight else None
        reserve.free("logits")  # the chunks come to lie there
        for part in _parts(len(target_S), weight_VD):
            logits_CV = product(hidden_SD[part], weight_VD).to(wide)
            target_C1 = target_S[part].unsqueeze(1)
            own_C = logits_CV.gather(1, target_C1).squeeze(1)
            if not (wants_hidden or wants_weight):
                nll_S[part] = torch.logsumexp(logits_CV, -1) - own_C
                continue
            weight_C1 = weight_S[part].unsqueeze(1)
            nll_S[part] = _softmax_in_place(logits_CV, weight_C1) - own_C
            logits_CV.scatter_add_(1, target_C1, -weight_C1)
            grad_CV = logits_CV.to(weight_VD.dtype)
            del logits_CV
            if grad_hidden is not None:
                grad_hidden[part] = product(grad_CV, weight_VD.T)
            if slopes is not None:
                slopes.add(grad_CV, hidden_SD[part])
            del grad_CV
        if (wants_hidden or wants_weight) and not (slopes and slopes.waits):
            rows = _chunk_rows(len(weight_VD), weight_VD.device.type)
            reserve.hold("logits", weight_VD, min(rows, len(target_S)))
        ctx.gradients = (grad_hidden, slopes)
        ctx.mark_non_differentiable(nll_S)
        return (nll_S * weight_S).sum(), nll_S

    @staticmethod
    def backward(ctx: Any, grad_nats: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError(
                "the output head's gradients are scaled in place: backward runs once"
            )
        # The largest tensors of a step: a copy of them costs more than the scaling.
        (grad_hidden, slopes), ctx.gradients = ctx.gradients, None
        if grad_hidden is not None:
            grad_hidden.mul_(grad_nats.to(grad_hidden.dtype))
        grad_weight = None if slopes is None else slopes.gradient(grad_nats)
        return grad_hidden, grad_weight, None, None, None


class _Slopes:
    """The gradient of an output matrix: the logits' gradient times hidden states.

    Only backward knows the number that scales it. Until then chunks are summed up; but where they
    can be added to the matrix's gradient, and are hardly larger than it, they wait, which spares
    the sum and four passes over it.

    Args:
        weight_VD: The matrix.
        predictions: In all chunks.
        reserve: Keeps the place of the large blocks between packs.

    Attributes:
        waits: Whether chunks are kept until backward.
    """

    def __init__(self, weight_VD: Tensor, predictions: int, reserve: Reserve) -> None:
        self._matrix, self._reserve = weight_VD, reserve
        vocabulary, width = weight_VD.shape
        rows = _chunk_rows(vocabulary, weight_VD.device.type)
        self.waits = adds_in_place(weight_VD) and predictions <= width + rows
        self._rows = predictions
        self._chunks: list[tuple[Tensor, Tensor]] = []
        self._sum: Tensor | None = None

    def add(self, grad_CV: Tensor, hidden_CD: Tensor) -> None:
        """Take a chunk's, ``(C, V)``, and the hidden states that it belongs to."""
        if self.waits:
            self._chunks.append((grad_CV, hidden_CD))
            return
        add_product(self._summed(), grad_CV, hidden_CD)

    def gradient(self, scale: Tensor) -> Tensor | None:
        """Return the gradient times ``scale``; None if it was added to the matrix's."""
        found = None
        if adds_in_place(self._matrix):
            self._add(scale.item())
        else:
            found = self._made(scale)
        self._chunks.clear()
        if self.waits:  # room for the next pack's chunks, before others come to lie there
            self._reserve.hold("logits", self._matrix, self._rows)
        return found

    def _add(self, scale: float) -> None:
        if self._sum is not None:
            gradient_to_add_to(self._matrix).add_(self._sum, alpha=scale)
            self._reserve.keep("gradient", self._sum)
        for grad_CV, hidden_CD in self._chunks:
            add_to_gradient(self._matrix, grad_CV, hidden_CD, scale)

    def _made(self, scale: Tensor) -> Tensor:
        for grad_CV, hidden_CD in self._chunks:
            add_product(self._summed(), grad_CV, hidden_CD)
        return self._summed().mul_(scale).to(self._matrix.dtype)

    def _summed(self) -> Tensor:
        """Return the sum so far; it begins where that of the last pack lay, if that was kept."""
        if self._sum is None:
            wide = torch.promote_types(self._matrix.dtype, torch.float32)
            kept = self._reserve.take("gradient", self._matrix.shape, wide)
            zeros = torch.zeros_like(self._matrix, dtype=wide) if kept is None else kept.zero_()
            self._sum = zeros
        return self._sum


class _PlainLogprobs(torch.autograd.Function):
    """Log-probabilities of one matrix product, each with a gradient of its own.

    A frozen head needs no second pass: d logprob / d hidden = (onehot - softmax) W is one row per
    prediction, made while the logits are at hand and only scaled in backward. A head that moves
    needs the logits once more, because its gradient sums over predictions with weights that are
    known only then.
    """

    @staticmethod
    def forward(ctx: Any, hidden_SD: Tensor, weight_VD: Tensor, target_S: Tensor) -> Tensor:
        wants_hidden, wants_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        wide = torch.promote_types(hidden_SD.dtype, torch.float32)
        logprob_S = torch.empty(len(target_S), dtype=wide, device=hidden_SD.device)
        once = wants_hidden and not wants_weight
        slope_SD = torch.empty_like(hidden_SD) if once else None
        for part in _parts(len(target_S), weight_VD):
            logits_CV = product(hidden_SD[part], weight_VD).to(wide)
            target_C1 = target_S[part].unsqueeze(1)
            own_C = logits_CV.gather(1, target_C1).squeeze(1)
            if slope_SD is None:
                logprob_S[part] = own_C - torch.logsumexp(logits_CV, -1)
                continue
            one_C1 = torch.ones_like(target_C1, dtype=wide)
            logprob_S[part] = own_C - _softmax_in_place(logits_CV, -one_C1)
            logits_CV.scatter_add_(1, target_C1, one_C1)
            slope_SD[part] = product(logits_CV.to(weight_VD.dtype), weight_VD.T)
        ctx.once = once
        ctx.save_for_backward(*((slope_SD,) if once else (hidden_SD, weight_VD, target_S)))
        return logprob_S

    @staticmethod
    def backward(ctx: Any, grad_S: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.once:
            [slope_SD] = ctx.saved_tensors
            return slope_SD * grad_S.to(slope_SD.dtype).unsqueeze(1), None, None
        hidden_SD, weight_VD, target_S = ctx.saved_tensors
        wants_hidden, wants_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        grad_hidden = torch.empty_like(hidden_SD) if wants_hidden else None
        grad_weight = torch.zeros_like(weight_VD, dtype=grad_S.dtype) if wants_weight else None
        for part in _parts(len(target_S), weight_VD):
            logits_CV = product(hidden_SD[part], weight_VD).to(grad_S.dtype)
            target_C1, grad_C1 = target_S[part].unsqueeze(1), grad_S[part].unsqueeze(1)
            _softmax_in_place(logits_CV, -grad_C1)
            slope_CV = logits_CV.scatter_add_(1, target_C1, grad_C1).to(weight_VD.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = product(slope_CV, weight_VD.T)
            if grad_weight is not None:
                add_product(grad_weight, slope_CV, hidden_SD[part])
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight_VD.dtype)
        return grad_hidden, grad_weight, None


def _parts(predictions: int, weight_VD: Tensor) -> list[slice]:
    """Cut predictions into chunks whose logits are at most ``CHUNK_BYTES``."""
    rows = _chunk_rows(len(weight_VD), weight_VD.device.type)
    return [slice(start, start + rows) for start in range(0, predictions, rows)]


def _softmax_in_place(logits_CV: Tensor, factor_C1: Tensor) -> Tensor:
    """Turn logits into probabilities times a factor; return ``(C,)`` the log of the sum of exps.

    On the CPU by few rows at a time, which stay in its cache from one pass to the next.
    """
    rows = _CACHED_ROWS if logits_CV.device.type == "cpu" else max(1, len(logits_CV))
    sums = []
    for part_RV, factor_R1 in zip(logits_CV.split(rows), factor_C1.split(rows), strict=True):
        peak_R1 = part_RV.amax(-1, keepdim=True)
        total_R1 = part_RV.sub_(peak_R1).exp_().sum(-1, keepdim=True)
        part_RV.mul_(factor_R1 / total_R1)
        sums.append((total_R1.log() + peak_R1).squeeze(1))
    return torch.cat(sums)

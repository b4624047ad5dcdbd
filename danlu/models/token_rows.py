"""Rows of the embedding that train alone: how new tokens learn while the matrix is frozen.

The rows lie in a small parameter of their own beside the frozen matrix and stand in for its rows;
so an optimizer sees nothing else, and no copy of the matrix is made. With LoRA, PEFT does the same
by its ``trainable_token_indices``; this is for the methods where PEFT has no such thing.

Shapes: K rows, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from danlu.models.tokens import grow_embeddings, is_tied

ROWS_FILE = "token_rows.safetensors"
"""What rows are saved as: ``token_ids`` ``(K,)``, ``input`` and, if not tied, ``output``."""


class TrainedRows(nn.Module):
    """An embedding or an output head, some of whose rows are replaced.

    Args:
        base_layer: The frozen embedding or linear layer.
        rows_KD: The rows that stand in for its own; tied layers share this parameter.
        token_ids: Which rows, ascending.
    """

    def __init__(self, base_layer: nn.Module, rows_KD: nn.Parameter, token_ids: Tensor) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.rows = rows_KD
        self.register_buffer("token_ids", token_ids, persistent=False)
        self.enabled = True

    @property
    def weight(self) -> Tensor:
        """The frozen matrix, ``(V, D)``, without the rows."""
        return self.base_layer.get_parameter("weight")

    def forward(self, x: Tensor) -> Tensor:
        """Embed token ids ``(...)``, or turn states ``(..., D)`` into logits ``(..., V)``."""
        output: Tensor = self.base_layer(x)
        if not self.enabled:
            return output
        if isinstance(self.base_layer, nn.Embedding):
            return self._embed(x, output)
        own = functional.linear(x, self.rows.to(x.dtype))
        bias = getattr(self.base_layer, "bias", None)
        if bias is not None:
            own = own + bias[self.get_buffer("token_ids")]
        return output.index_copy(-1, self.get_buffer("token_ids"), own.to(output.dtype))

    def _embed(self, ids: Tensor, output: Tensor) -> Tensor:
        known = self.get_buffer("token_ids")
        place = torch.searchsorted(known, ids).clamp_(max=len(known) - 1)
        own = functional.embedding(place, self.rows).to(output.dtype)
        scale = getattr(self.base_layer, "embed_scale", None)  # Gemma's embeddings have one
        if scale is not None:
            own = own * scale
        return torch.where((known[place] == ids).unsqueeze(-1), own, output)


def train_rows(model: Any, token_ids: Sequence[int]) -> None:
    """Let the rows of some tokens train, and nothing else of the embeddings, in place.

    Tokens whose rows train already go on with those.

    Args:
        model: A plain transformers model; its embeddings grow to the new tokens.
        token_ids: New tokens, as ``add_tokens`` returned them.
    """
    already = fold_rows(model)
    grow_embeddings(model, token_ids)
    if ids := sorted({*already, *token_ids}):
        _wrap(model, ids)


def rows_modules(model: Any) -> list[TrainedRows]:
    """Return the wrapped embedding and head, input first; one of them where there is no head."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    return [module for module in modules if isinstance(module, TrainedRows)]


@torch.no_grad()
def fold_rows(model: Any) -> list[int]:
    """Write trained rows into the frozen matrices and take the wrappers off, in place.

    Returns:
        The tokens whose rows were trained.
    """
    wrapped = rows_modules(model)
    if not wrapped:
        return []
    token_ids: list[int] = wrapped[0].get_buffer("token_ids").tolist()
    for module in wrapped:
        module.weight[token_ids] = module.rows.to(module.weight.dtype)
    model.set_input_embeddings(wrapped[0].base_layer)
    if len(wrapped) == 2:
        model.set_output_embeddings(wrapped[1].base_layer)
    return token_ids


def save_rows(model: Any, folder: Path) -> None:
    """Write the trained rows to ``ROWS_FILE``; nothing where there are none."""
    if not (wrapped := rows_modules(model)):
        return
    tensors = {"token_ids": wrapped[0].get_buffer("token_ids"), "input": wrapped[0].rows.detach()}
    if len(wrapped) == 2 and wrapped[1].rows is not wrapped[0].rows:
        tensors["output"] = wrapped[1].rows.detach()
    save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, folder / ROWS_FILE)


@torch.no_grad()
def load_rows(model: Any, folder: Path, *, trainable: bool) -> None:
    """Read saved rows into a model, whose embeddings grow to them.

    Args:
        model: The plain base model; changed in place.
        folder: An adapter's folder; nothing happens where it has no rows.
        trainable: Let them go on training; else they become part of the matrices.
    """
    if not (folder / ROWS_FILE).is_file():
        return
    tensors = load_file(folder / ROWS_FILE)
    train_rows(model, tensors["token_ids"].tolist())
    for module, name in zip(rows_modules(model), ("input", "output"), strict=False):
        if name in tensors:
            module.rows.copy_(tensors[name])
    if not trainable:
        fold_rows(model)


def _wrap(model: Any, token_ids: list[int]) -> None:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = is_tied(model)
    ids = torch.tensor(token_ids, device=embedding.weight.device)
    rows = _rows_of(embedding.weight, ids)
    model.set_input_embeddings(TrainedRows(embedding, rows, ids))
    if head is not None:
        own = rows if tied else _rows_of(head.weight, ids)
        model.set_output_embeddings(TrainedRows(head, own, ids))


def _rows_of(matrix_VD: Tensor, ids_K: Tensor) -> nn.Parameter:
    """Copy rows, in float32 where the matrix is in 16 bits, so that small updates add up."""
    dtype = torch.promote_types(matrix_VD.dtype, torch.float32)
    return nn.Parameter(matrix_VD[ids_K].detach().to(dtype, copy=True))

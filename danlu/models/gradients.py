"""Gradients of matrices that are added up where they lie.

Autograd makes a tensor as large as the matrix for each pack and adds it to ``.grad`` in a second
pass. At the step's end ``.grad`` goes, and the next one comes to lie among a pack's activations,
where it cuts the memory into pieces. Here a matrix has one place for its gradient as long as a run
lasts, and a backward pass adds its product to what is there.

Autograd's rule stays: ``.grad`` is None until something is added in a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from danlu.models.products import add_product

_PLACE = "_danlu_gradient"
_handed_over = False


@contextmanager
def gradients_in_place(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let gradients of matrices be added up where they lie, until the block is left.

    The layers of ``danlu.models.fused`` and the output head do so; for other layers autograd goes
    on adding. Only for a process that shares nothing: hooks that wait for a gradient see none.

    Args:
        parameters: All that moves. What is no matrix is passed over.
    """
    matrices = [parameter for parameter in parameters if parameter.ndim == 2]
    for matrix in matrices:
        setattr(matrix, _PLACE, torch.zeros_like(matrix, requires_grad=False))
    try:
        yield
    finally:
        for matrix in matrices:
            delattr(matrix, _PLACE)


@contextmanager
def gradients_handed_over() -> Iterator[None]:
    """Let autograd hand over all gradients within the block: ``torch.autograd.grad`` needs it."""
    global _handed_over
    before, _handed_over = _handed_over, True
    try:
        yield
    finally:
        _handed_over = before


def adds_in_place(matrix: Tensor) -> bool:
    """Whether a backward pass adds to the matrix's gradient by itself."""
    return hasattr(matrix, _PLACE) and not _handed_over


def gradient_to_add_to(matrix: Tensor) -> Tensor:
    """Return ``matrix.grad``, zeros if there was none; for matrices that ``adds_in_place``."""
    place, fresh = _gradient_of(matrix)
    return place.zero_() if fresh else place


def add_to_gradient(matrix_NK: Tensor, grad_TN: Tensor, x_TK: Tensor, scale: float = 1.0) -> None:
    """Add ``s g' x`` to ``matrix.grad``; for matrices that ``adds_in_place``.

    The first product of a step is written over what the last step left, which need not be zeroed.
    """
    place, fresh = _gradient_of(matrix_NK)
    add_product(place, grad_TN, x_TK, scale=scale, fresh=fresh)


def _gradient_of(matrix: Tensor) -> tuple[Tensor, bool]:
    """Return ``matrix.grad``, and whether its numbers are those of an earlier step."""
    if matrix.grad is not None:
        return matrix.grad, False
    matrix.grad = getattr(matrix, _PLACE)
    assert matrix.grad is not None
    return matrix.grad, True

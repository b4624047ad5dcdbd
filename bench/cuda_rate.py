"""A CUDA device: what it is, how fast it multiplies matrices, and what cannot fit on it."""

from __future__ import annotations

import time
from typing import Any

from bench.cuda_cases import CudaCase
from bench.work import Shape
from danlu.config.recipe import TuningSection

REPEATS, ROUNDS = 10, 3

FULL_BYTES = 4 + 4 + 2 * 4
"""Of a weight that moves: itself, its gradient, and AdamW's two moments, all float32."""


def device_facts(device: str) -> dict[str, Any]:
    """Say what a device is."""
    import torch

    if device != "cuda":
        return {"name": device}
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "total_bytes": found.total_memory,
        "multiprocessors": found.multi_processor_count,
        "capability": f"{found.major}.{found.minor}",
        "cuda": torch.version.cuda,
    }


def least_bytes(case: CudaCase) -> int:
    """Count the memory that a model takes before the first activation.

    Full tuning holds 16 bytes for each weight. LoRA holds 2 (4 in float32) for each frozen one, and
    16 for each of the adapters'.

    Example:
        >>> from bench.cuda_cases import CUDA_CASES
        >>> [round(least_bytes(case) / 1e9, 1) for case in CUDA_CASES]
        [2.7, 19.8, 16.7, 128.5]
    """
    if case.method == "full":
        return FULL_BYTES * case.shape.parameters
    adapters = Shape.of(case.shape).adapter_weights(TuningSection().lora_rank)
    width = 2 if case.precision == "bfloat16" else 4
    return width * case.shape.parameters + FULL_BYTES * adapters


def obstacle(case: CudaCase, total_bytes: int | None) -> str | None:
    """Say why a case cannot fit on a device; None if it may."""
    if total_bytes is None or (least := least_bytes(case)) < total_bytes:
        return None
    held = "weights, gradients and AdamW's two moments in float32, 16 bytes for each weight,"
    what = held if case.method == "full" else "the model and its adapters"
    return (
        f"{what} take {least / 1e9:.1f} GB before the first activation, and the device has "
        f"{total_bytes / 1e9:.1f} GB"
    )


def cuda_rate(case: CudaCase) -> float:
    """Measure operations per second of PyTorch's fastest product at a model's shapes."""
    shape = case.shape
    width, inner = shape.hidden_size, shape.intermediate_size
    sizes = ((width, inner), (inner, width), (width, width), (width, shape.vocab_size))
    return max(_product_rate(case, inputs, outputs) for inputs, outputs in sizes)


def _product_rate(case: CudaCase, inputs: int, outputs: int) -> float:
    import torch

    def finish() -> None:
        if case.device == "cuda":
            torch.cuda.synchronize()

    options: dict[str, Any] = {"device": case.device, "dtype": getattr(torch, case.precision)}
    states = torch.randn(case.pass_tokens, inputs, **options)
    weight = torch.randn(outputs, inputs, **options)
    torch.nn.functional.linear(states, weight)  # libraries are loaded at the first product
    finish()
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(REPEATS):
            torch.nn.functional.linear(states, weight)
        finish()
        best = min(best, (time.perf_counter() - began) / REPEATS)
    return 2 * case.pass_tokens * inputs * outputs / best

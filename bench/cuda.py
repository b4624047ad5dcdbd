"""A benchmark on a CUDA device: the contenders take turns, each in a process of its own."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from bench.cuda_cases import (
    LOSS_TOLERANCE,
    NORM_TOLERANCE,
    PROMPT_SHARE,
    STEPS,
    WARMUP_STEPS,
    CudaCase,
)
from bench.cuda_child import CudaOutcome, Length, run_child
from bench.cuda_rate import least_bytes
from bench.llama import token_records
from bench.results import Goal, Result, this_machine
from bench.work import Shape, StepSize, necessary_flops
from danlu.config.recipe import TuningSection

Say = Callable[[str], None]


def missing(case: CudaCase) -> str | None:
    """Say what a case lacks to be run; None if nothing."""
    import torch

    if case.device == "cuda" and not torch.cuda.is_available():
        return f"{case.name} is skipped: this machine has no CUDA device"
    return None


def measure(case: CudaCase, say: Say) -> Result:
    """Run a case: Danlu, then TRL if it is installed.

    What did not fit, failed or took too long is said in the result's notes and has no figures.
    """
    danlu = run_child(case, "danlu")
    _report(case, "Danlu", danlu, say)
    if danlu.obstacle:
        trl = CudaOutcome()
    elif importlib.util.find_spec("trl") is None:
        trl = CudaOutcome(obstacle="it is not installed: pip install 'danlu[bench]'")
    else:
        trl = run_child(case, "trl")
        _report(case, "TRL", trl, say)
    return judged(case, danlu, trl)


def judged(case: CudaCase, danlu: CudaOutcome, trl: CudaOutcome) -> Result:
    """Make the result of what the contenders did.

    Figures over all lengths are of those that both did; of Danlu's if TRL did none.
    """
    rate = max(danlu.matrix_rate, trl.matrix_rate)
    rows = [
        _row(case, length, _of(danlu, length), _of(trl, length), rate) for length in case.lengths
    ]
    shared = [row for row in rows if row["danlu"] and row["trl"]]
    used = shared or [row for row in rows if row["danlu"]]
    seconds = sum(row["danlu"]["step_seconds_median"] for row in used)
    peer_seconds = sum(row["trl"]["step_seconds_median"] for row in shared)
    tokens = len(used) * case.step_tokens
    flops = sum(row["necessary_flops"] for row in used)
    share = flops / seconds / rate if used else None
    return Result(
        name=case.name,
        unit="tokens/s",
        danlu=tokens / seconds if used else None,
        peer=tokens / peer_seconds if shared else None,
        ratio=peer_seconds / seconds if shared else None,
        limit_fraction=share,
        torch_limit_fraction=share,
        peak_bytes=max((row["danlu"]["peak_bytes"] for row in used), default=None),
        peer_peak_bytes=max((row["trl"]["peak_bytes"] for row in shared), default=None),
        goals=tuple(_goals(shared)),
        details={
            "shape": asdict(case.shape),
            "parameters": case.shape.parameters,
            "method": case.method,
            "lora_rank": TuningSection().lora_rank if case.method == "lora" else None,
            "precision": case.precision,
            "weights": "float32" if case.method == "full" else case.precision,
            "optimizer": "fused AdamW, moments in float32",
            "gradient_checkpointing": case.checkpointing,
            "learning_rate": case.learning_rate,
            "step_tokens": case.step_tokens,
            "tokens_at_a_time": case.pass_tokens,
            "supervised_share": 1 - PROMPT_SHARE,
            "steps": {"warmup": WARMUP_STEPS, "measured": STEPS},
            "kernels": {
                "danlu": "torch.nn.attention.varlen.varlen_attn",
                "trl": "torch's scaled_dot_product_attention, no mask, no padding",
            },
            "least_bytes": least_bytes(case),
            "matrix_flops_per_s": rate,
            "lengths": rows,
            "variants": dict(_variants(case, rows)),
            "notes": [*_notes("Danlu", danlu), *_notes("TRL", trl)],
        },
        machine={**this_machine(), "device": danlu.device or trl.device},
    )


def step_size(case: CudaCase, length: int) -> StepSize:
    """Count what a step needs: chains of one length that share nothing."""
    data = token_records(case.shape, length, case.step_tokens // length, seed=0)
    return StepSize.of([data.branch(b) for b in range(data.branches)])


def _row(
    case: CudaCase, length: int, danlu: Length | None, trl: Length | None, rate: float
) -> dict[str, Any]:
    """Tell what both did with records of one length; None for one who did not."""
    size = step_size(case, length)
    rank = TuningSection().lora_rank
    flops = necessary_flops(Shape.of(case.shape), size, case.method, rank)
    told = [_told(case, one, flops, rate) for one in (danlu, trl)]
    row: dict[str, Any] = {
        "tokens": length,
        "records": case.step_tokens // length,
        "step_size": vars(size),
        "necessary_flops": flops,
        "danlu": told[0],
        "trl": told[1],
        "ratio": None,
    }
    if told[0] and told[1]:
        row["ratio"] = told[1]["step_seconds_median"] / told[0]["step_seconds_median"]
    return row


def _told(case: CudaCase, one: Length | None, flops: float, rate: float) -> dict[str, Any] | None:
    if one is None or one.trained is None:
        return None
    seconds = median(one.trained.step_seconds[WARMUP_STEPS:])
    return {
        "tokens_per_s": case.step_tokens / seconds,
        "step_seconds_median": seconds,
        "step_seconds": one.trained.step_seconds,
        "limit_fraction": flops / seconds / rate,
        "peak_bytes": one.peak_bytes,
        "reserved_bytes": one.reserved_bytes,
        "losses": _numbers(one.trained.losses),
        "grad_norms": _numbers(one.trained.grad_norms),
    }


def _goals(shared: Sequence[dict[str, Any]]) -> Iterator[Goal]:
    """Hold both to the same losses and gradients."""
    if not shared:
        return
    losses = [pair for row in shared for pair in _pairs(row, "losses")]
    norms = [pair for row in shared for pair in _pairs(row, "grad_norms")]
    apart = max(abs(own - other) for own, other in losses)
    yield Goal("difference of losses", _finite(apart), LOSS_TOLERANCE, "at most")
    apart = max(abs(own - other) / max(abs(other), 1e-9) for own, other in norms)
    yield Goal("relative difference of gradients", _finite(apart), NORM_TOLERANCE, "at most")


def _pairs(row: dict[str, Any], name: str) -> Iterator[tuple[float, float]]:
    for own, other in zip(row["danlu"][name], row["trl"][name], strict=True):
        yield (math.inf, 0.0) if own is None or other is None else (own, other)


def _finite(number: float) -> float:
    """JSON has no infinity: what is not finite is far beyond any limit."""
    return number if math.isfinite(number) else 1e9


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _variants(
    case: CudaCase, rows: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each contender's figures for each length, as the table prints them."""
    for row in rows:
        for who, key in (("Danlu", "danlu"), ("TRL", "trl")):
            if found := row[key]:
                name = f"{who}, {row['records']} x {row['tokens']:,} tokens"
                yield (
                    f"{name}, {found['limit_fraction']:.2f} of the matrix limit",
                    {"records_per_s": found["tokens_per_s"], "peak_bytes": found["peak_bytes"]},
                )


def _notes(who: str, outcome: CudaOutcome) -> Iterator[str]:
    """Say what has no figures, and why."""
    if outcome.obstacle:
        yield f"{who} was not tried: {outcome.obstacle}"
    for one in outcome.lengths:
        if one.out_of_memory:
            yield f"{who}, {one.tokens:,} tokens, ran out of memory: {one.out_of_memory}"
    if outcome.failure:
        yield f"{who}: {outcome.failure}"


def _of(outcome: CudaOutcome, length: int) -> Length | None:
    return next((one for one in outcome.lengths if one.tokens == length), None)


def _report(case: CudaCase, who: str, outcome: CudaOutcome, say: Say) -> None:
    for one in outcome.lengths:
        if one.trained is not None:
            speed = case.step_tokens / median(one.trained.step_seconds[WARMUP_STEPS:])
            say(
                f"{case.name}: {who}, {one.tokens:,} tokens: {speed:,.0f} tokens/s, "
                f"{one.peak_bytes / 1e9:.2f} GB"
            )
    for note in _notes(who, outcome):
        say(f"{case.name}: {note}")

"""One contender on a CUDA device, in a process of its own: what it is told, and what it tells."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench.cuda_cases import CONTENDER_SECONDS, STEPS, WARMUP_STEPS, CudaCase, LlamaShape

Contender = Literal["danlu", "trl"]


class Trained(NamedTuple):
    """What a contender says of its steps, the warm-up first.

    Attributes:
        step_seconds: Of each step, all that the device had to do included.
        losses: Mean nll per supervised token, in nats.
        grad_norms: Before clipping.
    """

    step_seconds: list[float]
    losses: list[float]
    grad_norms: list[float]


@dataclass(frozen=True)
class Length:
    """What a contender did with records of one length.

    Attributes:
        tokens: Of a record.
        trained: Its steps; None if they did not fit.
        peak_bytes: Most memory held by tensors, from the model's making to the last step.
        reserved_bytes: Most memory that PyTorch took for them; 0 where it is not known.
        out_of_memory: What was said when memory ran out; None if it did not.
    """

    tokens: int
    trained: Trained | None
    peak_bytes: int = 0
    reserved_bytes: int = 0
    out_of_memory: str | None = None


@dataclass(frozen=True)
class CudaOutcome:
    """What a contender did.

    Attributes:
        device: What the device is.
        matrix_rate: Operations per second of the fastest of PyTorch's products at the model's
            shapes, in the number format of the computation, before the steps and after.
        lengths: In the order in which they ran.
        obstacle: Why nothing was tried; None if something was.
        failure: Why it ended before its end; None if it did not.
    """

    device: dict[str, Any] = field(default_factory=dict)
    matrix_rate: float = 0.0
    lengths: tuple[Length, ...] = ()
    obstacle: str | None = None
    failure: str | None = None

    def write(self, file: Path) -> None:
        """Write it, whole or not at all."""
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self)), "utf-8")
        partial.rename(file)

    @classmethod
    def read(cls, file: Path) -> CudaOutcome:
        """Read what ``write`` wrote; nothing done if there is no file."""
        if not file.is_file():
            return cls()
        told = json.loads(file.read_text("utf-8"))
        lengths = []
        for one in told.pop("lengths"):
            trained = one.pop("trained")
            lengths.append(Length(**one, trained=Trained(*trained) if trained else None))
        return cls(**told, lengths=tuple(lengths))


def run_child(
    case: CudaCase, contender: Contender, seconds: float = CONTENDER_SECONDS
) -> CudaOutcome:
    """Run a contender and wait for it; what it had done when it failed is kept."""
    with tempfile.TemporaryDirectory(prefix="danlu-bench-") as folder:
        told, answer = Path(folder) / "case.json", Path(folder) / "outcome.json"
        told.write_text(json.dumps(asdict(case)), "utf-8")
        failure = None
        try:
            done = subprocess.run(
                [sys.executable, "-m", "bench.cuda_child", contender, str(told), str(answer)],
                env=_environment(),
                cwd=Path(__file__).parents[1],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=seconds,
            )
            if done.returncode:
                failure = f"it failed ({done.returncode}):\n{done.stdout[-4000:].strip()}"
        except subprocess.TimeoutExpired:
            failure = f"it was stopped after {seconds:.0f} s"
        return replace(CudaOutcome.read(answer), failure=failure)


def _environment() -> dict[str, str]:
    """One device only: transformers' trainer would spread itself over all that it sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true", "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **quiet, "CUDA_VISIBLE_DEVICES": visible}


def main(contender: str, told: str, answer: str) -> None:
    """Train in this process; called by ``run_child``."""
    read = json.loads(Path(told).read_text("utf-8"))
    shape, lengths = LlamaShape(**read.pop("shape")), tuple(read.pop("lengths"))
    case = CudaCase(**read, shape=shape, lengths=lengths)
    file = Path(answer)
    run_lengths(case, trainer(contender), file.parent, lambda outcome: outcome.write(file))


Train = Callable[[CudaCase, int, Path], Trained]


def trainer(contender: str) -> Train:
    """Return what trains a model on records of one length."""
    if contender == "danlu":
        from bench.cuda_danlu import train
    else:
        from bench.cuda_trl import train
    return train


def run_lengths(
    case: CudaCase,
    train: Train,
    folder: Path,
    tell: Callable[[CudaOutcome], None] = lambda outcome: None,
) -> CudaOutcome:
    """Train on each length of records, with a new model each time.

    Args:
        case: What is trained.
        train: One contender's way.
        folder: For its files.
        tell: Told after each length what is known so far.
    """
    from bench.cuda_rate import cuda_rate, device_facts, obstacle

    facts = device_facts(case.device)
    if reason := obstacle(case, facts.get("total_bytes")):
        outcome = CudaOutcome(device=facts, obstacle=reason)
        tell(outcome)
        return outcome
    outcome = CudaOutcome(device=facts, matrix_rate=cuda_rate(case))
    for length in case.lengths:
        found = _run_length(case, length, train, folder)
        # A gradient that ran out of memory lies in cycles with what was to be made of it.
        _free(case.device)
        outcome = replace(outcome, lengths=(*outcome.lengths, found))
        tell(outcome)
    outcome = replace(outcome, matrix_rate=max(outcome.matrix_rate, cuda_rate(case)))
    tell(outcome)
    return outcome


def _run_length(case: CudaCase, length: int, train: Train, folder: Path) -> Length:
    import torch

    from danlu.training.memory import peak_bytes

    on_cuda, device = case.device == "cuda", torch.device(case.device)
    _free(case.device)
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    try:
        trained = train(case, length, folder)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return Length(length, None, out_of_memory=str(error).split("\n")[0][:400])
    assert len(trained.step_seconds) == len(trained.losses) == WARMUP_STEPS + STEPS
    reserved = torch.cuda.max_memory_reserved() if on_cuda else 0
    return Length(length, trained, peak_bytes(device), reserved)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device's memory was what lacked; its libraries say so in words of their own.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"))
        True
    """
    import torch

    words = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory", "CUDA out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


def _free(device: str) -> None:
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])

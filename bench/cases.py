"""The benchmarks, their settings and their goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MODEL = "builtin:smollm2-135m-instruct"
BATCH_RECORDS = 16
SEED = 42

LOSS_TOLERANCE = 1e-3
"""Largest difference of a step's loss between the contenders, on the same batches."""


@dataclass(frozen=True)
class PeerSetting:
    """How TRL cuts a step into micro-batches.

    Attributes:
        rows: Records of a micro-batch; the rest of a step's records is accumulated.
        padding_free: Lay a micro-batch's records one after another, without padding. On the CPU
            transformers then builds the block-diagonal mask, so it is exact there too.
    """

    rows: int
    padding_free: bool = False

    @classmethod
    def parse(cls, text: str) -> PeerSetting:
        """Read ``4`` (rows) or ``4f`` (rows, padding-free).

        Raises:
            ValueError: If it is neither, or does not divide a step.
        """
        rows = int(text.removesuffix("f"))
        if rows < 1 or BATCH_RECORDS % rows:
            raise ValueError(f"a step of {BATCH_RECORDS} records cannot be cut into {rows}")
        return cls(rows, text.endswith("f"))

    def __str__(self) -> str:
        layout = "padding-free" if self.padding_free else "padded"
        return f"{BATCH_RECORDS // self.rows} x {self.rows} records, {layout}"


DEFAULT_PEER = PeerSetting(8)
"""TRL's own default (``per_device_train_batch_size``), which memory is compared with."""
PEERS = (PeerSetting(1), DEFAULT_PEER)
"""Settings that are run; speed is compared with the fastest. On two cores 1, 2, 4, 8 and 16 rows
took 69, 73, 72, 72 and 75 s for the same steps, and 2.5, 3.8, 6.3, 11.2 and 15.8 GB."""


@dataclass(frozen=True)
class Case:
    """A training benchmark.

    Attributes:
        name: Also the name of its results file.
        method: What moves.
        data: ``instructions`` (records of different lengths) or ``triage`` (a shared prompt).
        learning_rate: The same for both.
        steps: Measured optimizer steps.
        ratio_goal: Danlu's records per second over TRL's in its fastest setting, at least.
        memory_goal: Danlu's peak memory over TRL's in its default setting, at most; None without
            a goal.
        limit_goal: Share of the machine's matrix rate, at least; None without a goal.
        peers: TRL's settings.
    """

    name: str
    method: Literal["lora", "full"]
    data: Literal["instructions", "triage"]
    learning_rate: float
    steps: int
    ratio_goal: float
    memory_goal: float | None = None
    limit_goal: float | None = None
    peers: tuple[PeerSetting, ...] = PEERS


CASES = (
    Case("sft-lora", "lora", "instructions", 2e-4, 3, 2.0, 1 / 3, 0.65),
    Case("sft-full", "full", "instructions", 2e-5, 3, 2.0, 1 / 3, 0.65),
    Case("shared-prompt", "lora", "triage", 2e-4, 2, 5.0),
)

PREPARE = "prepare"
PREPARE_GOAL = 0.8
"""Share of the bare tokenizer's speed that preparing data keeps, at least."""

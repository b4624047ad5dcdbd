"""The benchmarks, their settings and their goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MODEL = "builtin:smollm2-135m-instruct"
BATCH_RECORDS = 16
SEED = 42

Objective = Literal["nll", "dpo", "reward", "grpo"]
Reference = Literal["adapter_off", "precomputed"]

PAIR_TOKENS = 200
"""About so long is the longer answer of a pair, with its prompt, in the preference benchmarks. The
data's median is three times that, but TRL's 16 rows side by side take 15 GB even so."""

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
        rows = text.removesuffix("f")
        allowed = [str(n) for n in range(1, BATCH_RECORDS + 1) if BATCH_RECORDS % n == 0]
        if rows not in allowed:
            raise ValueError(
                f"{text!r} does not cut a step of {BATCH_RECORDS} records; it must be one of "
                f"{', '.join(allowed)}, with f for padding-free"
            )
        return cls(int(rows), text.endswith("f"))

    def __str__(self) -> str:
        layout = "padding-free" if self.padding_free else "padded"
        return f"{BATCH_RECORDS // self.rows} x {self.rows} records, {layout}"


@dataclass(frozen=True)
class Rows:
    """Danlu itself, with ``model.attention: rows`` in place of the forest."""

    def __str__(self) -> str:
        return "padded rows"


Peer = PeerSetting | Rows

ROWS = Rows()
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
        data: ``instructions`` (records of different lengths), ``triage`` (a shared prompt),
            ``pairs`` (preferences) or ``letters`` (a prompt and several ranked answers).
        learning_rate: The same for both.
        steps: Measured optimizer steps; of ``pairs`` it is one.
        ratio_goal: Danlu's records per second over the peer's in its fastest setting, at least.
        memory_goal: Danlu's peak memory over TRL's in its default setting, at most; None without
            a goal.
        limit_goal: Share of the machine's matrix rate, at least; None without a goal.
        peers: TRL's settings; or ``ROWS``, where Danlu is measured against itself.
        objective: What is minimised.
        reference: Where ``dpo`` has the reference's log-probabilities from.
        batch_records: Records of a step.
        answers: To each letter.
        sentences: Of an answer.
        unit: What a record is called.
        rounds: How often Danlu runs, for the best of each step.
    """

    name: str
    method: Literal["lora", "full"]
    data: Literal["instructions", "triage", "pairs", "letters"]
    learning_rate: float
    steps: int
    ratio_goal: float
    memory_goal: float | None = None
    limit_goal: float | None = None
    peers: tuple[Peer, ...] = PEERS
    objective: Objective = "nll"
    reference: Reference | None = None
    batch_records: int = BATCH_RECORDS
    answers: int = 0
    sentences: int = 0
    unit: str = "records"
    rounds: int = 2


CASES = (
    Case("sft-lora", "lora", "instructions", 2e-4, 3, 2.0, 1 / 3, 0.65),
    Case("sft-full", "full", "instructions", 2e-5, 3, 2.0, 1 / 3, 0.65),
    Case("shared-prompt", "lora", "triage", 2e-4, 1, 5.0),
    Case(
        "dpo-lora",
        "lora",
        "pairs",
        2e-4,
        1,
        2.0,
        objective="dpo",
        reference="adapter_off",
        unit="pairs",
        rounds=1,
    ),
    Case(
        "dpo-full",
        "full",
        "pairs",
        2e-5,
        1,
        2.0,
        objective="dpo",
        reference="precomputed",
        unit="pairs",
        rounds=1,
    ),
    Case(
        "reward-lists",
        "lora",
        "letters",
        2e-4,
        2,
        2.5,
        peers=(ROWS,),
        objective="reward",
        batch_records=2,
        answers=4,
        sentences=4,
        unit="lists",
    ),
    Case(
        "grpo-update",
        "lora",
        "letters",
        2e-4,
        1,
        2.5,
        peers=(ROWS,),
        objective="grpo",
        batch_records=2,
        answers=8,
        sentences=5,
        unit="groups",
        rounds=1,
    ),
)

PREPARE = "prepare"
PREPARE_GOAL = 0.8
"""Share of the bare tokenizer's speed that preparing data keeps, at least."""

NOVELTY, NOVELTY_RECORDS, NOVELTY_SECONDS = "novelty", 50_000, 10.0
"""CPU seconds that the novelty filter takes for so many short instructions, at most."""
NEAR, NEAR_RECORDS, NEAR_SECONDS = "near-duplicates", 100_000, 5.0
"""Likewise."""
STUDIO, STUDIO_SECONDS = "studio", 1.0
STUDIO_RECORDS, STUDIO_RUNS, STUDIO_POINTS = 1_000_000, 10_000, 100_000
STATISTICS, STATISTICS_ROWS, STATISTICS_SECONDS = "statistics", 100_000, 20.0
"""Seconds that a comparison of so many scored rows of each version takes, at most."""
STATISTICS_TASK_TYPES, STATISTICS_RESAMPLES = 60, 10_000
CHECK, CHECK_RECORDS, CHECK_SECONDS, CHECK_BYTES = "import-check", 100_000, 60.0, 2e9
"""Seconds that import and all checks of so many conversations take, at most, and bytes held."""
STREAM, STREAM_RECORDS, STREAM_BYTES = "import-stream", 1_000_000, 0.5e9
"""Records that an import reads one after another, and bytes that it holds, at most."""

ANSWERING, ANSWERING_PROMPTS, ANSWERING_TOKENS, ANSWERING_GOAL = "answering", 32, 48, 3.0
"""Prompts, the longest answer in tokens, and the speed over ``generate`` one by one, at least."""
OPTIONS, OPTIONS_QUESTIONS, OPTIONS_GOAL = "options", 10, 3.0
"""Questions with four options, and the speed over rows, at least."""
LOGPROB_TOLERANCE = 1e-3
"""Largest difference of an option's log-probability from that of its row, in nats."""

SERVING, SERVING_CHATS, SERVING_TOKENS, SERVING_GOAL = "serving", 16, 64, 3.0
"""Chats at a time, the longest answer in tokens, and the speed over one at a time, at least."""
GATEWAY, GATEWAY_REQUESTS, GATEWAY_SECONDS = "gateway", 1_000, 0.003
"""Requests each way, and what the gateway adds to one at the median, at most."""
SERVING_READY_S = 15.0
"""Seconds from the command to the first request that is taken, at most."""

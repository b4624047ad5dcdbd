"""One contender in a process of its own: what it is told, and what it tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from bench.cases import MODEL, SEED, Objective, Reference
from bench.rate import MatrixRate

Contender = Literal["danlu", "trl"]


@dataclass(frozen=True)
class Job:
    """What a contender trains.

    Attributes:
        contender: Which one.
        method: ``lora`` or ``full``.
        file: Records in Danlu's format, arranged for ``RecordOrder``.
        batch_records: Records of a step.
        learning_rate: Constant.
        peer_rows: TRL's micro-batch.
        peer_padding_free: Whether TRL lays it out without padding.
        model: Which model.
        seed: Of the order and of new weights.
        objective: What is minimised.
        reference: Where ``dpo`` has the reference's log-probabilities from.
        attention: How Danlu lays its packs out.
    """

    contender: Contender
    method: Literal["lora", "full"]
    file: str
    batch_records: int
    learning_rate: float
    peer_rows: int
    peer_padding_free: bool
    model: str = MODEL
    seed: int = SEED
    objective: Objective = "nll"
    reference: Reference | None = None
    attention: Literal["auto", "rows"] = "auto"


@dataclass(frozen=True)
class Outcome:
    """What a contender did.

    Attributes:
        step_seconds: Of each optimizer step, the warm-up first.
        losses: Of each step, before its update: mean nll per trained token in nats, mean loss of a
            pair or of a choice, or the surrogate of ``grpo``.
        peak_bytes: The most memory that the process held.
        rate: Of this machine in products, the best of before and after.
        scoring_seconds: What went before the steps into scoring the answers of all of them:
            precomputed references (``dpo``), the policy that sampled and the reference (``grpo``).
    """

    step_seconds: list[float]
    losses: list[float]
    peak_bytes: int
    rate: MatrixRate
    scoring_seconds: float = 0.0


def run_child(job: Job, folder: Path) -> Outcome:
    """Run a contender and wait for it.

    Raises:
        RuntimeError: If it fails, with the end of what it printed.
    """
    told, answer = folder / "job.json", folder / "outcome.json"
    told.write_text(json.dumps(asdict(job)), "utf-8")
    answer.unlink(missing_ok=True)
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-m", "bench.child", str(told), str(answer)],
        env={**os.environ, **quiet},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode or not answer.is_file():
        raise RuntimeError(f"{job.contender} failed ({done.returncode}):\n{done.stdout[-4000:]}")
    told_back = json.loads(answer.read_text("utf-8"))
    return Outcome(**{**told_back, "rate": MatrixRate(**told_back["rate"])})


def main(told: str, answer: str) -> None:
    """Do a job in this process; called by ``run_child``."""
    job = Job(**json.loads(Path(told).read_text("utf-8")))
    if job.contender == "danlu" and job.objective == "grpo":
        from bench.with_updates import train
    elif job.contender == "danlu":
        from bench.with_danlu import train
    elif job.objective == "dpo":
        from bench.with_trl_dpo import train
    else:
        from bench.with_trl import train
    outcome = train(job, Path(answer).parent)
    Path(answer).write_text(json.dumps(asdict(outcome)), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

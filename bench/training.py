"""A training benchmark: the contenders take turns on the same steps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.batches import (
    in_training_order,
    instruction_file,
    instruction_records,
    length_grouped,
)
from bench.cases import (
    BATCH_RECORDS,
    DEFAULT_PEER,
    LOSS_TOLERANCE,
    MODEL,
    Case,
    PeerSetting,
)
from bench.child import Job, Outcome, run_child
from bench.rate import MatrixRate
from bench.results import Goal, Result
from bench.triage import triage_records
from bench.work import Shape, StepSize, necessary_flops
from danlu.config.recipe import SequencesSection, TuningSection
from danlu.models.load import load_config, load_tokenizer
from danlu.records import Record, write_records
from danlu.sequences.prepare import prepare
from danlu.sequences.prepared import PreparedData
from danlu.sequences.template import ChatTemplate

Say = Callable[[str], None]


def measure(case: Case, rounds: int, say: Say) -> Result:
    """Run a case and judge it.

    Args:
        case: Which one.
        rounds: How often Danlu runs: before and after TRL, which runs once in each setting.
        say: Told what is going on.
    """
    steps = records_of(case)
    sizes = [step_size(step) for step in steps[1:]]
    danlu: list[Outcome] = []
    peers: dict[PeerSetting, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="danlu-bench-") as folder:
        file = Path(folder) / "records.jsonl"
        write_records(in_training_order(steps), file)

        def run(peer: PeerSetting | None) -> Outcome:
            outcome = run_child(_job(case, peer, file), Path(folder))
            who = "Danlu" if peer is None else f"TRL ({peer})"
            seconds, peak = sum(outcome.step_seconds[1:]), outcome.peak_bytes / 1e9
            say(f"{case.name}: {who} {seconds:.1f} s, {peak:.2f} GB")
            return outcome

        danlu.append(run(None))
        for peer in case.peers:
            peers[peer] = run(peer)
        danlu.extend(run(None) for _ in range(rounds - 1))
    return judged(case, sizes, danlu, peers)


def records_of(case: Case) -> list[list[Record]]:
    """Return the records of each step, the warm-up first."""
    if case.data == "triage":
        records = triage_records((case.steps + 1) * BATCH_RECORDS)
        return [
            records[start : start + BATCH_RECORDS]
            for start in range(0, len(records), BATCH_RECORDS)
        ]
    records = instruction_records()
    data = prepared(records)
    # Every record here has one branch, so branches are records.
    groups = length_grouped(np.diff(data.offsets).tolist(), case.steps)
    return [[records[int(data.record_position[index])] for index in group] for group in groups]


def prepared(records: Sequence[Record]) -> PreparedData:
    """Prepare records as both contenders do."""
    tokenizer = load_tokenizer(MODEL)
    return prepare(records, tokenizer, ChatTemplate.load(tokenizer), SequencesSection())


def step_size(records: Sequence[Record]) -> StepSize:
    """Count what a step of these records needs."""
    data = prepared(records)
    return StepSize.of([data.branch(index) for index in range(data.branches)])


def best_seconds(outcomes: Sequence[Outcome]) -> float:
    """Return the time of the measured steps: of each step the best round, the warm-up left out.

    Whatever else runs on the machine can only make a step slower.

    Example:
        >>> rate = MatrixRate(1.0, 1.0)
        >>> best_seconds([Outcome([9, 2, 5], [], 0, rate), Outcome([9, 3, 4], [], 0, rate)])
        6.0
    """
    rounds = [outcome.step_seconds[1:] for outcome in outcomes]
    return float(sum(min(times) for times in zip(*rounds, strict=True)))


def judged(
    case: Case,
    sizes: Sequence[StepSize],
    danlu: Sequence[Outcome],
    peers: Mapping[PeerSetting, Outcome],
) -> Result:
    """Make the result of what the contenders did.

    Args:
        case: What they were asked.
        sizes: Of the measured steps.
        danlu: Danlu's rounds.
        peers: What TRL did in each of its settings.
    """
    shape = Shape.of(load_config(MODEL))
    rank = TuningSection().lora_rank
    flops = sum(necessary_flops(shape, size, case.method, rank) for size in sizes)
    fastest = min(peers, key=lambda peer: best_seconds([peers[peer]]))
    default = DEFAULT_PEER if DEFAULT_PEER in peers else fastest
    seconds, peer_seconds = best_seconds(danlu), best_seconds([peers[fastest]])
    records = len(sizes) * BATCH_RECORDS
    rate = MatrixRate.best(*(outcome.rate for outcome in (*danlu, *peers.values())))
    peak = max(outcome.peak_bytes for outcome in danlu)
    peer_peak = peers[default].peak_bytes
    difference = max(
        float(np.abs(np.array(danlu[0].losses) - np.array(outcome.losses)).max())
        for outcome in peers.values()
    )
    limit_fraction = flops / seconds / rate.fastest
    goals = [Goal("records/s over TRL's at its fastest", peer_seconds / seconds, case.ratio_goal)]
    if case.memory_goal is not None:
        name = f"peak memory over TRL's ({default})"
        goals.append(Goal(name, peak / peer_peak, case.memory_goal, "at most"))
    if case.limit_goal is not None:
        goals.append(Goal("share of the matrix limit", limit_fraction, case.limit_goal))
    goals.append(Goal("difference of losses", difference, LOSS_TOLERANCE, "at most"))
    return Result(
        name=case.name,
        unit="records/s",
        danlu=records / seconds,
        peer=records / peer_seconds,
        ratio=peer_seconds / seconds,
        limit_fraction=limit_fraction,
        torch_limit_fraction=flops / seconds / rate.torch,
        peak_bytes=peak,
        peer_peak_bytes=peer_peak,
        goals=tuple(goals),
        details={
            "model": MODEL,
            "method": case.method,
            "data": instruction_file().name if case.data == "instructions" else case.data,
            "batch_records": BATCH_RECORDS,
            "learning_rate": case.learning_rate,
            "step_sizes": [vars(size) for size in sizes],
            "necessary_flops": flops,
            "matrix_flops_per_s": vars(rate),
            "danlu_step_seconds": [outcome.step_seconds for outcome in danlu],
            "danlu_losses": danlu[0].losses,
            "fastest_peer": str(fastest),
            "peers": {
                str(peer): {
                    "records_per_s": records / best_seconds([outcome]),
                    "step_seconds": outcome.step_seconds,
                    "peak_bytes": outcome.peak_bytes,
                    "losses": outcome.losses,
                }
                for peer, outcome in peers.items()
            },
        },
    )


def _job(case: Case, peer: PeerSetting | None, file: Path) -> Job:
    return Job(
        contender="danlu" if peer is None else "trl",
        method=case.method,
        file=str(file),
        batch_records=BATCH_RECORDS,
        learning_rate=case.learning_rate,
        peer_rows=peer.rows if peer else 0,
        peer_padding_free=peer.padding_free if peer else False,
    )

"""A training benchmark: the contenders take turns on the same steps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.batches import (
    PAIRS,
    beginning,
    in_training_order,
    instruction_file,
    instruction_records,
    length_grouped,
    length_near,
    pair_records,
)
from bench.cases import (
    DEFAULT_PEER,
    LOSS_TOLERANCE,
    MODEL,
    PAIR_TOKENS,
    ROWS,
    Case,
    Peer,
    PeerSetting,
)
from bench.child import Job, Outcome, run_child
from bench.letters import letter_records
from bench.rate import MatrixRate
from bench.results import Goal, Result
from bench.triage import triage_records
from bench.work import Shape, StepSize, necessary_flops, scoring_flops
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
        rounds: How often Danlu runs: before and after its peer, which runs once in each setting.
        say: Told what is going on.
    """
    steps = records_of(case)
    sizes = [step_size(case, step) for step in steps]
    danlu: list[Outcome] = []
    peers: dict[Peer, Outcome] = {}
    precomputed = None
    with tempfile.TemporaryDirectory(prefix="danlu-bench-") as folder:
        file = Path(folder) / "records.jsonl"
        write_records(in_training_order(steps), file)

        def run(peer: Peer | None, case: Case = case) -> Outcome:
            outcome = run_child(_job(case, peer, file), Path(folder))
            seconds, peak = sum(outcome.step_seconds[1:]), outcome.peak_bytes / 1e9
            scoring = f" and {outcome.scoring_seconds:.1f} s" if outcome.scoring_seconds else ""
            say(f"{case.name}: {_who(peer)} {seconds:.1f} s{scoring}, {peak:.2f} GB")
            return outcome

        danlu.append(run(None))
        for peer in case.peers:
            peers[peer] = run(peer)
        danlu.extend(run(None) for _ in range(rounds - 1))
        if case.reference == "adapter_off":
            precomputed = run(None, replace(case, reference="precomputed"))
    return judged(case, sizes[1:], danlu, peers, warmup=sizes[0], precomputed=precomputed)


def missing(case: Case) -> str | None:
    """Say what a case lacks to be run; None if nothing."""
    if case.data == "pairs" and not PAIRS.is_file():
        return f"{case.name} is skipped: there is no {PAIRS}"
    return None


def records_of(case: Case) -> list[list[Record]]:
    """Return the records of each step, the warm-up first."""
    if case.data in ("triage", "letters"):
        count = (case.steps + 1) * case.batch_records
        if case.data == "triage":
            records = triage_records(count)
        else:
            records = letter_records(count, case.answers, case.sentences)
        return [
            records[start : start + case.batch_records]
            for start in range(0, len(records), case.batch_records)
        ]
    if case.data == "pairs":
        return _steps_of_pairs(case)
    records = instruction_records()
    data = prepared(records, case)
    # Every record here has one branch, so branches are records.
    groups = length_grouped(np.diff(data.offsets).tolist(), case.steps)
    return [[records[int(data.record_position[index])] for index in group] for group in groups]


def _steps_of_pairs(case: Case) -> list[list[Record]]:
    """Return a step of pairs that are alike in length, behind one of other pairs' beginnings.

    The warm-up has the shortest prompts and answers cut short: the peer's steps take minutes.
    """
    records, size = pair_records(), case.batch_records
    data = prepared(records, case)
    # Of a pair the longer branch counts: padded rows are as wide as that.
    lengths = np.maximum.reduceat(np.diff(data.offsets), data.record_offsets[:-1])
    measured = length_near(lengths.tolist(), PAIR_TOKENS, size)
    prompts = np.asarray(data.prompt_tokens)[data.record_offsets[:-1]]
    prompts[measured] = prompts.max() + 1
    warmup = length_near(prompts.tolist(), 0, size)
    position = data.record_position
    return [
        [beginning(records[int(position[index])]) for index in warmup],
        [records[int(position[index])] for index in measured],
    ]


def prepared(records: Sequence[Record], case: Case) -> PreparedData:
    """Prepare records as both contenders do."""
    tokenizer = load_tokenizer(MODEL)
    return prepare(
        records,
        tokenizer,
        ChatTemplate.load(tokenizer),
        SequencesSection(),
        answers=None if case.objective == "nll" else "compared",
    )


def step_size(case: Case, records: Sequence[Record]) -> StepSize:
    """Count what a step of these records needs."""
    data = prepared(records, case)
    size = StepSize.of([data.branch(index) for index in range(data.branches)])
    # A reward is read off an answer's last token by one row; the output matrix is not used.
    return replace(size, predictions=0) if case.objective == "reward" else size


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
    peers: Mapping[Peer, Outcome],
    *,
    warmup: StepSize | None = None,
    precomputed: Outcome | None = None,
) -> Result:
    """Make the result of what the contenders did.

    Args:
        case: What they were asked.
        sizes: Of the measured steps.
        danlu: Danlu's rounds.
        peers: What the peer did in each of its settings.
        warmup: Size of the step before those; needed where answers are scored before the steps.
        precomputed: What Danlu did with references that are computed before the steps, where the
            case has them computed at each step.
    """
    shape = Shape.of(load_config(MODEL))
    rank = TuningSection().lora_rank
    flops = sum(necessary_flops(shape, size, case.method, rank) for size in sizes)
    scoring = sum(scoring_flops(shape, size) for size in sizes)
    if case.reference == "adapter_off":
        flops += scoring
    fastest = min(peers, key=lambda peer: best_seconds([peers[peer]]))
    default = DEFAULT_PEER if DEFAULT_PEER in peers else fastest
    seconds, peer_seconds = best_seconds(danlu), best_seconds([peers[fastest]])
    records = len(sizes) * case.batch_records
    before = None
    if warmup is not None:
        before = scoring / (scoring + scoring_flops(shape, warmup))
    everyone = (*danlu, *peers.values(), *([precomputed] if precomputed else []))
    rate = MatrixRate.best(*(outcome.rate for outcome in everyone))
    peak = max(outcome.peak_bytes for outcome in danlu)
    peer_peak = peers[default].peak_bytes
    limit_fraction = flops / seconds / rate.fastest
    goals = [
        Goal(f"{case.unit}/s over {_whose(fastest)}", peer_seconds / seconds, case.ratio_goal),
        *_further_goals(case, default, peak / peer_peak, limit_fraction),
        Goal("difference of losses", _difference(everyone), LOSS_TOLERANCE, "at most"),
    ]
    return Result(
        name=case.name,
        unit=f"{case.unit}/s",
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
            "objective": case.objective,
            "reference": case.reference,
            "data": _data_name(case),
            "batch_records": case.batch_records,
            "learning_rate": case.learning_rate,
            "step_sizes": [vars(size) for size in sizes],
            "necessary_flops": flops,
            "matrix_flops_per_s": vars(rate),
            "danlu_step_seconds": [outcome.step_seconds for outcome in danlu],
            "danlu_scoring_seconds": [outcome.scoring_seconds for outcome in danlu],
            "danlu_losses": danlu[0].losses,
            "fastest_peer": str(fastest),
            "peer_name": "Danlu" if fastest == ROWS else "TRL",
            "peers": {str(peer): _told(records, [outcome]) for peer, outcome in peers.items()},
            "variants": _variants(case, records, danlu, peers, precomputed, before),
        },
    )


def _further_goals(
    case: Case, default: Peer, memory: float, limit_fraction: float
) -> Iterator[Goal]:
    if case.memory_goal is not None:
        yield Goal(f"peak memory over TRL's ({default})", memory, case.memory_goal, "at most")
    if case.limit_goal is not None:
        yield Goal("share of the matrix limit", limit_fraction, case.limit_goal)


def _difference(everyone: Sequence[Outcome]) -> float:
    """Return the largest difference of a step's loss from Danlu's; NaN if one of them is."""
    differences = [np.subtract(everyone[0].losses, outcome.losses) for outcome in everyone]
    return float(np.abs(differences).max())


def _variants(
    case: Case,
    records: int,
    danlu: Sequence[Outcome],
    peers: Mapping[Peer, Outcome],
    precomputed: Outcome | None,
    before: float | None,
) -> dict[str, dict[str, Any]]:
    """Tell what each did with the scoring before the steps, of which they need a part."""
    if precomputed is not None:
        assert before is not None
        name = "Danlu, references precomputed, that included"
        return {name: _told(records, [precomputed], before)}
    if not all(outcome.scoring_seconds for outcome in (*danlu, *peers.values())):
        return {}
    assert before is not None
    what = "precomputing" if case.objective == "dpo" else "measuring"
    told = {f"Danlu, {what} included": _told(records, danlu, before)}
    for peer, outcome in peers.items():
        told[f"{_who(peer)}, {what} included"] = _told(records, [outcome], before)
    return told


def _told(records: int, outcomes: Sequence[Outcome], before: float = 0.0) -> dict[str, Any]:
    """Tell what a contender did, with a part of the scoring before the steps."""
    scoring = min(outcome.scoring_seconds for outcome in outcomes)
    return {
        "records_per_s": records / (best_seconds(outcomes) + before * scoring),
        "step_seconds": outcomes[0].step_seconds,
        "scoring_seconds": outcomes[0].scoring_seconds,
        "peak_bytes": max(outcome.peak_bytes for outcome in outcomes),
        "losses": outcomes[0].losses,
    }


def _whose(peer: Peer) -> str:
    return "padded rows'" if peer == ROWS else "TRL's at its fastest"


def _who(peer: Peer | None) -> str:
    if peer is None:
        return "Danlu"
    return f"TRL, {peer}" if isinstance(peer, PeerSetting) else f"Danlu, {peer}"


def _data_name(case: Case) -> str:
    files = {"instructions": instruction_file(), "pairs": PAIRS}
    return files[case.data].name if case.data in files else case.data


def _job(case: Case, peer: Peer | None, file: Path) -> Job:
    trl = peer if isinstance(peer, PeerSetting) else None
    return Job(
        contender="trl" if trl else "danlu",
        method=case.method,
        file=str(file),
        batch_records=case.batch_records,
        learning_rate=case.learning_rate,
        peer_rows=trl.rows if trl else 0,
        peer_padding_free=trl.padding_free if trl else False,
        objective=case.objective,
        reference=case.reference,
        attention="rows" if peer == ROWS else "auto",
    )

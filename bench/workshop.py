"""The workshop's operations on many short instructions: CPU seconds, and whether they are exact."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

from bench.cases import (
    NEAR,
    NEAR_RECORDS,
    NEAR_SECONDS,
    NOVELTY,
    NOVELTY_RECORDS,
    NOVELTY_SECONDS,
    SEED,
)
from bench.results import Goal, Result
from bench.varied import instructions, varied_records
from danlu.records import Record
from danlu.workshop.likeness.parts import parts
from danlu.workshop.likeness.shingles import shingle_length
from danlu.workshop.likeness.text import fold, units
from danlu.workshop.operations.dedup import Dedup
from danlu.workshop.operations.novelty import Novelty
from danlu.workshop.store.decision import Entry, Operation

SAMPLE = 5_000
"""Records that everything is compared with everything in."""
PEER_PAIRS = 4_000
"""Pairs that rouge-score measures; its time for all is their mean times the number of pairs."""
PEER_RECORDS = 20_000
"""Records that datasketch goes through; its time for all is taken to grow with their number."""
UNIT = "records per CPU second"

Found = dict[str, tuple[str, float]]
"""By id of what was dropped: its partner, and how alike they are."""


def measure_novelty(say: Callable[[str], None], count: int = NOVELTY_RECORDS) -> Result:
    """Filter by ROUGE-L; beside rouge-score, as self-instruct calls it."""
    operation = Novelty()
    records = varied_records(count)
    seconds, found = timed(operation, records)
    sample = records[:SAMPLE]
    differing = differences(timed(operation, sample)[1], brute_novelty(sample, operation.limit))
    # Each record is held against those kept before it.
    kept_before = comparisons = 0
    for record in records:
        comparisons += kept_before
        kept_before += record.id not in found
    peer_seconds = rouge_score_seconds(records) * comparisons
    say(f"{NOVELTY}: {count} records, {seconds:.2f} CPU seconds, {len(found)} dropped")
    return Result(
        name=NOVELTY,
        unit=UNIT,
        danlu=count / seconds,
        peer=count / peer_seconds,
        ratio=peer_seconds / seconds,
        goals=(
            Goal("CPU seconds", seconds, NOVELTY_SECONDS, "at most"),
            Goal(f"differences from brute force in {len(sample)}", differing, 0, "at most"),
        ),
        details={
            "data": instructions()[0],
            "records": count,
            "dropped": len(found),
            "limit": operation.limit,
            "cpu_seconds": seconds,
            "peer_name": "rouge-score",
            "peer_cpu_seconds": peer_seconds,
            "peer_extrapolated_from_pairs": PEER_PAIRS,
            "pairs_of_the_definition": comparisons,
        },
    )


def measure_near(say: Callable[[str], None], count: int = NEAR_RECORDS) -> Result:
    """Drop near-duplicates; beside datasketch's MinHash with its LSH index."""
    operation = Dedup(on="prompt")
    assert operation.near is not None
    records = varied_records(count)
    seconds, found = timed(operation, records)
    texts = {record.id: fold(parts(record).prompt) for record in records}
    false = sum(
        not_so(texts[one], texts[other], value, operation.near)
        for one, (other, value) in found.items()
    )
    sample = records[:SAMPLE]
    by_hand = brute_near(sample, operation.near)
    differing = differences(timed(operation, sample)[1], by_hand)
    peer_sample = records[:PEER_RECORDS]
    peer_sample_seconds, theirs = datasketch_drops(peer_sample, operation.near)
    peer_seconds = peer_sample_seconds * count / len(peer_sample)
    peer_false = sum(
        jaccard(texts[one], texts[other]) < operation.near for one, other in theirs.items()
    )
    ours = timed(operation, peer_sample)[1]
    say(f"{NEAR}: {count} records, {seconds:.2f} CPU seconds, {len(found)} dropped")
    return Result(
        name=NEAR,
        unit=UNIT,
        danlu=count / seconds,
        peer=count / peer_seconds,
        ratio=peer_seconds / seconds,
        goals=(
            Goal("CPU seconds", seconds, NEAR_SECONDS, "at most"),
            Goal("false drops", false, 0, "at most"),
            Goal(f"differences from brute force in {len(sample)}", differing, 0, "at most"),
        ),
        details={
            "data": instructions()[0],
            "records": count,
            "dropped": len(found),
            "dropped_in_sample": len(by_hand),
            "limit": operation.near,
            "cpu_seconds": seconds,
            "peer_name": "datasketch",
            "peer_cpu_seconds": peer_seconds,
            "peer_extrapolated_from_records": len(peer_sample),
            "peer_false_drops": peer_false,
            "peer_missed": len(ours.keys() - theirs.keys()),
        },
    )


def timed(operation: Operation, records: Sequence[Record]) -> tuple[float, Found]:
    """Return the CPU seconds of an operation, and what it dropped."""

    def quiet(stage: str, done: int, total: int | None) -> None:
        pass

    began = time.process_time()
    entries = [
        decision.entry
        for decision in operation.decide(records, quiet)
        if decision.entry.fate == "dropped"
    ]
    return time.process_time() - began, {entry.id: _partner(entry) for entry in entries}


def differences(found: Found, by_hand: Found) -> int:
    """Count the records that were dropped in one only, or for another partner or value."""
    return len({name for name, _ in found.items() ^ by_hand.items()})


def brute_novelty(records: Sequence[Record], limit: float) -> Found:
    """Align every record with every one kept before it."""
    import numpy as np
    from rapidfuzz.distance import LCSseq
    from rapidfuzz.process import cdist

    numbers: dict[str, int] = {}
    texts = []
    for record in records:
        cut = units(fold(parts(record).prompt))
        codes = [numbers.setdefault(unit, len(numbers)) for unit in cut]
        texts.append("".join(chr(code + 0x10000) for code in codes))
    lengths = np.array([len(text) for text in texts])
    found: Found = {}
    kept: list[int] = []
    for number, record in enumerate(records):
        if kept:
            [common] = cdist([texts[number]], [texts[k] for k in kept], scorer=LCSseq.similarity)
            f1 = 2 * common.astype(np.int64) / np.maximum(lengths[kept] + lengths[number], 1)
            best = int(np.argmax(f1))
            if f1[best] > limit:
                found[record.id] = records[kept[best]].id, float(f1[best])
                continue
        kept.append(number)
    return found


def brute_near(records: Sequence[Record], limit: float) -> Found:
    """Compare the shingles of every record with those of every one kept before it.

    A copy, of equal folded text, goes the way of the first.
    """
    texts = [fold(parts(record).prompt) for record in records]
    found: Found = {}
    kept: list[int] = []
    first: dict[str, Record] = {}
    for number, record in enumerate(records):
        text = texts[number]
        same = first.setdefault(text, record)
        if same is not record:
            found[record.id] = found.get(same.id, (same.id, 1.0))
            continue
        best, most = -1, 0.0
        for other in kept:
            value = jaccard(texts[other], text)
            if value >= limit and value > most:
                best, most = other, value
        if best >= 0:
            found[record.id] = records[best].id, most
        else:
            kept.append(number)
    return found


def jaccard(text: str, other: str) -> float:
    """Compare two folded texts by the definition."""
    if text == other:
        return 1.0
    length = min(shingle_length(len(text)), shingle_length(len(other)))
    if not length:
        return 0.0
    one, two = shingles(text, length), shingles(other, length)
    common = len(one & two)
    return common / (len(one) + len(two) - common)


def not_so(text: str, other: str, value: float, limit: float) -> bool:
    """Whether a drop is not as the ledger says."""
    return jaccard(text, other) != value or value < limit


def rouge_score_seconds(records: Sequence[Record]) -> float:
    """Return the CPU seconds of rouge-score for a pair of instructions."""
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    draw = random.Random(SEED)
    texts = [parts(draw.choice(records)).prompt for _ in range(PEER_PAIRS + 1)]
    scorer.score(texts[0], texts[1])
    began = time.process_time()
    for one, other in pairwise(texts):
        scorer.score(one, other)
    return (time.process_time() - began) / PEER_PAIRS


def datasketch_drops(records: Sequence[Record], limit: float) -> tuple[float, dict[str, str]]:
    """Return datasketch's CPU seconds, and what it finds like one kept before it.

    Each text is cut into shingles of its own length; the sets are made by the same function as
    everywhere here, whose time is counted.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=limit, num_perm=128)
    dropped: dict[str, str] = {}
    shingles.cache_clear()
    began = time.process_time()
    for record in records:
        text = fold(parts(record).prompt)
        length = shingle_length(len(text)) or max(1, len(text))
        signature = MinHash(num_perm=128, seed=1)
        signature.update_batch([one.encode() for one in shingles(text, length)])
        if like := index.query(signature):
            dropped[record.id] = min(like, key=lambda name: int(name[1:]))
        else:
            index.insert(record.id, signature)
    return time.process_time() - began, dropped


@cache
def shingles(text: str, length: int) -> frozenset[str]:
    """Cut a text into its different shingles."""
    return frozenset(text[place : place + length] for place in range(len(text) - length + 1))


def _partner(entry: Entry) -> tuple[str, float]:
    assert entry.partner is not None
    assert isinstance(entry.value, float)
    return entry.partner, entry.value

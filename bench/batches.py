"""Which records are trained in which step: the same for both contenders.

The steps of the instruction data are as length-grouped sampling makes them over the whole file:
each holds records of nearly one length, which is the best case for padded rows. Danlu gets the
same steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from bench.cases import BATCH_RECORDS, SEED
from danlu.records import Record, Source, read_records
from danlu.training.order import RecordOrder

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = ROOT.parent / "shared" / "data" / "alpaca_en_demo.json"
PAIRS = ROOT.parent / "shared" / "data" / "dpo_en_demo.json"
BUNDLED = ROOT / "danlu" / "quickstart" / "data" / "train.jsonl"
T = TypeVar("T")


def instruction_file() -> Path:
    """Return the instruction data beside the checkout, or the records that Danlu ships."""
    return INSTRUCTIONS if INSTRUCTIONS.is_file() else BUNDLED


def instruction_records() -> list[Record]:
    """Read the instruction data."""
    return list(read_records([Source(str(instruction_file()))]))


def pair_records() -> list[Record]:
    """Read the preference data beside the checkout, for which nothing stands in."""
    return list(read_records([Source(str(PAIRS))]))


def length_grouped(
    lengths: Sequence[int], steps: int, size: int = BATCH_RECORDS
) -> list[list[int]]:
    """Choose steps of records of nearly one length, spread evenly over all lengths.

    Args:
        lengths: Tokens of each record.
        steps: Steps to be measured.
        size: Records of a step.

    Returns:
        ``steps + 1`` lists of indices, each longest first: one to warm up, of middling length,
        then those to be measured.

    Raises:
        ValueError: If there are not enough records.

    Example:
        >>> length_grouped([9, 1, 5, 3, 7, 2], steps=2, size=2)
        [[2, 3], [5, 1], [0, 4]]
    """
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    groups = [order[i : i + size][::-1] for i in range(0, len(order) - size + 1, size)]
    if len(groups) < steps + 1:
        raise ValueError(f"{len(lengths)} records are too few for {steps + 1} steps of {size}")
    measured = [int((step + 0.5) * len(groups) / steps) for step in range(steps)]
    free = [number for number in range(len(groups)) if number not in measured]
    warmup = min(free, key=lambda number: abs(number - len(groups) // 2))
    return [groups[number] for number in (warmup, *measured)]


def length_near(lengths: Sequence[int], wanted: int, size: int = BATCH_RECORDS) -> list[int]:
    """Choose a step of records that are nearly as long as wanted.

    Args:
        lengths: Tokens of each record.
        wanted: So long they should be.
        size: Records of the step.

    Returns:
        Their indices, longest first.

    Raises:
        ValueError: If there are not enough records.

    Example:
        >>> length_near([9, 1, 5, 3, 7, 2], wanted=4, size=3)
        [2, 3, 5]
    """
    if len(lengths) < size:
        raise ValueError(f"{len(lengths)} records are too few for a step of {size}")
    nearest = sorted(range(len(lengths)), key=lambda index: (abs(lengths[index] - wanted), index))
    return sorted(nearest[:size], key=lambda index: (-lengths[index], index))


def beginning(record: Record, words: int = 16) -> Record:
    """Return a record with answers that are cut after some words: enough to warm up with.

    Example:
        >>> from danlu.records import Response
        >>> beginning(Record("1", "a/b", (), responses=(Response("one two three"),)), 2).responses
        (Response(content='one two', rank=None, score=None, label=None),)
    """
    responses = [
        replace(response, content=" ".join(response.content.split()[:words]))
        for response in record.responses
    ]
    return replace(record, responses=tuple(responses))


def in_training_order(steps: Sequence[Sequence[T]], seed: int = SEED) -> list[T]:
    """Arrange records so that Danlu's own order draws exactly these steps, one after another.

    Args:
        steps: Records of each step, equally many.
        seed: The run's seed.
    """
    records = [record for step in steps for record in step]
    order = RecordOrder(len(records), len(steps[0]), seed)
    places = [int(place) for step in range(len(steps)) for place in order.step(step)]
    arranged = dict(zip(places, records, strict=True))
    return [arranged[place] for place in range(len(records))]

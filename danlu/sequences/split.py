"""Hold records out for evaluation, a share of every task type."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from danlu.sequences.prepared import PreparedData


def hold_out(
    prepared: PreparedData, share: float, seed: int, *, directory: Path | None = None
) -> tuple[PreparedData, PreparedData]:
    """Split prepared data into records to train on and records held out.

    Each task type gives its share, rounded, but at least one record where it has two or more, and
    never all. Which ones depends on the seed and the record's id alone: records that are added
    later or come in another order change little, and two records of one id go the same way
    together as long as the share allows.

    Args:
        prepared: What to split.
        share: Share of the records to hold out, ``0 <= share < 1``; 0 holds nothing out.
        seed: Another seed holds other records out.
        directory: Write both parts there, as ``train`` and ``eval``, and map them.

    Returns:
        The training part, which carries the drops, and the held-out part, both in the order of
        ``prepared``.

    Raises:
        ValueError: If ``share`` is out of range.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share is {share}; it must be at least 0 and less than 1")
    held = np.zeros(len(prepared), np.bool_)
    channels = np.asarray(prepared.record_channel)
    for channel in range(len(prepared.channels)):
        members = np.flatnonzero(channels == channel)
        count = held_out_count(len(members), share)
        if count:
            draws = [_draw(prepared.record_ids[r], seed) for r in members.tolist()]
            order = sorted(range(len(members)), key=draws.__getitem__)
            held[members[order[:count]]] = True
    train, evaluation = (directory and directory / "train"), (directory and directory / "eval")
    return (
        prepared.subset(np.flatnonzero(~held), with_drops=True, directory=train),
        prepared.subset(np.flatnonzero(held), directory=evaluation),
    )


def held_out_count(records: int, share: float) -> int:
    """Return how many records of a task type are held out.

    Example:
        >>> [held_out_count(n, 0.1) for n in (0, 1, 2, 14, 16)]
        [0, 0, 1, 1, 2]
    """
    if share == 0 or records < 2:
        return 0
    return min(max(round(records * share), 1), records - 1)


def _draw(record_id: str, seed: int) -> bytes:
    return hashlib.blake2b(record_id.encode(), digest_size=8, salt=seed.to_bytes(16)).digest()

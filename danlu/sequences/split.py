"""Hold records out for evaluation, a share of every task type."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from danlu.sequences.prepared import PreparedData


def hold_out(
    prepared: PreparedData, share: float, seed: int, *, directory: Path | None = None
) -> tuple[PreparedData, PreparedData]:
    """Split prepared data into records to train on and records held out.

    Records with the same prompt, to the token, stay together: copies that weigh a record more, or
    pairs and judged answers to one question. An evaluation on what is trained would rate memory.

    Each task type gives its share, rounded, but at least one record where it has two or more, and
    never all. It gives more, up to half, where every prompt has more records than the share; only
    where one prompt has more than half are its records parted. Which ones are held out depends on
    the seed and the records' ids and prompts alone: records that are added later or come in another
    order change little.

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
    if share and len(prepared):
        held[_drawn(prepared, share, seed)] = True
    train, evaluation = (directory and directory / "train"), (directory and directory / "eval")
    return (
        prepared.subset(np.flatnonzero(~held), with_drops=True, directory=train),
        prepared.subset(np.flatnonzero(held), directory=evaluation),
    )


def _drawn(prepared: PreparedData, share: float, seed: int) -> list[int]:
    """Return which records are held out."""
    channel = np.asarray(prepared.record_channel).tolist()
    records = Counter(channel)
    wanted = {c: held_out_count(n, share) for c, n in records.items()}
    draws = [_draw(name, seed) for name in prepared.record_ids]
    groups: dict[bytes, list[int]] = {}
    for r, prompt in enumerate(_prompts(prepared)):
        groups.setdefault(prompt, []).append(r)
    order = sorted(groups.values(), key=lambda group: min(draws[r] for r in group))
    held: Counter[int] = Counter()
    chosen: list[int] = []

    def take(most: Mapping[int, int], candidates: Iterable[list[int]]) -> bool:
        """Take the first group that leaves each task type within ``most``."""
        for group in candidates:
            own = Counter(channel[r] for r in group)
            if all(held[c] + n <= most[c] for c, n in own.items()):
                held.update(own)
                chosen.extend(group)
                return True
        return False

    for group in order:
        take(wanted, [group])
    half = {c: max(wanted[c], n // 2) for c, n in records.items()}
    for c in sorted(wanted):
        if not wanted[c] or held[c]:
            continue
        # Every prompt has more records than the share: the one with the fewest.
        own = [group for group in order if any(channel[r] == c for r in group)]
        if not take(half, sorted(own, key=len)):
            everything = (r for r, of in enumerate(channel) if of == c)
            parted = sorted(everything, key=draws.__getitem__)
            chosen += parted[: wanted[c]]
            held[c] = wanted[c]
    return chosen


def _prompts(prepared: PreparedData) -> Iterator[bytes]:
    """Hash what each record begins with: its first prompt, or all of a text without one."""
    for r in range(len(prepared)):
        first = int(prepared.record_offsets[r])
        start, end = int(prepared.offsets[first]), int(prepared.offsets[first + 1])
        if (prompt := int(prepared.prompt_tokens[first])) > 1:
            end = start + prompt
        ids = np.ascontiguousarray(prepared.input_ids[start:end])
        yield hashlib.blake2b(ids.data, digest_size=16).digest()


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

"""Losses that were computed before, by what they are of: a killed command computes the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from danlu.runs.sqlite_file import open_sqlite
from danlu.sequences.branch import Branch

LAYOUT = 1
KEYS_AT_A_TIME = 500
_TABLE = """
CREATE TABLE IF NOT EXISTS losses (
    key BLOB PRIMARY KEY, nats REAL NOT NULL, tokens INTEGER NOT NULL
) WITHOUT ROWID
"""


class Loss(NamedTuple):
    """The loss of some tokens.

    Attributes:
        nats: Their negative log-likelihood, summed.
        tokens: How many they are.
    """

    nats: float
    tokens: int


class LossCache:
    """Losses by key, in a SQLite file that several commands may use at a time.

    Args:
        path: The file; it and its folder are made.

    Raises:
        DanluError: If the file is something else, or was written by a later Danlu.
    """

    def __init__(self, path: Path) -> None:
        remedy = "Remove the file: the losses are computed anew."
        self._file = open_sqlite(path, _TABLE, LAYOUT, what="a cache of losses", remedy=remedy)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def known(self, keys: Iterable[bytes]) -> dict[bytes, Loss]:
        """Return the losses that are there."""
        wanted = list(dict.fromkeys(keys))
        found: dict[bytes, Loss] = {}
        for start in range(0, len(wanted), KEYS_AT_A_TIME):
            some = wanted[start : start + KEYS_AT_A_TIME]
            places = ", ".join("?" * len(some))
            rows = self._file.execute(
                f"SELECT key, nats, tokens FROM losses WHERE key IN ({places})", some
            )
            found |= {key: Loss(nats, tokens) for key, nats, tokens in rows}
        return found

    def keep(self, losses: Mapping[bytes, Loss]) -> None:
        """Keep losses, all or none of them."""
        rows = [(key, *loss) for key, loss in losses.items()]
        self._file.execute("BEGIN IMMEDIATE")
        self._file.executemany("INSERT OR REPLACE INTO losses VALUES (?, ?, ?)", rows)
        self._file.execute("COMMIT")


def loss_key(model: str, branch: Branch) -> bytes:
    """Name the loss of a branch under a model: by its tokens and which of them are predicted."""
    digest = hashlib.blake2b(model.encode(), digest_size=16)
    digest.update(len(branch.input_ids).to_bytes(8, "little"))
    digest.update(np.ascontiguousarray(branch.input_ids, np.int32).tobytes())
    digest.update(np.packbits(branch.weights > 0).tobytes())
    return digest.digest()

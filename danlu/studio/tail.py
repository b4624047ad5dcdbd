"""How far an unfinished run is, without reading all of its metrics."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from danlu.runs import MetricsRow

BLOCK_BYTES = 1 << 20
EVALUATION = b'"split":"eval"'
"""As pydantic writes it; only such lines are parsed, and the last ones."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of ``metrics.jsonl``.

    Attributes:
        step: The last step.
        loss: The last training loss.
        best: The lowest evaluation loss.
        best_step: The step that had it.
    """

    step: int = 0
    loss: float | None = None
    best: float | None = None
    best_step: int | None = None


def read_tail(path: Path) -> Tail:
    """Read the last training row and all evaluations; nothing if there is no file.

    Lines that are no rows are passed over here: the page of the run names them.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return Tail()
    step, loss, best, best_step = 0, None, None, None
    with file:
        size = os.fstat(file.fileno()).st_size
        for line in file:
            last = file.tell() > size - BLOCK_BYTES // 16
            if not last and EVALUATION not in line:
                continue
            try:
                row = MetricsRow.model_validate_json(line)
            except ValidationError:
                continue
            step = max(step, row.step)
            if row.split == "train":
                loss = row.loss
            elif best is None or row.loss < best:
                best, best_step = row.loss, row.step
    return Tail(step, loss, best, best_step)

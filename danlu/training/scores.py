"""What a reward model makes of the evaluation's answers, for the report."""

from __future__ import annotations

from accelerate import Accelerator
from torch import nn

from danlu.runs import ScoreRow
from danlu.sequences.prepared import PreparedData
from danlu.training.references import RECORDS_AT_A_TIME, readout_scores
from danlu.training.scoring import Packing

MOST_ROWS = 100_000
"""Answers that are written down at most; a histogram says no more with more of them."""


def score_rows(
    model: nn.Module, data: PreparedData, packing: Packing, accelerator: Accelerator
) -> list[ScoreRow]:
    """Score every answer of a data set.

    Args:
        model: The prepared ``ScoringModel`` with a readout.
        data: Records with answers.
        packing: How they are laid out.
        accelerator: Devices and processes; all of them must call this.
    """
    rows: list[ScoreRow] = []
    for start in range(0, len(data), RECORDS_AT_A_TIME):
        records = range(start, min(start + RECORDS_AT_A_TIME, len(data)))
        branches = [branch for r in records for branch in data.record(r)]
        scores = readout_scores(model, branches, packing, accelerator).tolist()
        rows += [
            ScoreRow(
                record=data.record_ids[branch.record],
                task_type=data.channels[branch.channel],
                response=branch.branch,
                rank=branch.verdict.rank,
                score=score,
            )
            for branch, score in zip(branches, scores, strict=True)
        ]
        if len(rows) >= MOST_ROWS:
            break
    return rows[:MOST_ROWS]

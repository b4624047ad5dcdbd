"""Loss on held-out records, per task type."""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator

from danlu.sequences.forest import share_out
from danlu.sequences.prepared import PreparedData
from danlu.training.channels import ChannelTotals, Reduced
from danlu.training.scoring import Packing, ScoringModel

RECORDS_AT_A_TIME = 256
"""Records merged into one forest: bounds memory, and is enough for prefixes to be shared."""


@torch.no_grad()
def evaluate(
    model: torch.nn.Module, data: PreparedData, packing: Packing, accelerator: Accelerator
) -> Reduced:
    """Score all records of ``data`` without training on them.

    Args:
        model: The prepared ``ScoringModel``; back in its earlier mode afterwards.
        data: At least one record.
        packing: As in training.
        accelerator: Deals packs to processes and sums over them.

    Returns:
        Totals per task type over all processes.
    """
    scoring: ScoringModel = accelerator.unwrap_model(model)
    was_training = model.training
    model.eval()
    totals = ChannelTotals(data.channels)
    totals.add_records(np.asarray(data.record_channel, np.int64))
    for start in range(0, len(data), RECORDS_AT_A_TIME):
        stop = min(start + RECORDS_AT_A_TIME, len(data))
        branches = [branch for r in range(start, stop) for branch in data.record(r)]
        packs = packing.packs(branches, accelerator.num_processes)
        for pack in share_out(packs, accelerator.num_processes)[accelerator.process_index]:
            with accelerator.autocast():
                totals.add(scoring(pack))
    model.train(was_training)
    return totals.reduce(accelerator)

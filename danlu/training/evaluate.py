"""Loss on held-out records, per task type."""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator

from danlu.training.channels import ChannelTotals, Reduced
from danlu.training.devices import outside_steps
from danlu.training.references import StepSource
from danlu.training.scoring import Packing, ScoringModel

RECORDS_AT_A_TIME = 256
"""Records merged into one forest: bounds memory, and is enough for prefixes to be shared."""


@torch.no_grad()
def evaluate(
    model: torch.nn.Module, data: StepSource, packing: Packing, accelerator: Accelerator
) -> Reduced:
    """Score all records of ``data`` without training on them.

    Args:
        model: The prepared ``ScoringModel``; back in its earlier mode afterwards.
        data: At least one record, with whatever the objective compares it with.
        packing: As in training.
        accelerator: Deals packs to processes and sums over them.

    Returns:
        Totals per task type over all processes.
    """
    scoring: ScoringModel = accelerator.unwrap_model(model)
    score = outside_steps(model, accelerator)
    was_training = model.training
    model.eval()
    prepared = data.prepared
    totals = ChannelTotals(prepared.channels, scoring.objective)
    totals.add_records(np.asarray(prepared.record_channel, np.int64))
    for start in range(0, len(prepared), RECORDS_AT_A_TIME):
        records = range(start, min(start + RECORDS_AT_A_TIME, len(prepared)))
        branches = data.branches(records, model, packing, accelerator)
        baseline = data.baseline(records, model, packing, accelerator)
        for pack in packing.dealt(branches, accelerator)[1]:
            with accelerator.autocast():
                totals.add(score(pack, branches, baseline))
    model.train(was_training)
    return totals.reduce(accelerator)

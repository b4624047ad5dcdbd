"""Danlu's updates of ``grpo`` on answers that are given, where a run would sample them.

All answers are measured once, under the policy as it begins. Each step is then a minibatch of
them: from the second on the policy is no longer the one that answered, so the loss says something.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from bench.child import Job, Outcome
from bench.rate import MatrixRate
from bench.with_danlu import model_rate, recipe_of
from danlu.models.forest_support import use_forest_attention
from danlu.models.fused import fuse_layers
from danlu.models.load import load_model, load_tokenizer
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.objectives.policy import GrpoPolicy, answer_lengths
from danlu.records import Source, read_records
from danlu.sequences.prepare import prepare
from danlu.sequences.template import ChatTemplate
from danlu.training.memory import keep_freed_memory, peak_bytes
from danlu.training.optimizer import build_optimizer
from danlu.training.order import RecordOrder
from danlu.training.policy import PolicyModel
from danlu.training.scoring import Packing, ScoringModel
from danlu.training.setup import PACK_TOKENS_CPU


def train(job: Job, folder: Path) -> Outcome:
    """Measure the answers, then learn from them step by step."""
    rate = model_rate(job.model)
    keep_freed_memory()
    recipe = recipe_of(job, str(folder))
    tokenizer = load_tokenizer(job.model)
    template = ChatTemplate.load(tokenizer)
    records = read_records([Source(job.file, format="danlu")])
    data = prepare(records, tokenizer, template, recipe.sequences, answers="compared")
    accelerator = Accelerator(cpu=True)
    model: Any = load_model(job.model, dtype=torch.float32)
    if job.attention != "rows" and (reason := use_forest_attention(model)):
        raise RuntimeError(f"this model cannot be computed as a forest: {reason}")
    torch.manual_seed(job.seed)
    model = apply_tuning(model, recipe.tuning)
    fuse_layers(model)
    objective = GrpoPolicy.of()
    policy = PolicyModel(ScoringModel(model, objective, len(data.channels)), keep_reference=True)
    policy.begin()
    packing = Packing(PACK_TOKENS_CPU, forest=job.attention != "rows")
    parameters = trainable_parameters(model)
    optimizer = build_optimizer(parameters, recipe.training)
    order = RecordOrder(len(data), job.batch_records, job.seed)
    steps = [
        [branch for r in order.step(step) for branch in data.record(int(r))]
        for step in range(order.steps_per_epoch)
    ]
    branches = [branch for step in steps for branch in step]

    began = time.perf_counter()
    measured = policy.measure(policy, branches, packing, accelerator)
    lengths_N = torch.from_numpy(answer_lengths(branches))
    rewards_N = torch.tensor([branch.verdict.score for branch in branches])
    records_N = torch.tensor([branch.record for branch in branches])
    lessons = objective.lessons(rewards_N, records_N, lengths_N, measured, objective.kl_weight)
    offsets = (lengths_N.cumsum(0) - lengths_N).numpy()
    scoring_seconds = time.perf_counter() - began

    policy.train()
    step_seconds, losses, start = [], [], 0
    for step in steps:
        began = time.perf_counter()
        here = offsets[start : start + len(step)]
        divisor = objective.divisor(step)
        loss = 0.0
        for pack in packing.packs(step):
            sums = policy(pack, step, lessons, here)
            (sums.loss / divisor).backward()
            loss += float(sums.loss.detach()) / divisor
        torch.nn.utils.clip_grad_norm_(parameters.values(), recipe.training.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        step_seconds.append(time.perf_counter() - began)
        losses.append(loss)
        start += len(step)
    return Outcome(
        step_seconds=step_seconds,
        losses=losses,
        peak_bytes=peak_bytes(torch.device("cpu")),
        rate=MatrixRate.best(rate, model_rate(job.model)),
        scoring_seconds=scoring_seconds,
    )

"""TRL as a contender: its ``DPOTrainer`` on the same token ids, from the same weights.

As in ``with_trl``. With ``adapter_off`` the reference is computed at each step; ``precomputed``,
all of them once, in the micro-batches of training.
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers.utils import logging
from trl import DPOConfig, DPOTrainer

from bench.child import Job, Outcome
from bench.rate import MatrixRate
from bench.with_danlu import model_rate, recipe_of
from bench.with_trl import Watch, common_settings
from danlu.models.load import load_model, load_tokenizer
from danlu.models.tuning import apply_tuning
from danlu.objectives.dpo import Dpo
from danlu.records import Source, read_records
from danlu.sequences.branch import Branch
from danlu.sequences.prepare import prepare
from danlu.sequences.template import ChatTemplate
from danlu.training.memory import peak_bytes
from danlu.training.order import RecordOrder


def train(job: Job, folder: Path) -> Outcome:
    """Train through TRL's trainer."""
    disable_progress_bars()
    logging.set_verbosity_error()
    rate = model_rate(job.model)
    recipe = recipe_of(job, str(folder))
    tokenizer = load_tokenizer(job.model)
    template = ChatTemplate.load(tokenizer)
    records = read_records([Source(job.file, format="danlu")])
    data = prepare(records, tokenizer, template, recipe.sequences, answers="compared")
    order = RecordOrder(len(data), job.batch_records, job.seed)
    steps = range(order.steps_per_epoch)
    pairs = [data.record(int(r)) for step in steps for r in order.step(step)]
    model = load_model(job.model, dtype=torch.float32)
    adapter = None
    if job.method == "lora":
        # TRL seeds and puts the adapter on itself, which is how it knows to switch it off for the
        # reference; of one that it is given it would keep a copy, and compute that.
        tuned = apply_tuning(model, recipe.tuning)
        adapter = tuned.peft_config["default"]
        model = tuned.unload()
    watch = Watch()
    trainer = _Trainer(
        model=model,
        args=_settings(job, folder),
        train_dataset=as_dataset(pairs),
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[watch],
    )
    trainer.train()
    return Outcome(
        step_seconds=[end - begin for begin, end in pairwise(watch.times)],
        losses=[row["loss"] for row in trainer.state.log_history if "loss" in row],
        peak_bytes=peak_bytes(torch.device("cpu")),
        rate=MatrixRate.best(rate, model_rate(job.model)),
        scoring_seconds=trainer.scoring_seconds,
    )


def as_dataset(pairs: list[list[Branch]]) -> Dataset:
    """Hand pairs over as TRL's collator reads them: token ids of prompt, better and worse answer.

    Raises:
        ValueError: If a record has other than two answers.
    """
    columns: dict[str, list[list[int]]] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
    for pair in pairs:
        chosen, rejected = sorted(pair, key=lambda branch: branch.verdict.rank)
        columns["prompt_ids"].append(chosen.input_ids[: chosen.prompt_tokens].tolist())
        for name, branch in (("chosen_ids", chosen), ("rejected_ids", rejected)):
            columns[name].append(branch.input_ids[branch.prompt_tokens :].tolist())
    return Dataset.from_dict(columns)


def _settings(job: Job, folder: Path) -> DPOConfig:
    objective = Dpo()
    return DPOConfig(
        **common_settings(job, folder),
        beta=objective.beta,
        loss_type=[objective.loss],
        precompute_ref_log_probs=job.reference == "precomputed",
    )


class _Trainer(DPOTrainer):
    """TRL's trainer on data that are token ids already, which times its scoring of references."""

    scoring_seconds = 0.0

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, *args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        scored = super()._precompute_ref_logps(*args, **options)
        self.scoring_seconds += time.perf_counter() - began
        return scored

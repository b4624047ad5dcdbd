"""TRL as a contender: its ``SFTTrainer`` on the same token ids, from the same weights.

What is not a setting of TRL is the same as Danlu's: the tokens and which of them are trained, the
model as it is loaded, the adapters' random start, the optimizer and its settings. Its own settings
are the fastest for the CPU: float32, no gradient checkpointing, fused AdamW, nothing saved.
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from transformers import TrainerCallback
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from bench.child import Job, Outcome
from bench.rate import MatrixRate
from bench.with_danlu import model_rate, recipe_of
from danlu.models.load import load_model, load_tokenizer
from danlu.models.tuning import apply_tuning
from danlu.records import Source, read_records
from danlu.sequences.branch import Branch
from danlu.sequences.prepare import prepare
from danlu.sequences.template import ChatTemplate
from danlu.training.memory import peak_bytes
from danlu.training.order import RecordOrder

NOT_TRAINED = -100


def train(job: Job, folder: Path) -> Outcome:
    """Train through TRL's trainer."""
    disable_progress_bars()
    logging.set_verbosity_error()
    rate = model_rate(job.model)
    recipe = recipe_of(job, str(folder))
    tokenizer = load_tokenizer(job.model)
    template = ChatTemplate.load(tokenizer)
    records = read_records([Source(job.file, format="danlu")])
    data = prepare(records, tokenizer, template, recipe.sequences)
    order = RecordOrder(len(data), job.batch_records, job.seed)
    steps = range(order.steps_per_epoch)
    branches = [b for step in steps for r in order.step(step) for b in data.record(int(r))]
    model = load_model(job.model, dtype=torch.float32)
    torch.manual_seed(job.seed)  # as in danlu.train: the adapters begin with the same numbers
    model = apply_tuning(model, recipe.tuning)
    watch = Watch()
    trainer = SFTTrainer(
        model=model,
        args=_settings(job, folder),
        train_dataset=as_dataset(branches),
        processing_class=tokenizer,
        callbacks=[watch],
    )
    trainer.train()
    return Outcome(
        step_seconds=[end - begin for begin, end in pairwise(watch.times)],
        losses=[row["loss"] for row in trainer.state.log_history if "loss" in row],
        peak_bytes=peak_bytes(torch.device("cpu")),
        rate=MatrixRate.best(rate, model_rate(job.model)),
    )


def as_dataset(branches: list[Branch]) -> Dataset:
    """Hand branches over as TRL reads them: token ids, and labels where a token is trained."""
    columns: dict[str, list[list[int]]] = {"input_ids": [], "labels": []}
    for branch in branches:
        labels = np.where(branch.weights > 0, branch.input_ids, NOT_TRAINED)
        columns["input_ids"].append(branch.input_ids.tolist())
        columns["labels"].append(labels.tolist())
    return Dataset.from_dict(columns)


def common_settings(job: Job, folder: Path) -> dict[str, Any]:
    """Return the settings of any of TRL's trainers; the optimizer's are those of Danlu's recipe."""
    training = recipe_of(job, str(folder)).training
    return {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": job.peer_rows,
        "gradient_accumulation_steps": job.batch_records // job.peer_rows,
        "num_train_epochs": 1,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "weight_decay": training.weight_decay,
        "adam_beta1": training.adam_beta1,
        "adam_beta2": training.adam_beta2,
        "adam_epsilon": training.adam_epsilon,
        "max_grad_norm": training.max_grad_norm,
        # The steps come already grouped by length; any other order would be other steps.
        "train_sampling_strategy": "sequential",
        "max_length": None,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": job.seed,
    }


def _settings(job: Job, folder: Path) -> SFTConfig:
    return SFTConfig(
        **common_settings(job, folder),
        padding_free=job.peer_padding_free,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


class Watch(TrainerCallback):
    """Notes when the first step begins and when each ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Note the beginning of the first step."""
        if not self.times:
            self.times.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the end of a step, after its update."""
        self.times.append(time.perf_counter())

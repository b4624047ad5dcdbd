"""Danlu on a CUDA device: its own loop, engine and layers, on a random model and token ids."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import danlu
from bench.cases import SEED
from bench.cuda_cases import STEPS, WARMUP_STEPS, CudaCase
from bench.cuda_child import Trained
from bench.llama import random_llama, token_records
from danlu.models.tuning import trainable_parameters
from danlu.objectives import Nll
from danlu.runs import MetricsRow, RunDirectory
from danlu.training.checkpoint import Checkpoints, LoopState
from danlu.training.devices import make_accelerator, prepare
from danlu.training.loop import Loop, run_loop
from danlu.training.optimizer import build_optimizer
from danlu.training.references import StepSource
from danlu.training.scoring import ScoringModel
from danlu.training.setup import ready_model


def recipe_of(case: CudaCase, length: int, folder: Path) -> danlu.Recipe:
    """Describe a case as a recipe; what it does not name is Danlu's default."""
    settings: dict[str, Any] = {
        "name": f"{case.name}-{length}",
        "runs_dir": str(folder),
        # A model that could not be computed as a forest would be another benchmark: an error.
        "model": {"precision": case.precision, "attention": "forest"},
        "tuning": {"method": case.method},
        "training": {
            "epochs": 1,
            "batch_records": case.step_tokens // length,
            "pack_tokens": case.pass_tokens,
            "learning_rate": case.learning_rate,
            "schedule": "constant",
            "warmup_ratio": 0.0,
            "gradient_checkpointing": case.checkpointing,
            "seed": SEED,
            "device": case.device,
        },
    }
    return danlu.Recipe.model_validate(settings)


def weight_format(case: CudaCase) -> torch.dtype:
    """Return the number format of the model's weights: float32 where they move."""
    return torch.float32 if case.method == "full" else getattr(torch, case.precision)


def train(case: CudaCase, length: int, folder: Path) -> Trained:
    """Train as ``danlu train`` does; nothing is saved."""
    recipe = recipe_of(case, length, folder)
    records = recipe.training.batch_records * (WARMUP_STEPS + STEPS)
    data = token_records(case.shape, length, records, SEED)
    accelerator = make_accelerator(recipe, 1)
    model = random_llama(case.shape, weight_format(case), case.device, SEED)
    objective = Nll()
    model, packing = ready_model(model, recipe, objective, accelerator.device)
    scoring = ScoringModel(model, objective, len(data.channels))
    prepared, optimizer = prepare(
        scoring, build_optimizer(trainable_parameters(model), recipe.training), accelerator
    )
    watch = Watch(case.device)
    with RunDirectory.create(folder / recipe.name, overwrite=True) as run:
        loop = Loop(
            recipe=recipe,
            model=prepared,
            parameters=trainable_parameters(model),
            optimizer=optimizer,
            objective=objective,
            train=StepSource(data),
            eval=None,
            packing=packing,
            accelerator=accelerator,
            run=run,
            checkpoints=NoCheckpoints(run.checkpoints_path, data.fingerprint, keep=1),
            state=LoopState(),
            watchers=[watch],
        )
        watch.begin()
        run_loop(loop)
        run.set_state("interrupted", "a benchmark saves no model")
    return Trained(
        [end - begin for begin, end in pairwise(watch.times)],
        [row.loss for row in watch.rows],
        [float(row.grad_norm or 0.0) for row in watch.rows],
    )


class NoCheckpoints(Checkpoints):
    """Saves nothing: of a full model that takes longer than all its steps."""

    def save(self, *_: Any) -> Path:
        """Leave it."""
        return self.folder


class Watch:
    """Notes when each step is over, on the device too."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.times: list[float] = []
        self.rows: list[MetricsRow] = []

    def begin(self) -> None:
        """Note the time when the device has nothing left to do."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def __call__(self, row: MetricsRow) -> None:
        """Note the end of a step."""
        self.begin()
        self.rows.append(row)

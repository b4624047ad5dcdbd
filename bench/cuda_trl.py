"""TRL on a CUDA device: its ``SFTTrainer`` on the same token ids, from the same weights.

What is not a setting of TRL is the same as Danlu's: tokens, model, adapters' random start, the
optimizer and its settings, what is recomputed. Its own settings are the fastest here: records of
one length, which need no padding, so that PyTorch's flash attention runs without a mask; bfloat16;
fused AdamW; nothing saved. TRL 1.16 makes its loss from chunks of the logits by itself.
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, TrainerCallback
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from bench.cases import SEED
from bench.cuda_cases import STEPS, WARMUP_STEPS, CudaCase
from bench.cuda_child import Trained
from bench.cuda_danlu import recipe_of, weight_format
from bench.llama import random_llama, token_records
from bench.with_trl import as_dataset
from danlu.models.tuning import apply_tuning
from danlu.training.order import RecordOrder


def train(case: CudaCase, length: int, folder: Path) -> Trained:
    """Train through TRL's trainer."""
    disable_progress_bars()
    logging.set_verbosity_error()
    recipe = recipe_of(case, length, folder)
    size = recipe.training.batch_records
    data = token_records(case.shape, length, size * (WARMUP_STEPS + STEPS), SEED)
    order = RecordOrder(len(data), size, SEED)
    branches = [
        branch
        for step in range(order.steps_per_epoch)
        for r in order.step(step)
        for branch in data.record(int(r))
    ]
    model = random_llama(case.shape, weight_format(case), case.device, SEED)
    torch.manual_seed(SEED)  # as in Danlu: the adapters begin with the same numbers
    model = apply_tuning(model, recipe.tuning)
    watch = Watch(case.device)
    trainer = SFTTrainer(
        model=model,
        args=_settings(case, length, folder),
        train_dataset=as_dataset(branches),
        processing_class=_tokenizer(),
        callbacks=[watch],
    )
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    return Trained(
        [end - begin for begin, end in pairwise(watch.times)],
        [float(row["loss"]) for row in rows],
        [float(row["grad_norm"]) for row in rows],
    )


def _settings(case: CudaCase, length: int, folder: Path) -> SFTConfig:
    training = recipe_of(case, length, folder).training
    return SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=case.pass_tokens // length,
        gradient_accumulation_steps=case.step_tokens // case.pass_tokens,
        num_train_epochs=1,
        learning_rate=training.learning_rate,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        weight_decay=training.weight_decay,
        adam_beta1=training.adam_beta1,
        adam_beta2=training.adam_beta2,
        adam_epsilon=training.adam_epsilon,
        max_grad_norm=training.max_grad_norm,
        train_sampling_strategy="sequential",
        max_length=None,
        packing=False,
        padding_free=False,
        bf16=case.precision == "bfloat16",
        gradient_checkpointing=case.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        use_cpu=case.device == "cpu",
        dataloader_pin_memory=case.device == "cuda",
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=SEED,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer for the trainer to ask for its padding; nothing is tokenised."""
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<eos>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


class Watch(TrainerCallback):
    """Notes when the first step begins and when each is over, on the device too."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.times: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Note the beginning of the first step."""
        if not self.times:
            self._note()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the end of a step, after its update."""
        self._note()

    def _note(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

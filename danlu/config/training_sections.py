"""Settings of the training: the loop, the devices, what is written and kept."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from danlu.config.section import PRACTICE, Section, setting


class TrainingSection(Section):
    """The loop, the optimizer and its schedule."""

    epochs: float = setting(3.0, "Passes over the data.", "1-3 usual; " + PRACTICE, gt=0)
    max_steps: int | None = setting(None, "Stop after this many optimizer steps.", gt=0)
    batch_records: int = setting(16, "Records per optimizer step, over all devices.", gt=0)
    pack_tokens: int | None = setting(
        None,
        "Unique tokens computed at a time: memory against speed, never the result. None: 1024 on "
        "the CPU, 768 where all weights move there, 8192 on a GPU.",
        "on two cores 512, 1024 and 2048 ran at 202, 214 and 212 tokens/s, in 2.6, 3.6, 5.5 GB",
        gt=0,
    )
    learning_rate: float = setting(2e-4, "Peak learning rate.", PRACTICE, gt=0)
    schedule: Literal["constant", "linear", "cosine", "warmup_stable_decay"] = setting(
        "cosine", "Shape of the learning rate after the warmup."
    )
    warmup_ratio: float = setting(
        0.03, "Share of the steps that warm up.", "0.01 per epoch; " + PRACTICE, ge=0.0, le=1.0
    )
    decay_ratio: float = setting(
        0.1,
        "With warmup_stable_decay: share of the steps that decay, at the end.",
        "arXiv:2404.06395: 10 % is enough",
        ge=0.0,
        le=1.0,
    )
    final_learning_rate_ratio: float = setting(
        0.0, "Last learning rate as a share of the peak.", ge=0.0, le=1.0
    )
    weight_decay: float = setting(0.0, "AdamW's decay, without biases and norms.", ge=0.0)
    adam_beta1: float = setting(0.9, "AdamW's first decay rate.", "arXiv:1711.05101", ge=0, lt=1)
    adam_beta2: float = setting(
        0.95, "AdamW's second decay rate.", "0.95 as in arXiv:2005.14165", ge=0, lt=1
    )
    adam_epsilon: float = setting(1e-8, "AdamW's epsilon.", "arXiv:1711.05101", gt=0)
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm; 0 switches off.", ge=0)
    gradient_checkpointing: bool = setting(
        False, "Recompute activations in the backward pass: less memory, about a third slower."
    )
    seed: int = setting(42, "Seeds the order of records, new weights and dropout.", ge=0)
    device: Literal["auto", "cpu", "cuda", "mps"] = setting("auto", "Where the work is done.")


class RolloutsSection(Section):
    """What ppo and grpo sample and how it is rewarded; a step is a batch of rollouts."""

    reward: str | None = setting(
        None,
        "What an answer is worth: a Python function, as file.py:function or module:function, or "
        "the run directory of a reward model.",
    )
    group_size: int | None = setting(
        None,
        "Answers sampled for each record; none: 1 with ppo, 8 with grpo.",
        "1: arXiv:2203.02155",
        gt=0,
    )
    max_new_tokens: int = setting(256, "Longest answer, in tokens.", gt=0)
    temperature: float = setting(
        1.0, "Logits are divided by it in sampling.", "1: arXiv:2203.02155", gt=0
    )
    top_p: float = setting(1.0, "Sample from the likeliest tokens that reach this.", gt=0, le=1)
    epochs: int | None = setting(
        None,
        "Passes over a step's answers; none: 4 with ppo, 1 with grpo.",
        "arXiv:1909.08593, 2402.03300",
        gt=0,
    )
    minibatches: int = setting(
        1, "Updates in each pass; the step's records are dealt to them.", "arXiv:1909.08593", gt=0
    )
    truncated: Literal["penalty", "mask"] = setting(
        "penalty",
        "Answers that reach max_new_tokens without a stop token: their reward is lowered by "
        "truncation_penalty, or nothing is learned from them.",
        "penalty: arXiv:1909.08593; mask: arXiv:2503.14476",
    )
    truncation_penalty: float = setting(
        1.0, "What a truncated answer loses; 0 treats it as any other.", "arXiv:1909.08593", ge=0
    )
    kl_limit: float | None = setting(
        100.0,
        "Stop where the mean KL to the reference exceeds this, in nats per answer; none: never.",
        "arXiv:2009.01325, figure 5: people like the answers less long before",
        gt=0,
    )
    keep_per_step: int = setting(4, "Rollouts per step written to rollouts.jsonl.", ge=0)


class DevicesSection(Section):
    """How the work is spread over devices and machines; ``danlu launch`` starts the processes.

    None of it changes a run's result, beyond the order in which numbers are added up.
    """

    strategy: Literal["auto", "ddp", "fsdp2", "zero1", "zero2", "zero3"] = setting(
        "auto",
        "What each process holds. ddp: all; zero1: a share of the optimizer's state; zero2: of "
        "the gradients too; zero3 and fsdp2: of the weights too. auto: ddp where there are several "
        "processes. zero1 to zero3 are DeepSpeed's, fsdp2 is PyTorch's.",
        "ZeRO: arXiv:1910.02054; FSDP: arXiv:2304.11277",
    )
    offload: Literal["none", "optimizer", "all"] = setting(
        "none",
        "What waits in the host's memory while it is not in use; slower. optimizer: its state and "
        "its work (zero1, zero2, zero3); all: the weights too (zero3, fsdp2).",
        "arXiv:2101.06840",
    )
    context_parallel: int = setting(
        1,
        "Processes that compute a pack together, each a share of its tokens: for sequences too "
        "long for one. Their number must divide that of all processes.",
        "arXiv:2407.21783, section 3.3.2",
        ge=1,
    )
    timeout_s: int = setting(
        7200,
        "Longest that a process waits for the others before the run fails, as while the first of "
        "them reads the data.",
        gt=0,
    )

    _OFFLOADS: ClassVar[dict[str, tuple[str, ...]]] = {
        "zero1": ("optimizer",),
        "zero2": ("optimizer",),
        "zero3": ("optimizer", "all"),
        "fsdp2": ("all",),
    }

    @model_validator(mode="after")
    def _offload_fits_the_strategy(self) -> Self:
        allowed = ("none", *self._OFFLOADS.get(self.strategy, ()))
        if self.offload not in allowed:
            able = [name for name, kinds in self._OFFLOADS.items() if self.offload in kinds]
            raise ValueError(
                f"offload {self.offload} does not go with strategy {self.strategy}, which takes "
                f"{' or '.join(allowed)}: change it, or use strategy {' or '.join(able)}"
            )
        return self


class EvaluationSection(Section):
    """Loss on held-out records while training."""

    every_steps: int | None = setting(None, "Steps between evaluations; none: each epoch.", gt=0)
    patience: int | None = setting(
        None, "Stop after this many evaluations without a better loss; none: never.", gt=0
    )
    keep_best: bool = setting(True, "End with the weights of the lowest evaluation loss.")


class CheckpointsSection(Section):
    """What survives a kill."""

    every_steps: int | None = setting(None, "Steps between checkpoints; none: each epoch.", gt=0)
    keep: int = setting(1, "Checkpoints kept besides the best one.", gt=0)


class LoggingSection(Section):
    """What is written while training."""

    every_steps: int = setting(1, "Steps between lines of metrics.jsonl.", gt=0)
    trackers: list[str] = setting(
        [], "Trackers by Accelerate's names: tensorboard, wandb, mlflow, swanlab ..."
    )


class SamplesSection(Section):
    """Answers before and after, for the report."""

    prompts: list[str] = setting([], "Questions to answer before and after training.")
    from_data: int = setting(3, "Further prompts taken from the evaluation or training data.", ge=0)
    max_new_tokens: int = setting(64, "Longest sample answer.", gt=0)

"""The recipe: one strict tree of settings, the only way a run is described.

An unknown key is an error, a bad value is an error, and so are two settings that exclude each
other. Every setting carries its meaning and, where its default was not free to choose, the
source of that default; ``danlu recipe show`` and ``docs/recipe.md`` are made from them.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PRACTICE = "practitioners' reports, 2023-2024"


def setting(default: Any, meaning: str, source: str = "", **limits: Any) -> Any:
    """Declare a recipe setting with its meaning, its limits, and where its default comes from."""
    extra: dict[str, Any] | None = {"source": source} if source else None
    if isinstance(default, (list, dict)):
        return Field(
            default_factory=default.copy, description=meaning, json_schema_extra=extra, **limits
        )
    return Field(default, description=meaning, json_schema_extra=extra, **limits)


class Section(BaseModel):
    """A group of settings; frozen, and closed to unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    """Which model is tuned, and how text becomes its tokens."""

    path: str = setting(
        "builtin:smollm2-135m-instruct",
        "A local folder, a GGUF file, a hub id, a Danlu run directory, or builtin:NAME.",
    )
    tokenizer: str | None = setting(None, "Where the tokenizer is, if not with the model.")
    template: str | None = setting(
        None,
        "Chat template: a shipped name (chatml, alpaca, vicuna, human_assistant, chatglm, belle, "
        "baichuan) or a .jinja file; none means the tokenizer's own.",
        "leaving the base model's format costs quality (" + PRACTICE + ")",
    )
    template_options: dict[str, Any] = setting(
        {}, "Variables handed to the chat template, such as enable_thinking: false."
    )
    new_tokens: list[str] = setting(
        [], "Special tokens to add; they start as the mean of all embeddings and are trained."
    )
    attention: Literal["auto", "forest", "rows"] = setting(
        "auto", "How packs are computed; auto takes the forest where the model's layers allow it."
    )
    precision: Literal["auto", "float32", "bfloat16"] = setting(
        "auto",
        "Number format of the computation; auto is bfloat16 where the device has it, float32 on "
        "the CPU.",
        "16-bit training on ordinary CPUs measured 10 to 30 times slower",
    )
    trust_remote_code: bool = setting(
        False, "Run Python code that comes with a hub model; off unless asked for by name."
    )


class DataSource(Section):
    """One file, folder, glob or hub dataset."""

    path: str = setting(..., "A file, a folder, a glob pattern, or hub:OWNER/NAME.")
    format: str = setting("auto", "A name from `danlu formats`, or auto: recognised by content.")
    task_type: str | None = setting(
        None, "Task type (area/skill) of records that carry none; else unlabelled/<file stem>."
    )
    columns: dict[str, str] = setting(
        {}, "Which column plays which part, as in {prompt: question, completion: answer}."
    )
    split: str = setting("train", "Split of a hub dataset.")
    limit: int | None = setting(None, "Read at most this many records.", gt=0)

    @field_validator("task_type")
    @classmethod
    def _two_levels(cls, value: str | None) -> str | None:
        if value is not None and (value.count("/") != 1 or "" in value.split("/")):
            raise ValueError(f"task type {value!r} must have two levels: area/skill")
        return value


class DataSection(Section):
    """What the model learns from, and what it is checked on."""

    train: list[DataSource] = setting([], "Sources of the training records.")
    eval: list[DataSource] = setting([], "Sources of the evaluation records.")
    eval_share: float = setting(
        0.0,
        "Share of the training records held out for evaluation, drawn per task type by seed.",
        ge=0.0,
        lt=1.0,
    )
    on_bad_record: Literal["stop", "skip"] = setting(
        "stop", "A broken record stops the run, or is written to rejected.jsonl and counted."
    )

    @field_validator("train", "eval", mode="before")
    @classmethod
    def _paths_are_sources(cls, value: Any) -> Any:
        """Accept a bare path, or one source, where a list of sources is meant."""
        if isinstance(value, (str, dict)):
            value = [value]
        if isinstance(value, list):
            return [{"path": item} if isinstance(item, str) else item for item in value]
        return value

    @model_validator(mode="after")
    def _one_way_to_evaluate(self) -> Self:
        if self.eval and self.eval_share:
            raise ValueError("eval and eval_share exclude each other: name sources or a share")
        return self


class SequencesSection(Section):
    """How a record becomes branches: what is seen and what is learned."""

    max_length: int = setting(2048, "Longest branch in tokens, prompt and completion.", ge=2)
    overlong: Literal["drop", "truncate_prompt_left", "truncate_completion", "error"] = setting(
        "drop", "What happens to a longer branch; always counted per task type."
    )
    turns: Literal["all", "last"] = setting(
        "all", "Train every assistant turn of a conversation, or its last one."
    )
    train_on_prompt: bool = setting(False, "Train the prompt's tokens too, each once.")
    weighting: Literal["token", "record", "turn", "task_type"] = setting(
        "token",
        "What counts equally in the loss. With token, long answers outweigh short ones.",
        "short answers starve when averaged per token (" + PRACTICE + ")",
    )


class TuningSection(Section):
    """How much of the model moves."""

    method: Literal["lora", "full"] = setting("lora", "Low-rank adapters, or the weights.")
    lora_rank: int = setting(16, "Rank of the adapter.", "8-32 usual; " + PRACTICE, gt=0)
    lora_alpha: float | None = setting(
        None, "Scale of the adapter (alpha / rank); none means alpha = rank.", PRACTICE, gt=0
    )
    lora_dropout: float = setting(0.0, "Dropout before the adapter.", ge=0.0, lt=1.0)
    lora_targets: list[str] | Literal["all-linear"] = setting(
        "all-linear",
        "Which linear layers get an adapter, by name; all-linear leaves out the head.",
        "arXiv:2305.14314: all linear layers are needed to match full tuning",
    )
    lora_options: dict[str, Any] = setting(
        {}, "Other fields of PEFT's LoraConfig, such as use_dora or use_rslora: true."
    )
    parts: list[Literal["layers", "embedding", "attention", "mlp", "norms", "head"]] = setting(
        [], "With full: only these parts move; empty means all of them."
    )
    layers: list[int] = setting(
        [], "Only layers with these numbers move or get an adapter; negative from the end."
    )

    @field_validator("lora_targets", mode="before")
    @classmethod
    def _one_target(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) and value != "all-linear" else value

    @model_validator(mode="after")
    def _method_has_its_own_settings(self) -> Self:
        given = self.model_fields_set
        if self.method == "full":
            if extra := sorted(name for name in given if name.startswith("lora_")):
                raise ValueError(f"{extra[0]} does nothing with method full: remove one of them")
        elif "parts" in given and self.parts:
            raise ValueError("parts goes with method full; with lora use lora_targets and layers")
        return self


class ObjectiveSection(Section):
    """What is minimised."""

    name: Literal["nll"] = setting("nll", "nll: negative log-likelihood (supervised tuning).")


class TrainingSection(Section):
    """The loop, the optimizer and its schedule."""

    epochs: float = setting(3.0, "Passes over the data.", "1-3 usual; " + PRACTICE, gt=0)
    max_steps: int | None = setting(None, "Stop after this many optimizer steps.", gt=0)
    batch_records: int = setting(16, "Records per optimizer step, over all devices.", gt=0)
    pack_tokens: int | None = setting(
        None,
        "Unique tokens computed at a time: memory against speed, never the result. None: 1024 on "
        "the CPU, 8192 on a GPU.",
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


class Recipe(Section):
    """A fine-tuning run, described in full.

    Raises:
        pydantic.ValidationError: On an unknown key, a bad value or excluding settings; use
            ``danlu.config.load_recipe``, which turns it into a ``RecipeError``.
    """

    name: str = setting(..., "Name of the run; its directory is runs_dir/name.", min_length=1)
    runs_dir: str = setting("runs", "Where run directories are.")
    model: ModelSection = Field(default_factory=ModelSection)
    data: DataSection = Field(default_factory=DataSection)
    sequences: SequencesSection = Field(default_factory=SequencesSection)
    tuning: TuningSection = Field(default_factory=TuningSection)
    objective: ObjectiveSection = Field(default_factory=ObjectiveSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    checkpoints: CheckpointsSection = Field(default_factory=CheckpointsSection)
    logging: LoggingSection = Field(default_factory=LoggingSection)
    samples: SamplesSection = Field(default_factory=SamplesSection)

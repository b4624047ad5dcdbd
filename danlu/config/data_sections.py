"""Settings of the model and of its data: what is tuned, and on what."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from danlu.config.rope_section import RopeSection
from danlu.config.section import PRACTICE, Section, setting


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
    rope: RopeSection = Field(default_factory=RopeSection)
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

    path: str = setting(
        ..., "A file, a folder, a glob pattern, hub:OWNER/NAME, or version:NAME of a dataset."
    )
    format: str = setting("auto", "A name from `danlu formats`, or auto: recognised by content.")
    task_type: str | None = setting(
        None, "Task type (area/skill) of records that carry none; else unlabelled/<file stem>."
    )
    columns: dict[str, str] = setting(
        {}, "Which column plays which part, as in {prompt: question, completion: answer}."
    )
    split: str = setting("train", "Split of a hub dataset.")
    limit: int | None = setting(None, "Read at most this many records.", gt=0)
    share: float | None = setting(
        None,
        "Share of the mix, in tokens, that comes from this source; it is thinned out, never "
        "repeated. Sources without one fill the rest.",
        "10-20 % for domain knowledge; " + PRACTICE,
        gt=0,
        le=1,
    )

    def reading(self) -> dict[str, Any]:
        """Return what is needed to read it, as ``danlu.records.Source`` takes it."""
        return self.model_dump(exclude={"share"})

    @field_validator("task_type")
    @classmethod
    def _two_levels(cls, value: str | None) -> str | None:
        if value is not None and (value.count("/") != 1 or "" in value.split("/")):
            raise ValueError(f"task type {value!r} must have two levels: area/skill")
        return value


class MixSection(Section):
    """How often the records of each group are learned in an epoch; each epoch draws anew."""

    targets: dict[str, int | float | str] = setting(
        {},
        "By name a count (500), a share of the epoch (0.25), or for names joined by colons a ratio "
        "(open:domain: 1:3). With counts and ratios the others stay as they are; with shares they "
        "fill the rest. Empty: every record once.",
    )
    by: Literal["task_type", "area", "source"] = setting(
        "task_type",
        "What the names are of. A source of data.train is called by its path, by that without "
        "folder and extension, or, if it is a version, by the version's name.",
    )
    unit: Literal["records", "tokens"] = setting(
        "records", "What is counted: records, or the tokens that are learned, as the loss does."
    )
    total: float | None = setting(
        None,
        "Size of the epoch in that unit, for shares or one ratio; none is as large as repeats "
        "allows.",
        gt=0,
    )
    repeats: float = setting(
        1.0, "How often a record is learned in an epoch at most, in the mean of its group.", gt=0
    )
    cap: float | None = setting(None, "Largest amount of a group.", gt=0)


class DataSection(Section):
    """What the model learns from, and what it is checked on."""

    train: list[DataSource] = setting([], "Sources of the training records.")
    eval: list[DataSource] = setting([], "Sources of the evaluation records.")
    eval_share: float = setting(
        0.0,
        "Share of the training records held out for evaluation, drawn per task type by seed; "
        "records with one prompt stay together.",
        ge=0.0,
        lt=1.0,
    )
    mix: MixSection = setting(
        MixSection(), "How often the records of each task type are learned in an epoch."
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

    documents: bool = setting(
        False,
        "Learn plain text whole, as documents that end in EOS (continued pre-training); "
        "conversations may stand between them.",
    )
    max_length: int = setting(2048, "Longest branch in tokens, prompt and completion.", ge=2)
    overlong: Literal["drop", "truncate_prompt_left", "truncate_completion", "error"] = setting(
        "drop", "What happens to a longer branch; always counted per task type."
    )
    turns: Literal["all", "last"] = setting(
        "all", "Train every assistant turn of a conversation, or its last one."
    )
    min_score_ratio: float = setting(
        1.0,
        "Pairs are compared only where the better answer's score is at least this many times the "
        "worse one's: votes that hardly differ say little (SHP).",
        ge=1,
    )
    reasoning: Literal["keep", "drop", "last"] = setting(
        "keep",
        "Reasoning traces of answers (reasoning_content, <think>): all kept, all dropped, or only "
        "that of the last answer. The template may drop those of earlier answers by itself.",
    )
    train_on_prompt: bool = setting(False, "Train the prompt's tokens too, each once.")
    weighting: Literal["token", "record", "turn", "task_type"] = setting(
        "token",
        "What counts equally in the loss. With token, long answers outweigh short ones.",
        "short answers starve when averaged per token (" + PRACTICE + ")",
    )

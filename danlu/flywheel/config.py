"""What a flywheel reads, keeps and asks: one strict YAML file, as strict as a recipe."""

from __future__ import annotations

import os
from glob import has_magic, iglob
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from danlu.config.problems import problems
from danlu.config.section import Section, setting
from danlu.config.strict_yaml import read_yaml
from danlu.errors import RecipeError

EXAMPLE = Path(__file__).parent / "example.yaml"
PARTS = (
    "id",
    "time",
    "session",
    "model",
    "adapter",
    "data_version",
    "task_type",
    "system",
    "messages",
    "prompt",
    "answer",
    "tools",
    "voter",
    "vote",
    "comment",
    "corrected",
)
"""What a row of a foreign log may say; ``columns`` maps them."""


class LogSection(Section):
    """Chat logs of one kind."""

    path: str = setting(..., "A file, a folder or a glob; .jsonl or .csv, also with .gz.")
    format: Literal["danlu", "openai", "csv"] = setting(
        "danlu",
        "danlu: what `danlu serve --capture` writes; openai: request and response, one object a "
        "line; csv: a row per answer.",
    )
    name: str | None = setting(None, "What records call it as their source; none is the path.")
    columns: dict[str, str] = setting(
        {}, "Where each part is: a CSV column, or a path as in request.metadata.session."
    )
    up: list[str] = setting([], "Further values of a vote that mean thumbs up, such as '5'.")
    down: list[str] = setting([], "Further values of a vote that mean thumbs down, such as '1'.")

    @field_validator("columns")
    @classmethod
    def _known_parts(cls, value: dict[str, str]) -> dict[str, str]:
        from danlu.errors import did_you_mean

        for part in value:
            if part not in PARTS:
                raise ValueError(f"there is no part {part!r}.{did_you_mean(part, PARTS)}")
        return value


class KeepSection(Section):
    """Which turns are worth a better answer, or a place in the data as they are."""

    corrected: bool = setting(True, "The user, or somebody else, gave the right answer.")
    thumbs_down: bool = setting(True, "More votes down than up, of voters that count.")
    follow_ups: bool = setting(True, "The user said next: no, I meant ...")
    repeats: bool = setting(True, "The user asked the same thing again.")
    vote_pairs: bool = setting(True, "One answer to a prompt was voted up and another one down.")
    fruitful: bool = setting(True, "A long session that went well, kept as it is.")
    fruitful_turns: int = setting(4, "How many questions make a session long.", ge=2)
    patterns: list[str] = setting(
        [], "Further regular expressions of what users say when the answer was wrong."
    )

    @field_validator("patterns")
    @classmethod
    def _compile(cls, value: list[str]) -> list[str]:
        import regex

        for pattern in value:
            try:
                regex.compile(pattern)
            except regex.error as error:
                raise ValueError(f"the pattern {pattern!r} is broken: {error}") from error
        return value


class VotersSection(Section):
    """Whose votes count."""

    min_votes: int = setting(10, "With fewer votes to compare nothing is said of a voter.", ge=4)
    level: float = setting(
        0.05,
        "Chance that any honest voter at all is called inverted or constant (Holm).",
        gt=0,
        lt=0.5,
    )
    inverted: Literal["ignore", "flip", "keep"] = setting(
        "ignore", "What becomes of votes of a voter who votes the other way round."
    )
    constant: Literal["ignore", "keep"] = setting(
        "ignore", "What becomes of votes of a voter who always votes the same."
    )


class AnswerSection(Section):
    """Who writes the better answers."""

    model: str = setting(
        ..., "With url, its name there; else a run, folder, hub id or builtin:NAME."
    )
    url: str | None = setting(None, "An OpenAI-compatible endpoint, such as http://HOST:8000/v1.")
    key_variable: str = setting(
        "OPENAI_API_KEY", "Variable of the environment that holds the endpoint's key."
    )
    extra: dict[str, Any] = setting({}, "Further fields of every request.")
    leave_out: list[str] = setting([], "Parameters that the endpoint does not take.")
    max_tokens_name: str = setting("max_tokens", "What the endpoint calls the longest answer.")
    timeout_s: float = setting(300.0, "Longest time for one answer.", gt=0)
    concurrency: int | None = setting(None, "Requests at a time.", ge=1)
    requests_per_minute: float | None = setting(None, "At most so many.", gt=0)
    tokens_per_minute: float | None = setting(None, "At most so many.", gt=0)
    attempts: int = setting(8, "How often one request is asked before the run gives up.", ge=1)
    budget_tokens: int | None = setting(None, "Stop before more are spent in a run.", gt=0)
    budget_money: float | None = setting(None, "Stop before more is spent in a run.", gt=0)
    price_prompt: float = setting(0.0, "Of a million tokens of prompts.", ge=0)
    price_completion: float = setting(0.0, "Of a million tokens of answers.", ge=0)
    temperature: float = setting(0.0, "How answers are drawn; 0 takes the likeliest.", ge=0)
    top_p: float = setting(0.95, "Draw from the likeliest that reach this.", gt=0, le=1)
    max_new_tokens: int = setting(1024, "Longest answer, in tokens.", ge=1)
    seed: int = setting(0, "Same seed, same draws.")
    verify: bool = setting(
        True, "Take an answer only if the model finds it better than the old one, in both orders."
    )
    prompts: str | None = setting(None, "Folder of prompt files that replace the shipped ones.")

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        from danlu.workshop.produce.endpoint import Endpoint
        from danlu.workshop.produce.faults import EndpointError

        if self.url is not None:
            try:
                Endpoint(self.url, self.model, leave_out=tuple(self.leave_out))
            except EndpointError as error:
                raise ValueError(str(error)) from error
        if self.budget_money is not None and not (self.price_prompt or self.price_completion):
            raise ValueError("budget_money needs price_prompt or price_completion")
        return self


class FlywheelConfig(Section):
    """A flywheel, described in full."""

    name: str = setting(..., "Datasets are called NAME-sft and NAME-pairs.")
    store: str | None = setting(None, "Folder of datasets; none is $DANLU_DATASETS, or ./datasets.")
    memory: str | None = setting(
        None, "Folder where the flywheel remembers what it read; none is STORE/flywheel/NAME."
    )
    sources: list[LogSection] = setting(..., "Chat logs.", min_length=1)
    personal: Literal["mask", "drop"] = setting(
        "mask",
        "Telephones, e-mail, identity and card numbers and keys are masked, or the conversations "
        "that hold them left out. Nothing else is ever stored.",
    )
    task_type: str = setting(
        "unlabelled/chat", "Task type (area/skill) of turns whose log names none."
    )
    taxonomy: str | None = setting(
        None, "YAML file of task types, by whose keywords unlabelled turns are labelled."
    )
    label_by_model: bool = setting(
        False, "Ask the model for the task types that keywords leave doubtful."
    )
    keep: KeepSection = Field(default_factory=KeepSection)
    voters: VotersSection = Field(default_factory=VotersSection)
    answer: AnswerSection = Field(default=...)
    check: list[str] = setting(
        ["structure", "mojibake", "special_tokens", "personal"],
        "Checks, or rules as CHECK.RULE, by which new records are dropped.",
    )

    @field_validator("name")
    @classmethod
    def _names_datasets(cls, value: str) -> str:
        from danlu.errors import StoreError
        from danlu.workshop.store.names import check_name

        try:
            check_name(value)
        except StoreError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("task_type")
    @classmethod
    def _two_levels(cls, value: str) -> str:
        if value.count("/") != 1 or "" in value.split("/"):
            raise ValueError(f"task type {value!r} must have two levels: area/skill")
        return value

    @field_validator("check")
    @classmethod
    def _known_rules(cls, value: list[str]) -> list[str]:
        from danlu.errors import DanluError
        from danlu.workshop.checks import CHECKS, find_rules

        try:
            find_rules(CHECKS, value)
        except DanluError as error:
            raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _labels_need_names(self) -> Self:
        if self.label_by_model and not self.taxonomy:
            raise ValueError("label_by_model needs a taxonomy: the names to choose from")
        return self


def load_config(path: Path) -> FlywheelConfig:
    """Read a config and check every setting.

    As in a recipe, a relative path means the working directory or, where nothing is there, the
    folder of the config.

    Raises:
        RecipeError: If it is not there, or with every problem that it has.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise RecipeError(
            f"there is no such file; 'danlu flywheel init {path}' writes an example.",
            where=str(path),
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"it cannot be read: {error}.", where=str(path)) from error
    document = read_yaml(text, str(path))
    if not isinstance(document.value or {}, dict):
        raise RecipeError("a config is a tree of settings, as in 'name: support'.", where=str(path))
    lines = {key: f"{path}:{line}" for key, line in document.lines.items()}
    try:
        config = FlywheelConfig.model_validate(document.value or {})
    except ValidationError as error:
        told = problems(error, FlywheelConfig, lines, str(path))
        raise RecipeError("\n".join(told)) from error
    return _with_paths_from(config, path.parent)


def _with_paths_from(config: FlywheelConfig, folder: Path) -> FlywheelConfig:
    sources = [one.model_copy(update={"path": _from(one.path, folder)}) for one in config.sources]
    answer = config.answer
    if answer.prompts:
        answer = answer.model_copy(update={"prompts": _from(answer.prompts, folder)})
    taxonomy = config.taxonomy and _from(config.taxonomy, folder)
    return config.model_copy(update={"sources": sources, "answer": answer, "taxonomy": taxonomy})


def _from(path: str, folder: Path) -> str:
    """Return a path, or the same in a folder where only that leads to something."""
    moved = os.path.normpath(os.path.join(folder, path))
    return moved if not _leads_somewhere(path) and _leads_somewhere(moved) else path


def _leads_somewhere(path: str) -> bool:
    return os.path.exists(path) or (has_magic(path) and any(iglob(path, recursive=True)))

"""What the files of a run directory hold, one model per kind of row.

The same models write and read, so a page and a file cannot drift apart: an unknown or missing
key, or a number that is not finite, is an error on either side.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

State = Literal["running", "finished", "failed", "interrupted"]
Split = Literal["train", "eval"]


def _whole_characters(value: Any) -> Any:
    """Replace halves of surrogate pairs, which JSON data may hold and UTF-8 cannot."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_whole_characters)]


class Row(BaseModel):
    """Base of all rows: frozen, closed to unknown keys, finite numbers only."""

    # defer_build: a third of the package's import time was validators that most commands never use.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, from_attributes=True, defer_build=True
    )

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the row as JSON text; Chinese stays Chinese."""
        return self.model_dump_json(indent=indent)


class ChannelMetrics(Row):
    """The part of one task type in a metrics row.

    Attributes:
        loss: What was minimised; of ``nll`` the weighted mean in nats per token.
        tokens: Supervised tokens since the last row.
        records: Records since the last row.
        metrics: What else the objective reports: ``accuracy``, ``margin`` ...
    """

    loss: float
    tokens: int = Field(ge=0)
    records: int = Field(ge=0)
    metrics: dict[str, float] = {}


class MetricsRow(Row):
    """One logging step of training, or one evaluation; sums cover the steps since the last row.

    Attributes:
        step: Optimizer steps done; 0 for an evaluation before the first step.
        epoch: Passes over the data, as a fraction.
        split: ``train`` or ``eval``.
        loss: What was minimised; of ``nll`` the weighted mean in nats per token.
        learning_rate: Of the last step; None for an evaluation.
        grad_norm: Before clipping, of the last step; None for an evaluation.
        tokens_per_second: Unique tokens computed per second.
        unique_tokens: Tokens computed, each shared prefix once.
        supervised_tokens: Tokens with a weight in the loss.
        channels: The same per task type.
        metrics: What else the objective reports: ``accuracy``, ``margin`` ...
        elapsed_s: Seconds of training since the run began, pauses between resumes left out.

    Example:
        >>> row = MetricsRow(step=1, epoch=0.1, loss=2.5, unique_tokens=9, supervised_tokens=4)
        >>> row.split, row.channels
        ('train', {})
    """

    step: int = Field(ge=0)
    epoch: float = Field(ge=0)
    split: Split = "train"
    loss: float
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    unique_tokens: int = Field(0, ge=0)
    supervised_tokens: int = Field(0, ge=0)
    channels: dict[Text, ChannelMetrics] = {}
    metrics: dict[str, float] = {}
    elapsed_s: float = Field(0.0, ge=0)


class Sample(Row):
    """One prompt, answered before and after training.

    Attributes:
        prompt: What was asked, as a person would read it.
        task_type: None for a prompt that stands in the recipe.
        before: The model's answer before training.
        after: Its answer after training; None while training is not over.
        reference: The answer in the data, if there is one.
    """

    prompt: Text
    task_type: Text | None = None
    before: Text | None = None
    after: Text | None = None
    reference: Text | None = None


class ScoreRow(Row):
    """What a reward model made of one answer of an evaluation record.

    Attributes:
        record: Id of the record.
        task_type: Its task type.
        response: Index of the answer among the record's responses.
        rank: Its rank in the data; the least of a record is its best.
        score: What the model gives it.
    """

    record: Text
    task_type: Text
    response: int = Field(ge=0)
    rank: int
    score: float


class Dropped(Row):
    """A record, or one branch of it, that is not trained as it stands, and why.

    Attributes:
        record_id: Id of the record.
        task_type: Its task type.
        branch: Index of the branch in the record; None if the whole record is dropped.
        reason: A short name, the same for all of a kind: ``overlong``, ``nothing to learn``.
        detail: What was found in this one.
        kept: Whether it is trained all the same, cut to length.
    """

    record_id: Text
    task_type: Text
    branch: int | None = None
    reason: Text
    detail: Text = ""
    kept: bool = False


class Rejected(Row):
    """A line of a data file that is not a record, and why.

    Attributes:
        file: The data file.
        line: Its line, from 1; None where the file has no lines.
        reason: What is wrong with it.
        text: The line, as far as it is kept.
    """

    file: Text
    line: int | None = None
    reason: Text
    text: Text = ""


class Status(Row):
    """Where a run stands.

    Attributes:
        state: As last written. A run that was killed still says ``running`` here;
            ``RunDirectory.state`` knows better.
        started_at: When the run was made, UTC.
        updated_at: When this was written, UTC.
        message: Why a run failed or stopped; empty otherwise.
    """

    state: State
    started_at: datetime
    updated_at: datetime
    message: Text = ""


class Environment(Row):
    """What the run was made with.

    Attributes:
        versions: Version per package, and of Python; None for a package that is not there.
        commit: Git commit of the working directory; None outside a repository.
        uncommitted_changes: Whether tracked files differed from that commit; None if unknown.
        platform: Operating system and processor, in words.
        cpu_count: Processors that the run may use.
    """

    versions: dict[str, str | None]
    commit: str | None = None
    uncommitted_changes: bool | None = None
    platform: str
    cpu_count: int = Field(gt=0)


class Resolved(Row):
    """``resolved.json``: the run, with nothing left to be guessed.

    Attributes:
        recipe: Every setting, as a tree.
        environment: Versions, commit, platform.
        data_fingerprint: Hash of the data and of the settings that shape it.
        datasets: Dataset versions that the recipe names, each with its manifest.
        device: Where the work is done: ``cpu``, ``cuda:0`` with its name ...
        dtype: Number format of the computation.
        total_steps: Optimizer steps planned.
        records: Training records per task type.
        eval_records: Evaluation records per task type.
    """

    recipe: dict[str, Any]
    environment: Environment
    data_fingerprint: str | None = None
    datasets: list[dict[str, Any]] = []
    device: str | None = None
    dtype: str | None = None
    total_steps: int | None = Field(None, ge=0)
    records: dict[Text, int] = {}
    eval_records: dict[Text, int] = {}

    @property
    def objective(self) -> str:
        """What is minimised; ``nll`` where the recipe names nothing else.

        Example:
            >>> environment = Environment(versions={}, platform="Linux", cpu_count=2)
            >>> Resolved(recipe={"objective": {"name": "dpo"}}, environment=environment).objective
            'dpo'
        """
        return str(self.recipe.get("objective", {}).get("name", "nll"))

    @property
    def documents(self) -> bool:
        """Whether plain text is learned, whose loss is also told as perplexity."""
        return bool(self.recipe.get("sequences", {}).get("documents", False))


class Summary(Row):
    """``summary.json``: a finished run in one object; further keys are welcome and kept.

    Attributes:
        name: Name of the run.
        model: The model that was tuned, as the recipe names it.
        method: ``lora`` or ``full``.
        objective: What was minimised; None in a run of an earlier version.
        steps: Optimizer steps done.
        epochs: Passes over the data.
        records: Training records; each counts once, whatever the epochs.
        eval_records: Evaluation records.
        unique_tokens: Tokens computed in training, each shared prefix once per step.
        supervised_tokens: Tokens trained, over all epochs.
        train_seconds: Time spent training, evaluations included.
        tokens_per_second: Unique tokens per second, median of the rows.
        first_loss: Training loss at the start (see ``danlu.runs.figures``).
        last_loss: Training loss at the end.
        first_eval_loss: Evaluation loss at the start.
        last_eval_loss: Evaluation loss at the end.
        best_eval_loss: The lowest evaluation loss.
        best_eval_step: The step that had it.
        first_metrics: What else the objective reports of training (``accuracy``, ``margin`` ...),
            at the start.
        last_metrics: The same at the end.
        first_eval_metrics: Of the evaluation, at the start.
        last_eval_metrics: Of the evaluation, at the end.
        trainable_parameters: Parameters that move.
        total_parameters: All parameters.
        peak_bytes: The most memory held, of the device if there is one, else of the process.
    """

    model_config = ConfigDict(extra="allow")

    name: Text
    model: Text
    method: str
    objective: str | None = None
    steps: int = Field(ge=0)
    epochs: float = Field(ge=0)
    records: int = Field(ge=0)
    eval_records: int = Field(0, ge=0)
    unique_tokens: int = Field(0, ge=0)
    supervised_tokens: int = Field(0, ge=0)
    train_seconds: float = Field(ge=0)
    tokens_per_second: float | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    first_eval_loss: float | None = None
    last_eval_loss: float | None = None
    best_eval_loss: float | None = None
    best_eval_step: int | None = None
    first_metrics: dict[str, float] = {}
    last_metrics: dict[str, float] = {}
    first_eval_metrics: dict[str, float] = {}
    last_eval_metrics: dict[str, float] = {}
    trainable_parameters: int | None = Field(None, ge=0)
    total_parameters: int | None = Field(None, ge=0)
    peak_bytes: int | None = Field(None, ge=0)

    @property
    def more(self) -> dict[str, Any]:
        """The further keys, such as ``quickstart``."""
        return dict(self.model_extra or {})

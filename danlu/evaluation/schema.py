"""What the files of an evaluation hold, one model per kind of row.

An evaluation is one model asked one suite. Its folder stands alone: the items asked are copied into
it, so that scores can be made anew, compared and shown when the suite has long changed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, JsonValue

from danlu.runs.schema import Row, State, Text

FailureKind = Literal["timeout", "refused", "endpoint", "too_long", "not_read", "scorer"]
"""Why something is missing.

``timeout`` and ``endpoint``: no answer came; ``refused``: the endpoint will not answer;
``too_long``: the prompt does not fit the model; ``not_read``: an answer or a judge's reply that
could not be read; ``scorer``: the scorer itself failed (a sandbox that would not start).
"""


class Failure(Row):
    """Why an answer or a score is missing. Missing is never 0.

    Attributes:
        kind: One of few, so that they can be counted.
        message: What happened.
    """

    kind: FailureKind
    message: Text


class Item(Row):
    """One prompt of a suite.

    Attributes:
        id: Unique in the suite; the same prompt has the same one in every evaluation.
        task_type: ``area/skill``.
        messages: What is asked, in the OpenAI form, up to the answer wanted.
        reference: What the scorers of its task type expect; None if they need nothing.
        context: More that scorers may read: options, unit tests, a schema, expectations.
        cluster: What it shares with other items: the source document, the template.
        follows: Id of the item whose conversation and answer its messages go on with; None if they
            stand alone.
        tags: Of the record it came from.
        source: Where it came from.
    """

    id: Text
    task_type: Text
    messages: tuple[dict[str, JsonValue], ...]
    reference: JsonValue = None
    context: dict[str, JsonValue] = Field(default_factory=dict)
    cluster: Text | None = None
    follows: Text | None = None
    tags: tuple[Text, ...] = ()
    source: Text | None = None


class TypeStakes(Row):
    """How a task type is scored and how much it matters, as its suite says.

    Attributes:
        scorer: Of the score that counts in comparisons: a name in ``SCORERS``, ``judge``,
            or one made from log-probabilities. What follows a dash tells two of one scorer apart:
            ``rouge-1`` and ``rouge-2``.
        also: Names of more scorers, whose figures are shown beside it.
        settings: Of scorers, by name; those not named have their defaults.
        weight: Of the task type in its area and in all.
        critical: Whether the gate asks for it.
        margin: Smallest difference that matters, as a share of the scores' range.
        low: Lowest score there can be.
        high: Highest.
        max_new_tokens: Longest answer; None: as of the evaluation.
    """

    scorer: Text
    also: tuple[Text, ...] = ()
    settings: dict[Text, dict[str, JsonValue]] = Field(default_factory=dict)
    weight: float = 1.0
    critical: bool = False
    margin: float = 0.1
    low: float = 0.0
    high: float = 1.0
    max_new_tokens: int | None = None


class ModelAsked(Row):
    """Which model an evaluation asked.

    Attributes:
        name: As given: a run, a folder, ``builtin:...``, a model at an endpoint.
        fingerprint: Of its weights, or of name and address for an endpoint.
        run: The run directory it comes from, if any.
        data_version: The dataset version that run was trained on, if it had one.
        address: Of the endpoint, without secrets; None in process.
    """

    name: Text
    fingerprint: Text
    run: Text | None = None
    data_version: Text | None = None
    address: Text | None = None


class Evaluation(Row):
    """``eval.json``: what was asked of whom, and how.

    Attributes:
        suite: Its name.
        suite_fingerprint: Of its items and task types; evaluations of one suite have the same.
        model: Who was asked.
        sampling: How answers were drawn; the fields of ``generation.Sampling``.
        samples: Answers per prompt.
        seeds: Of each sample, before they are mixed with the item's id; answers have their own.
        task_types: How each is scored.
        versions: Of Danlu and its libraries.
        started_at: When it began.
        state: How far it is; ``finished`` when every score is there or missing for good.
    """

    suite: Text
    suite_fingerprint: Text
    model: ModelAsked
    sampling: dict[str, JsonValue]
    samples: int = Field(1, ge=1)
    seeds: tuple[int, ...]
    task_types: dict[Text, TypeStakes]
    versions: dict[str, str]
    started_at: datetime
    state: State = "running"


class AnswerRow(Row):
    """One answer of the model; ``answers.jsonl``.

    Attributes:
        item: Id of the item.
        sample: Index among the answers to it.
        seed: It was drawn with.
        text: The answer; None if there is none.
        finished: Whether it ended by itself, not at a limit.
        tokens: Length in tokens; None if unknown.
        failure: Why there is none.
        asked: All messages asked, where the item follows another; None: the item's own.
        reused: Whether it was known from an earlier evaluation.
    """

    item: Text
    sample: int = Field(0, ge=0)
    seed: int = 0
    text: Text | None
    finished: bool = True
    tokens: int | None = None
    failure: Failure | None = None
    asked: tuple[dict[str, JsonValue], ...] | None = None
    reused: bool = False


class LikelihoodRow(Row):
    """What the model gives a text after a prompt; ``likelihoods.jsonl``.

    Attributes:
        item: Id of the item.
        option: Its key among the item's options; empty for the reference, and for plain text.
        text: The text.
        logprob: Natural logarithm of its probability; None if it could not be computed.
        tokens: That are predicted, the stop token included.
        failure: Why it is missing.
    """

    item: Text
    option: Text = ""
    text: Text
    logprob: float | None
    tokens: int = 0
    failure: Failure | None = None


class ScoredAnswer(Row):
    """What one scorer made of one answer; ``scores.jsonl``.

    Attributes:
        item: Id of the item.
        task_type: Its task type.
        sample: Index of the answer.
        scorer: Name of the scorer; ``judge/helpful`` for a judge's dimension.
        value: Higher is better; None if missing.
        read: What was read out of the answer and scored.
        why: Why points were lost; a judge's explanation.
        failure: Why it is missing.
        details: Whatever else the scorer has to say.
    """

    item: Text
    task_type: Text
    sample: int = Field(0, ge=0)
    scorer: Text
    value: float | None
    read: Text | None = None
    why: Text = ""
    failure: Failure | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class TypeSummary(Row):
    """One task type in ``summary.json``.

    Attributes:
        items: How many were asked.
        scored: How many of them have the score that counts.
        score: Mean of it over items, each the mean of its samples; None if none is scored.
        low: Of the 95 % interval; None where no interval can be said.
        high: Of the same.
        figures: What the scorers know only of all answers together (an F1, a corpus BLEU), and
            means of the other scorers, by name.
        failures: Answers and scores missing, by kind.
    """

    items: int
    scored: int
    score: float | None
    low: float | None = None
    high: float | None = None
    figures: dict[str, float] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict)


class EvalSummary(Row):
    """``summary.json``: the evaluation in one object.

    Attributes:
        suite: Its name.
        model: Name of the model.
        score: Mean over areas and task types by their weights; None if one has no score.
        task_types: Each in short.
        seconds: Generating and scoring took.
    """

    suite: Text
    model: Text
    score: float | None
    task_types: dict[Text, TypeSummary]
    seconds: float = Field(ge=0)

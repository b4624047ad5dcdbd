"""The card as it is written: one row per thing measured. The studio reads the same rows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from danlu.errors import DanluError
from danlu.runs.files import read_row
from danlu.runs.schema import Row, Text

CARD_FILE, PICTURE_FILE, PAGE_FILE = "card.json", "card.png", "card.html"
CONFIDENCE = 0.95


class Interval(Row):
    """A figure with its 95 % interval, from a seeded bootstrap.

    Attributes:
        value: The figure.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __contains__(self, truth: float) -> bool:
        return self.low <= truth <= self.high


class FirstToken(Row):
    """One question asked alone, with as much prompt as it had.

    Attributes:
        prompt_tokens: As the server counts them, its chat template included.
        seconds: From the request to the first text of the answer.
    """

    prompt_tokens: int
    seconds: float


class FirstTokenFit(Row):
    """Time to the first token: flat up to a knee, then a line.

    ``seconds = flat_s + per_token_s * max(0, prompt_tokens - knee_tokens)``

    Attributes:
        flat_s: What even a short prompt takes.
        knee_tokens: From where on the prompt's length counts.
        per_token_s: What each token beyond the knee adds.
    """

    flat_s: Interval
    knee_tokens: Interval
    per_token_s: Interval

    def seconds(self, prompt_tokens: float) -> float:
        """Return the time to the first token of such a prompt."""
        beyond = max(0.0, prompt_tokens - self.knee_tokens.value)
        return self.flat_s.value + self.per_token_s.value * beyond


class Level(Row):
    """So many users at a time, each asking again when answered.

    Attributes:
        concurrency: How many.
        requests: Asked in all.
        failed: Of those, not answered.
        first_s: Time to the first token, mean.
        per_token_s: Time of each further token; None if no answer had two.
        tokens_per_second: Of all answers together.
        characters_per_second: Likewise.
        seconds: From the first request to the last answer.
    """

    concurrency: int
    requests: int
    failed: int
    first_s: Interval | None
    per_token_s: Interval | None
    tokens_per_second: float
    characters_per_second: float
    seconds: float


class Percentiles(Row):
    """Of the times of many requests, in seconds."""

    p50: float
    p90: float
    p99: float


class Arrivals(Row):
    """Requests that come by chance, whether earlier ones are answered or not (Poisson).

    Attributes:
        rate: Requests per second that were sent.
        requests: In all.
        failed: Of those, not answered.
        first_s: Time to the first token.
        whole_s: Time to the end of the answer.
        most_at_once: Requests under way at the same time, the most there were.
        tokens_per_second: Of all answers together.
        characters_per_second: Likewise.
        seconds: From the first request to the last answer.
    """

    rate: float
    requests: int
    failed: int
    first_s: Percentiles | None
    whole_s: Percentiles | None
    most_at_once: int
    tokens_per_second: float
    characters_per_second: float
    seconds: float


class Target(Row):
    """What was measured of one server.

    Attributes:
        name: What it is called on the card.
        address: Where it is, or what was started.
        model: What it was asked for.
        counted: How tokens were counted: ``usage`` as the server reports them, or ``pieces`` of the
            stream where it does not.
        warm_up: Requests asked before anything was measured.
        first_tokens: Questions asked alone, with prompts of many lengths.
        first_token_fit: Their line; None if too few were answered.
        levels: Users at a time.
        arrivals: Requests that come by chance.
        failures: Why requests failed, and how often.
        peak_memory_bytes: The most that the server's processes held meanwhile; None where it runs
            on another machine.
        note: What a reader should know; empty if nothing.
    """

    name: Text
    address: Text
    model: Text
    counted: Literal["usage", "pieces"]
    warm_up: int
    first_tokens: list[FirstToken]
    first_token_fit: FirstTokenFit | None
    levels: list[Level]
    arrivals: list[Arrivals]
    failures: dict[str, int]
    peak_memory_bytes: int | None
    note: Text = ""


class CardSettings(Row):
    """What was asked of every server alike.

    Attributes:
        prompt_tokens: Lengths of prompts, about.
        repeats: Questions of each length.
        concurrency: Users at a time.
        rounds: Questions of each user.
        answer_tokens: Longest answer.
        rates: Requests per second, of arrivals by chance.
        arrivals: Requests of each rate.
        language: Of the questions.
        warm_up: Requests before.
        seconds: Longest time of a request.
        seed: Of questions, order, arrivals and bootstrap.
    """

    prompt_tokens: tuple[int, ...] = (16, 64, 128, 256, 512, 1024)
    repeats: int = Field(default=5, ge=1)
    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16)
    rounds: int = Field(default=2, ge=1)
    answer_tokens: int = Field(default=64, ge=2)
    rates: tuple[float, ...] = ()
    arrivals: int = Field(default=30, ge=1)
    language: Literal["en", "zh"] = "en"
    warm_up: int = Field(default=3, ge=0)
    seconds: float = Field(default=300.0, gt=0)
    seed: int = 0


class LatencyCard(Row):
    """``card.json``: one or several servers, asked the same.

    Attributes:
        layout: Of this file.
        made: When it was finished.
        settings: What was asked.
        machine: That of whoever asked.
        targets: The servers.
    """

    layout: Literal[1] = 1
    made: datetime
    settings: CardSettings
    machine: Text
    targets: list[Target]


def read_card(folder: Path) -> LatencyCard:
    """Read a card.

    Raises:
        DanluError: If there is none, or it cannot be read.
    """
    found = read_row(LatencyCard, folder / CARD_FILE)
    if found is None:
        raise DanluError(
            "there is no latency card: danlu bench-serve makes one.", where=str(folder)
        )
    return found

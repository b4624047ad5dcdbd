"""The options of every command that asks a model, and the engine that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.options import gathered
from danlu.cli.output import note

if TYPE_CHECKING:
    from danlu.generation.interface import Sampling
    from danlu.workshop.produce.engine import Engine
    from danlu.workshop.produce.model import Model
    from danlu.workshop.produce.prompts import Prompts

CACHE = "requests.sqlite"


class OnFailure(StrEnum):
    """What a request that failed again and again does."""

    stop = "stop"
    drop = "drop"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options; each field is one."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="With --url, its name there; else a run, folder, hub id or builtin:NAME.",
        ),
    ]
    url: Annotated[
        str | None,
        typer.Option(help="An OpenAI-compatible endpoint, such as http://localhost:8000/v1."),
    ] = None
    key_variable: Annotated[
        str, typer.Option(help="Variable of the environment that holds the endpoint's key.")
    ] = "OPENAI_API_KEY"
    extra: Annotated[
        str | None, typer.Option(help="JSON object of further fields of every request.")
    ] = None
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="max_tokens, temperature, top_p or seed: the endpoint takes none."),
    ] = None
    max_tokens_name: Annotated[
        str, typer.Option(help="max_tokens, or max_completion_tokens where that is wanted.")
    ] = "max_tokens"
    timeout: Annotated[float, typer.Option(help="Longest time for one answer, in s.")] = 300.0
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests at a time; else 8, or a model's batch.")
    ] = None
    requests_per_minute: Annotated[float | None, typer.Option(help="At most so many.")] = None
    tokens_per_minute: Annotated[float | None, typer.Option(help="At most so many.")] = None
    attempts: Annotated[int, typer.Option(min=1, help="How often one request is asked.")] = 8
    on_failure: Annotated[
        OnFailure, typer.Option(help="What a request does that failed every time.")
    ] = OnFailure.stop
    ask_refused_again: Annotated[
        bool, typer.Option("--ask-refused-again", help="Ask also what was refused before.")
    ] = False
    budget_tokens: Annotated[int | None, typer.Option(help="Stop before more are spent.")] = None
    budget_money: Annotated[float | None, typer.Option(help="Stop before more is spent.")] = None
    price_prompt: Annotated[float, typer.Option(help="Of a million tokens of prompts.")] = 0.0
    price_completion: Annotated[float, typer.Option(help="Of a million tokens of answers.")] = 0.0
    temperature: Annotated[float | None, typer.Option(help="Above 1 is bolder, below 1 surer.")] = (
        None
    )
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest that reach this.")] = 0.95
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 1024
    seed: Annotated[int, typer.Option(help="Same seed, same draws.")] = 0
    prompts: Annotated[
        Path | None, typer.Option(help="Folder of prompt files that replace the shipped ones.")
    ] = None
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Where answers are kept; else requests.sqlite in the store, or beside evaluations."
        ),
    ] = None
    rejects: Annotated[
        Path | None, typer.Option(help="JSONL file for all that was made and not taken.")
    ] = None

    def sampling(self, usual_temperature: float = 0.7) -> Sampling:
        """Return how answers are drawn."""
        from danlu.generation.interface import Sampling

        temperature = usual_temperature if self.temperature is None else self.temperature
        if temperature == 0:
            return Sampling(self.max_new_tokens, greedy=True, seed=self.seed)
        return Sampling(
            self.max_new_tokens, temperature=temperature, top_p=self.top_p, seed=self.seed
        )

    def own_prompts(self) -> Prompts:
        """Return the prompt files."""
        from danlu.workshop.produce.prompts import Prompts

        return Prompts(self.prompts)


def with_model(
    command: Callable[..., Any] | None = None, *, required: bool = True
) -> Callable[..., Any]:
    """Give a command the options of ``Asked``, which it gets as one argument ``asked``.

    Args:
        command: A command, or nothing: used as ``@with_model(required=False)``.
        required: Whether it cannot do without ``--model``; else that is empty if not given.
    """
    if command is None:
        return partial(with_model, required=required)
    return gathered(command, "asked", Asked, None if required else {"model": ""})


@contextmanager
def opened(asked: Asked, folder: Path, stage: str) -> Iterator[Engine]:
    """Open an engine, with its bar on stderr, while the block lasts; then say what was spent.

    Args:
        asked: The options.
        folder: Where answers are kept, unless the options say where.
        stage: What is being done.

    Raises:
        DanluError: If a setting is out of range, or the model is not there.
    """
    from danlu.workshop.produce.bar import spending_bar, told
    from danlu.workshop.produce.budget import Budget, Prices
    from danlu.workshop.produce.cache import RequestCache
    from danlu.workshop.produce.engine import Engine, Status
    from danlu.workshop.produce.pace import Pacing

    prices = Prices(asked.price_prompt, asked.price_completion)
    budget = Budget(asked.budget_tokens, asked.budget_money)
    pacing = Pacing(
        asked.concurrency, asked.requests_per_minute, asked.tokens_per_minute, asked.attempts
    )
    model = _model(asked)
    with (
        RequestCache(asked.cache or folder / CACHE) as cache,
        spending_bar(stage, prices) as tell,
        Engine(
            model,
            cache,
            pacing=pacing,
            budget=budget,
            prices=prices,
            on_failure=asked.on_failure.value,
            ask_refused_again=asked.ask_refused_again,
            tell=tell,
        ) as engine,
    ):
        try:
            yield engine
        finally:
            purse = engine.purse
            spent = Status(
                retries=engine.retries,
                prompt_tokens=purse.prompt_tokens,
                completion_tokens=purse.completion_tokens,
                money=purse.money,
            )
            note(f"spent: {told(spent, prices)}")


@contextmanager
def beside(engine: Engine, asked: Asked) -> Iterator[Engine]:
    """Open an engine for another model while the block lasts: same cache, bar, pace and budget.

    Raises:
        DanluError: If the model is not there.
    """
    from danlu.workshop.produce.engine import Engine

    with Engine(
        _model(asked),
        engine.cache,
        pacing=engine.pacing,
        on_failure=engine.on_failure,
        ask_refused_again=engine.ask_refused_again,
        tell=engine.tell,
    ) as other:
        other.purse = engine.purse
        yield other


def _model(asked: Asked) -> Model:
    if asked.url is None:
        from danlu.workshop.produce.in_process import InProcess

        return InProcess.load(asked.model)
    from danlu.workshop.produce.endpoint import Endpoint

    return Endpoint(
        asked.url,
        asked.model,
        key_variable=asked.key_variable,
        timeout_s=asked.timeout,
        extra=_object(asked.extra),
        leave_out=tuple(asked.leave_out or ()),
        max_tokens_name=asked.max_tokens_name,
    )


def _object(text: str | None) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BadParameter: If it is none.
    """
    import json

    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise typer.BadParameter(f"no JSON: {error}", param_hint="--extra") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("a JSON object is wanted, {...}", param_hint="--extra")
    return value

"""``danlu bench-serve``."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.common import progress_bar
from danlu.cli.options import gathered
from danlu.cli.output import note, result, result_json, table

if TYPE_CHECKING:
    from danlu.serving.latency.card import CardSettings, LatencyCard

EPILOG = """\b
Examples:
  danlu bench-serve runs/quickstart
  danlu bench-serve http://127.0.0.1:8000/v1 --model support --language zh
  danlu bench-serve runs/quickstart Q8_0=my-gguf/quickstart-Q8_0.gguf --to cards/both
  danlu bench-serve http://127.0.0.1:8000 --concurrency 1 --concurrency 32 --rate 0.5 --json
"""


@dataclass(frozen=True)
class Measured:
    """What is asked, and how often: each field is an option."""

    prompt_tokens: Annotated[
        list[int] | None, typer.Option(min=1, help="Length of a prompt; can be given often.")
    ] = None
    concurrency: Annotated[
        list[int] | None, typer.Option(min=1, help="Users at a time; can be given often.")
    ] = None
    rate: Annotated[
        list[float] | None,
        typer.Option(
            help="Requests per second that come by chance; can be given often. Half of what the "
            "first server answered at best, if not given."
        ),
    ] = None
    repeats: Annotated[int, typer.Option(min=1, help="Questions of each length.")] = 5
    rounds: Annotated[int, typer.Option(min=1, help="Questions of each user.")] = 2
    arrivals: Annotated[int, typer.Option(min=1, help="Requests of each rate.")] = 30
    answer_tokens: Annotated[int, typer.Option(min=2, help="Longest answer.")] = 64
    language: Annotated[str, typer.Option(help="Of the questions: en or zh.")] = "en"
    warm_up: Annotated[int, typer.Option(min=1, help="Requests before, not counted.")] = 3
    seconds: Annotated[float, typer.Option(help="Longest time of a request.")] = 300
    seed: Annotated[int, typer.Option(help="Of questions, order, arrivals, intervals.")] = 0

    def settings(self) -> CardSettings:
        """Return the card's settings.

        Raises:
            ValidationError: If one is out of its limits.
        """
        from danlu.serving.latency.card import CardSettings

        plain, given = CardSettings(), asdict(self)
        given |= {
            "prompt_tokens": self.prompt_tokens or plain.prompt_tokens,
            "concurrency": self.concurrency or plain.concurrency,
            "rates": given.pop("rate") or (),
        }
        return CardSettings.model_validate(given)


def bench_serve(
    servers: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]URL_OR_RUN...",
            help="OpenAI-compatible servers, and runs, folders or GGUF files, which are served "
            "for the while; several are put side by side.",
        ),
    ],
    measured: Measured,
    model: Annotated[
        str | None, typer.Option(help="What the servers call it, if they have several.")
    ] = None,
    folder: Annotated[Path, typer.Option("--to", help="Where the card is written.")] = Path(
        "latency"
    ),
    key_variable: Annotated[
        str, typer.Option(help="Environment variable that holds the API key.")
    ] = "OPENAI_API_KEY",
    serve_option: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Goes to `danlu serve` for runs; can be given often."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The card as one JSON object.")] = False,
) -> int:
    """Measure how long users wait for a server.

    time = k·x + b: time to the first token, and per token of the answer.

    Time to the first token by the prompt's length, time per further token and tokens per second
    by the number of users, and what happens when requests come by chance.
    """
    from danlu.serving.latency.make import make_card, write_card
    from danlu.serving.latency.measure import requests_of
    from danlu.serving.latency.target import Named

    settings = measured.settings()
    with progress_bar() as told:
        card = make_card(
            [Named.of(one) for one in servers],
            settings,
            model=model,
            key=os.environ.get(key_variable),
            options=serve_option or (),
            step=lambda name, done: told(name, done, requests_of(settings)),
        )
    write_card(card, folder)
    if as_json:
        result_json(card.model_dump(mode="json"))
    else:
        _print(card)
    note(f"Written: {folder}/card.json, card.png, card.html")
    return 0


def _print(card: LatencyCard) -> None:
    from danlu.serving.latency import show

    for one in card.targets:
        result(show.formula(one))
    result("")
    table(show.FIRST_COLUMNS, show.first_rows(card), right=show.NUMBERS)
    result("")
    table(show.LEVEL_COLUMNS, show.level_rows(card), right=show.NUMBERS)
    if any(one.arrivals for one in card.targets):
        result("")
        table(show.ARRIVAL_COLUMNS, show.arrival_rows(card), right=show.NUMBERS)
    for line in show.notes(card):
        note(line)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench-serve", epilog=EPILOG)(gathered(bench_serve, "measured", Measured))

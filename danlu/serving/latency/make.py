"""Making a card: every server in turn, then the files."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from danlu.errors import DanluError
from danlu.runs.files import write_atomically
from danlu.serving.latency.asking import Endpoint
from danlu.serving.latency.card import (
    CARD_FILE,
    PAGE_FILE,
    PICTURE_FILE,
    CardSettings,
    LatencyCard,
    Target,
)
from danlu.serving.latency.measure import Measured, Measuring
from danlu.serving.latency.page import card_html
from danlu.serving.latency.picture import card_png
from danlu.serving.latency.target import Named, PeakMemory, ready

Step = Callable[[str, int], None]


def make_card(
    named: Sequence[Named],
    settings: CardSettings,
    *,
    model: str | None = None,
    key: str | None = None,
    options: Sequence[str] = (),
    step: Step = lambda *_: None,
) -> LatencyCard:
    """Measure servers one after another, all asked the same.

    Args:
        named: Servers that run, and runs that are served for the while.
        settings: What is asked.
        model: What servers that run call their model; None where each has only one.
        key: API key, for servers that run.
        options: For ``danlu serve``, where runs are served.
        step: Called with a server's name and how many of its requests have ended.

    Raises:
        DanluError: If two have one name, or one cannot be started or asked.
    """
    names = [one.name for one in named]
    for name in names:
        if names.count(name) > 1:
            raise DanluError("two have this name; give one another: other=URL.", where=name)
    targets = []
    for one in named:
        with ready(one, model=model if one.runs else None, key=key, options=options) as server:
            endpoint = Endpoint(server.upstream.root, server.upstream.key)
            with PeakMemory(server.process) as memory:
                measured = asyncio.run(
                    _measured(endpoint, server.model, settings, partial(step, one.name))
                )
            targets.append(_target(one, server.model, settings, measured, memory.peak_bytes))
        if not settings.rates and targets[0].arrivals:
            # All are held to the rate that the first one could take.
            rates = tuple(found.rate for found in targets[0].arrivals)
            settings = settings.model_copy(update={"rates": rates})
    return LatencyCard(
        made=datetime.now(UTC), settings=settings, machine=this_machine(), targets=targets
    )


def write_card(card: LatencyCard, folder: Path) -> None:
    """Write the card as JSON, picture and page."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = card_png(card)
    write_atomically(folder / CARD_FILE, card.to_json(indent=1) + "\n")
    write_atomically(folder / PICTURE_FILE, picture)
    write_atomically(folder / PAGE_FILE, card_html(card, picture))


def this_machine() -> str:
    """Say in a few words what this machine is."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} threads"


async def _measured(
    endpoint: Endpoint, model: str, settings: CardSettings, step: Callable[[int], None]
) -> Measured:
    try:
        return await Measuring(endpoint, model, settings, step).all()
    finally:
        endpoint.close()


def _target(
    named: Named, model: str, settings: CardSettings, found: Measured, peak: int | None
) -> Target:
    return Target(
        name=named.name,
        address=named.place,
        model=model,
        counted="usage" if found.counted else "pieces",
        warm_up=settings.warm_up,
        first_tokens=found.first_tokens,
        first_token_fit=found.first_token_fit,
        levels=found.levels,
        arrivals=found.arrivals,
        failures=found.failures,
        peak_memory_bytes=peak,
        note="" if found.first_token_fit else "too few lengths of prompts for a line",
    )

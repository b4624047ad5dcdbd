"""What a person reads: numbers and times, metrics and what they mean, the language of a text.

Page, picture and terminal take their words from here, so that one number has one name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from danlu.runs.metric_words import METRICS, Metric


def number(value: float | None) -> str:
    """Write a count or rate in at most four digits.

    Example:
        >>> number(1234567), number(98765), number(950), number(None)
        ('1.23M', '98.8k', '950', '–')
    """
    if value is None:
        return "–"
    for size, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            digits = f"{value / (1e3 if sign == 'k' else size):#.3g}"
            return digits.rstrip(".") + sign
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def loss(value: float | None) -> str:
    """Write a loss with three decimals, or three digits where it is small.

    Example:
        >>> loss(1.23456), loss(0.0123456)
        ('1.235', '0.0123')
    """
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def metric_value(value: float | None) -> str:
    """Write a metric in about four digits, with a true minus; rounding errors are 0.

    Example:
        >>> metric_value(0.8125), metric_value(-31.4159), metric_value(0.00421), metric_value(-1e-7)
        ('0.812', '−31.42', '0.0042', '0.000')
    """
    if value is None:
        return "–"
    size = abs(value)
    if size < 1e-4:
        return "0.000"
    digits = next((d for least, d in ((1000, 0), (100, 1), (10, 2)) if size >= least), 3)
    text = f"{size:,.{digits}f}" if size >= 0.01 else f"{size:.2g}"
    return f"−{text}" if value < 0 else text


def signed(value: float | None) -> str:
    """Write a change of loss with its sign.

    Example:
        >>> signed(-0.25), signed(0.1)
        ('−0.250', '+0.100')
    """
    return "–" if value is None else f"{'−' if value < 0 else '+'}{abs(value):.3f}"


def duration(seconds: float | None) -> str:
    """Write a time in the two largest units.

    Example:
        >>> duration(8.25), duration(151), duration(7500), duration(200000)
        ('8.2 s', '2 min 31 s', '2 h 05 min', '2 d 7 h')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def size(count_bytes: int | None) -> str:
    """Write a memory size.

    Example:
        >>> size(3_435_973_837), size(5_000_000)
        ('3.2 GiB', '4.8 MiB')
    """
    if count_bytes is None:
        return "–"
    value, unit = float(count_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.1f} {unit}"


def day(moment: datetime) -> str:
    """Write a time to the minute, with its zone."""
    return moment.strftime("%Y-%m-%d %H:%M %Z")


def language(text: str | None) -> str:
    """Guess the language that a browser needs to pick the right shapes of characters; or ``""``.

    Example:
        >>> language("你好"), language("こんにちは"), language("안녕"), language("Hi")
        ('zh-Hans', 'ja', 'ko', '')
    """
    for code, pattern in (("ja", "[぀-ヿ]"), ("ko", "[가-힯]"), ("zh-Hans", "[一-鿿]")):
        if re.search(pattern, text or ""):
            return code
    return ""


# Metrics ---------------------------------------------------------------------------------


def metric(name: str, objective: str) -> Metric:
    """Return the words for a metric; one without words is called by its name.

    Example:
        >>> metric("margin", "reward").title, metric("hit_rate", "ppo").title
        ('Margin', 'Hit rate')
    """
    for key in (f"{objective}.{name}", name):
        if key in METRICS:
            return METRICS[key]
    return Metric(title=name.replace("_", " ").capitalize())


def in_order(names: Iterable[str]) -> list[str]:
    """Sort names of metrics as the page has them; those without words come last, as given.

    Example:
        >>> in_order(["hit_rate", "margin", "accuracy"])
        ['accuracy', 'margin', 'hit_rate']
    """
    places = {key.rpartition(".")[2]: place for place, key in reversed([*enumerate(METRICS)])}
    return sorted(names, key=lambda name: places.get(name, len(METRICS)))


def headlines(names: Iterable[str]) -> list[str]:
    """Return those that stand beside the loss, in order."""
    return [name for name in in_order(names) if metric(name, "").headline]


def loss_unit(objective: str) -> str:
    """Say what a loss is counted in.

    Example:
        >>> loss_unit("nll"), loss_unit("dpo")
        ('nats per token', 'loss (dpo)')
    """
    return "nats per token" if objective == "nll" else f"loss ({objective})"


def loss_title(objective: str) -> str:
    """Name a loss with what it is counted in.

    Example:
        >>> loss_title("nll"), loss_title("dpo")
        ('Loss, nats per token', 'Loss (dpo)')
    """
    return f"Loss, {loss_unit(objective)}" if objective == "nll" else f"Loss ({objective})"


def filters() -> dict[str, Callable[..., str]]:
    """Return the filters that the page's template uses."""
    return {
        "number": number,
        "loss": loss,
        "metric_value": metric_value,
        "signed": signed,
        "duration": duration,
        "day": day,
        "language": language,
    }

"""Numbers and times as people read them, and the language of a text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime


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


def filters() -> dict[str, Callable[..., str]]:
    """Return the filters that the page's template uses."""
    return {
        "number": number,
        "loss": loss,
        "signed": signed,
        "duration": duration,
        "day": day,
        "language": language,
    }

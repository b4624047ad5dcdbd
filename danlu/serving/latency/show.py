"""The card in words: rows of tables, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Sequence

from danlu.serving.latency.card import Interval, LatencyCard, Target

FIRST_COLUMNS = ("server", "flat, ms", "knee, tokens", "per prompt token, ms", "memory, MB")
LEVEL_COLUMNS = (
    *("server", "users", "first token, ms", "k: per token, ms", "tokens/s", "characters/s"),
    "failed",
)
ARRIVAL_COLUMNS = (
    *("server", "requests/s", "first p50, ms", "p90", "p99", "whole p50, s", "p90", "p99"),
    *("at once", "tokens/s", "failed"),
)
NUMBERS = frozenset({*FIRST_COLUMNS, *LEVEL_COLUMNS, *ARRIVAL_COLUMNS} - {"server"})


def milliseconds(found: Interval | None) -> str:
    """Write a time with its interval.

    Example:
        >>> milliseconds(Interval(value=0.0421, low=0.0407, high=0.0433))
        '42.1 [40.7, 43.3]'
    """
    if found is None:
        return ""
    return f"{_ms(found.value)} [{_ms(found.low)}, {_ms(found.high)}]"


def formula(target: Target) -> str:
    """Say in one line how long an answer takes.

    Example:
        ``a: time of an answer of x tokens = 42.1 ms * x + 310 ms``
    """
    level = next((one for one in target.levels if one.per_token_s and one.first_s), None)
    if level is None or level.per_token_s is None or level.first_s is None:
        return f"{target.name}: no answer had two tokens"
    said = f"{target.name}: an answer of x tokens takes {_ms(level.per_token_s.value)} ms * x"
    begin = max(0.0, level.first_s.value - level.per_token_s.value)
    users = "one user" if level.concurrency == 1 else f"{level.concurrency} users"
    return f"{said} + {_ms(begin)} ms for {users} with short prompts"


def first_rows(card: LatencyCard) -> list[Sequence[str]]:
    """Return a row per server: time to the first token, and memory."""
    rows: list[Sequence[str]] = []
    for one in card.targets:
        fit = one.first_token_fit
        memory = "" if one.peak_memory_bytes is None else f"{one.peak_memory_bytes / 1e6:,.0f}"
        knee = ""
        if fit is not None:
            ends = f"[{fit.knee_tokens.low:.0f}, {fit.knee_tokens.high:.0f}]"
            knee = f"{fit.knee_tokens.value:.0f} {ends}"
        rows.append(
            (
                one.name,
                milliseconds(fit.flat_s if fit else None),
                knee,
                _fine(fit.per_token_s) if fit else "",
                memory,
            )
        )
    return rows


def level_rows(card: LatencyCard) -> list[Sequence[str]]:
    """Return a row per server and number of users."""
    return [
        (
            one.name,
            str(level.concurrency),
            milliseconds(level.first_s),
            milliseconds(level.per_token_s),
            f"{level.tokens_per_second:.1f}",
            f"{level.characters_per_second:.0f}",
            f"{level.failed} of {level.requests}",
        )
        for one in card.targets
        for level in one.levels
    ]


def arrival_rows(card: LatencyCard) -> list[Sequence[str]]:
    """Return a row per server and rate of requests."""
    rows: list[Sequence[str]] = []
    for one in card.targets:
        for found in one.arrivals:
            first, whole = found.first_s, found.whole_s
            rows.append(
                (
                    one.name,
                    f"{found.rate:g}",
                    *((_ms(first.p50), _ms(first.p90), _ms(first.p99)) if first else [""] * 3),
                    *(
                        (f"{whole.p50:.2f}", f"{whole.p90:.2f}", f"{whole.p99:.2f}")
                        if whole
                        else [""] * 3
                    ),
                    str(found.most_at_once),
                    f"{found.tokens_per_second:.1f}",
                    f"{found.failed} of {found.requests}",
                )
            )
    return rows


def notes(card: LatencyCard) -> list[str]:
    """Return what a reader should know beside the figures."""
    found = []
    for one in card.targets:
        if one.failures:
            listed = ", ".join(f"{count} x {why}" for why, count in one.failures.items())
            found.append(f"{one.name}: requests failed: {listed}")
        if one.counted == "pieces":
            found.append(f"{one.name} does not count tokens: pieces of its stream were counted")
        if one.note:
            found.append(f"{one.name}: {one.note}")
    return found


def _ms(seconds: float) -> str:
    """Write milliseconds with three digits.

    Example:
        >>> _ms(0.00123), _ms(0.0421), _ms(1.5)
        ('1.23', '42.1', '1,500')
    """
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _fine(found: Interval) -> str:
    low, value, high = (f"{one * 1000:.3f}" for one in (found.low, found.value, found.high))
    return f"{value} [{low}, {high}]"

"""The table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bench.results import Goal, Result


def rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return a row per judged figure: benchmark, figure, measured, goal, verdict."""
    return [
        (
            result.name if number == 0 else "",
            goal.name,
            figure(goal.value),
            f"{goal.sense} {figure(goal.limit)}",
            "met" if goal.met else "missed",
        )
        for result in results
        for number, goal in enumerate(result.goals)
    ]


def speeds(result: Result) -> str:
    """Say both speeds, the memory and the share of the limit in one line."""
    if result.danlu is None:
        return f"{result.name}: nothing was measured"
    said = f"{result.name}: Danlu {result.danlu:,.2f} {result.unit}"
    parts = [said]
    if result.peer is not None and result.ratio is not None:
        parts = [f"{said}, peer {result.peer:,.2f}", f"ratio {result.ratio:.2f}"]
    if result.peak_bytes:
        peak = f"peak {result.peak_bytes / 1e9:.2f} GB"
        theirs = result.peer_peak_bytes
        parts.append(f"{peak}, peer {theirs / 1e9:.2f}" if theirs else peak)
    if result.limit_fraction and result.torch_limit_fraction:
        parts.append(
            f"{result.limit_fraction:.2f} of the matrix limit "
            f"({result.torch_limit_fraction:.2f} of torch.mm)"
        )
    return "; ".join(parts)


def peer_lines(result: Result) -> list[str]:
    """Say what the peer did in each of its settings, and what else was run, a line each."""
    name = result.details.get("peer_name", "TRL")
    peers = result.details.get("peers", {})
    told = {f"{name}, {setting}": found for setting, found in peers.items()}
    return [
        f"  {who}: {found['records_per_s']:,.2f} {result.unit}, "
        f"peak {found['peak_bytes'] / 1e9:.2f} GB"
        for who, found in {**told, **result.details.get("variants", {})}.items()
    ]


def notes(result: Result) -> list[str]:
    """Say what has no figures, and why."""
    return [f"  {note}" for note in result.details.get("notes", ())]


def figure(value: float) -> str:
    """Write a figure with as many digits as say something.

    Example:
        >>> figure(2.0512), figure(0.00002)
        ('2.05', '2.0e-05')
    """
    return f"{value:.1e}" if 0 < abs(value) < 0.01 else f"{value:.2f}"


def print_table(results: Sequence[Result]) -> None:
    """Print all results: a line each, then what was asked of them."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 120)
    for result in results:
        for line in (speeds(result), *peer_lines(result), *notes(result)):
            console.print(line, highlight=False, markup=False)
    drawn = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("benchmark", "figure", "measured", "goal", ""):
        drawn.add_column(heading, justify="right" if heading == "measured" else "left")
    for row in rows(results):
        drawn.add_row(*row, style="bold red" if row[-1] == "missed" else "")
    console.print()
    console.print(drawn)


__all__ = ["Goal", "figure", "notes", "peer_lines", "print_table", "rows", "speeds"]

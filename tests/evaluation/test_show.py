"""A comparison as the terminal shows it."""

from __future__ import annotations

import io

from rich.console import Console

from danlu.evaluation.compare import compare
from danlu.evaluation.comparison import CompareSettings
from danlu.evaluation.rows import ScoredRow, Stakes
from danlu.evaluation.show import show_comparison


def rows(right: int, name: str = "数学/算术") -> list[ScoredRow]:
    scored = [ScoredRow(f"[red]{k}", name, float(k < right)) for k in range(100)]
    return [*scored, ScoredRow("lost", name, None)]


def test_the_tree_and_the_moves() -> None:
    settings = CompareSettings(resamples=500, incomplete="count")
    stakes = {"数学/算术": Stakes(critical=True)}
    found = compare(rows(80), rows(60), stakes=stakes, settings=settings)
    out = io.StringIO()
    show_comparison(Console(file=out, width=160), found, moves=2)
    lines = out.getvalue().splitlines()
    leaf = next(line for line in lines if "算术" in line)
    assert leaf.split()[:6] == ["算术", "*", "100", "(+2", "unscored)", "0.800"]
    assert "-0.200" in leaf
    assert "worse" in leaf
    assert lines[0].split()[:2] == ["task", "type"]
    assert any(line == "Regressions: 20" for line in lines)
    # Markup in a prompt's id stays text.
    assert sum("1.000 to 0.000  数学/算术  [red]6" in line for line in lines) == 2
    assert "Improvements" not in out.getvalue()

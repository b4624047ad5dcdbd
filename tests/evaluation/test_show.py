"""A comparison as the terminal shows it."""

from __future__ import annotations

import io

from rich.console import Console

from danlu.evaluation.compare import compare
from danlu.evaluation.compared import Answered, Case
from danlu.evaluation.comparison import CompareSettings, Move
from danlu.evaluation.rows import ScoredRow, Stakes
from danlu.evaluation.show import shortened, show_case, show_tree


def rows(right: int, name: str = "数学/算术") -> list[ScoredRow]:
    scored = [ScoredRow(f"[red]{k}", name, float(k < right)) for k in range(100)]
    return [*scored, ScoredRow("lost", name, None)]


def test_the_tree() -> None:
    settings = CompareSettings(resamples=500, incomplete="count")
    stakes = {"数学/算术": Stakes(critical=True)}
    found = compare(rows(80), rows(60), stakes=stakes, settings=settings)
    out = io.StringIO()
    show_tree(Console(file=out, width=160), found)
    lines = out.getvalue().splitlines()
    leaf = next(line for line in lines if "算术" in line)
    assert leaf.split()[:6] == ["算术", "*", "100", "(+2", "unscored)", "0.800"]
    assert "-0.200" in leaf
    assert "worse" in leaf
    assert lines[0].split()[:2] == ["task", "type"]


def test_markup_in_prompts_and_answers_stays_text() -> None:
    move = Move("[red]6", "a/b", 1.0, 0.0, -1.0)
    asked = ({"role": "user", "content": "[bold]是[/bold]吗？"},)
    case = Case(
        move, asked, ["是", "对"], 0, Answered("[link]是", 1.0), Answered(None, None, "[x]")
    )
    out = io.StringIO()
    show_case(Console(file=out, width=160), case)
    assert out.getvalue().splitlines() == [
        "  1.000 → 0.000  a/b  [red]6",
        "    asked     [bold]是[/bold]吗？",
        "    expected  是 / 对",
        "    A         [link]是",
        "    B         (no answer)  [[x]]",
    ]


def test_a_long_text_keeps_both_ends() -> None:
    text = shortened("始" + "x\n" * 500 + "终")
    assert text.startswith("始x x")
    assert text.endswith("x 终")
    assert len(text) < 170

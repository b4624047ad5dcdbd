"""A comparison as a page: one file that asks nothing of any server.

Style, script and data stand in it, and its content security policy lets nothing else run. All text
of models and suites is escaped by Jinja; the script moves and hides what is there and writes no
markup.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from danlu.evaluation.comparison import Node, Verdict
from danlu.evaluation.differing import Differing, differing
from danlu.evaluation.fluctuation import Finding
from danlu.evaluation.planning import Plan, table_of
from danlu.evaluation.schema import Evaluation
from danlu.evaluation.show import DATA_COLUMNS, data_cells, reference_text, walk
from danlu.runs.wording import filters

if TYPE_CHECKING:
    from jinja2 import Environment

    from danlu.evaluation.causes import Explanation
    from danlu.evaluation.compared import Case, Compared
    from danlu.evaluation.fluctuate import PromptAnswers
    from danlu.evaluation.fluctuation import Fluctuation
    from danlu.evaluation.gate import Gate

CLASSES = {
    Verdict.BETTER: "better",
    Verdict.WORSE: "worse",
    Verdict.SAME: "same",
    Verdict.FEW: "few",
}
"""Of verdicts, in the style sheet."""
LONGEST_TEXT = 40_000
"""Characters of one text on a page; the files of the evaluation have all."""


@dataclass(frozen=True, slots=True)
class Bar:
    """An interval as it is drawn: positions in percent of the width.

    Attributes:
        low: Where it begins.
        high: Where it ends.
        middle: Where the difference is.
        zero: Where no difference would be.
        margin: Where the margin is, on the side of losses; None if it is not drawn.
    """

    low: float
    high: float
    middle: float
    zero: float
    margin: float | None = None

    @property
    def width(self) -> float:
        """Of the interval."""
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class RowView:
    """A row of the table of verdicts."""

    node: Node
    depth: int
    bar: Bar | None
    style: str

    @property
    def unscored(self) -> int:
        """Prompts that were left out."""
        node = self.node
        return node.missing_a + node.missing_b + node.only_a + node.only_b


@dataclass(frozen=True, slots=True)
class CaseView:
    """A prompt that moved, with its answers in pieces."""

    case: Case
    pieces: Differing
    reference: str | None
    earlier: Sequence[tuple[str, str]]


def comparison_page(compared: Compared) -> str:
    """Return the page of a comparison."""
    overall = compared.comparison.overall
    nodes = [node for _, node in walk(overall)]
    leaves = compared.comparison.task_types
    training = compared.training
    moved = {one.task_type for one in compared.explanations}
    changed = []
    if training is not None:
        rows = training.task_types.items()
        changed = [(name in moved, data_cells(name, one)) for name, one in rows]
    return render(
        "compare.html",
        title=f"{title_of(compared.a)} → {title_of(compared.b)}",
        compared=compared,
        rows=_rows(compared, nodes),
        task_types=[leaf.name for leaf in leaves],
        verdicts=[
            (verdict.value, CLASSES[verdict], sum(leaf.verdict is verdict for leaf in leaves))
            for verdict in Verdict
        ],
        explanations=[(one, _moved_by(one, leaves)) for one in compared.explanations],
        training=training,
        data_columns=DATA_COLUMNS,
        changed=changed,
        cases=[
            ("Regressions", len(compared.comparison.regressions), case_views(compared.regressions)),
            (
                "Improvements",
                len(compared.comparison.improvements),
                case_views(compared.improvements),
            ),
        ],
    )


def gate_page(
    found: Gate, a: Evaluation, b: Evaluation, paths: tuple[str, str], codes: Mapping[int, str]
) -> str:
    """Return the page of a gate.

    Args:
        found: Its answer.
        a: Evaluation of the version in use.
        b: Of the other.
        paths: Of both folders.
        codes: Exit codes of the command, and what they mean.
    """
    scales = [1.0 if row.kind != "text" else 5.0 for row in found.rows]  # 0.02 bits as 0.1 points
    ends = [
        scale * abs(end)
        for row, scale in zip(found.rows, scales, strict=True)
        for end in (row.low, row.high, row.margin)
        if end is not None
    ]
    reach = max([0.05, *ends]) * 1.05
    rows = []
    for row, scale in zip(found.rows, scales, strict=True):
        drawn = None
        if row.low is not None and row.high is not None:
            # Of plain text less is better: turned, so that gains lie to the right.
            low, high = (row.low, row.high) if row.kind != "text" else (-row.high, -row.low)
            middle = row.difference if row.kind != "text" else -row.difference
            drawn = bar(scale * low, scale * middle, scale * high, reach, scale * row.margin)
        rows.append((row, drawn))
    return render(
        "gate.html",
        title=f"{title_of(a)} → {title_of(b)}",
        gate=found,
        a=a,
        b=b,
        paths=paths,
        rows=rows,
        names=[row.name for row in found.rows],
        codes=list(codes.items()),
    )


def plan_page(plan: Plan, source: str) -> str:
    """Return the page of a plan.

    Args:
        plan: How many prompts.
        source: Where its discordance is from, in a few words.
    """
    columns, rows = table_of(plan)
    return render(
        "plan.html",
        title=f"{plan.drop:g} at {plan.power:.0%}",
        plan=plan,
        source=source,
        columns=columns,
        names=[cells[0] for cells, _ in rows],
        rows=[(cells[0], cells, values) for cells, values in rows],
    )


def fluctuation_page(
    found: Fluctuation,
    a: Evaluation,
    b: Evaluation,
    paths: tuple[str, str],
    answers: Mapping[str, PromptAnswers],
    notes: Sequence[str] = (),
) -> str:
    """Return the page of regressions asked again.

    Args:
        found: What it has shown.
        a: Of the fresh samples of the earlier version.
        b: Of the later's.
        paths: Of both folders.
        answers: What was asked and answered, by prompt.
        notes: What a reader must know beside.
    """
    styles = {Finding.REAL: "real", Finding.NOISE: "noise", Finding.FEW: "few"}
    rows = [
        (one, bar(one.low, one.difference, one.high, 1.0), styles[one.finding])
        for one in found.prompts
    ]
    cases = []
    for one in found.prompts:
        of = answers[one.prompt]
        sides = [("A", one.a, of.a), ("B", one.b, of.b)]
        reference = "" if of.reference is None else reference_text(of.reference)
        cases.append((one, cut(of.asked), cut(reference), sides))
    return render(
        "fluctuate.html",
        title=f"{title_of(a)} → {title_of(b)}",
        found=found,
        finding=styles[found.regressions.finding],
        a=a,
        b=b,
        paths=paths,
        notes=notes,
        task_types=sorted({one.task_type for one in found.prompts}),
        rows=rows,
        cases=cases,
    )


def title_of(evaluation: Evaluation) -> str:
    """Name a version in a heading.

    Example:
        >>> from types import SimpleNamespace as N
        >>> title_of(N(model=N(name="runs/v2", run="runs/v2")))
        'v2'
    """
    name = evaluation.model.name.rstrip("/")
    return name.rpartition("/")[2] or name


def bar(low: float, middle: float, high: float, reach: float, margin: float | None = None) -> Bar:
    """Place an interval on a line from ``-reach`` to ``reach``.

    Example:
        >>> bar(-0.5, 0.0, 0.5, 1.0)
        Bar(low=25.0, high=75.0, middle=50.0, zero=50.0, margin=None)
    """

    def place(value: float) -> float:
        return round(50 + 50 * max(-1.0, min(1.0, value / (reach or 1.0))), 2)

    edge = None if margin is None or margin > reach else place(-margin)
    return Bar(place(low), place(high), place(middle), place(0.0), edge)


def render(template: str, **values: Any) -> str:
    """Fill a template of ``assets``, with style and script in it."""
    script = _asset("danlu.evaluation", "report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = _asset("danlu.runs", "report.css") + _asset("danlu.evaluation", "report.css")
    return (
        _environment()
        .get_template(template)
        .render(style=style, script=script, script_digest=digest, **values)
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: _asset("danlu.evaluation", name)),
    )
    environment.filters.update(filters())
    environment.filters.update(signed=signed, score=score, share=share)
    return environment


def score(value: float | None) -> str:
    """Write a score.

    Example:
        >>> score(0.5), score(None), score(31.25)
        ('0.500', '–', '31.250')
    """
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def signed(value: float | None) -> str:
    """Write a difference with its sign.

    Example:
        >>> signed(0.25), signed(-0.0001)
        ('+0.250', '−0.000')
    """
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def share(value: float | None) -> str:
    """Write a share in percent.

    Example:
        >>> share(0.123)
        '12.3 %'
    """
    return "–" if value is None else f"{100 * value:.1f} %"


def cut(text: str) -> str:
    """Cut a text that would make the page unwieldy, and say so."""
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n… {len(text) - LONGEST_TEXT:,} more characters"


# Inner -----------------------------------------------------------------------------------


def _rows(compared: Compared, nodes: Sequence[Node]) -> list[RowView]:
    types = compared.b.task_types | compared.a.task_types
    ranges = {
        node.name: types[node.name].high - types[node.name].low
        if node.kind == "task_type" and node.name in types
        else 1.0
        for node in nodes
    }
    ends = [
        abs(end) / ranges[node.name]
        for node in nodes
        for end in (node.low, node.high, node.difference)
        if end is not None
    ]
    reach = min(1.0, max([0.05, *ends]) * 1.05)
    views = []
    for depth, node in walk(compared.comparison.overall):
        drawn = None
        if node.low is not None and node.high is not None:
            scale = ranges[node.name]
            drawn = bar(
                node.low / scale, node.difference / scale, node.high / scale, reach,
                node.margin / scale,
            )  # fmt: skip
        views.append(RowView(node, depth, drawn, CLASSES[node.verdict]))
    return views


def _moved_by(explanation: Explanation, leaves: Sequence[Node]) -> Node:
    return next(leaf for leaf in leaves if leaf.name == explanation.task_type)


def case_views(cases: Sequence[Case]) -> list[CaseView]:
    """Cut the answers of cases into pieces, each marked as differing or not."""
    from danlu.evaluation.compared import text_of

    return [
        CaseView(
            case,
            differing(cut(case.a.text or ""), cut(case.b.text or "")),
            None if case.reference is None else cut(reference_text(case.reference)),
            [(str(one.get("role", "")), cut(text_of(one))) for one in case.messages[:-1]],
        )
        for case in cases
    ]


@cache
def _asset(package: str, name: str) -> str:
    return (resources.files(package) / "assets" / name).read_text("utf-8")

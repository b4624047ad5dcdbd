"""The evaluations of a workspace: what there is, task types × models, and the cases of a pair.

Verdicts are those of ``danlu compare``: the same function is asked, with its defaults; prompts
without a score on one side are left out and counted, as by ``--missing count``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from danlu.errors import DanluError
from danlu.evaluation.compare import compare
from danlu.evaluation.compared import differences, read_cases, stakes_of
from danlu.evaluation.comparison import CompareSettings, Comparison, Move, Node
from danlu.evaluation.directory import EvalDirectory, find_evaluations
from danlu.evaluation.pages import CLASSES, CaseView, case_views, score, signed, title_of
from danlu.evaluation.schema import EvalSummary, Evaluation
from danlu.studio.fresh import Passing, passing
from danlu.studio.workspace import NotThereError, Workspace

FOLDER = "evals"
"""Where ``danlu eval`` keeps evaluations."""
Nodes = Mapping[tuple[str, str], Node]
"""Of a comparison, by kind and name."""
MOST_MODELS = 8
"""Columns of a matrix, the baseline among them, if no other number is asked for."""
Kind = Literal["all", "area", "task_type"]
RANKS = {"worse": 0, "few": 1, "same": 2, "better": 3}


@dataclass(frozen=True)
class EvalView:
    """An evaluation of the list.

    Attributes:
        name: Of its folder, in addresses.
        directory: Its files.
        of: What was asked of whom.
        state: As it is.
        summary: None before it is finished.
    """

    name: str
    directory: EvalDirectory
    of: Evaluation
    state: str
    summary: EvalSummary | None

    @property
    def title(self) -> str:
        """The model, in short."""
        return title_of(self.of)

    @property
    def scored(self) -> tuple[int, int]:
        """Items that have a score, and items."""
        types = self.summary.task_types.values() if self.summary else ()
        return sum(one.scored for one in types), sum(one.items for one in types)

    @property
    def score(self) -> str:
        """Over all."""
        return score(self.summary.score if self.summary else None)


@dataclass(frozen=True)
class EvalList:
    """The evaluations of a workspace.

    Attributes:
        views: By when they began.
        faults: Of folders that cannot be read: name and why.
    """

    views: tuple[EvalView, ...]
    faults: tuple[tuple[str, str], ...]

    def find(self, name: str) -> EvalView:
        """Return one by its name.

        Raises:
            RunError: If there is none.
        """
        for view in self.views:
            if view.name == name:
                return view
        raise NotThereError("there is no such evaluation.", where=name)

    def finished(self, suite: str) -> list[EvalView]:
        """Return those of a suite that can be compared, in the order they began."""
        return [one for one in self.views if one.of.suite == suite and one.state == "finished"]

    def suites(self) -> list[str]:
        """Return the suites that were asked, the one asked last first."""
        return list(dict.fromkeys(one.of.suite for one in reversed(self.views)))


def read_list(workspace: Workspace) -> EvalList:
    """Read what evaluations there are; one that is broken is told, and hides no other."""
    views, faults = [], []
    for found in find_evaluations(workspace.root / FOLDER):
        try:
            if not found.path.resolve().is_relative_to(workspace.root):
                raise NotThereError("leads out of the workspace.")
            view = EvalView(
                found.path.name, found, found.evaluation(), found.state(), found.summary()
            )
        except (DanluError, OSError) as error:
            faults.append((found.path.name, str(error)))
            continue
        views.append(view)
    views.sort(key=lambda view: (view.of.started_at, view.name))
    return EvalList(tuple(views), tuple(faults))


@dataclass(frozen=True)
class Cell:
    """One task type of one model.

    Attributes:
        score: As text; ``–`` without one.
        interval: Likewise; empty where none can be said.
        items: Asked.
        scored: Of them with a score.
        verdict: Class of the verdict against the baseline; empty for the baseline itself.
        difference: Signed, as text.
        left_out: Prompts that could not be compared.
        change: The difference as a share of the range; None where nothing is compared.
    """

    score: str
    interval: str = ""
    items: int = 0
    scored: int = 0
    verdict: str = ""
    difference: str = ""
    left_out: int = 0
    change: float | None = None


@dataclass(frozen=True)
class MatrixRow:
    """One task type, an area, or all.

    Attributes:
        name: Of it; ``all``.
        cells: One per column.
        kind: Which of the three.
    """

    name: str
    cells: tuple[Cell, ...]
    kind: Kind = "task_type"

    @property
    def regression(self) -> tuple[int, float]:
        """The worst verdict of the row, then the greatest loss: sorts regressions first."""
        compared = [cell for cell in self.cells if cell.change is not None]
        ranks = [RANKS[cell.verdict] for cell in compared]
        return min(ranks, default=9), min((cell.change or 0.0 for cell in compared), default=0.0)


@dataclass(frozen=True)
class Matrix:
    """Task types × models of one suite.

    Attributes:
        columns: Evaluations, the baseline first.
        overall: The row of all task types together.
        rows: Task types, each after its area where that has several.
        notes: What a reader must know of a column: its name, and what.
    """

    columns: tuple[EvalView, ...]
    overall: MatrixRow
    rows: tuple[MatrixRow, ...]
    notes: tuple[tuple[str, str], ...]


def matrix(columns: Sequence[EvalView], *, by_regression: bool = True) -> Matrix:
    """Put evaluations of one suite side by side.

    Args:
        columns: The baseline first.
        by_regression: Sort task types by regression against it; else by name.
    """
    base, *others = columns
    nodes: dict[str, Nodes] = {base.name: {}}
    notes = []
    for one in others:
        try:
            tree = compared(base.directory, one.directory).overall
        except DanluError as error:
            nodes[one.name] = {}
            notes.append((one.name, str(error)))
            continue
        nodes[one.name] = {(node.kind, node.name): node for node in tree.walk()}
        notes += [(one.name, note) for note in differences(base.of, one.of)]
    names = sorted({name for one in columns for name in one.of.task_types})
    groups: dict[str, list[MatrixRow]] = {}
    for name in names:
        cells = tuple(_cell(one, name, nodes[one.name]) for one in columns)
        groups.setdefault(name.partition("/")[0], []).append(MatrixRow(name, cells))
    areas = []
    for name, inside in groups.items():
        if by_regression:
            inside.sort(key=lambda row: row.regression)
        if len(inside) > 1:
            cells = tuple(_area(one, name, nodes[one.name]) for one in columns)
            inside = [MatrixRow(name, cells, "area"), *inside]
        areas.append(inside)
    if by_regression:
        areas.sort(key=lambda rows: min(row.regression for row in rows))
    rows = tuple(row for inside in areas for row in inside)
    overall = MatrixRow("all", tuple(_overall(one, nodes[one.name]) for one in columns), "all")
    return Matrix(tuple(columns), overall, rows, tuple(notes))


def compared(a: EvalDirectory, b: EvalDirectory) -> Comparison:
    """Compare two evaluations as ``danlu compare`` does; what was compared last is kept.

    Raises:
        EvaluationError: If they cannot be compared.
    """
    return _compared(a.path.resolve(), b.path.resolve(), _stamp(a), _stamp(b))


@lru_cache(maxsize=32)
def _compared(a: Path, b: Path, stamp_a: object, stamp_b: object) -> Comparison:
    sides = [EvalDirectory(a), EvalDirectory(b)]
    rows = [one.scored_rows() for one in sides]
    settings = CompareSettings(incomplete="count")
    return compare(*rows, stakes=stakes_of(sides[1], rows), settings=settings)


def _stamp(directory: EvalDirectory) -> tuple[tuple[int, int], ...]:
    paths = [directory.path / name for name in ("eval.json", "items.jsonl", "scores.jsonl")]
    found = [path.stat() for path in paths if path.exists()]
    return tuple((one.st_mtime_ns, one.st_size) for one in found)


def _cell(view: EvalView, name: str, nodes: Nodes) -> Cell:
    of = view.summary.task_types.get(name) if view.summary else None
    if of is None:
        return Cell(score(None))
    interval = "" if of.low is None else f"{score(of.low)}–{score(of.high)}"
    stakes, node = view.of.task_types[name], nodes.get(("task_type", name))
    wide = (stakes.high - stakes.low) or 1.0
    some = of.scored < of.items
    return Cell(
        _shown(score(of.score), some),
        interval and _shown(interval, some),
        of.items,
        of.scored,
        *_told(node, wide),
    )


def _area(view: EvalView, name: str, nodes: Nodes) -> Cell:
    """Return the mean of an area's task types by their weights, each as a share of its range."""
    of = view.summary.task_types if view.summary else {}
    own = {key: one for key, one in of.items() if key.partition("/")[0] == name}
    if not own:
        return Cell(score(None))
    scored, items = (
        sum(getattr(one, what) for one in own.values()) for what in ("scored", "items")
    )
    mean = 0.0 if all(one.score is not None for one in own.values()) else None
    weights = sum(view.of.task_types[key].weight for key in own)
    for key, one in own.items():
        stakes = view.of.task_types[key]
        if one.score is not None and mean is not None and weights:
            share = (one.score - stakes.low) / ((stakes.high - stakes.low) or 1.0)
            mean += stakes.weight / weights * share
    return Cell(
        _shown(score(mean), scored < items),
        "",
        items,
        scored,
        *_told(nodes.get(("area", name)), 1.0),
    )


def _overall(view: EvalView, nodes: Nodes) -> Cell:
    scored, items = view.scored
    return Cell(
        _shown(view.score, scored < items),
        "",
        items,
        scored,
        *_told(nodes.get(("all", "all")), 1.0),
    )


def _shown(text: str, some: bool) -> str:
    """Put in parentheses, as the terminal does, what is said of some of the items only."""
    return f"({text})" if some and text != score(None) else text


def _told(node: Node | None, wide: float) -> tuple[str, str, int, float | None]:
    if node is None:
        return "", "", 0, None
    left_out = node.missing_a + node.missing_b + node.only_a + node.only_b
    return CLASSES[node.verdict], signed(node.difference), left_out, node.difference / wide


# Cases -----------------------------------------------------------------------------------

JUDGE = "judge/"
MOVED = ("lost", "gained", "same")


@dataclass(frozen=True)
class Cases:
    """Prompts of a pair, a part of them with answers.

    Attributes:
        views: With both answers in pieces, and the reference.
        total: How many there are.
        node: Of the task type, or of all; None if there is no such task type.
        said: Of each prompt shown, what judges said of each side's answer.
        passed: Of each prompt shown, how often each side passed, where it was asked several times.
        counts: How many lost, gained and stayed.
    """

    views: tuple[CaseView, ...]
    total: int
    node: Node | None
    counts: Mapping[str, int]
    said: Mapping[str, Mapping[str, Sequence[Said]]]
    passed: Mapping[str, Mapping[str, Passing]]


@dataclass(frozen=True)
class Said:
    """What one judge's dimension made of an answer.

    Attributes:
        dimension: Which.
        score: As text.
        why: The judge's explanation.
    """

    dimension: str
    score: str
    why: str


def cases(
    a: EvalView,
    b: EvalView,
    *,
    task_type: str = "",
    moved: str = "lost",
    item: str = "",
    first: int = 0,
    count: int = 20,
) -> Cases:
    """Return prompts with both answers.

    Args:
        a: The baseline.
        b: The other.
        task_type: Only of it, or of an area, which ends in a slash; empty for all.
        moved: ``lost``, ``gained`` or ``same``; empty for all.
        item: Only this prompt; empty for all.
        first: How many to pass over.
        count: How many at most.

    Raises:
        EvaluationError: If they cannot be compared.
    """
    found = compared(a.directory, b.directory)
    groups = {
        "lost": found.regressions,
        "gained": found.improvements,
        "same": tuple(_unmoved(a.directory, b.directory)),
    }
    if task_type:
        groups = {
            name: tuple(move for move in of if _is_of(move.task_type, task_type))
            for name, of in groups.items()
        }
    moves = [move for name in MOVED if moved in ("", name) for move in groups[name]]
    if item:
        moves = [move for of in groups.values() for move in of if move.prompt == item]
    read = read_cases(a.directory, b.directory, moves[first : first + count])
    wanted = task_type.rstrip("/") or "all"
    node = next((one for one in found.overall.walk() if one.name == wanted), None)
    shown = {one.move.prompt: one.sample for one in read}
    said: dict[str, dict[str, Sequence[Said]]] = {prompt: {} for prompt in shown}
    passed: dict[str, dict[str, Passing]] = {prompt: {} for prompt in shown}
    for letter, one in (("a", a), ("b", b)):
        for prompt, of in _said(one.directory, shown).items():
            said[prompt][letter] = of
        often = passing(one.directory, one.of, one.directory.path.parent, letter, shown)
        for prompt, times in often.items():
            passed[prompt][letter] = times
    counts = {name: len(of) for name, of in groups.items()}
    return Cases(tuple(case_views(read)), len(moves), node, counts, said, passed)


def _is_of(name: str, wanted: str) -> bool:
    return name.startswith(wanted) if wanted.endswith("/") else name == wanted


def _said(directory: EvalDirectory, shown: Mapping[str, int]) -> dict[str, list[Said]]:
    """Return what judges said of the answers shown, by prompt."""
    found: dict[str, list[Said]] = {}
    for row in directory.scores():
        is_judge = row.scorer.startswith(JUDGE)
        if is_judge and row.why and shown.get(row.item) == row.sample:
            said = Said(row.scorer.removeprefix(JUDGE), score(row.value), row.why)
            found.setdefault(row.item, []).append(said)
    return found


def _unmoved(a: EvalDirectory, b: EvalDirectory) -> list[Move]:
    """Return the prompts whose score is the same on both sides, in the order of the suite."""
    before = {row.prompt: row.score for row in a.scored_rows()}
    return [
        Move(row.prompt, row.task_type, row.score, row.score, 0.0)
        for row in b.scored_rows()
        if row.score is not None and before.get(row.prompt) == row.score
    ]

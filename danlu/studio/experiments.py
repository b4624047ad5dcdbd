"""What ``danlu sweep``, ``scaling``, ``squeeze`` and ``bench-serve`` left in the workspace.

Each leaves a folder with one JSON file, which says all that is shown here: a table and plots. The
files are read as the commands write them, and nothing is computed anew but the law's line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from danlu.errors import RunError
from danlu.serving.latency.card import CARD_FILE, Interval, LatencyCard, read_card
from danlu.studio.language import Words
from danlu.studio.plots import Plot, Series
from danlu.studio.workspace import NotThereError, Workspace

FILES = {
    "sweep": "sweep.json",
    "scaling": "scaling.json",
    "squeeze": "squeeze.json",
    "latency": CARD_FILE,
}
"""By kind: the file that says what was found."""
DEPTH = 3
MOST_FOLDERS = 4000
"""Folders that are looked into at most; runs, datasets and hidden ones are not."""
NOT_HERE = ("versions", "names", "checkpoints", "prepared", "model", "adapter", "node_modules")
LAW_POINTS = 40


@dataclass(frozen=True)
class Experiment:
    """One folder with results.

    Attributes:
        kind: What it is.
        path: From the workspace.
        made: When its file was written.
    """

    kind: str
    path: str
    made: datetime


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        head: Headings.
        rows: As many cells as headings.
        title: Above it; empty for none.
        best: Which row is the one to take; None for none.
        runs: Of each row the run in the workspace, as ``FOLDER/NAME``; empty for none.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    best: int | None = None
    runs: Sequence[str] = ()


@dataclass
class Found:
    """What one experiment shows.

    Attributes:
        says: In sentences, as the command said it.
        tables: In order.
        plots: Likewise.
        command: What to type to use it.
    """

    says: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    command: str = ""


def experiments(workspace: Workspace) -> list[Experiment]:
    """Find what there is, the latest first; links out of the workspace are passed over."""
    found = []
    for folder in _folders(workspace):
        for kind, name in FILES.items():
            file = folder / name
            try:
                made = file.stat().st_mtime
            except OSError:
                continue
            if file.resolve().is_relative_to(workspace.root):
                path = os.path.relpath(folder, workspace.root)
                found.append(Experiment(kind, path, datetime.fromtimestamp(made, UTC)))
    return sorted(found, key=lambda one: (one.made, one.path), reverse=True)


def _folders(workspace: Workspace) -> Iterator[Path]:
    skipped = {str(path) for path in workspace.folders.values()}
    waiting, seen = [(workspace.root, 0)], 0
    while waiting:
        folder, depth = waiting.pop(0)
        seen += 1
        if seen > MOST_FOLDERS:
            return
        if depth:
            yield folder
        if depth == DEPTH:
            continue
        try:
            entries = sorted(os.scandir(folder), key=lambda one: one.name)
        except OSError:
            continue
        for one in entries:
            is_own = one.name.startswith(".") or one.name in NOT_HERE or one.path in skipped
            if not is_own and one.is_dir(follow_symlinks=False):
                waiting.append((Path(one.path), depth + 1))


def read(workspace: Workspace, kind: str, path: str, words: Words) -> Found:
    """Read one experiment.

    Raises:
        RunError: If there is none, or its file is not as the command writes it.
    """
    if kind not in FILES:
        raise NotThereError("there is no such kind of result.", where=kind)
    folder = workspace.inside(path)
    file = workspace.inside(f"{path}/{FILES[kind]}")
    if not file.is_file():
        raise NotThereError("there is no such result.", where=path)
    try:
        if kind == "latency":
            return _latency(read_card(folder), words)
        return _READERS[kind](json.loads(file.read_text("utf-8")), path, words)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise RunError(
            f"cannot be read ({type(error).__name__}: {error}); make it again.",
            where=f"{path}/{FILES[kind]}",
        ) from error


# Sweeps ----------------------------------------------------------------------------------


def _sweep(tree: Mapping[str, Any], path: str, words: Words) -> Found:
    trials = sorted(tree["trials"], key=lambda one: one["loss"])
    keys = list(trials[0]["settings"])
    types = sorted({name for one in trials for name in one["task_types"]})
    say = _under(words, "sweep")
    rows = [
        [
            *(str(one["settings"][key]) for key in keys),
            f"{one['loss']:.4f}",
            str(one["step"]),
            words.duration(one["seconds"]),
            *(_loss(one["task_types"].get(name)) for name in types),
        ]
        for one in trials
    ]
    head = [*keys, say("loss"), say("step"), say("time"), *types]
    table = Table(head, rows, best=0, runs=[one["run"] for one in trials])
    curves = [
        Series(_label(one["settings"]), [(float(x), float(y)) for x, y in one["curve"]], dots=False)
        for one in trials
    ]
    plots = [Plot(say("curves"), say("of_step"), curves)]
    plots = [*_by_setting(trials, keys, say), *plots]
    said = [say("left", n=len(tree["left"]))] if tree.get("left") else []
    return Found(said, [table], plots, f"danlu train {path}/best.yaml")


def _by_setting(trials: Sequence[Any], keys: Sequence[str], say: Callable[..., str]) -> list[Plot]:
    """Draw the loss over each setting that is a number, a line for each choice of the others."""
    plots = []
    for key in keys:
        values = [_float(one["settings"][key]) for one in trials]
        if None in values or len(set(values)) < 2:
            continue
        lines: dict[str, list[tuple[float, float]]] = {}
        for one, value in zip(trials, values, strict=True):
            others = {name: given for name, given in one["settings"].items() if name != key}
            lines.setdefault(_label(others), []).append((value or 0.0, one["loss"]))
        series = [Series(name, sorted(points)) for name, points in sorted(lines.items())]
        plots.append(Plot(say("over", setting=key), key, series, log=True))
    return plots


def _scaling(tree: Sequence[Mapping[str, Any]], path: str, words: Words) -> Found:
    say = _under(words, "scaling")
    rows, plots = [], []
    for one in tree:
        cast = one["forecast"]
        rows.append(
            [
                one["name"],
                " · ".join(f"{n:,}" for n in one["records"]),
                " · ".join(f"{loss:.3f}" for loss in one["losses"]),
                f"{one['held_out']:,}",
                f"{cast['then']:.3f}",
                f"{cast['gain']:+.3f} ({cast['low']:+.3f} – {cast['high']:+.3f})",
                say(f"answers.{cast['answer'].replace(' ', '_')}"),
            ]
        )
        law = cast["law"]
        low, high = float(one["records"][0]), 2.0 * one["records"][-1]
        places = [low * (high / low) ** (k / LAW_POINTS) for k in range(LAW_POINTS + 1)]
        line = [(x, law["floor"] + law["scale"] * x ** -law["power"]) for x in places]
        measured = [(float(x), y) for x, y in zip(one["records"], one["losses"], strict=True)]
        series = [
            Series(say("law"), line, dots=False, dashed=True, colour=1),
            Series(say("measured"), measured, line=False, colour=0),
            Series(say("twice"), [(high, cast["then"])], line=False, colour=2),
        ]
        plots.append(Plot(one["name"], say("records"), series, log=True))
    heads = ("task_type", "records", "losses", "held_out", "twice", "gain", "more")
    return Found([say("how")], [Table([say(one) for one in heads], rows)], plots)


def _squeeze(tree: Mapping[str, Any], path: str, words: Words) -> Found:
    say = _under(words, "squeeze")
    before, task = tree["before"], tree["task"] or "–"
    runs = sorted(tree["runs"], key=lambda one: (one["setting"] is not None, one["setting"] or 0.0))
    rows = [[say("before"), *_scores(before), ""]]
    for one in runs:
        name = say("alone") if one["setting"] is None else f"{tree['over']} {one['setting']:g}"
        verdict = say(f"verdicts.{_verdict(one)}")
        rows.append([name, *_scores(one), verdict])
    heads = (task, say("probability"), say("general"), say("probability"), say("verdict"))
    best = next(
        (
            place
            for place, one in enumerate(runs, 1)
            if tree["best"] is not None and one["setting"] == tree["best"]
        ),
        None,
    )
    table = Table(
        [say("run"), *heads], rows, best=best, runs=["", *(str(one["run"]) for one in runs)]
    )
    found = Found([tree["says"]], [table])
    tried = [one for one in runs if one["setting"] is not None]
    floor = before["general"] - tree["margin"]
    if tried:
        xs = [float(one["setting"]) for one in tried]
        ends = [min(xs), max(xs)]
        sides = (("target", task, 0), ("general", say("general"), 1))
        series = [
            Series(name, [(x, 100 * one[side]) for x, one in zip(xs, tried, strict=True)], colour=c)
            for side, name, c in sides
        ]
        for name, level, colour in (
            (say("goal"), tree["learned"], 0),
            (say("floor"), floor, 1),
        ):
            bar = [(x, 100 * level) for x in ends]
            series.append(Series(name, bar, dots=False, dashed=True, colour=colour))
        found.plots.append(Plot(say("over", setting=tree["over"]), tree["over"], series, log=True))
    all_runs = [before, *runs]
    names = [row[0] for row in rows]
    points = [(100 * one["general"], 100 * one["target"]) for one in all_runs]
    trade = Series("", points, line=False, labels=names, colour=3)
    found.plots.append(Plot(say("trade", task=task), say("general"), [trade]))
    if tree.get("recipe"):
        found.command = f"danlu train {tree['recipe']}"
    return found


def _scores(one: Mapping[str, Any]) -> list[str]:
    cells = []
    for side in ("target", "general"):
        likely = one.get(f"{side}_probability")
        cells += [f"{100 * one[side]:.1f} %", "" if likely is None else f"{likely:.3f}"]
    return cells


def _verdict(one: Mapping[str, Any]) -> str:
    if one["is_learned"]:
        return "fits" if one["is_kept"] else "forgotten"
    return "not_learned" if one["is_kept"] else "neither"


# Latency ---------------------------------------------------------------------------------


def _latency(card: LatencyCard, words: Words) -> Found:
    from danlu.serving.latency import show

    say = _under(words, "latency")
    tables = [
        Table([say(f"columns.{one}") for one in heads], rows, say(title))
        for title, heads, rows in (
            ("first", FIRST_HEADS, show.first_rows(card)),
            ("levels", LEVEL_HEADS, show.level_rows(card)),
            ("arrivals", ARRIVAL_HEADS, show.arrival_rows(card)),
        )
        if rows
    ]
    series: dict[str, list[Series]] = {"first": [], "per_token": [], "speed": []}
    for place, one in enumerate(card.targets):
        colour = place % 8
        asked = [(float(of.prompt_tokens), 1000 * of.seconds) for of in one.first_tokens]
        if asked:
            series["first"].append(Series(one.name, asked, line=False, colour=colour))
        fit = one.first_token_fit
        if asked and fit is not None:
            last = max(x for x, _ in asked)
            ends = sorted({0.0, min(fit.knee_tokens.value, last), last})
            line = [(x, 1000 * fit.seconds(x)) for x in ends]
            series["first"].append(Series("", line, dots=False, dashed=True, colour=colour))
        known = [(of.concurrency, of.per_token_s) for of in one.levels if of.per_token_s]
        if known:
            series["per_token"].append(_with_ends(one.name, known, colour))
        speeds = [(float(of.concurrency), of.tokens_per_second) for of in one.levels]
        if speeds:
            series["speed"].append(Series(one.name, speeds, colour=colour))
    below = {"first": "of_prompt", "per_token": "of_users", "speed": "of_users"}
    plots = [
        Plot(say(f"plots.{name}"), say(below[name]), own, from_zero=True)
        for name, own in series.items()
        if own
    ]
    said = [show.formula(one) for one in card.targets]
    return Found([*said, *show.notes(card), card.machine], tables, plots)


FIRST_HEADS = ("server", "flat", "knee", "per_prompt_token", "memory")
LEVEL_HEADS = ("server", "users", "first", "per_token", "tokens", "characters", "failed")
ARRIVAL_HEADS = (
    *("server", "rate", "first_p50", "p90", "p99", "whole_p50", "p90", "p99"),
    *("at_once", "tokens", "failed"),
)


def _with_ends(name: str, known: Sequence[tuple[int, Interval]], colour: int) -> Series:
    return Series(
        name,
        [(float(users), 1000 * one.value) for users, one in known],
        errors=[(1000 * one.low, 1000 * one.high) for _, one in known],
        colour=colour,
    )


# Inner -----------------------------------------------------------------------------------

_READERS: dict[str, Callable[[Any, str, Words], Found]] = {
    "sweep": _sweep,
    "scaling": _scaling,
    "squeeze": _squeeze,
}


def _under(words: Words, group: str) -> Callable[..., str]:
    return lambda key, **values: words(f"diagnosis.{group}.{key}", **values)


def _label(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.rpartition('.')[2]}={value}" for name, value in settings.items())


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _float(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None

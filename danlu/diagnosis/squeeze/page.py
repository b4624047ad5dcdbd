"""The page of a squeeze: both scores over the setting, the trade-off, and all runs."""

from __future__ import annotations

from html import escape

from danlu.diagnosis.squeeze.scores import Scores, Side
from danlu.diagnosis.squeeze.squeeze import Squeezed, Tried
from danlu.diagnosis.sweep.drawing import Curve, page, plot, table
from danlu.runs.findings import Finding

TARGET, GENERAL, BARS = 0, 1, 7
"""Colours."""


def squeeze_page(title: str, found: Squeezed, finding: Finding, source: str) -> str:
    """Show what was found.

    Args:
        title: Of the page.
        found: At least one trial was measured.
        finding: What is said of it.
        source: Where the target's questions are from.
    """
    assert found.before is not None
    body = table(head_of(found), rows_of(found), best=_best_row(found))
    body += f"<p>{escape(_legend(found, source))}</p>"
    if found.by_setting:
        knob = found.plan.knob
        curves = _curves(found)
        name = knob.over.replace("_", " ")
        body += plot(curves, name, "percent", log_x=knob.is_ratio, y_span=(0.0, 100.0))
    body += plot(
        _trade_off(found), "general, percent right", f"{found.plan.wish.task}, percent right"
    )
    for remedy in finding.remedies:
        told = escape(remedy.says)
        told += "".join(f"<br><code>{escape(one)}</code>" for one in remedy.commands)
        body += f"<p>{told}</p>"
    return page(title, finding.says, body)


def head_of(found: Squeezed) -> list[str]:
    """Return the headings of the table of runs."""
    task = found.plan.wish.task
    return ["run", f"{task}: right", "P per token", "general: right", "P per token", "verdict"]


def rows_of(found: Squeezed) -> list[list[str]]:
    """Return the model before training, the target alone, and the settings, rising."""
    assert found.before is not None
    ends = [one for one in found.tried if one.setting is None]
    rows = [_row("before training", found.before, "the lower end: nothing is forgotten")]
    rows += [_row(_alone(one), one.scores, _verdict(one)) for one in ends]
    knob = found.plan.knob
    for one in found.by_setting:
        name = f"{knob.over} {knob.rounded(one.setting or 0.0):g}"
        rows.append(_row(name, one.scores, _verdict(one)))
    return rows


def _row(name: str, scores: Scores, verdict: str) -> list[str]:
    return [name, *_cells(scores.target), *_cells(scores.general), verdict]


def _cells(side: Side) -> list[str]:
    likely = "" if side.probability is None else f"{side.probability:.2f}"
    return [f"{sum(side.right)} of {len(side.right)} ({side.share:.0%})", likely]


def _alone(one: Tried) -> str:
    return f"the task alone, {one.trial.recipe.training.epochs:g} epochs"


def _verdict(one: Tried) -> str:
    if one.verdict.fits:
        return "learned and kept"
    if one.verdict.learned:
        return "learned, too much forgotten" if one.setting is not None else "learned"
    return "not learned" if one.verdict.kept else "not learned, too much forgotten"


def _best_row(found: Squeezed) -> int | None:
    if found.best is None:
        return None
    ends = sum(one.setting is None for one in found.tried)
    return 1 + ends + found.by_setting.index(found.best)


def _legend(found: Squeezed, source: str) -> str:
    assert found.before is not None
    wish, before = found.plan.wish, found.before
    floor = before.general.share - wish.margin
    return (
        f"Learned: at least {wish.goal:.0%} right, of {source}. Kept: at least {floor:.1%} of the "
        f"general questions right, {100 * wish.margin:g} points below what it was before. P per "
        "token: how likely the model finds right answers (those of the task's records; the right "
        "ones of the model before training), which moves before answers do."
    )


def _curves(found: Squeezed) -> list[Curve]:
    assert found.before is not None
    trials, task = found.by_setting, found.plan.wish.task
    xs = [one.setting or 0.0 for one in trials]
    curves = []
    for name, colour, sides in (
        (task, TARGET, [one.scores.target for one in trials]),
        ("general", GENERAL, [one.scores.general for one in trials]),
    ):
        right = tuple((x, 100 * side.share) for x, side in zip(xs, sides, strict=True))
        curves.append(Curve(f"{name}: right", right, colour=colour))
        hints = tuple(f"{name} at {x:g}: {y:.1f} % right" for x, y in right)
        curves.append(Curve("", right, dots=True, colour=colour, hints=hints))
        likely = tuple(
            (x, 100 * side.probability)
            for x, side in zip(xs, sides, strict=True)
            if side.probability is not None
        )
        if likely:
            curves.append(Curve(f"{name}: P per token (dashed)", likely, False, colour, True))
    bars = (100 * found.plan.wish.goal, 100 * (found.before.general.share - found.plan.wish.margin))
    ends = (min(xs), max(xs)) if len(xs) > 1 else (xs[0] * 0.9, xs[0] * 1.1)
    for name, y in zip(("to be learned", "to be kept"), bars, strict=True):
        curves.append(Curve(name, tuple((x, y) for x in ends), False, BARS, True))
    return curves


def _trade_off(found: Squeezed) -> list[Curve]:
    assert found.before is not None
    line = tuple((100 * s.general.share, 100 * s.target.share) for s in _scores(found))
    names = ("before training", *(_hint(found, one) for one in found.by_setting))
    ends = [one for one in found.tried if one.setting is None]
    alone = tuple((100 * one.scores.general.share, 100 * one.scores.target.share) for one in ends)
    curves = [
        Curve("settings, from before training up", line, colour=TARGET),
        Curve("", line, dots=True, colour=TARGET, hints=names),
    ]
    if alone:
        curves.append(Curve("the task alone", alone, True, GENERAL, hints=tuple(map(_alone, ends))))
    return curves


def _scores(found: Squeezed) -> list[Scores]:
    assert found.before is not None
    return [found.before, *(one.scores for one in found.by_setting)]


def _hint(found: Squeezed, one: Tried) -> str:
    return (
        f"{found.plan.knob.over} {found.plan.knob.rounded(one.setting or 0.0):g}: {_verdict(one)}"
    )

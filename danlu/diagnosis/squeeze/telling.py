"""What a squeeze has found, as findings."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from danlu.diagnosis.shares import Estimate, share
from danlu.diagnosis.squeeze.plan import Plan
from danlu.diagnosis.squeeze.scores import Scores, Side
from danlu.diagnosis.squeeze.squeeze import Squeezed, Tried
from danlu.evaluation.statistics import paired_difference
from danlu.runs.findings import Confidence, Evidence, Finding, Remedy

SHOWN = 5
NAMES = {
    "share": "share of the mix",
    "learning_rate": "learning rate",
    "epochs": "number of epochs",
}


def finding_of(found: Squeezed, files: str) -> Finding:
    """Say what was found.

    Args:
        found: The squeeze; at least one trial was measured.
        files: The folder with the page and the recipe.

    Raises:
        ValueError: If nothing was measured.
    """
    if found.before is None:
        raise ValueError("nothing was measured")
    tell = {
        "found": _squeezed,
        "ceiling": _ceiling,
        "apart": _apart,
        "never-learned": _never,
        "unfinished": _unfinished,
    }
    return tell[found.outcome](found, files)


def says_scores(scores: Scores, before: Scores, plan: Plan) -> str:
    """Say both scores in a sentence.

    Example:
        ``identity 18 of 20 (before 0), general 15 of 20 (before 16)``
    """
    sides = (
        (plan.wish.task, scores.target, before.target),
        ("general", scores.general, before.general),
    )
    return ", ".join(
        f"{name} {sum(now.right)} of {len(now.right)} (before {sum(then.right)})"
        for name, now, then in sides
    )


def _squeezed(found: Squeezed, files: str) -> Finding:
    best, before = found.best, found.before
    assert best is not None
    assert before is not None
    assert best.setting is not None
    knob, wish = found.plan.knob, found.plan.wish
    evidence = [_tried(found, best, f"at {_named(found, best.setting)}")]
    for one in found.by_setting:
        assert one.setting is not None
        if one is not best:
            evidence.append(_tried(found, one, f"at {_named(found, one.setting)}"))
    return Finding(
        name="squeezed",
        task_type=wish.task,
        says=f"At a {NAMES[knob.over]} of {knob.rounded(best.setting):g} the task is learned and "
        f"little else is lost: {says_scores(best.scores, before, found.plan)}.",
        severity="note",
        confidence=_confidence(found, best),
        evidence=tuple(evidence),
        remedies=(
            Remedy(
                says="Train with this setting: the recipe is written.",
                settings=_settings(found, best.setting),
                commands=(f"danlu train {files}/squeezed.yaml",),
            ),
        ),
    )


def _ceiling(found: Squeezed, files: str) -> Finding:
    last, wish = found.tried[-1], found.plan.wish
    side = last.scores.target
    moved = _moved(found, last)
    stuck = moved is not None and moved < 0.1
    return Finding(
        name="ceiling",
        task_type=wish.task,
        says=f"Even trained on nothing but this task the model gets {_share(side).percent()} of "
        f"its questions right, and {wish.goal:.0%} are asked for: the data or the model is the "
        "ceiling, and no mix, learning rate or number of epochs will do.",
        severity="serious",
        confidence="high" if _share(side).high < wish.goal else _likely(side, wish.goal),
        evidence=tuple(_tried(found, one, one.trial.recipe.name) for one in found.tried),
        remedies=(
            Remedy(
                says="The right answers became hardly likelier: first look for a fault in the "
                "training itself (a learning rate far too small? other records than you mean?)."
                if stuck
                else "Look at the wrong answers: do the records teach what is asked, in enough "
                "wordings? Clean them, add variety, or take a larger model.",
                commands=("danlu probe fit RUN", "danlu probe inputs RUN"),
            ),
        ),
    )


def _apart(found: Squeezed, files: str) -> Finding:
    knob, wish, trials = found.plan.knob, found.plan.wish, found.by_setting
    first = next(one for one in trials if one.verdict.learned)
    below = [one for one in trials if (one.setting or 0.0) < (first.setting or 0.0)]
    pair = [*below[-1:], first]
    return Finding(
        name="no-setting",
        task_type=wish.task,
        says=f"No {NAMES[knob.over]} will do: where the task is learned (from "
        f"{knob.rounded(first.setting or 0.0):g} on) the general score has fallen by more than "
        f"{100 * wish.margin:g} points.",
        severity="warning",
        confidence="medium",
        evidence=tuple(_tried(found, one, f"at {_named(found, one.setting)}") for one in pair),
        remedies=_others(found),
    )


def _never(found: Squeezed, files: str) -> Finding:
    knob, wish = found.plan.knob, found.plan.wish
    trials = found.by_setting
    return Finding(
        name="not-reached",
        task_type=wish.task,
        says=f"The task alone is learned, but in the mix it is not at any {NAMES[knob.over]} up "
        f"to {knob.high:g}.",
        severity="warning",
        confidence="medium",
        evidence=tuple(
            _tried(found, one, f"at {_named(found, one.setting)}") for one in trials[-2:]
        )
        or (_tried(found, found.tried[-1], "alone"),),
        remedies=_others(found),
    )


def _unfinished(found: Squeezed, files: str) -> Finding:
    wish = found.plan.wish
    return Finding(
        name="squeeze-unfinished",
        task_type=wish.task,
        says=f"The budget was over after {len(found.tried)} runs, before a setting was found.",
        severity="note",
        confidence="high",
        evidence=tuple(_tried(found, one, one.trial.recipe.name) for one in found.tried[-2:]),
        remedies=(
            Remedy(says="The same command with more --runs or --minutes goes on where it was."),
        ),
    )


def _others(found: Squeezed) -> tuple[Remedy, ...]:
    """Say what else can be varied."""
    over, task = found.plan.knob.over, found.plan.wish.task
    if found.outcome == "never-learned":
        says = "The task needs more of something else: more epochs, or larger steps."
        left = "learning_rate" if over == "epochs" else "epochs"
        return (Remedy(says=says, commands=(_squeeze(task, left),)),)
    left = "learning_rate" if over == "share" else "share"
    says = "Vary something else: smaller steps forget less, and so does more general data."
    tuning = found.plan.recipe.tuning
    less = Remedy(
        says="Or change less of the model: a smaller rank forgets less.",
        settings={"tuning.lora_rank": max(1, tuning.lora_rank // 2)},
    )
    if tuning.method not in ("lora", "qlora"):
        less = Remedy(
            says="Or move less of the model: LoRA forgets less.", settings={"tuning.method": "lora"}
        )
    return (Remedy(says=says, commands=(_squeeze(task, left),)), less)


def _squeeze(task: str, over: str) -> str:
    return f"danlu squeeze RECIPE --task {shlex.quote(task)} --over {over}"


def _tried(found: Squeezed, one: Tried, where: str) -> Evidence:
    """Return a trial as evidence, with what it gets wrong."""
    assert found.before is not None
    before = found.before
    verdict = one.verdict
    words = "learned" if verdict.learned else "not learned"
    words += ", the general score is kept" if verdict.kept else ", too much is forgotten"
    return Evidence(
        says=f"{where}: {says_scores(one.scores, before, found.plan)}: {words}.",
        figures=figures_of(one.scores, before) | {"setting": one.setting},
        cases=_cases(one.scores.general, before.general),
        command=f"danlu chat {one.trial.run}",
    )


def figures_of(scores: Scores, before: Scores) -> dict[str, float | int | str | bool | None]:
    """Return scores by name, shares with their intervals."""
    change = general_change(scores.general, before.general)
    target = share(sum(scores.target.right), len(scores.target.right))
    return {
        **target.figures("target"),
        "target_probability": scores.target.probability,
        "general": round(scores.general.share, 4),
        "general_of": len(scores.general.right),
        "general_probability": scores.general.probability,
        "general_change": round(change.value, 4),
        "general_change_low": round(change.low, 4),
        "general_change_high": round(change.high, 4),
    }


def general_change(now: Side, before: Side, confidence: float = 0.95) -> Estimate:
    """Return how the general score changed, with Tango's interval for the same questions."""
    pairs = list(zip(now.right, before.right, strict=True))
    wins = sum(a and not b for a, b in pairs)
    losses = sum(b and not a for a, b in pairs)
    low, high = paired_difference(wins, losses, len(pairs), confidence=confidence)
    return Estimate((wins - losses) / len(pairs), float(low), float(high), len(pairs))


def _cases(now: Side, before: Side) -> tuple[dict[str, Any], ...]:
    """Return general questions that were answered rightly before and are not now."""
    rows = zip(now.right, before.right, now.answers, before.answers, strict=False)
    lost = [(a, b) for right, was, a, b in rows if was and not right]
    return tuple({"before": b, "answer": a} for a, b in lost[:SHOWN])


def _confidence(found: Squeezed, one: Tried) -> Confidence:
    """Say how sure it is that both bars are met, by intervals that lie on the right side."""
    assert found.before is not None
    wish = found.plan.wish
    levels: Sequence[tuple[float, Confidence]] = ((0.95, "high"), (0.8, "medium"))
    for level, name in levels:
        right = share(sum(one.scores.target.right), len(one.scores.target.right), level)
        change = general_change(one.scores.general, found.before.general, level)
        if right.low >= wish.goal and change.low >= -wish.margin:
            return name
    return "low"


def _likely(side: Side, goal: float) -> Confidence:
    return "medium" if share(sum(side.right), len(side.right), 0.8).high < goal else "low"


def _moved(found: Squeezed, one: Tried) -> float | None:
    """Return how much likelier the right answers became, per token."""
    assert found.before is not None
    now, then = one.scores.target.probability, found.before.target.probability
    return None if now is None or then is None else now - then


def _share(side: Side) -> Estimate:
    return share(sum(side.right), len(side.right))


def _named(found: Squeezed, setting: float | None) -> str:
    return f"{found.plan.knob.over} {found.plan.knob.rounded(setting or 0.0):g}"


def _settings(found: Squeezed, setting: float) -> dict[str, Any]:
    knob = found.plan.knob
    if knob.over == "share":
        return {"data.mix": found.plan.mix(setting).model_dump(mode="json", exclude_unset=True)}
    return {f"training.{knob.over}": setting}

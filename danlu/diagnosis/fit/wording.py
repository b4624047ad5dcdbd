"""A verdict as a finding: what was decided, the numbers that led to it, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.config.recipe import Recipe
from danlu.diagnosis.fit.causes import Cause, why_not_general, why_not_learned
from danlu.diagnosis.fit.measured import Case, Half, Measured, repeated
from danlu.diagnosis.fit.verdict import Verdict
from danlu.runs.findings import Evidence, Finding, Remedy, Severity

Figures = dict[str, float | int | str | bool | None]

CASES = 8
SEVERITY: dict[str, Severity] = {
    "not-learned": "serious",
    "overfitted": "serious",
    "not-general": "warning",
}


def finding_of(of: Measured, verdict: Verdict, recipe: Recipe) -> Finding | None:
    """Say what was decided of a task type; None where nothing is wrong, or nothing can be told."""
    if verdict.name == "not-learned":
        return _not_learned(of, verdict, recipe)
    if verdict.name == "not-general":
        return _not_general(of, verdict)
    if verdict.name == "overfitted":
        return _overfitted(of, verdict)
    return None


def row_of(of: Measured, verdict: Verdict) -> dict[str, Any]:
    """Return a task type's line of the table, for pages."""
    row: dict[str, Any] = {
        "task_type": of.task_type,
        "verdict": verdict.name,
        "confidence": verdict.confidence,
        "pattern": verdict.pattern or None,
        "learned": verdict.learned,
        "scorer": of.measure.scorer,
        "scored_by": of.measure.why,
        "free_text": of.measure.is_open,
        "records": of.records,
    }
    for name, half in (("train", of.train), ("held_out", of.held_out)):
        row |= {f"{name}_{key}": value for key, value in _numbers(half).items()}
    return row


def _numbers(half: Half) -> Figures:
    if not half.cases:
        return {"asked": 0}
    right, nll = half.right(), half.nll()
    found: Figures = {"asked": len(half.answered)}
    if right.n:
        found |= right.figures("right")
    if nll.n:
        found |= {"nll": round(nll.value, 4), "nll_before": _rounded(half.before())}
        found["probability"] = _rounded(half.probability())
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def seen_of(of: Measured, half: Half, which: str) -> Evidence:
    """Quote how the prompts of one half went, with the cases that went wrong."""
    right, nll, before = half.right(), half.nll(), half.before()
    told = "like the reference" if of.measure.is_open else "right"
    says = f"{which}: {right.percent()} answered {told}"
    if nll.n:
        says += f"; the answers have {nll.value:.2f} nats per token"
        says += f", {before:.2f} before training" if before is not None else ""
        says += f", and a mean probability of {half.probability():.2g}"
    wrong = [case for case in half.answered if not case.right]
    return Evidence(
        says=f"{says}. Scored by {of.measure.scorer}: {of.measure.why}.",
        figures=_numbers(half),
        records=tuple(case.example.record for case in wrong) if which == TRAINED else (),
        cases=_cases(wrong),
    )


TRAINED, HELD_OUT = "Training prompts", "Held-out prompts"


def _cases(cases: Sequence[Case]) -> tuple[dict[str, Any], ...]:
    return tuple(case.shown() for case in cases[:CASES])


def _remedies(causes: Sequence[Cause]) -> tuple[Remedy, ...]:
    return tuple(cause.remedy for cause in causes)


def _not_learned(of: Measured, verdict: Verdict, recipe: Recipe) -> Finding:
    causes = why_not_learned(of, recipe)
    fault = any(cause.is_fault for cause in causes)
    says = f"{of.task_type} is not learned: the model fails on its own training prompts."
    if fault:
        says = (
            f"{of.task_type} is not learned, and more training would not help: something is broken."
        )
    return Finding(
        name="not-learned",
        task_type=of.task_type,
        says=says,
        severity=SEVERITY["not-learned"],
        confidence=verdict.confidence,
        evidence=(seen_of(of, of.train, TRAINED), *(cause.evidence for cause in causes)),
        remedies=_remedies(causes),
    )


def _not_general(of: Measured, verdict: Verdict) -> Finding:
    causes = why_not_general(of)
    remedies = _remedies(causes)
    if not remedies:
        remedies = (
            Remedy(
                says="Its answers are clean and its prompts are as wide as the held-out ones: add "
                "records, or up-sample the type.",
                commands=("danlu data mix --help",),
            ),
        )
    return Finding(
        name="not-general",
        task_type=of.task_type,
        says=f"{of.task_type} is learned and does not generalise: held-out prompts of the type do "
        "not share in it.",
        severity=SEVERITY["not-general"],
        confidence=verdict.confidence,
        evidence=(
            seen_of(of, of.train, TRAINED),
            seen_of(of, of.held_out, HELD_OUT),
            *(cause.evidence for cause in causes),
        ),
        remedies=remedies,
    )


def _overfitted(of: Measured, verdict: Verdict) -> Finding:
    found = repeated(of)
    evidence = [seen_of(of, of.train, TRAINED), seen_of(of, of.held_out, HELD_OUT)]
    wrong = [case for case in of.held_out.answered if not case.right]
    case = wrong[0] if wrong else None
    if verdict.pattern == "collapse" and found.most is not None:
        says = f"{of.task_type} is overfitted: it gives nearly every prompt the same answer."
        evidence.insert(
            0,
            Evidence(
                says=f"{found.most[1]} of {len(of.held_out.answered)} held-out prompts are "
                f"answered {found.most[0]!r}; it is right for {found.most_expected}.",
                figures={
                    "answer": found.most[0],
                    "given": found.most[1],
                    "expected": found.most_expected,
                    "asked": len(of.held_out.answered),
                },
                records=of.answers.get(found.most[0], ()),
            ),
        )
    elif verdict.pattern == "copies":
        says = (
            f"{of.task_type} is overfitted: held-out prompts get the answers of training records."
        )
        evidence.insert(
            0,
            Evidence(
                says=f"{len(found.copied)} of {len(wrong)} wrong answers are, word for word, those "
                "of other training records.",
                figures={"copied": len(found.copied), "wrong": len(wrong)},
                records=found.records,
                cases=_cases(found.copied),
            ),
        )
    else:
        says = (
            f"{of.task_type} is overfitted: its held-out answers became less likely than they were "
            "before training."
        )
    remedies = [
        Remedy(
            says="Overfitting is local. Find what it clings to: vary each key word of a bad case, "
            "then cut or vary the records that teach the pattern. Do not turn global knobs first. WORD, "
            "where it stands, is what is wrong in the answer.",
            commands=(_pattern(case, verdict),) if case else (),
        )
    ]
    if verdict.pattern == "worse":
        remedies.append(
            Remedy(
                says="Fewer passes keep what is general: stop where the held-out loss is lowest.",
                settings={"evaluation.keep_best": True, "training.epochs": 1.0},
            )
        )
    return Finding(
        name="overfitted",
        task_type=of.task_type,
        says=says,
        severity=SEVERITY["overfitted"],
        confidence=verdict.confidence,
        evidence=tuple(evidence),
        remedies=tuple(remedies),
    )


def _pattern(case: Case, verdict: Verdict) -> str:
    """Return the command that asks what the case clings to.

    Where training answers come word for word, the whole answer is what is wrong; else the user has
    to say which word of it is.
    """
    import shlex

    wrong = case.reply.text if case.reply and verdict.pattern in ("copies", "collapse") else "WORD"
    return (
        f"danlu probe pattern RUN --case {shlex.quote(case.example.question[:200])} "
        f"--wrong {shlex.quote(wrong[:200])}"
    )

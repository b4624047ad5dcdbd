"""Why a task type moved: the four usual causes, ranked.

A task type's score changes because its own records changed, because its share of the training fell
or rose, because a setting changed, or by chance. The first two are seen per task type in what the
two runs were trained on; a setting acts on all task types at once, so it explains one that moved
alone badly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from danlu.errors import EvaluationError
from danlu.evaluation.comparison import Comparison, Node

Kind = Literal["own data", "share", "setting", "noise"]
ORDER: tuple[Kind, ...] = ("own data", "share", "setting", "noise")
"""Of equally likely causes, the one looked at first."""


@dataclass(frozen=True, slots=True)
class TypeData:
    """What one run was trained on of one task type.

    Attributes:
        records: How many.
        tokens: Of all of them; or characters, the same in both runs.
        loss_share: Share of the loss, from 0 to 1; None if unknown, then the share of tokens.
        answer_length: Mean length of an answer, in the same unit in both runs; None if unknown.
        duplicates: Records that repeat another; None if unknown.
    """

    records: int
    tokens: float
    loss_share: float | None = None
    answer_length: float | None = None
    duplicates: int | None = None


@dataclass(frozen=True, slots=True)
class TypeChange:
    """What happened to one task type's training data between two runs.

    Attributes:
        before: Of the first run; None if it had no such records.
        after: Of the second.
        added: Records that only the second has.
        removed: Records that only the first has.
        changed: Records of both whose content differs.
    """

    before: TypeData | None
    after: TypeData | None
    added: int = 0
    removed: int = 0
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Cause:
    """One of the four, for one task type.

    Attributes:
        kind: Which.
        strength: From 0 (speaks against it) to 1; a rank, not a probability.
        evidence: What was seen, in words.
    """

    kind: Kind
    strength: float
    evidence: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The causes of one task type's movement, likeliest first.

    Attributes:
        task_type: Its name.
        causes: All four.
    """

    task_type: str
    causes: tuple[Cause, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def explain(
    comparison: Comparison,
    data: Mapping[str, TypeChange],
    settings: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
) -> tuple[Explanation, ...]:
    """Rank the causes for each task type that got better or worse, the worst first.

    Args:
        comparison: Of the two versions.
        data: What changed in the training data, by task type; a task type that is not named had no
            training data in either run.
        settings: Of both runs, flat: ``training.learning_rate`` and its value. Leave out what is
            no setting of the training (names, folders).

    Raises:
        EvaluationError: If a task type's data is given with counts that cannot be.
    """
    before, after = settings
    leaves = comparison.task_types
    moved = [leaf for leaf in leaves if leaf.verdict.moved]
    setting = _setting(before, after, moved_share=len(moved) / len(leaves))
    whole = _whole(data)
    found = []
    for leaf in sorted(moved, key=lambda leaf: (leaf.difference, leaf.name)):
        change = data.get(leaf.name)
        causes = [_own(leaf.name, change), _share(change, whole), setting, _noise(leaf)]
        causes.sort(key=lambda cause: (-cause.strength, ORDER.index(cause.kind)))
        found.append(Explanation(leaf.name, tuple(causes)))
    return tuple(found)


def from_diff(diff: Mapping[str, Any]) -> dict[str, TypeChange]:
    """Read what ``danlu data diff --json`` says, that is, ``workshop.diff.Diff.as_dict()``.

    Example:
        >>> side = {"records": 2, "length": 9, "loss": 4.0, "loss_share": 1.0}
        >>> change = {"before": side, "after": side, "added": 0, "removed": 0, "changed": 1}
        >>> from_diff({"task_types": {"a/b": change}})["a/b"].changed
        1
    """

    def side(of: Mapping[str, Any]) -> TypeData | None:
        if not of["records"]:
            return None
        return TypeData(of["records"], of["length"], of.get("loss_share"))

    return {
        name: TypeChange(
            side(one["before"]), side(one["after"]), one["added"], one["removed"], one["changed"]
        )
        for name, one in diff["task_types"].items()
    }


def _own(name: str, change: TypeChange | None) -> Cause:
    """Own data: the share of the records touched, or the change of length or repeats if greater."""
    if change is None or not (change.before or change.after):
        return Cause("own data", 0.0, "it had no training data in either run")
    before, after = change.before or TypeData(0, 0.0), change.after or TypeData(0, 0.0)
    if change.removed + change.changed > before.records:
        raise EvaluationError(
            f"{change.removed} removed and {change.changed} changed are more than the "
            f"{before.records} records that there were.",
            where=name,
        )
    union = before.records + change.added
    touched = (change.added + change.removed + change.changed) / union
    said = []
    for count, word in (
        (change.added, "added"),
        (change.removed, "removed"),
        (change.changed, "edited"),
    ):
        if count:
            said.append(f"{count} {word}")
    seen = [touched]
    if said:
        said[-1] += f", of {before.records}"
    if before.answer_length and after.answer_length:
        ratio = after.answer_length / before.answer_length
        if not math.isclose(ratio, 1, rel_tol=0.02):
            said.append(f"answers {ratio:.2f} times as long")
            seen.append(min(1.0, abs(math.log2(ratio))))
    if None not in (before.duplicates, after.duplicates) and before.records and after.records:
        shares = [(one.duplicates or 0) / one.records for one in (before, after)]
        if shares[0] != shares[1]:
            said.append(f"repeats {shares[0]:.0%} to {shares[1]:.0%}")
            seen.append(abs(shares[1] - shares[0]))
    return Cause("own data", max(seen), "records: " + ", ".join(said) if said else "unchanged")


def _whole(data: Mapping[str, TypeChange]) -> tuple[float, float]:
    sides = ([one.before for one in data.values()], [one.after for one in data.values()])
    before, after = (sum(one.tokens for one in side if one) for side in sides)
    return before, after


def _share(change: TypeChange | None, whole: tuple[float, float]) -> Cause:
    """Share: full strength where it halved or doubled; nothing below a tenth."""
    if change is None or not (change.before or change.after):
        return Cause("share", 0.0, "it had no training data in either run")
    shares, unit = [], "loss"
    sides = (change.before, change.after)
    if any(one is not None and one.loss_share is None for one in sides):
        unit = "tokens"
    for one, total in zip(sides, whole, strict=True):
        if one is None:
            shares.append(0.0)
        else:
            shares.append(one.loss_share if unit == "loss" else one.tokens / (total or 1))  # type: ignore[arg-type]
    before, after = shares
    said = f"{before:.1%} of the {unit}, then {after:.1%}"
    if before == after:
        return Cause("share", 0.0, said)
    if not (before and after):
        return Cause("share", 1.0, said)
    strength = abs(math.log2(after / before))
    return Cause("share", min(1.0, strength) if strength > math.log2(1.1) else 0.0, said)


def _setting(before: Mapping[str, Any], after: Mapping[str, Any], moved_share: float) -> Cause:
    """A setting acts on all: as strong as the share of the task types that moved."""
    absent = "unset"
    changed = [
        f"{name} {before.get(name, absent)} to {after.get(name, absent)}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name, absent) != after.get(name, absent)
    ]
    if not changed:
        return Cause("setting", 0.0, "none changed")
    said = f"{'; '.join(changed)}; {moved_share:.0%} of the task types moved"
    return Cause("setting", moved_share, said)


def _noise(leaf: Node) -> Cause:
    """Noise: the least chance of it that the p value allows, if it was as likely as not before.

    ``1 / (1 - 1 / (e p ln p))`` for p below 1/e (Sellke, Bayarri and Berger 2001, equation 3).
    """
    p = leaf.p_adjusted
    if p >= 1 / math.e:
        strength = 1.0
    else:
        strength = 0.0 if p == 0 else 1 / (1 - 1 / (math.e * p * math.log(p)))
    return Cause("noise", strength, f"p {p:.2g} after correction, {leaf.prompts} prompts")


def summary(explanations: Sequence[Explanation]) -> list[str]:
    """Say each task type's likeliest cause in a line."""
    return [
        f"{one.task_type}: {one.causes[0].kind} ({one.causes[0].evidence})" for one in explanations
    ]

"""How often answers to one prompt pass: samples of the evaluation, and those of ``fluctuate``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from danlu.errors import DanluError
from danlu.evaluation.directory import EvalDirectory, find_evaluations
from danlu.evaluation.fluctuation import PASS_SHARE
from danlu.evaluation.schema import Evaluation
from danlu.evaluation.statistics import pass_at_k

KS = (1, 5, 10)
FLUCTUATE = "fluctuate-*"


@dataclass(frozen=True)
class Passing:
    """Samples of one version for one prompt.

    Attributes:
        drawn: That have a score.
        passed: How many passed.
        is_fresh: Whether they were asked again, by ``danlu fluctuate``.
    """

    drawn: int
    passed: int
    is_fresh: bool

    def at(self) -> list[tuple[int, float]]:
        """Return pass@k for each k that there are samples for."""
        return [(k, float(pass_at_k(self.drawn, self.passed, k))) for k in KS if k <= self.drawn]


def passing(
    directory: EvalDirectory, of: Evaluation, folder: Path, letter: str, prompts: Collection[str]
) -> Mapping[str, Passing]:
    """Say of each prompt how often it was passed; fresh samples go before those that selected it.

    Args:
        directory: The evaluation.
        of: What it says of itself.
        folder: Of evaluations, in which ``danlu fluctuate`` has its own.
        letter: ``a`` or ``b``, as the version is called there.
        prompts: Their ids.
    """
    found: dict[str, Passing] = {}
    if of.samples > 1:
        found |= _counted(directory, of, prompts, is_fresh=False)
    for again in _again(of, folder, letter):
        found |= _counted(again, again.evaluation(), prompts, is_fresh=True)
    return found


def _again(of: Evaluation, folder: Path, letter: str) -> Sequence[EvalDirectory]:
    """Return where a version was asked its suite again, the earliest first."""
    found = []
    for place in folder.glob(FLUCTUATE):
        for one in find_evaluations(place):
            try:
                told = one.evaluation()
            except DanluError:
                continue  # of one that was only just begun
            is_mine = told.suite == f"{of.suite} again ({letter.upper()})"
            if is_mine and told.model.fingerprint == of.model.fingerprint:
                found.append((told.started_at, one))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _counted(
    directory: EvalDirectory, of: Evaluation, prompts: Collection[str], *, is_fresh: bool
) -> dict[str, Passing]:
    passed: dict[str, list[bool]] = defaultdict(list)
    for row in directory.scores():
        stakes = of.task_types[row.task_type]
        if row.item not in prompts or row.scorer != stakes.scorer or row.value is None:
            continue
        share = (row.value - stakes.low) / ((stakes.high - stakes.low) or 1.0)
        passed[row.item].append(share >= PASS_SHARE)
    return {
        item: Passing(len(rows), sum(rows), is_fresh)
        for item, rows in passed.items()
        if len(rows) > 1
    }

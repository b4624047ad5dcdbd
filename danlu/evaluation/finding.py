"""Which evaluations are meant: a folder of one, or the run or model that was asked."""

from __future__ import annotations

import shlex
from pathlib import Path

from danlu.errors import EvaluationError, nearest
from danlu.evaluation.directory import EvalDirectory, find_evaluations
from danlu.evaluation.suites import shipped_suites
from danlu.runs import RunDirectory

SUITE = "SUITE"
EVALS = Path("evals")
"""Where ``danlu eval`` keeps evaluations."""


def find_pair(
    a: str, b: str, *, suite: str | None = None, evals: Path = EVALS
) -> tuple[EvalDirectory, EvalDirectory]:
    """Find the evaluations of two versions, of one suite.

    Args:
        a: The earlier: an evaluation folder; or a run or model, whose newest finished evaluation
            of the suite is taken.
        b: The later.
        suite: Its name; None: the one suite that both have been asked.
        evals: The folder of evaluations.

    Raises:
        EvaluationError: If one is missing (with the command that makes it), not finished, or the
            suites differ or are several.
    """
    sides = [_candidates(one, suite, evals) for one in (a, b)]
    common = sorted(set(sides[0]) & set(sides[1]))
    if not common:
        asked = [", ".join(sorted(side)) for side in sides]
        raise EvaluationError(
            f"{a} was asked {asked[0]}, {b} was asked {asked[1]}: there is no suite to compare "
            f"them on. {_command(sorted(sides[0])[0], b)} makes it so."
        )
    if len(common) > 1:
        raise EvaluationError(
            f"both were asked {', '.join(common)}; say which by --suite {common[0]}."
        )
    return sides[0][common[0]], sides[1][common[0]]


def find_evaluation(which: str, *, suite: str | None = None, evals: Path = EVALS) -> EvalDirectory:
    """Find one version's evaluation; see ``find_pair``."""
    found = _candidates(which, suite, evals)
    if len(found) > 1:
        raise EvaluationError(
            f"was asked {', '.join(sorted(found))}; say which by --suite.", where=which
        )
    return next(iter(found.values()))


def run_of(directory: EvalDirectory) -> RunDirectory | None:
    """Return the run that the model of an evaluation comes from; None if there is none here."""
    model = directory.evaluation().model
    for name in (model.run, model.name):
        for folder in (Path(), directory.path.resolve().parent.parent):
            if name and (run := RunDirectory(folder / name)).is_run():
                return run
    return None


def _candidates(which: str, suite: str | None, evals: Path) -> dict[str, EvalDirectory]:
    """Return the evaluations that a user may mean, by suite: the newest finished one of each."""
    folder = Path(which)
    if (folder / "eval.json").is_file():
        found = EvalDirectory.open(folder)
        asked = found.evaluation().suite
        if suite is not None and asked != suite:
            raise EvaluationError(f"is of the suite {asked}, not of {suite}.", where=which)
        return {asked: _finished(found)}
    everything = find_evaluations(evals)
    for one in everything:
        if one.name == which and suite in (None, one.evaluation().suite):
            return _candidates(str(one.path), suite, evals)
    mine = [one for one in everything if _asks(one, which)]
    if suite is not None:
        mine = [one for one in mine if one.evaluation().suite == suite]
    if not mine:
        raise _missing(which, suite, everything)
    done = [one for one in mine if one.state() == "finished"]
    if not done:
        _finished(mine[0])
    done.sort(key=lambda one: one.evaluation().started_at)
    return {one.evaluation().suite: one for one in done}


def _asks(directory: EvalDirectory, which: str) -> bool:
    """Whether an evaluation asked this run or model."""
    model = directory.evaluation().model
    names = [name for name in (model.name, model.run) if name]
    if which in names:
        return True
    place = Path(which)
    return place.exists() and any(Path(name).resolve() == place.resolve() for name in names)


def _finished(directory: EvalDirectory) -> EvalDirectory:
    state = directory.state()
    if state != "finished":
        of = directory.evaluation()
        remedy = "wait for it"
        if state != "running":
            remedy = f"the same command goes on with it: {_command(of.suite, of.model.name)}"
        raise EvaluationError(f"this evaluation is {state}; {remedy}.", where=str(directory.path))
    return directory


def _missing(which: str, suite: str | None, known: list[EvalDirectory]) -> EvaluationError:
    model = RunDirectory(Path(which)).is_run() or Path(which).is_dir() or ":" in which
    what = f"has not been asked {suite or 'any suite'} yet"
    if not model:
        names = {one.name for one in known} | {one.evaluation().model.name for one in known}
        match = nearest(which, names)
        meant = f" Did you mean {match}?" if match else ""
        what = f"is no evaluation, run or model that is known here.{meant} If it is a model"
    return EvaluationError(f"{what}: {_command(suite or SUITE, which)}", where=which)


def _command(suite: str, model: str) -> str:
    """Return what makes the evaluation; of a suite that does not ship its place is not known."""
    where = "" if suite in (SUITE, *shipped_suites()) else f" (SUITE: folder or file of {suite})"
    named = SUITE if where else suite
    return f"danlu eval {named} --model {shlex.quote(model)}{where}"

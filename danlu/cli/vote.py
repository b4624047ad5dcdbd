"""``danlu vote``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.judge import Evaluations, StorePlace, TaskTypes
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.evaluation.directory import EvalDirectory
    from danlu.evaluation.store.database import EvalStore
    from danlu.evaluation.voting.ballots import Ballot, Paired
    from danlu.evaluation.voting.results import Voter

EPILOG = """\b
Examples:
  danlu vote evals/old evals/new
  danlu vote evals/new --task-type 'writing/*'
  danlu vote evals/old evals/new --results

Two evaluations: which answer is better, blind, the sides drawn. One: usable or not, which sets a
judge right (danlu judge). One key each: 1 left, 2 right, t tie, b both bad, s skip, u undo, q quit;
of one answer y and n. Every verdict is kept at once; run it again to go on. Without a terminal,
keys are read from standard input, one a line.
"""


def vote(
    evaluations: Evaluations,
    results: Annotated[
        bool, typer.Option("--results", help="Show what came of the votes, and do not vote.")
    ] = False,
    voter: Annotated[
        str | None, typer.Option(help="Who votes; else the name of this account.")
    ] = None,
    task_type: TaskTypes = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many ballots.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other sides.")] = 0,
    no_reference: Annotated[
        bool, typer.Option("--no-reference", help="Show no reference answers.")
    ] = False,
    store: StorePlace = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --results: one object.")] = False,
) -> None:
    """Let a person judge answers, blind, with single keys."""
    if as_json and not results:
        raise typer.BadParameter("--json goes with --results", param_hint="--json")
    if len(evaluations) > 2:
        raise typer.BadParameter("one evaluation, or two to compare", param_hint="EVAL")
    from danlu.cli.eval.common import opened as evaluation
    from danlu.evaluation.store.database import EvalStore
    from danlu.evaluation.store.index import index
    from danlu.evaluation.voting.ballots import pair_ballots, paired, single_ballots

    found = [evaluation(place) for place in evaluations]
    sources = [str(one.path.resolve()) for one in found]
    patterns = task_type or []
    pairs = paired(found[0], found[1], patterns) if len(found) == 2 else []
    if len(found) == 2:
        ballots = pair_ballots(pairs, sources, seed)
    else:
        ballots = single_ballots(found[0], patterns)
    with EvalStore(store) as kept:
        index(kept, found)
        if results:
            _tell(kept, found, pairs, ballots, as_json)
        else:
            _vote(kept, voter or _account(), ballots[:limit], pairs, reference=not no_reference)


def _vote(
    store: EvalStore, voter: str, ballots: list[Ballot], pairs: list[Paired], *, reference: bool
) -> None:
    from rich.console import Console

    from danlu.evaluation.voting.keys import single_keys
    from danlu.evaluation.voting.sitting import Sitting
    from danlu.evaluation.voting.terminal import hold

    if equal := sum(one.a == one.b for one in pairs):
        note(f"{equal} of {len(pairs)} pairs have equal answers and need no vote")
    sitting = Sitting(store, voter, ballots)
    with single_keys() as read:
        hold(sitting, Console(), read, reference=reference)
    left = sitting.total - sitting.done
    end = f"{left} are left: the same command goes on" if left else "all are decided"
    note(f"{voter}: {sitting.done} of {sitting.total} ballots; {end}. --results shows the results.")


def _tell(
    store: EvalStore,
    found: list[EvalDirectory],
    pairs: list[Paired],
    ballots: list[Ballot],
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from danlu.evaluation.store.votes import votes
    from danlu.evaluation.voting import results

    subjects = {one.subject: one.item.task_type for one in ballots}
    cast = [one for one in votes(store) if one.subject in subjects]
    labels = (
        results.pair_labels(pairs, cast)
        if len(found) == 2
        else results.single_labels(subjects.keys(), cast)
    )
    people, agreed = results.voters(cast, labels), results.agreements(labels, subjects)
    outcomes: Any = (
        results.pair_outcomes(pairs, labels)
        if len(found) == 2
        else results.single_outcomes(ballots, labels)
    )
    if as_json:
        result_json(
            {
                "evaluations": [str(one.path) for one in found],
                "outcomes": {name or "all": asdict(of) for name, of in outcomes.items()},
                "voters": [asdict(one) for one in people],
                "agreement": {
                    name or "all": asdict(of)
                    | {"cohen": [[*key, *of.cohen[key]] for key in of.cohen]}
                    for name, of in agreed.items()
                },
            }
        )
        return
    if not cast:
        note("nobody has voted on these answers yet")
        return
    if len(found) == 2:
        equal = sum(one.a == one.b for one in pairs)
        note(f"A: {found[0].path}, B: {found[1].path}; {equal} pairs of equal answers left out")
    _tables(outcomes, people, agreed, in_pairs=len(found) == 2)


def _tables(outcomes: Any, people: Sequence[Voter], agreed: Any, *, in_pairs: bool) -> None:
    from danlu.evaluation.judging.show import PAIR_COLUMNS, pair_cells
    from danlu.evaluation.voting import show

    if in_pairs:
        table(PAIR_COLUMNS, pair_cells(outcomes), right=PAIR_COLUMNS[1:])
    else:
        table(show.USABLE_COLUMNS, show.usable_cells(outcomes), right=show.USABLE_COLUMNS[1:])
    table(show.VOTER_COLUMNS, show.voter_cells(people), right=show.VOTER_COLUMNS[1:])
    if len(people) > 1:
        table(show.AGREEMENT_COLUMNS, show.agreement_cells(agreed), right=("kappa", "ballots"))
    for line in show.contrary_lines(people):
        note(line)


def _account() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no account of this number: a container
        return os.environ.get("HOSTNAME", "")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("vote", epilog=EPILOG)(vote)

"""``danlu judge``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.asking import Asked, opened, with_model
from danlu.cli.options import AsJson
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.evaluation.directory import EvalDirectory
    from danlu.evaluation.judging.asking import Judge
    from danlu.evaluation.judging.plan import Plan
    from danlu.evaluation.store.database import EvalStore
    from danlu.workshop.produce.engine import Engine

EPILOG = """\b
Examples:
  danlu judge evals/new -m strong --url http://localhost:8000/v1
  danlu judge evals/old evals/new -m strong --url http://localhost:8000/v1
  danlu judge evals/new -m runs/my-judge --plan plan.yaml --repeats 3 --labels labels.jsonl

One evaluation: a score per dimension, and usable or not, are added to its scores. Two: which answer
is better, asked in both orders. Replies are kept as they come: a command that was stopped goes on
where it was when it is run again. What a judge is worth, and how to set it right: docs/judging.md.
"""
REPEATED_TEMPERATURE = 0.7
StorePlace = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="File or URL of votes and judgements; else $DANLU_STORE, else evals/store.sqlite.",
    ),
]
TaskTypes = Annotated[
    list[str] | None,
    typer.Option("--task-type", help="Only these, such as 'writing/*'; again for more."),
]
Evaluations = Annotated[
    list[Path], typer.Argument(metavar="EVAL [EVAL]", help="Folders of one or two evaluations.")
]


@with_model
def judge(
    evaluations: Evaluations,
    asked: Asked,
    plan: Annotated[
        Path | None,
        typer.Option(help="YAML: dimensions and what is usable, laid over the shipped plan."),
    ] = None,
    task_type: TaskTypes = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="How often each question is asked, with other seeds.")
    ] = 1,
    reasks: Annotated[
        int, typer.Option(min=0, help="How often an unreadable reply is asked for again.")
    ] = 2,
    without_reference: Annotated[
        bool, typer.Option("--without-reference", help="Show the judge no reference answers.")
    ] = False,
    labels: Annotated[
        Path | None, typer.Option(help="JSONL of people's labels, beside their votes.")
    ] = None,
    store: StorePlace = None,
    as_json: AsJson = False,
) -> None:
    """Let a model judge answers, or compare those of two."""
    from danlu.cli.eval.common import opened as evaluation
    from danlu.evaluation.judging.asking import PROMPTS, Judge
    from danlu.evaluation.judging.plan import load_plan
    from danlu.evaluation.store.database import EvalStore
    from danlu.workshop.produce.prompts import Prompts

    found = [evaluation(place) for place in evaluations]
    if len(found) > 2:
        raise typer.BadParameter("one evaluation, or two to compare", param_hint="EVAL")
    if labels is not None and len(found) == 2:
        raise typer.BadParameter(
            "labels are of one evaluation; pairs are calibrated by votes", param_hint="--labels"
        )
    rules = load_plan(plan)
    sampling = asked.sampling(0.0 if repeats == 1 else REPEATED_TEMPERATURE)
    prompts = Prompts(asked.prompts, shipped=PROMPTS)
    folder = found[0].path.resolve().parent
    with EvalStore(store) as kept, opened(asked, folder, "judging") as engine:
        judging = Judge(engine, sampling, repeats, reasks, prompts, without_reference)
        if len(found) == 1:
            _one(found[0], judging, rules, task_type or [], labels, asked, kept, engine, as_json)
        else:
            _two(found, judging, rules, task_type or [], asked, kept, engine, as_json)


def _one(
    directory: EvalDirectory,
    judging: Judge,
    rules: Plan,
    patterns: list[str],
    labels: Path | None,
    asked: Asked,
    store: EvalStore,
    engine: Engine,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from danlu.evaluation.judging.run import figures, judge_evaluation, judgements_of, setup_of
    from danlu.evaluation.judging.show import SCORE_COLUMNS, score_cells, score_remarks
    from danlu.evaluation.store import index, judgements
    from danlu.evaluation.store.votes import votes
    from danlu.evaluation.voting.labels import Labels, read_labels, voted_usable

    people = read_labels(labels) if labels else Labels()
    rows = judge_evaluation(directory, judging, rules, patterns)
    people.usable = voted_usable(directory, votes(store)) | people.usable
    setup = setup_of(judging, rules)
    judgements.keep(store, judgements_of(directory, rows, engine.model.name, setup))
    index.index(store, [directory])
    if asked.rejects:
        _write_rejects(asked.rejects, [row.model_dump() for row in rows if row.failure])
    found = figures(directory, rows, people)
    if as_json:
        result_json(
            {
                "evaluation": str(directory.path),
                "judge": engine.model.name,
                "setup": setup,
                "spent": _spent(engine),
                "task_types": {name or "all": asdict(of) for name, of in found.items()},
            }
        )
        return
    table(SCORE_COLUMNS, score_cells(found), right=SCORE_COLUMNS[1:4])
    for line in score_remarks(found):
        note(line)
    note(f"{len(rows)} scores are in {directory.path / 'scores.jsonl'}")


def _two(
    found: list[EvalDirectory],
    judging: Judge,
    rules: Plan,
    patterns: list[str],
    asked: Asked,
    store: EvalStore,
    engine: Engine,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from danlu.evaluation.judging.run import judge_two, pair_judgements_of, setup_of
    from danlu.evaluation.judging.show import PAIR_COLUMNS, pair_cells, pair_remarks
    from danlu.evaluation.store import index, judgements
    from danlu.evaluation.store.votes import votes
    from danlu.evaluation.voting.ballots import paired
    from danlu.evaluation.voting.labels import voted_wins

    a, b = found
    people = voted_wins(paired(a, b, patterns), votes(store))
    figures = judge_two(a, b, judging, rules, patterns, people)
    setup = setup_of(judging, rules)
    rows = pair_judgements_of(a, b, figures.pairs, engine.model.name, setup)
    judgements.keep(store, rows)
    index.index(store, found)
    if asked.rejects:
        _write_rejects(asked.rejects, [asdict(one) for one in figures.pairs if one.failure])
    if as_json:
        result_json(
            {
                "a": str(a.path),
                "b": str(b.path),
                "judge": engine.model.name,
                "setup": setup,
                "spent": _spent(engine),
                "outcomes": {name or "all": asdict(of) for name, of in figures.outcomes.items()},
                "bias": asdict(figures.bias),
                "calibrated": asdict(figures.calibrated) if figures.calibrated else None,
                "pairs": [asdict(one) for one in figures.pairs],
            }
        )
        return
    note(f"A: {a.path}, B: {b.path}")
    table(PAIR_COLUMNS, pair_cells(figures.outcomes), right=PAIR_COLUMNS[1:])
    for line in pair_remarks(figures):
        note(line)


def _spent(engine: Engine) -> dict[str, Any]:
    purse = engine.purse
    return {
        "prompt_tokens": purse.prompt_tokens,
        "completion_tokens": purse.completion_tokens,
        "money": purse.money,
    }


def _write_rejects(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write what could not be judged, with its reason, one JSON object a line."""
    import json

    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows), "utf-8"
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("judge", epilog=EPILOG)(judge)

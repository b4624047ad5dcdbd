"""``danlu data check``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.common import (
    AsJson,
    Name,
    Ray,
    StorePath,
    apply_and_tell,
    executor_on,
    open_store,
    progress_bar,
)
from danlu.cli.options import OwnTemplate
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.workshop.checks import Check, Context, Finding, Verdict
    from danlu.workshop.execution.executor import Executor

EPILOG = """\b
Examples:
  danlu data check mine
  danlu data check mine --model ./base sequences.max_length=1024 --findings findings.jsonl
  danlu data check my.jsonl --only monotony --only lengths monotony.opening_share=0.2
  danlu data check mine --evaluation eval.jsonl --drop leakage --drop mojibake --name clean
  danlu data check mine --tag lengths.no_ending own.file=my_checks.py --name marked
  danlu data check --list

KEY=VALUE is a setting of a check, as --list shows them, or one of the recipe's sequences. What each
check finds, its limits, their sources and remedies: docs/checks.md.
"""


def check(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA... [KEY=VALUE...]", help="Datasets by name or id, or files; settings."
        ),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="List all checks with their rules and settings.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="Run this check; again for more.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Leave this check out.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Whose tokens are counted; weights are not needed."),
    ] = None,
    template: OwnTemplate = None,
    evaluation: Annotated[
        list[str] | None, typer.Option(help="Data that training must not hold.", metavar="DATA")
    ] = None,
    taxonomy: Annotated[
        Path | None, typer.Option(help="YAML file of task types; else the dataset's own.")
    ] = None,
    schemas: Annotated[
        Path | None, typer.Option(help="JSON file: a JSON Schema per task type.")
    ] = None,
    findings: Annotated[
        Path | None, typer.Option(help="Write every finding there, one JSON object a line.")
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Make a version without the records that have it."),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Make a version where such records are tagged."),
    ] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show every verdict, not only what needs a look.")
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that look at records; else as many as are worth it."),
    ] = None,
    ray: Ray = None,
    name: Name = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Check data by task type: findings per record, and what to do about them."""
    from danlu.workshop.checks import CheckRecords

    checks, sequences, named = _parsed(data or (), only or (), skip or ())
    if listing:
        _list(checks, as_json)
        return
    if not named:
        raise typer.BadParameter("name the data to check, or --list")
    context = _context(named, store, model, template, sequences, evaluation, taxonomy, schemas)
    executor = _executor(processes, ray, checks, context, named, store)
    # A version that is there already is not made again; findings that are asked for are.
    if findings or not (drop or tag):
        verdicts, counts = _run(checks, context, named, store, executor, findings)
    if drop or tag:
        rules = tuple(drop or ()), tuple(tag or ())
        operation = CheckRecords(checks, *rules, context, executor)
        apply_and_tell(operation, named, store=store, name=name, as_json=as_json)
    else:
        _tell(verdicts, counts, as_json, show_all)


def _parsed(
    words: Sequence[str], only: Sequence[str], skip: Sequence[str]
) -> tuple[tuple[Check, ...], list[str], list[str]]:
    """Return the checks with their settings, the recipe's settings, and the data."""
    from danlu.workshop.checks import CHECKS, choose, configure

    settings = dict(word.split("=", 1) for word in words if _is_setting(word))
    own = {key: value for key, value in settings.items() if not key.startswith("sequences.")}
    sequences = [f"{key}={value}" for key, value in settings.items() if key not in own]
    checks = choose(configure(CHECKS, own), only, skip)
    return tuple(checks), sequences, [word for word in words if not _is_setting(word)]


def _is_setting(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return bool(equals) and "." in key and key.replace(".", "").replace("_", "").isalnum()


def _context(
    data: Sequence[str],
    store: Path | None,
    model: str | None,
    template: str | None,
    sequences: Sequence[str],
    evaluation: Sequence[str] | None,
    taxonomy: Path | None,
    schemas: Path | None,
) -> Context:
    """Gather what checks are told besides the records."""
    from danlu.config import make_recipe
    from danlu.workshop.checks import Context
    from danlu.workshop.data import named_version, records_of
    from danlu.workshop.taxonomy import Taxonomy

    opened = open_store(store)
    tokenizer = loaded = None
    recipe = make_recipe(
        {"name": "check", "model": {"path": model or "none"}, "data": {"train": list(data)}},
        sequences,
        name="command line",
    )
    if model is not None:
        from danlu.models.load import load_tokenizer
        from danlu.sequences import ChatTemplate

        tokenizer = load_tokenizer(model)
        loaded = ChatTemplate.load(tokenizer, template)
    known = Taxonomy.load(taxonomy) if taxonomy else None
    if known is None and (version := named_version(opened, data[0])):
        known = version.taxonomy
    skills = known.skills if known else {}
    return Context(
        closed_labels={one: skill.closed_labels for one, skill in skills.items()},
        schemas=_read_schemas(schemas) if schemas else {},
        tokenizer=tokenizer,
        template=loaded,
        sequences=recipe.sequences,
        evaluation=list(records_of(opened, evaluation)) if evaluation else (),
    )


def _read_schemas(path: Path) -> dict[str, Any]:
    from danlu.errors import DanluError

    try:
        schemas = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DanluError(f"the schemas cannot be read: {error}.", where=str(path)) from error
    if not isinstance(schemas, dict) or not all(isinstance(one, dict) for one in schemas.values()):
        raise DanluError("must be a JSON object: a schema for each task type.", where=str(path))
    return schemas


@contextmanager
def _writing(path: Path | None) -> Iterator[Any]:
    """Write findings to a file while the block lasts, or nowhere."""
    if path is None:
        yield lambda finding: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        yield lambda one: out.write(json.dumps(one.as_row(), ensure_ascii=False) + "\n")


def _executor(
    processes: int | None,
    ray: str | None,
    checks: Sequence[Check],
    context: Context,
    data: Sequence[str],
    store: Path | None,
) -> Executor:
    """Choose who looks at records: a Ray cluster, or as many processes as are worth it.

    A user's functions see all records in order, in this process; and a tokenizer takes all cores
    by itself.
    """
    from danlu.workshop.checks import OwnChecks
    from danlu.workshop.data import records_of
    from danlu.workshop.execution.executor import HERE
    from danlu.workshop.execution.processes import Processes, worth

    has_own = any(isinstance(check, OwnChecks) and check.file for check in checks)
    if has_own or context.tokenizer is not None:
        if ray or processes not in (None, 1):
            why = "own.file" if has_own else "--model"
            raise typer.BadParameter(f"with {why} one process looks at all records")
        return HERE
    if ray:
        return executor_on(ray)
    count = processes or worth(records_of(open_store(store), data).size_bytes())
    return HERE if count == 1 else Processes(count)


def _run(
    checks: Sequence[Check],
    context: Context,
    data: Sequence[str],
    store: Path | None,
    executor: Executor,
    findings: Path | None,
) -> tuple[list[Verdict], Counter[str]]:
    """Run the checks; return the verdicts, and how many findings each rule has."""
    from danlu.workshop.checks import run_checks
    from danlu.workshop.data import records_of

    counts: Counter[str] = Counter()
    with progress_bar() as progress, _writing(findings) as write:

        def take(finding: Finding) -> None:
            counts[finding.full_rule] += 1
            write(finding)

        records = records_of(open_store(store), data)
        verdicts = run_checks(
            records, checks, context, on_finding=take, progress=progress, executor=executor
        )
    if findings:
        note(f"{counts.total():,} findings in {findings}")
    return verdicts, counts


def _tell(verdicts: Sequence[Verdict], counts: Counter[str], as_json: bool, show_all: bool) -> None:
    """Print the verdicts: those that need a look, and how many others there are."""
    if as_json:
        result_json({"verdicts": [one.as_row() for one in verdicts], "findings": dict(counts)})
        return
    looked_at = [one for one in verdicts if show_all or one.state in ("fault", "attention")]
    if looked_at:
        columns = ("task type", "check", "verdict", "what to do")
        rows = [
            (one.task_type, one.check, one.state, one.advice or _figures(one)) for one in looked_at
        ]
        table(columns, rows)
    states = Counter(one.state for one in verdicts)
    told = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in states.items())
    note(f"{len(verdicts):,} verdicts: {told}")
    for advice in dict.fromkeys(
        f"{one.check}: {one.advice}" for one in verdicts if one.state == "not_run"
    ):
        note(f"not run: {advice}")


def _figures(verdict: Verdict) -> str:
    return ", ".join(f"{name} {value}" for name, value in verdict.figures.items())


def _list(checks: Sequence[Check], as_json: bool) -> None:
    """Print all checks, their rules and settings."""
    from dataclasses import asdict

    from danlu.workshop.checks import check_settings

    if as_json:
        result_json(
            [
                {
                    "name": one.name,
                    "finds": one.finds,
                    "rules": [asdict(rule) for rule in one.rules],
                    "settings": [setting._asdict() for setting in check_settings(one)],
                }
                for one in checks
            ]
        )
        return
    rules = [
        (f"{one.name}.{rule.name}", rule.level, rule.of.replace("_", " "), rule.finds)
        for one in checks
        for rule in one.rules
    ]
    table(("rule", "verdict", "of a", "finds"), rules)
    settings = [
        (f"{one.name}.{setting.name}", repr(setting.default), setting.meaning)
        for one in checks
        for setting in check_settings(one)
    ]
    table(("setting", "value", "meaning"), settings)


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("check", epilog=EPILOG)(check)

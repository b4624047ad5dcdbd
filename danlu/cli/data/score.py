"""``danlu data score``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Annotated, Any

import typer

from danlu.cli.data.common import AsJson, Data, StorePath, open_store, progress_bar
from danlu.cli.options import Device, Precision
from danlu.cli.output import note, result_json, table

if TYPE_CHECKING:
    from danlu.training.likelihood import Judge, Likelihood

EPILOG = """\b
Examples:
  danlu data score mine --model builtin:smollm2-135m-instruct -o scores.jsonl
  danlu data score mine --model runs/my-run --scores perplexity -o ppl.jsonl
  danlu data select mine --by difficulty --share 0.3 --scores scores.jsonl --most 1 -n hard

perplexity: of the answers, each given its prompt, as training sees them. ifd: instruction-following
difficulty, the answers' loss given their prompts over their loss alone (Li et al. 2023,
arXiv:2308.12032); near 1 the prompt hardly helps, above 1 it does harm. Compare scores within a
task type only. What was computed is kept in losses.sqlite of the store: a command that was stopped
goes on where it was, and records that stay the same cost nothing in the next version.
"""
SCORES = ("perplexity", "ifd")
CACHE = "losses.sqlite"
REASONS_SHOWN = 5


def score(
    data: Data,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A run, folder, GGUF, hub id or builtin:NAME.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="JSONL of id and scores, for danlu data select.")
    ],
    scores: Annotated[str, typer.Option(help="Which, with commas.")] = ",".join(SCORES),
    template: Annotated[
        str | None, typer.Option(help="A chat template in place of the model's own.")
    ] = None,
    max_length: Annotated[
        int, typer.Option(min=2, help="Longest prompt with answer, in tokens; others get no score.")
    ] = 2048,
    device: Device = "auto",
    precision: Precision = "auto",
    pack_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens computed at a time; else 1024, or 8192 (GPU).")
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Score records by a model's own loss: perplexity and instruction-following difficulty."""
    from danlu.config.recipe import SequencesSection
    from danlu.training.likelihood import Judge, likelihoods
    from danlu.training.loss_cache import LossCache
    from danlu.workshop.data import named_version, records_of

    wanted = _chosen(scores)
    opened = open_store(store)
    version = named_version(opened, data)
    total = len(version) if version else None
    judge = Judge.load(
        model, template=template, device=device, precision=precision, pack_tokens=pack_tokens
    )
    settings = SequencesSection(max_length=max_length)
    with progress_bar() as progress, LossCache(opened.path / CACHE) as cache:
        found = list(
            likelihoods(
                judge,
                records_of(opened, data),
                settings,
                alone="ifd" in wanted,
                cache=cache,
                told=lambda done: progress("score: records", done, total),
            )
        )
    _write(out, found, wanted)
    _tell(found, wanted, out, judge, as_json)


def _chosen(scores: str) -> tuple[str, ...]:
    from danlu.errors import did_you_mean

    names = tuple(dict.fromkeys(one.strip() for one in scores.split(",") if one.strip()))
    for name in names:
        if name not in SCORES:
            raise typer.BadParameter(f"no score {name!r}.{did_you_mean(name, SCORES)}")
    if not names:
        raise typer.BadParameter("name at least one of perplexity and ifd")
    return names


def _write(path: Path, found: Iterable[Likelihood], wanted: Sequence[str]) -> None:
    """Write the scores of all records that have each of them, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    growing = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with growing.open("w", encoding="utf-8") as file:
            for one in _scored(found, wanted):
                row: dict[str, Any] = {"id": one.id, "task_type": one.task_type}
                row |= {name: getattr(one, name) for name in wanted}
                if one.given:
                    row |= {"loss": one.loss, "tokens": one.given.tokens}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        growing.replace(path)
    finally:
        growing.unlink(missing_ok=True)


def _scored(found: Iterable[Likelihood], wanted: Sequence[str]) -> Iterator[Likelihood]:
    return (one for one in found if all(getattr(one, name) is not None for name in wanted))


def _tell(
    found: Sequence[Likelihood], wanted: Sequence[str], out: Path, judge: Judge, as_json: bool
) -> None:
    """Print quartiles per task type, and what has no score."""
    scored = {one.id for one in _scored(found, wanted)}
    missing = [one for one in found if one.id not in scored]
    rows: list[dict[str, Any]] = []
    for task_type in sorted({one.task_type for one in found}):
        own = [one for one in found if one.task_type == task_type]
        row: dict[str, Any] = {"task_type": task_type, "records": len(own)}
        row["scored"] = sum(one.id in scored for one in own)
        for name in wanted:
            values = sorted(getattr(one, name) for one in own if one.id in scored)
            row[name] = _quartiles(values)
        if "ifd" in wanted:
            row["ifd_above_1"] = sum((one.ifd or 0) > 1 for one in own if one.id in scored)
        rows.append(row)
    if as_json:
        reasons = {one.id: one.reason or "no score of that name" for one in missing}
        told = {"file": str(out), "model": judge.name, "notes": list(judge.notes)}
        result_json({**told, "task_types": rows, "without_score": reasons})
        return
    columns = ["task type", "records", "scored", *(f"{name} (quartiles)" for name in wanted)]
    columns += ["ifd above 1"] if "ifd" in wanted else []
    table(columns, [_cells(row, wanted) for row in rows], right=columns[1:])
    for text in judge.notes:
        note(text)
    for one in missing[:REASONS_SHOWN]:
        note(f"no score: {one.id}: {one.reason or 'a document has no prompt, so no ifd'}")
    if len(missing) > REASONS_SHOWN:
        note(f"no score: {len(missing) - REASONS_SHOWN:,} more (--json names all)")
    note(f"{len(scored):,} of {len(found):,} records scored: {out}")


def _quartiles(values: Sequence[float]) -> list[float] | None:
    if not values:
        return None
    found = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return [round(one, 4) for one in found]


def _cells(row: dict[str, Any], wanted: Sequence[str]) -> list[str]:
    cells = [row["task_type"], f"{row['records']:,}", f"{row['scored']:,}"]
    for name in wanted:
        digits = 3 if name == "ifd" else 2
        cells.append("  ".join(f"{one:,.{digits}f}" for one in row[name] or ()))
    return [*cells, f"{row['ifd_above_1']:,}"] if "ifd" in wanted else cells


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("score", epilog=EPILOG)(score)

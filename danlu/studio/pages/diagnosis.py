"""Diagnosis: the findings of all runs, and those of one with evidence and remedies."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from danlu.runs import RunDirectory
from danlu.runs.findings import Finding, read_alerts, read_probes
from danlu.studio.experiments import experiments, read
from danlu.studio.forms import read_form
from danlu.studio.found import FoundRow, rows_of
from danlu.studio.jobs.table import JobView
from danlu.studio.rendering import page, words_of
from danlu.studio.shared import shared

router = APIRouter(prefix="/diagnosis")
SEVERITIES = ("serious", "warning", "note")
PER_PAGE = 100
MOST_CASES, MOST_RECORDS, MOST_STEPS = 12, 40, 24
LONGEST_TEXT = 4000
MOST_JOBS = 100


@dataclass(frozen=True)
class Asked:
    """What of the findings is wanted.

    Attributes:
        run: A run's name, or a part of it.
        severity: One, or empty.
        task_type: One, or an area; empty for all.
        first: How many to pass over.
    """

    run: str = ""
    severity: str = ""
    task_type: str = ""
    first: int = 0

    def wants(self, row: FoundRow) -> bool:
        """Whether a finding fits."""
        of = row.task_type
        return (
            self.run.lower() in row.run.lower()
            and self.severity in ("", row.severity)
            and (self.task_type in ("", of) or of.startswith(f"{self.task_type}/"))
        )

    @property
    def filters(self) -> dict[str, str]:
        """In the address."""
        of = {"run": self.run, "severity": self.severity, "task_type": self.task_type}
        return {name: value for name, value in of.items() if value}


@router.get("")
def listing(request: Request) -> Response:
    """Show the findings of all runs, worst first; the filters are in the address."""
    given = request.query_params
    first = given.get("first", "")
    asked = Asked(
        given.get("run", ""),
        given.get("severity", ""),
        given.get("task_type", ""),
        int(first) if first.isdecimal() and len(first) < 16 else 0,
    )
    found = shared(request).found.all()
    rows = [row for row in found.rows if asked.wants(row)]
    part = request.headers.get("hx-target") == "found"
    return page(
        request,
        "diagnosis/rows.html" if part else "diagnosis/list.html",
        asked=asked,
        found=found,
        rows=rows[asked.first : asked.first + PER_PAGE],
        total=len(rows),
        counts={one: sum(row.severity == one for row in rows) for one in SEVERITIES},
        severities=SEVERITIES,
        task_types=sorted({row.task_type for row in found.rows} - {""}),
        per_page=PER_PAGE,
        results=[] if part else experiments(shared(request).workspace),
    )


@router.get("/result")
def result(request: Request) -> Response:
    """Show what a sweep, a scaling, a squeeze or a latency card has found."""
    own, asked = shared(request), request.query_params
    kind, path = asked.get("kind", ""), asked.get("path", "")
    found = read(own.workspace, kind, path, words_of(request))
    return page(
        request,
        "diagnosis/result.html",
        kind=kind,
        path_of=path,
        found=found,
        has_run=own.workspace.has_run,
    )


@router.get("/show/{name:path}")
def show(request: Request, name: str) -> Response:
    """Show what the probes found in a run, with evidence and remedies."""
    own = shared(request)
    run = own.workspace.run(name)
    reports = read_probes(run.path)
    by_place = {(one.probe, place): of for one in reports for place, of in enumerate(one.findings)}
    rows = sorted(rows_of(name, reports), key=lambda row: row.rank)
    return page(
        request,
        "diagnosis/show.html",
        name=name,
        state=run.state(),
        path=os.path.relpath(run.path, own.workspace.root),
        reports=reports,
        cards=[Card(row, by_place[row.probe, row.place]) for row in rows],
        alerts=read_alerts(run.path),
        job=_job(request, name),
        dataset=_dataset(request, run),
        cut=cut,
        most=(MOST_CASES, MOST_RECORDS, MOST_STEPS),
    )


@router.post("/start")
async def start(request: Request) -> Response:
    """Diagnose a run, as ``danlu diagnose RUN`` does; one that is under way is shown instead."""
    form = await read_form(request)
    own, name = shared(request), form["run"]
    run = own.workspace.run(name)
    job = _job(request, name)
    if job is None or job.state != "running":
        path = os.path.relpath(run.path, own.workspace.root)
        job = own.jobs.start("diagnose", ["diagnose", "run", path], run=name)
    return PlainTextResponse("", headers={"hx-redirect": f"/jobs/{job.job.id}"})


@dataclass(frozen=True)
class Card:
    """A finding as it is shown, with its place in its probe's report."""

    row: FoundRow
    finding: Finding


def value_text(value: Any) -> str:
    """Write a figure, a setting or a part of a case.

    Example:
        >>> value_text(0.99470970), value_text("<b>"), value_text([1, "丹"]), value_text(None)
        ('0.9947', '<b>', '[1, "丹"]', 'null')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def cut(value: Any) -> str:
    """Write a part of a case; a text that would make the page unwieldy is cut, and says so."""
    text = value_text(value)
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n… +{len(text) - LONGEST_TEXT:,}"


def _dataset(request: Request, run: RunDirectory) -> str:
    """Return the dataset version that has a run's records; empty if there is not just one here."""
    resolved, store = run.resolved(), shared(request).datasets.store
    known = [str(one.get("id", "")) for one in resolved.datasets] if resolved else []
    return known[0] if len(known) == 1 and store.has(known[0]) else ""


def _job(request: Request, name: str) -> JobView | None:
    """Return the latest diagnosis of a run that this studio started."""
    jobs = shared(request).jobs.all(MOST_JOBS)
    return next((one for one in jobs if one.job.kind == "diagnose" and one.job.run == name), None)

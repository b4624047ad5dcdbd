"""Checks of a version: started as a job, verdicts per task type, findings that lead to records."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from danlu.studio.check_index import FINDINGS, CheckIndex
from danlu.studio.check_words import CheckWords
from danlu.studio.forms import read_form
from danlu.studio.jobs.table import JobView
from danlu.studio.pages.data_tokens import models_of
from danlu.studio.rendering import page, words_of
from danlu.studio.shared import shared
from danlu.studio.tokens import whose
from danlu.workshop.checks.check import STATES
from danlu.workshop.store.version import Version

router = APIRouter()
LOOKED_AT = ("fault", "attention")
MOST_JOBS = 100


@dataclass(frozen=True)
class CheckRow:
    """What one check says of one task type.

    Attributes:
        task_type: Which one.
        check: Name of the check.
        state: The verdict.
        rules: Rules that have found something, each with how often.
        says: What to do, or what was measured.
    """

    task_type: str
    check: str
    state: str
    rules: Sequence[tuple[str, int]]
    says: str


@router.get("/checks/{given}")
def checks(request: Request, given: str) -> Response:
    """Show the verdicts of the latest check, or how far it is."""
    own = shared(request)
    version = own.datasets.store.find(given)
    job = job_of(request, version)
    is_read = True
    if job is not None and job.state == "done":
        is_read = own.datasets.take_check(version, job.folder)
    found = own.datasets.checked(version)
    task_type = request.query_params.get("task_type", "")
    rows = rows_of(found[1], CheckWords(words_of(request).language)) if found else []
    shown = [row for row in rows if task_type in ("", row.task_type)]
    names = sorted(own.datasets.store.names.all())
    part = request.headers.get("hx-target") == "checks"
    return page(
        request,
        "data/check_rows.html" if part else "data/checks.html",
        given=given,
        version=version,
        of=found[0] if found else None,
        job=job,
        is_waiting=(job is not None and job.state == "running") or not is_read,
        looked_at=[row for row in shown if row.state in LOOKED_AT],
        others=[row for row in shown if row.state not in LOOKED_AT],
        counts=Counter(row.state for row in shown),
        states=STATES,
        total=len(found[1]) if found else 0,
        task_types=sorted({row.task_type for row in rows}),
        task_type=task_type,
        models=models_of(request),
        names=names,
    )


@router.post("/check")
async def start(request: Request) -> Response:
    """Check a version, as ``danlu data check`` does; a check that is under way is shown instead."""
    form = await read_form(request)
    own = shared(request)
    given = form["version"]
    version = own.datasets.store.find(given)
    to = f"/data/checks/{quote(given)}"
    job = job_of(request, version)
    if job is None or job.state != "running":
        more = [f"--store={own.datasets.store.path}"]
        if form.get("model"):
            chosen = whose(own.workspace, form["model"])
            more.append(f"--model={_path(request, chosen.model, chosen.is_run)}")
        if form.get("evaluation"):
            more.append(f"--evaluation={own.datasets.store.find(form['evaluation']).id}")
        own.jobs.start(
            "check",
            lambda folder: [
                *("data", "check", version.id, *more),
                *(f"--findings={folder}/{FINDINGS}", "--json"),
            ],
            leads_to=to,
        )
    return PlainTextResponse("", headers={"hx-redirect": to})


def job_of(request: Request, version: Version) -> JobView | None:
    """Return the latest check of a version that a studio has started."""
    jobs = shared(request).jobs.all(MOST_JOBS)
    wanted = ("data", "check", version.id)
    return next((one for one in jobs if one.job.arguments[:3] == wanted), None)


def rows_of(index: CheckIndex, words: CheckWords) -> list[CheckRow]:
    """Return a row per verdict in the words of a language: worst first, then by task type."""
    by_type: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for (rule, task_type), count in index.counts().most_common():
        by_type.setdefault((rule.partition(".")[0], task_type), []).append((rule, count))
    rows = [
        CheckRow(
            one["task_type"],
            one["check"],
            one["state"],
            by_type.get((one["check"], one["task_type"]), ()),
            words.advice(one["check"], one["advice"])
            or words.figures(one["check"], one["figures"]),
        )
        for one in index.verdicts
    ]
    return sorted(rows, key=lambda row: (STATES.index(row.state), row.task_type))


def _path(request: Request, model: str, is_run: bool) -> str:
    return os.path.relpath(model, shared(request).workspace.root) if is_run else model

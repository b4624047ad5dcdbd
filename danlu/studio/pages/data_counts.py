"""Tokens of a version, counted by a job with the tokenizer of a run."""

from __future__ import annotations

import os
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from danlu.studio.forms import read_form
from danlu.studio.jobs.table import JobView
from danlu.studio.shared import shared
from danlu.studio.tokens import whose
from danlu.workshop.store.version import Version

router = APIRouter()
COMMAND = ("data", "stats")
MODEL = "--model="
MOST_JOBS = 100


@router.post("/count")
async def count(request: Request) -> Response:
    """Count the tokens of a version, as ``danlu data stats --model RUN`` does."""
    form = await read_form(request)
    own, given = shared(request), form["version"]
    version = own.datasets.store.find(given)
    chosen = whose(own.workspace, form["model"])
    model = os.path.relpath(chosen.model, own.workspace.root) if chosen.is_run else chosen.model
    to = f"/data/version/{quote(given)}"
    job = _job(request, version)
    if job is None or job.state != "running":
        own.jobs.start(
            "count",
            [
                *COMMAND,
                version.id,
                f"{MODEL}{model}",
                f"--store={own.datasets.store.path}",
                "--json",
            ],
            leads_to=to,
        )
    return PlainTextResponse("", headers={"hx-redirect": to})


def take(request: Request, version: Version) -> JobView | None:
    """Keep what the latest job has counted; return it unless it did well."""
    job = _job(request, version)
    if job is None or job.state != "done":
        return job
    model = next(one for one in job.job.arguments if one.startswith(MODEL)).removeprefix(MODEL)
    shared(request).datasets.take_counts(version, model, job.job.id, job.file("stdout.txt"))
    return None


def _job(request: Request, version: Version) -> JobView | None:
    jobs = shared(request).jobs.all(MOST_JOBS)
    wanted = (*COMMAND, version.id)
    return next((one for one in jobs if one.job.arguments[:3] == wanted), None)

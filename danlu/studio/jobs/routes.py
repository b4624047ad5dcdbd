"""The jobs' own pages: what runs, what it prints, and a stop."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from danlu.studio.forms import read_form
from danlu.studio.rendering import page
from danlu.studio.shared import shared

router = APIRouter(prefix="/jobs")
SHOWN = 100


@router.get("")
def listing(request: Request) -> Response:
    """Show the latest jobs."""
    own = shared(request).jobs
    return page(request, "jobs/list.html", jobs=own.all(SHOWN), faults=own.faults(SHOWN))


@router.get("/{name}")
def one(request: Request, name: str) -> Response:
    """Show a job; its page asks again as long as it runs."""
    return _show(request, name)


@router.post("/stop")
async def stop(request: Request) -> Response:
    """Ask a job to end."""
    form = await read_form(request)
    view = shared(request).jobs.stop(form["job"])
    return _show(request, view.job.id)


def _show(request: Request, name: str) -> Response:
    own = shared(request)
    view = own.jobs.get(name)
    run = view.job.run
    there = run is not None and own.workspace.has_run(run)
    part = request.headers.get("hx-target") == "job"
    return page(
        request,
        "jobs/part.html" if part else "jobs/show.html",
        view=view,
        run=run if there else None,
    )

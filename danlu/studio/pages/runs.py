"""Runs: the list, a run with its curves, settings side by side, notes, stop and resume."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from pydantic import ValidationError

from danlu.errors import DanluError, RunError
from danlu.runs import RunDirectory, wording
from danlu.runs.metric_words import METRICS
from danlu.runs.notes import read_notes, write_notes
from danlu.studio.curves import chart_data
from danlu.studio.forms import read_form
from danlu.studio.index import SORTS, STATES, Query
from danlu.studio.pages import runs_new
from danlu.studio.rendering import page, words_of
from danlu.studio.run_view import RunView, marks, setting_rows, view_run
from danlu.studio.shared import shared

router = APIRouter(prefix="/runs")
router.include_router(runs_new.router)
PER_PAGE = 100
MOST_OVERLAID = 12
POINTS, MOST_POINTS = 800, 4000
LOOK_S, QUIET_S = 0.5, 15.0


@router.get("")
def listing(request: Request) -> Response:
    """Show the list; its filters are in the address."""
    asked = request.query_params
    query = Query(
        text=asked.get("q", ""),
        state=asked.get("state", ""),
        tag=asked.get("tag", ""),
        task_type=asked.get("task_type", ""),
        sort=asked.get("sort", "started"),
        descending=asked.get("order", "desc") != "asc",
        first=_number(asked.get("first")) or 0,
        count=PER_PAGE,
    )
    index = shared(request).runs
    found = index.find(query)
    tags, task_types = index.words()
    part = request.headers.get("hx-target") == "runs"
    return page(
        request,
        "runs/rows.html" if part else "runs/list.html",
        found=found,
        query=query,
        tags=tags,
        task_types=task_types,
        states=STATES,
        sorts=SORTS,
        per_page=PER_PAGE,
    )


@router.get("/compare")
def compare(request: Request) -> Response:
    """Go to the first of the chosen runs, with the others laid over it."""
    names = request.query_params.getlist("run")
    if not names:
        return RedirectResponse("/runs", 303)
    query = urlencode([("with", name) for name in names[1:MOST_OVERLAID]])
    return RedirectResponse(f"/runs/show/{quote(names[0])}?{query}", 303)


@router.get("/names")
def names(request: Request) -> Response:
    """Return names of runs, to choose from."""
    found = shared(request).runs.find(Query(text=request.query_params.get("q", ""), count=30))
    return JSONResponse([row.name for row in found.rows])


@router.get("/show/{name:path}")
def show(request: Request, name: str) -> Response:
    """Show a run; others named by ``with`` are laid over its curves."""
    view = _view(request, name)
    names = [name, *_others(request, name)]
    runs = [_run(request, one) for one in names]
    objective = view.resolved.objective if view.resolved else "nll"
    found, words = marks(view.run), words_of(request)
    return page(
        request,
        "runs/show.html",
        view=view,
        names=names,
        notes=read_notes(view.run.path),
        marks=found,
        settings=setting_rows([run.resolved() for run in runs]),
        chart={
            "runs": names,
            "loss": words("runs.loss_nll")
            if objective == "nll"
            else words("runs.loss_of", objective=objective),
            "metrics": {
                name: words.meaning(f"metrics.{name}", wording.metric(name, objective).title)
                for name in {key.rpartition(".")[2] for key in METRICS}
            },
            "marks": [mark.for_chart() for mark in found],
        },
    )


@router.get("/status/{name:path}")
def status(request: Request, name: str) -> Response:
    """Show what changes while a run trains."""
    return page(request, "runs/status.html", view=_view(request, name))


@router.get("/curves")
def curves(request: Request) -> Response:
    """Return the curves of one or more runs over a range of steps."""
    asked = request.query_params
    own = shared(request)
    names = asked.getlist("run")[:MOST_OVERLAID]
    points = _number(asked.get("points")) or POINTS
    found = [(name, own.curves.of(_run(request, name).metrics_path)) for name in names]
    first, last = _number(asked.get("first")), _number(asked.get("last"))
    return JSONResponse(chart_data(found, first, last, min(points, MOST_POINTS)))


@router.get("/live")
async def live(request: Request) -> Response:
    """Say, as server-sent events, whenever files of runs have changed."""
    runs = [_run(request, name) for name in request.query_params.getlist("run")[:MOST_OVERLAID]]
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    events = _changes(request, [run.path for run in runs])
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


@router.post("/notes")
async def keep_notes(request: Request) -> Response:
    """Keep tags and a note beside the run."""
    form = await read_form(request)
    run = _run(request, form["run"])
    try:
        write_notes(run.path, tuple(form.get("tags").replace(",", " ").split()), form.get("note"))
    except ValidationError as error:
        raise DanluError(str(error.errors(include_url=False)[0]["msg"]), where="notes") from error
    return PlainTextResponse(words_of(request)("runs.kept"))


@router.post("/stop")
async def stop(request: Request) -> Response:
    """Stop a run that this studio trains, at the end of its step."""
    form = await read_form(request)
    name = form["run"]
    job = shared(request).jobs.of_run(name)
    if job is None or job.state != "running":
        raise RunError(words_of(request)("runs.not_ours"), where=name)
    shared(request).jobs.stop(job.job.id)
    return await asyncio.to_thread(status, request, name)


@router.post("/resume")
async def resume(request: Request) -> Response:
    """Go on with a run from its last checkpoint."""
    form = await read_form(request)
    own, name = shared(request), form["run"]
    run = _run(request, name)
    if run.state() in ("running", "finished"):
        raise RunError(words_of(request)("runs.no_resume"), where=name)
    recipe = os.path.relpath(run.recipe_path, own.workspace.root)
    job = own.jobs.start("resume", ["train", recipe, "--resume"], run=name)
    return PlainTextResponse("", headers={"hx-redirect": f"/jobs/{job.job.id}"})


# Inner -----------------------------------------------------------------------------------


def _run(request: Request, name: str) -> RunDirectory:
    return shared(request).workspace.run(name)


def _view(request: Request, name: str) -> RunView:
    own, run = shared(request), _run(request, name)
    return view_run(name, run, own.curves.of(run.metrics_path), own.jobs.of_run(name))


def _others(request: Request, name: str) -> list[str]:
    given = request.query_params.getlist("with")
    names = [one for one in dict.fromkeys(given) if one != name]
    return [one for one in names if shared(request).workspace.has_run(one)][: MOST_OVERLAID - 1]


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 16 else None


async def _changes(request: Request, runs: list[Path]) -> AsyncIterator[bytes]:
    known = {run: _files(run) for run in runs}
    quiet = 0.0
    yield b"retry: 2000\n\n"
    while not request.app.state.closing and not await request.is_disconnected():
        now = {run: _files(run) for run in runs}
        changed = [run.name for run in runs if now[run] != known[run]]
        known = now
        if changed:
            quiet = 0.0
            yield f"event: change\ndata: {json.dumps(changed)}\n\n".encode()
        elif quiet >= QUIET_S:
            quiet = 0.0
            yield b": still here\n\n"
        quiet += LOOK_S
        await asyncio.sleep(LOOK_S)


def _files(run: Path) -> tuple[tuple[int, int], ...]:
    """Return what changes when the files that a page shows do."""
    return tuple(_stat(run / name) for name in ("metrics.jsonl", "status.json", "diagnosis"))


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)

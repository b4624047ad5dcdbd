"""Runs: the list, a run with its curves, settings side by side, and the start of a new one."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from danlu.studio.index import SORTS, STATES, Query, RunIndex
from danlu.studio.rendering import page

router = APIRouter(prefix="/runs")
PER_PAGE = 100


@router.get("")
def listing(request: Request) -> Response:
    """Show the list; its filters are in the address."""
    asked = request.query_params
    first = asked.get("first", "0")
    query = Query(
        text=asked.get("q", ""),
        state=asked.get("state", ""),
        tag=asked.get("tag", ""),
        task_type=asked.get("task_type", ""),
        sort=asked.get("sort", "started"),
        descending=asked.get("order", "desc") != "asc",
        first=int(first) if first.isdecimal() else 0,
        count=PER_PAGE,
    )
    index = index_of(request)
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


def index_of(request: Request) -> RunIndex:
    """Return the index of the studio's workspace; opened once."""
    state = request.app.state
    if not hasattr(state, "run_index"):
        state.run_index = RunIndex(state.workspace)
    index: RunIndex = state.run_index
    return index

"""Evaluation: what was asked of whom, task types × models, and the answers of two of them.

What compares is imported when it is first asked for, so that the studio starts at once.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from danlu.studio.data_view import line_of
from danlu.studio.rendering import page
from danlu.studio.shared import shared
from danlu.studio.workspace import NotThereError

router = APIRouter(prefix="/evaluation")
PER_PAGE = 20
SORTS = ("regression", "name")


@router.get("")
def listing(request: Request) -> Response:
    """Show a suite's matrix and the list of evaluations; all of it is in the address."""
    from danlu.studio import evaluations

    asked = request.query_params
    found = evaluations.read_list(shared(request).workspace)
    suites = found.suites()
    suite = asked.get("suite", "") or next((s for s in suites if found.finished(s)), "")
    finished = found.finished(suite)
    base = next((one for one in finished if one.name == asked.get("base")), None)
    base = base or (finished[0] if finished else None)
    others = [one for one in reversed(finished) if one is not base]
    wanted = asked.getlist("with")
    chosen = [one for one in others if one.name in wanted] or others[: evaluations.MOST_MODELS - 1]
    sort = asked.get("sort", "") if asked.get("sort") in SORTS else SORTS[0]
    task_type = asked.get("task_type", "")
    matrix = evaluations.matrix([base, *chosen], by_regression=sort == SORTS[0]) if base else None
    part = request.headers.get("hx-target") == "matrix"
    return page(
        request,
        "evaluation/matrix.html" if part else "evaluation/list.html",
        found=found,
        suites=suites,
        suite=suite,
        base=base,
        others=others,
        chosen=[one.name for one in chosen],
        matrix=matrix,
        rows=[row for row in matrix.rows if task_type.lower() in row.name.lower()]
        if matrix
        else [],
        task_type=task_type,
        sort=sort,
        sorts=SORTS,
    )


@router.get("/cases")
def cases(request: Request) -> Response:
    """Show prompts with the answers of two models; all of it is in the address."""
    from danlu.evaluation.pages import CLASSES, score, signed
    from danlu.studio import evaluations

    asked = request.query_params
    found = evaluations.read_list(shared(request).workspace)
    a, b = (found.find(asked.get(side, "")) for side in "ab")
    moved = asked.get("moved", "lost")
    moved = moved if moved in evaluations.MOVED else ""
    first = asked.get("first", "")
    start = int(first) if first.isdecimal() and len(first) < 16 else 0
    task_type, item = asked.get("task_type", ""), asked.get("item", "")
    shown = evaluations.cases(
        a, b, task_type=task_type, moved=moved, item=item, first=start, count=PER_PAGE
    )
    part = request.headers.get("hx-target") == "cases"
    return page(
        request,
        "evaluation/case_list.html" if part else "evaluation/cases.html",
        a=a,
        b=b,
        shown=shown,
        verdict=CLASSES[shown.node.verdict] if shown.node else "",
        difference=signed(shown.node.difference) if shown.node else "",
        score=score,
        task_types=sorted(a.of.task_types.keys() & b.of.task_types.keys()),
        task_type=task_type,
        moved=moved,
        kinds=evaluations.MOVED,
        item=item,
        first=start,
        per_page=PER_PAGE,
        address={"a": a.name, "b": b.name, "task_type": task_type, "moved": moved or "all"},
    )


@router.get("/nearest")
def nearest(request: Request) -> Response:
    """Show which records of the data that a model was trained on are most like a prompt."""
    from danlu.evaluation.compared import text_of
    from danlu.studio import evaluations
    from danlu.studio.nearest import nearest as most_alike

    own, asked = shared(request), request.query_params
    found = evaluations.read_list(own.workspace)
    view = found.find(asked.get("name", ""))
    item = next((one for one in view.directory.items() if one.id == asked.get("item")), None)
    if item is None:
        raise NotThereError("there is no such prompt.", where=asked.get("item", ""))
    given = view.of.model.data_version or ""
    store = own.datasets.store
    index = own.datasets.records(store.find(given)) if given and store.has(given) else None
    is_read = not given or not store.has(given) or index is not None
    prompt = text_of(dict(item.messages[-1])) if item.messages else ""
    return page(
        request,
        "evaluation/nearest.html",
        view=view,
        item=item.id,
        version=given,
        is_known=bool(given) and store.has(given),
        is_read=is_read,
        near=most_alike(index, prompt) if index else [],
        line_of=line_of,
    )

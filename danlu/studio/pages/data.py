"""Data: versions as a graph, a version's records, a record, the ledger, differences, edits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from danlu.errors import StoreError
from danlu.records import Record
from danlu.studio.check_index import CheckIndex
from danlu.studio.data_index import RecordIndex
from danlu.studio.data_view import (
    Line,
    compared,
    line_of,
    short,
    type_changes,
    type_rows,
    undoable,
    version_rows,
)
from danlu.studio.datasets import Datasets
from danlu.studio.pages import data_checks, data_counts, data_edits
from danlu.studio.pages.data_edits import name_for
from danlu.studio.pages.data_tokens import models_of, tokens_of
from danlu.studio.rendering import page
from danlu.studio.shared import shared
from danlu.workshop.store.version import Version
from danlu.workshop.store.writer import FATES, characters

router = APIRouter(prefix="/data")
router.include_router(data_edits.router)
router.include_router(data_checks.router)
router.include_router(data_counts.router)
PER_PAGE = 50
MOST_STEPS = 20
SORTS = ("", "long", "short")
NOTHING = np.empty(0, np.uint64)
KINDS = ("changed", "added", "removed", "retyped")


@router.get("")
def listing(request: Request) -> Response:
    """Show all versions, newest first, with where they came from."""
    store = _datasets(request).store
    rows = version_rows(store)
    query = request.query_params.get("q", "").casefold()
    fitting = [row for row in rows if all(word in row.words for word in query.split())]
    first = _number(request.query_params.get("first")) or 0
    return page(
        request,
        "data/versions.html" if _is_part(request, "versions") else "data/list.html",
        rows=fitting[first : first + PER_PAGE],
        total=len(fitting),
        first=first,
        per_page=PER_PAGE,
        query=query,
        lanes=max((max([row.lane, *row.through, *row.down]) for row in rows), default=0) + 1,
        is_whole=len(fitting) == len(rows),
        short=short,
    )


@router.get("/version/{given}")
def show(request: Request, given: str) -> Response:
    """Show a version: its task types, and a table of records with filters in the address."""
    own = _datasets(request)
    version = own.store.find(given)
    index = own.records(version)
    asked = _asked(request)
    checked = own.checked(version)
    findings = checked[1] if checked else None
    found = _found(index, asked, findings) if index else None
    if not index and not any(asked.values()):
        found = _beginning(version)
    is_part = _is_part(request, "records")
    return page(
        request,
        "data/records.html" if is_part else "data/show.html",
        given=given,
        version=version,
        found=found,
        asked=asked,
        is_read=index is not None,
        read=0 if index else own.read_so_far(version, "records"),
        per_page=PER_PAGE,
        rules=sorted(findings.rules) if findings else [],
        **({} if is_part else _head(request, version, index)),
    )


@router.get("/record/{given}")
def record(request: Request, given: str) -> Response:
    """Show a record as a conversation, what became of it, and what may be done with it."""
    own = _datasets(request)
    version = own.store.find(given)
    index, ledger = own.records(version), own.ledger(version)
    if index is None or ledger is None:
        return _wait(request, given, ledger=True)
    one = _record(index, request.query_params.get("id", ""))
    taxonomy = version.taxonomy
    tokens = tokens_of(request, one)
    checked = own.checked(version)
    if _is_part(request, "tokens"):
        return page(request, "data/tokens.html", record=one, **tokens)
    return page(
        request,
        "data/record.html",
        **tokens,
        given=given,
        version=version,
        record=one,
        is_large=data_edits.is_large(version),
        findings=checked[1].of(one.id) if checked else [],
        pretty=_pretty,
        history=[(step, entry) for step, rows in _history(own, version, one.id) for entry in rows],
        name=name_for(own.store, version, given),
        task_types=sorted(taxonomy.skills) if taxonomy else sorted(index.types),
    )


@router.get("/reading")
def reading(request: Request) -> Response:
    """Say how far versions are read; send the browser back to its page when all of them are."""
    own, query = _datasets(request), request.query_params
    given, ledger = query.getlist("version"), bool(query.get("ledger"))
    try:
        versions = [own.store.find(one) for one in given]
        unread = [one for one in versions if own.records(one) is None]
        unread += [one for one in versions if ledger and own.ledger(one) is None]
    except StoreError as error:  # the page itself would begin to read it once more
        return page(request, "data/reading_part.html", fault=str(error))
    if unread:
        return _wait(request, *given, ledger=ledger)
    return PlainTextResponse("", headers={"hx-refresh": "true"})


@router.get("/ledger/{given}")
def ledger(request: Request, given: str) -> Response:
    """Show a version's ledger; its filters are in the address."""
    own = _datasets(request)
    version = own.store.find(given)
    index = own.ledger(version)
    if index is None:
        return _wait(request, given, ledger=True)
    query = request.query_params
    asked = {name: query.get(name, "") for name in ("fate", "rule", "id", "task_type")}
    first = _number(query.get("first")) or 0
    positions = index.find(
        fate=asked["fate"], rule=asked["rule"], id_=asked["id"], task_type=asked["task_type"]
    )
    return page(
        request,
        "data/ledger_rows.html" if _is_part(request, "ledger") else "data/ledger.html",
        given=given,
        version=version,
        asked=asked,
        rows=index.read(int(at) for at in positions[first : first + PER_PAGE]),
        total=len(positions),
        first=first,
        per_page=PER_PAGE,
        fates=[fate for fate in FATES if fate in index.meta["fates"]],
        rules=sorted(rule for rule in index.meta["rules"] if rule),
        task_types=sorted(index.meta["types"]),
    )


@router.get("/diff")
def diff(request: Request) -> Response:
    """Show what one version has more, less or otherwise than another."""
    own, query = _datasets(request), request.query_params
    before = own.store.find(query.get("before", ""))
    after = own.store.find(query.get("after", ""))
    first_index, second_index = own.records(before), own.records(after)
    if first_index is None or second_index is None:
        return _wait(request, query.get("before", ""), query.get("after", ""))
    found = own.difference(first_index, second_index)
    changes, total = type_changes(first_index, second_index, found)
    usual = next((kind for kind in KINDS if total[kind]), KINDS[0])
    kind = query.get("kind", usual)
    if kind not in KINDS:
        raise StoreError(f"must be one of {', '.join(KINDS)}.", where="kind")
    index = first_index if kind == "removed" else second_index
    first = _number(query.get("first")) or 0
    here = [int(at) for at in getattr(found, kind)[first : first + PER_PAGE]]
    return page(
        request,
        "data/diff.html",
        before=before,
        after=after,
        asked={"before": query.get("before", ""), "after": query.get("after", "")},
        changes=changes,
        total=total,
        kind=kind,
        kinds=KINDS,
        first=first,
        per_page=PER_PAGE,
        lines=_lines(index, here),
    )


@router.get("/compare")
def compare(request: Request) -> Response:
    """Show one record of two versions, what is gone and what is new in each text."""
    own, query = _datasets(request), request.query_params
    found = []
    for side in ("before", "after"):
        version = own.store.find(query.get(side, ""))
        index = own.records(version)
        if index is None:
            return _wait(request, query.get(side, ""))
        found.append(_record(index, query.get("id", "")))
    asked = {"before": query.get("before", ""), "after": query.get("after", "")}
    texts = compared(found[0], found[1])
    return page(
        request, "data/compare.html", asked=asked, before=found[0], after=found[1], texts=texts
    )


# Inner -----------------------------------------------------------------------------------


def _datasets(request: Request) -> Datasets:
    return shared(request).datasets


def _is_part(request: Request, target: str) -> bool:
    return request.headers.get("hx-target") == target


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 16 else None


def _asked(request: Request) -> dict[str, str]:
    names = ("q", "task_type", "tag", "finding", "least", "most", "sort", "first")
    return {name: request.query_params.get(name, "") for name in names}


def _found(
    index: RecordIndex, asked: Mapping[str, str], findings: CheckIndex | None
) -> dict[str, Any]:
    """Return a page of the records that fit."""
    rule = asked["finding"]
    among = (rule, findings.ids(rule) if findings else NOTHING) if rule else None
    positions = index.find(
        text=asked["q"],
        task_type=asked["task_type"],
        tag=asked["tag"],
        least=_number(asked["least"]),
        most=_number(asked["most"]),
        sort=asked["sort"],
        among=among,
    )
    first = _number(asked["first"]) or 0
    here = [int(at) for at in positions[first : first + PER_PAGE]]
    lines = _lines(index, here)
    told = {one.record.id: findings.of(one.record.id, rule) for one in lines} if findings else {}
    return {"lines": lines, "total": len(positions), "first": first, "told": told if rule else {}}


def _beginning(version: Version) -> dict[str, Any]:
    """Return the first page of a version that is not read yet."""
    records = islice(version.records(), PER_PAGE)
    lines = [line_of(record, characters(record)) for record in records]
    return {"lines": lines, "total": version.manifest.records, "first": 0, "told": {}}


def _lines(index: RecordIndex, positions: list[int]) -> list[Line]:
    sizes = index.column("characters")
    records = index.read(positions)
    return [line_of(one, int(sizes[at])) for at, one in zip(positions, records, strict=True)]


def _head(request: Request, version: Version, index: RecordIndex | None) -> Mapping[str, Any]:
    store = _datasets(request).store
    names = store.names_of(version)
    counting = data_counts.take(request, version)
    counted = _datasets(request).counted(version)
    rows = type_rows(version, index, counted)
    return {
        "counting": counting,
        "counted": counted,
        "models": models_of(request),
        "all_tokens": sum(row.tokens or 0 for row in rows if not row.depth),
        "names": names,
        "tree": rows,
        "loss": sum(row.loss or 0.0 for row in rows if not row.depth),
        "tags": index.all_tags if index else [],
        "sorts": SORTS,
        "settings": short(version.manifest.operation.settings),
        "can_undo": undoable(version),
        "histories": {name: store.history(name) for name in names},
    }


def _wait(request: Request, *given: str, ledger: bool = False) -> Response:
    """Show that versions are being read, until they are; then the page is asked for once more."""
    own = _datasets(request)
    versions = [own.store.find(one) for one in given]
    unread = next((one for one in versions if not own.is_read(one, "records")), versions[0])
    asked = [("version", one) for one in given] + [("ledger", "1")] * ledger
    return page(
        request,
        "data/reading_part.html" if _is_part(request, "reading") else "data/reading.html",
        given=given[0],
        address=f"/data/reading?{urlencode(asked)}",
        read=own.read_so_far(unread, "records"),
        total=unread.manifest.records,
        fault="",
    )


def _record(index: RecordIndex, id_: str) -> Record:
    at = index.position(id_)
    if at is None:
        raise StoreError(f"has no record {id_!r}.", where=index.version.id)
    return index.read([at])[0]


def _history(own: Datasets, version: Version, id_: str) -> list[tuple[Version, list[Any]]]:
    """Return the rows of the ledgers that speak of a record, from a version back to its first.

    A ledger that is not read yet is left out, and is read meanwhile; so is a parent that is gone.
    It ends after ``MOST_STEPS`` versions.
    """
    found, waiting, seen = [], [version], {version.id}
    while waiting and len(seen) <= MOST_STEPS:
        one = waiting.pop(0)
        index = own.ledger(one)
        if index is not None:
            rows = index.read(int(at) for at in index.find(id_=id_)[:PER_PAGE])
            found.append((one, rows))
        for parent in one.manifest.parents:
            if parent.id not in seen and own.store.has(parent.id):
                seen.add(parent.id)
                waiting.append(own.store.find(parent.id))
    return found


def _pretty(value: Any) -> str:
    """Return what is nested as JSON that a person reads; the template escapes it."""
    plain = list(value) if isinstance(value, tuple) else value
    return json.dumps(plain, ensure_ascii=False, indent=2)

"""Edits by hand of a version's records, and their undo.

Each is a command of ``danlu data``. A small version is edited in the request, a large one by a job.
Either way the name moves only if it still points to what the page has shown: of two people who
edit one version at a time, the second is told, and what they made is there.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from danlu.errors import StoreError
from danlu.studio import datasets
from danlu.studio.data_view import undoable
from danlu.studio.datasets import Datasets
from danlu.studio.forms import Form, read_form
from danlu.studio.rendering import page, words_of
from danlu.studio.shared import shared
from danlu.workshop.operations.choice import Choice
from danlu.workshop.operations.diff import digest
from danlu.workshop.operations.edits import Drop, Retype, Revise, Tag
from danlu.workshop.store.decision import Operation
from danlu.workshop.store.names import NameMovedError, check_name
from danlu.workshop.store.store import Store
from danlu.workshop.store.version import Version

router = APIRouter()
IDS, TEXTS = "ids.txt", "texts.json"


@dataclass(frozen=True)
class Asked:
    """What a form asks for.

    Attributes:
        version: Of which the page was.
        name: That shall point to the result; empty for none.
        seen: Where that name must point; empty where it must be free.
        operation: What is done.
    """

    version: Version
    name: str
    seen: str
    operation: Operation


@router.post("/edit")
async def edit(request: Request) -> Response:
    """Drop, tag, retype or revise a record: a new version, to which the name points from now."""
    form = await read_form(request)
    return await asyncio.to_thread(_edit, request, form)


@router.post("/undo")
async def undo(request: Request) -> Response:
    """Let a name point to the version before the last edit by hand."""
    form = await read_form(request)
    store = shared(request).datasets.store
    name, seen = form["name"], form["version"]
    version = store.find(seen)
    if not undoable(version):
        raise StoreError(words_of(request)("data.no_undo"), where=name)
    try:
        store.name(store.find(version.manifest.parents[0].id), name, seen=version.id)
    except NameMovedError as error:
        raise StoreError(words_of(request)("data.moved", name=name), where=name) from error
    return _to(f"/data/version/{quote(name)}")


def name_for(store: Store, version: Version, given: str) -> str:
    """Return the name that an edit moves on: the one in the address, or the only one."""
    names = store.names_of(version)
    if given in names:
        return given
    return names[0] if len(names) == 1 else ""


# Inner -----------------------------------------------------------------------------------


def _to(address: str) -> Response:
    return PlainTextResponse("", headers={"hx-redirect": address})


def _edit(request: Request, form: Form) -> Response:
    own = shared(request).datasets
    asked = _asked(own, form)
    if is_large(asked.version):
        return _to(f"/jobs/{_start(request, form, asked)}")
    try:
        made = own.store.apply(
            asked.operation, asked.version, name=asked.name or None, seen=asked.seen
        )
    except NameMovedError as error:
        return _moved(request, own, form, error)
    given = asked.name or made.id
    if form["action"] == "drop":
        return _to(f"/data/version/{quote(given)}")
    return _to(f"/data/record/{quote(given)}?{urlencode({'id': form['id']})}")


def _asked(own: Datasets, form: Form) -> Asked:
    """Read a form; a name that is known must point to the version that its page has shown."""
    version, name = own.store.find(form["version"]), form.get("name").strip()
    if name:
        check_name(name)
    seen = version.id if name and own.store.names.history(name) else ""
    return Asked(version, name, seen, _operation(version, form))


def is_large(version: Version) -> bool:
    """Whether edits of a version are jobs."""
    path = version.records_path  # where it is gone, what reads it says so
    return path.exists() and path.stat().st_size > datasets.INLINE_BYTES


def _start(request: Request, form: Form, asked: Asked) -> str:
    """Start the edit as a job; return its id.

    Raises:
        StoreError: If there is nothing to be done.
    """
    action, id_, operation = form["action"], form["id"], asked.operation
    if "\n" in id_ or id_ != id_.strip():
        raise StoreError("an id with a line break cannot be edited in a large version.", where=id_)
    if operation in (Tag(Choice(ids=(id_,))), Revise(id_, (), (), form.get("reason"))):
        raise StoreError("nothing is changed.", where=id_)
    files = {IDS: f"{id_}\n"}
    own: list[str] = []
    if isinstance(operation, Tag):
        own += [f"--add={tag}" for tag in operation.add]
        own += [f"--remove={tag}" for tag in operation.remove]
    if isinstance(operation, Retype):
        own = [operation.task_type]
    if isinstance(operation, (Drop, Revise)):
        own = [f"--reason={operation.reason}"]
    if isinstance(operation, Revise):
        kinds = (("messages", operation.messages), ("answers", operation.answers))
        files = {TEXTS: json.dumps({name: {str(n): text for n, text in of} for name, of in kinds})}
    if asked.name:
        own += [f"--name={asked.name}", f"--if-at={asked.seen}"]
    store = f"--store={shared(request).datasets.store.path}"

    def arguments(folder: str) -> list[str]:
        if isinstance(operation, Revise):
            which = [f"--id={id_}", f"--texts={folder}/{TEXTS}"]
        else:
            which = [f"--id=@{folder}/{IDS}"]
        return ["data", action, asked.version.id, *own, *which, store]

    to = f"/data/version/{quote(asked.name)}" if asked.name else "/data"
    return shared(request).jobs.start("edit", arguments, given=files, leads_to=to).job.id


def _moved(request: Request, own: Datasets, form: Form, error: NameMovedError) -> Response:
    """Tell the second of two that the first was faster; what they made is kept."""
    id_ = form["id"]
    now = own.store.find(error.now) if error.now else None
    before = own.store.find(form["version"])
    # Where the record itself is what it was, the same may be done once more.
    is_same = now is not None and _digest(own, before, id_) == _digest(own, now, id_)
    answer = page(
        request,
        "data/moved.html",
        error=error,
        id=id_,
        before=before,
        now=now,
        is_there=now is not None and _digest(own, now, id_) is not None,
        fields=[(name, value) for name in form.names() for value in form.all(name)],
        is_same=is_same,
        is_dropped=form["action"] == "drop",
    )
    answer.headers["hx-retarget"] = "#moved"
    answer.headers["hx-reswap"] = "innerHTML show:window:top"
    return answer


def _digest(own: Datasets, version: Version, id_: str) -> bytes | None:
    """Return what stands for a record's content and task type; None if it is not there."""
    index = own.records(version)
    at = index.position(id_) if index else None
    if index is None or at is None:
        return None
    record = index.read([at])[0]
    return digest(record) + "\0".join((record.task_type, *record.tags)).encode()


def _operation(version: Version, form: Form) -> Operation:
    """Return what a form asks for, as ``danlu data drop``, ``tag``, ``retype``, ``revise`` do.

    Raises:
        StoreError: If it asks for something else.
    """
    choice, action = Choice(ids=(form["id"],)), form["action"]
    if action == "drop":
        return Drop(choice, form.get("reason"))
    if action == "tag":
        add, remove = (form.get(one).replace(",", " ").split() for one in ("add", "remove"))
        return Tag(choice, tuple(add), (*remove, *form.all("untag")))
    if action == "retype":
        new, taxonomy = form["task_type"].strip(), version.taxonomy
        if taxonomy and new not in taxonomy.skills:
            raise StoreError(f"the task type {new!r} is not in the taxonomy.{taxonomy.hint(new)}")
        return Retype(choice, new)
    if action == "revise":
        return Revise(
            form["id"], _texts(form, "message"), _texts(form, "answer"), form.get("reason")
        )
    raise StoreError(f"{action!r} is no edit: drop, tag, retype or revise.", where="action")


def _texts(form: Form, kind: str) -> tuple[tuple[int, str], ...]:
    """Return the texts that differ from what the page was given, by number.

    A browser ends lines by CR LF in a form, whatever they were.
    """
    found = []
    for number in range(1, len([one for one in form.names() if one.startswith(f"{kind}.")]) + 1):
        new = form.get(f"{kind}.{number}").replace("\r\n", "\n")
        if new != form.get(f"was.{kind}.{number}").replace("\r\n", "\n"):
            found.append((number, new))
    return tuple(found)

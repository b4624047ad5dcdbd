"""Chat: one or two models, answers as they come, thumbs and corrections, records made of it.

What answers is imported when a conversation begins, and torch only in the models' processes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from danlu.errors import DanluError
from danlu.studio.forms import Form, read_form
from danlu.studio.index import Query, RunRow
from danlu.studio.pages.vote import account, voter_of
from danlu.studio.rendering import page, words_of
from danlu.studio.shared import shared

if TYPE_CHECKING:
    from danlu.studio.chat.talk import Talk, TalkSettings

router = APIRouter(prefix="/chat")
SILENT = ("reward", "classify")
"""Objectives whose models answer nothing."""
LOOK_S, QUIET_S = 0.04, 15.0
DEFAULT_FILE = "chat.jsonl"


@router.get("")
def listing(request: Request) -> Response:
    """Show the models that can be talked to, and the conversations of this studio."""
    from danlu.models.builtin import converted_builtins

    own, asked = shared(request), request.query_params
    found = own.runs.find(Query(text=asked.get("q", "")))
    runs = [row for row in found.rows if row.objective not in SILENT and _saved(request, row)]
    builtins = [f"builtin:{name}" for name, place in converted_builtins().items() if place]
    part = request.headers.get("hx-target") == "models"
    return page(
        request,
        "chat/models.html" if part else "chat/list.html",
        runs=runs,
        unread=found.unread,
        builtins=builtins,
        states={name: own.talks.models.state(name) for name in _names(runs, builtins)},
        talks=own.talks.all(),
        q=asked.get("q", ""),
    )


@router.post("/begin")
async def begin(request: Request) -> Response:
    """Begin a conversation with one model, or with two side by side."""
    form = await read_form(request)
    names = [one.strip() for one in form.all("model") if one.strip()]
    talk = await run_in_threadpool(shared(request).talks.begin, names)
    return PlainTextResponse("", headers={"hx-redirect": f"/chat/talk/{talk.id}"})


@router.get("/talk/{name}")
def show(request: Request, name: str) -> Response:
    """Show a conversation."""
    from danlu.studio.chat.talk import TalkSettings

    talk = _talk(request, name)
    settings = talk.settings if talk.exchanges else TalkSettings()
    return page(request, "chat/show.html", settings=settings, **_values(request, talk))


@router.get("/part/{name}")
def part(request: Request, name: str) -> Response:
    """Show what was said, and the answers."""
    return page(request, "chat/talk.html", **_values(request, _talk(request, name)))


@router.get("/seats/{name}")
def seats(request: Request, name: str) -> Response:
    """Show how the models stand; asked again as long as one is loading."""
    return page(request, "chat/seats.html", **_values(request, _talk(request, name)))


@router.get("/live/{name}")
async def live(request: Request, name: str) -> Response:
    """Stream the answers under way, as server-sent events."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    events = _pieces(request, _talk(request, name))
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


@router.post("/say")
async def say(request: Request) -> Response:
    """Say something."""

    def say(talk: Talk, form: Form) -> None:
        talk.say(_text(form, "text"), _settings(request, form))

    return await _do(request, say)


@router.post("/retry")
async def retry(request: Request) -> Response:
    """Draw the last answers anew."""
    return await _do(request, lambda talk, form: talk.retry(_settings(request, form)))


@router.post("/stop")
async def stop(request: Request) -> Response:
    """Stop the answers under way."""

    def stop(talk: Talk, _: Form) -> None:
        talk.stop()
        talk.wait(3.0)

    return await _do(request, stop)


@router.post("/undo")
async def undo(request: Request) -> Response:
    """Take back what was said last."""
    return await _do(request, lambda talk, _: talk.undo())


@router.post("/reset")
async def reset(request: Request) -> Response:
    """Begin anew with the same models."""
    return await _do(request, lambda talk, _: talk.reset())


@router.post("/vote")
async def vote(request: Request) -> Response:
    """Keep a thumb or a correction in the capture."""
    voter = voter_of(request) or account(request)

    def vote(talk: Talk, form: Form) -> None:
        corrected = _text(form, "corrected")
        up = form.get("up") == "yes"
        talk.vote(_seat(form), up, voter=voter, text=_text(form, "why"), corrected=corrected)

    return await _do(request, vote)


@router.post("/better")
async def better(request: Request) -> Response:
    """Keep which of two answers is the better one."""
    voter = voter_of(request) or account(request)
    return await _do(request, lambda talk, form: talk.better(_seat(form), voter=voter))


@router.post("/save")
async def save(request: Request) -> Response:
    """Keep a conversation as a training record."""
    own = shared(request)

    def save(talk: Talk, form: Form) -> None:
        from danlu.studio.chat import saved

        seat, task_type = _seat(form), form["task_type"].strip()
        messages = talk.messages(seat)
        with own.talks.saving:
            into = form["into"].strip()
            where = saved.save(own.workspace, own.datasets.store, messages, task_type, into)
        talk.answer(seat).saved = where
        talk.task_type = task_type

    return await _do(request, save)


@router.post("/load")
async def load(request: Request) -> Response:
    """Load the models of a conversation again."""
    form = await read_form(request)
    talk = _talk(request, form["talk"])
    await run_in_threadpool(shared(request).talks.load, talk)
    return await run_in_threadpool(seats, request, talk.id)


@router.post("/free")
async def free(request: Request) -> Response:
    """Free the memory that a model takes, with those it was loaded with."""
    form = await read_form(request)
    await run_in_threadpool(shared(request).talks.models.free, form["model"])
    if "talk" in form.names():
        return await run_in_threadpool(seats, request, form["talk"])
    return PlainTextResponse("", headers={"hx-refresh": "true"})


# Inner ---------------------------------------------------------------------------------------


async def _do(request: Request, what: Callable[[Talk, Form], None]) -> Response:
    """Do something with a conversation, and show it as it is then."""
    form = await read_form(request)
    talk = _talk(request, form["talk"])
    await run_in_threadpool(what, talk, form)
    answer = await run_in_threadpool(part, request, talk.id)
    answer.headers["hx-trigger"] = "seats"
    return answer


def _talk(request: Request, name: str) -> Talk:
    return shared(request).talks.get(name)


def _values(request: Request, talk: Talk) -> dict[str, Any]:
    """Return what the templates of a conversation read."""
    from danlu.serving.chat_commands import TASK_TYPE
    from danlu.serving.endpoint import is_address

    own = shared(request)
    names, known = _datasets(request)
    return {
        "talk": talk,
        "models": list(zip(talk.names, talk.models, strict=True)),
        "states": {
            one: None if is_address(one) else own.talks.models.state(one) for one in talk.models
        },
        "task_type": talk.task_type or TASK_TYPE,
        "task_types": sorted({*known, TASK_TYPE}),
        "into": [DEFAULT_FILE, *names],
    }


def _datasets(request: Request) -> tuple[list[str], set[str]]:
    """Return the names of datasets that can be read, and their task types."""
    store = shared(request).datasets.store
    names, known = [], set[str]()
    for name in store.names.all():
        with suppress(DanluError):  # the page of data says what is wrong with it
            known.update(store.find(name).manifest.task_types)
            names.append(name)
    return names, known


def _names(runs: list[RunRow], builtins: list[str]) -> list[str]:
    return [*(row.name for row in runs), *builtins]


def _saved(request: Request, row: RunRow) -> bool:
    """Whether a run has saved a model."""
    from danlu.models.source import run_model

    try:
        run_model(shared(request).workspace.run(row.name).path)
    except DanluError:
        return False
    return True


def _seat(form: Form) -> int:
    return 1 if form.get("seat") == "1" else 0


def _text(form: Form, name: str) -> str:
    """Return a text as it was typed: a browser ends lines by CR LF in a form."""
    return form.get(name).replace("\r\n", "\n").strip()


def _settings(request: Request, form: Form) -> TalkSettings:
    """Read the settings.

    Raises:
        DanluError: If one is out of range.
    """
    from danlu.generation.interface import Sampling
    from danlu.studio.chat.talk import TalkSettings

    sampling = Sampling(
        max_new_tokens=_number(request, form, "max_new_tokens", int),
        greedy=form.get("greedy") == "yes",
        temperature=_number(request, form, "temperature", float),
        top_p=_number(request, form, "top_p", float),
        seed=_number(request, form, "seed", int),
    )
    capture = form.get("capture").strip()
    if capture:
        inside = shared(request).workspace.inside(capture)
        capture = str(inside.relative_to(shared(request).workspace.root))
    return TalkSettings(_text(form, "system"), sampling, capture)


def _number(request: Request, form: Form, name: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(form[name])
    except ValueError as error:
        words = words_of(request)
        told = words("chat.no_number", text=form[name])
        raise DanluError(told, where=words(f"chat.{name}")) from error


async def _pieces(request: Request, talk: Talk) -> AsyncIterator[bytes]:
    """Say what has come since the last look; the first look says all that there is."""
    run, sent, quiet = talk.run, [0] * len(talk.models), 0.0
    yield b"retry: 1000\n\n"
    while not request.app.state.closing and not await request.is_disconnected():
        going = talk.going and talk.run == run
        answers = talk.last.answers if talk.last and talk.run == run else []
        for seat, answer in enumerate(answers):
            text = answer.text
            if len(text) > sent[seat]:
                row = {"seat": seat, "at": sent[seat], "text": text[sent[seat] :]}
                sent[seat], quiet = len(text), 0.0
                yield f"data: {json.dumps(row)}\n\n".encode()
        if not going:
            yield b"event: end\ndata: {}\n\n"
            return
        quiet += LOOK_S
        if quiet >= QUIET_S:
            quiet = 0.0
            yield b": still here\n\n"
        await asyncio.sleep(LOOK_S)

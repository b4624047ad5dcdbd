"""Vote: people judge answers blind, by one key each; and what came of their verdicts.

What votes need (a database, statistics) is imported when a page of votes is first opened.
"""

from __future__ import annotations

import getpass
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response

from danlu.errors import DanluError
from danlu.studio.forms import read_form
from danlu.studio.rendering import page, words_of
from danlu.studio.shared import shared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from danlu.studio.votes import Place, Poll

router = APIRouter(prefix="/vote")
COOKIE = "danlu_voter"
LONGEST_NAME = 64
YEAR_S = 365 * 24 * 3600


@router.get("")
def listing(request: Request) -> Response:
    """Show what can be voted on, and what has been."""
    from danlu.studio import evaluations, votes

    asked = request.query_params
    workspace = shared(request).workspace
    found = evaluations.read_list(workspace)
    suites = found.suites()
    suite = asked.get("suite", "") if asked.get("suite") in suites else next(iter(suites), "")
    views = [one for one in reversed(found.views) if one.of.suite == suite]
    chosen = {"b": views[0].name if views else "", "a": views[1].name if len(views) > 1 else ""}
    part = request.headers.get("hx-target") == "choice"
    return page(
        request,
        "vote/choice.html" if part else "vote/list.html",
        found=found,
        suites=suites,
        suite=suite,
        views=views,
        chosen=chosen,
        task_types=sorted({name for one in views for name in one.of.task_types}),
        begun=[] if part else votes.begun(workspace, {one.name for one in found.views}),
        voter=voter_of(request),
        account=account(request),
    )


@router.post("/voter")
async def keep_voter(request: Request) -> Response:
    """Keep in this browser who votes."""
    form = await read_form(request)
    name = " ".join(form["voter"].split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise DanluError(words_of(request)("vote.name_length", n=LONGEST_NAME), where="voter")
    answer = PlainTextResponse("", headers={"hx-refresh": "true"})
    answer.set_cookie(COOKIE, quote(name), max_age=YEAR_S, samesite="strict", httponly=True)
    return answer


@router.get("/ballots")
def ballots(request: Request) -> Response:
    """Show the next ballot of whoever votes."""
    from danlu.evaluation.store.index import index
    from danlu.studio import votes

    voter, of = voter_of(request), _poll(request, request.query_params)
    if not voter:
        return page(request, "vote/who.html", poll=of, account=account(request))
    with votes.opened(shared(request).workspace) as store:
        index(store, [one.directory for one in (of.a, of.b) if one])
        place = shared(request).sittings.look(store, of, voter, again=True)
        return _ballot(request, of, place, request.query_params)


@router.post("/verdict")
async def verdict(request: Request) -> Response:
    """Keep a verdict, and show the next ballot."""
    form = await read_form(request)

    def cast() -> Response:
        from danlu.evaluation.store.votes import PAIR, SINGLE
        from danlu.studio import votes

        of, said = _poll(request, _first(form)), form["verdict"]
        known = next((one for one in (*PAIR, *SINGLE) if one == said), None)
        if known is None:
            raise DanluError("there is no such verdict.", where=said)
        with votes.opened(shared(request).workspace) as store:
            voter = _must_vote(request)
            seconds = _seconds(form.get("seconds"))
            place = shared(request).sittings.decide(
                store, of, voter, form["subject"], known, seconds
            )
        return _ballot(request, of, place, _first(form))

    return await run_in_threadpool(cast)


@router.post("/undo")
async def undo(request: Request) -> Response:
    """Take the last verdict back, and show its ballot again."""
    form = await read_form(request)

    def take_back() -> Response:
        from danlu.studio import votes

        of = _poll(request, _first(form))
        with votes.opened(shared(request).workspace) as store:
            place = shared(request).sittings.undo(store, of, _must_vote(request))
        return _ballot(request, of, place, _first(form))

    return await run_in_threadpool(take_back)


@router.get("/results")
def results(request: Request) -> Response:
    """Show what came of the votes, and how far people agree."""
    from danlu.studio import votes

    of = _poll(request, request.query_params)
    with votes.opened(shared(request).workspace) as store:
        found = votes.result(store, of)
    return page(request, "vote/results.html", poll=of, result=found)


# Who votes -----------------------------------------------------------------------------------


def voter_of(request: Request) -> str:
    """Return who votes in this browser; empty if nobody has said."""
    return unquote(request.cookies.get(COOKIE, ""))[:LONGEST_NAME].strip()


def account(request: Request) -> str:
    """Return the name that ``danlu vote`` would take; empty where others reach the studio."""
    if request.app.state.settings.is_local:
        with suppress(KeyError, OSError, ImportError):  # an account without a name
            return getpass.getuser()
    return ""


def _must_vote(request: Request) -> str:
    voter = voter_of(request)
    if not voter:
        raise DanluError(words_of(request)("vote.who"), where="voter")
    return voter


# Inner ---------------------------------------------------------------------------------------


def _poll(request: Request, asked: Mapping[str, str]) -> Poll:
    from danlu.studio import evaluations, votes

    found = evaluations.read_list(shared(request).workspace)
    a, b = asked.get("a", ""), asked.get("b", "")
    if a == b:
        b = ""
    first, second = (a, b) if a else (b, "")
    seed = asked.get("seed", "")
    return votes.poll(
        found.find(first),
        found.find(second) if second else None,
        asked.get("task_type", ""),
        int(seed) if seed.isdecimal() and len(seed) < 10 else 0,
    )


def _first(form: Any) -> dict[str, str]:
    return {name: form[name] for name in form.names()}


def _ballot(request: Request, of: Poll, place: Place, asked: Mapping[str, str]) -> Response:
    from danlu.evaluation.contests import content_text
    from danlu.evaluation.judging.asking import reference_text
    from danlu.studio import votes

    reference = asked.get("reference") != "no"
    address = of.address | ({} if reference else {"reference": "no"})
    part = request.headers.get("hx-target") == "ballot"
    return page(
        request,
        "vote/ballot.html" if part else "vote/ballots.html",
        poll=of,
        place=place,
        voter=voter_of(request),
        messages=[(one.get("role", ""), content_text(one)) for one in place.ballot.item.messages]
        if place.ballot
        else [],
        reference=reference_text(place.ballot.item) if place.ballot and reference else "",
        keys=votes.VERDICT_KEYS,
        address=address,
        query=urlencode(of.address),
    )


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        return 0.0
    return found if math.isfinite(found) else 0.0

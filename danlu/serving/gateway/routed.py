"""Models that another server answers for, and what is known of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import httpx2

from danlu.errors import DanluError, did_you_mean
from danlu.generation.requests import EngineCounts
from danlu.serving.gateway.wire import Wire
from danlu.serving.server.origin import Origin
from danlu.serving.server.protocol import must_be_whole

LIST_S = 30.0


@dataclass(frozen=True)
class Upstream:
    """Another server.

    Attributes:
        address: With or without ``/v1``.
        key: API key that it asks for.
    """

    address: str
    key: str | None = None

    @property
    def root(self) -> str:
        """Its address without ``/v1``."""
        return self.address.rstrip("/").removesuffix("/v1")

    @cached_property
    def wire(self) -> Wire:
        """Connections to it, kept open between requests."""
        return Wire(self.root, self.key)

    def models(self) -> dict[str, int | None]:
        """Ask which models it has, each with its longest context where it says.

        Raises:
            DanluError: If it cannot be asked.
        """
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        where = f"{self.root}/v1/models"
        try:
            with httpx2.Client(timeout=LIST_S, headers=headers, trust_env=False) as client:
                found = client.get(where)
                listed = found.json()["data"] if found.status_code == 200 else None
                names = {str(one["id"]): _context(one) for one in listed or ()}
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DanluError(
                f"the server cannot be asked ({error}): is it running, and is this its address?",
                where=where,
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise DanluError(
                "what it answers is no list of models: this is no OpenAI-compatible server.",
                where=where,
            ) from error
        if listed is None:
            why = ": is the API key right?" if found.status_code in (401, 403) else "."
            raise DanluError(f"the server answers {found.status_code}{why}", where=where)
        return names


@dataclass(frozen=True)
class Routed:
    """One model that clients can name, and that another server answers for.

    Attributes:
        name: What clients call it.
        theirs: What the other server calls it.
        upstream: That server.
        origin: Where it comes from, for capture.
        context_tokens: The longest prompt with its answer; None if the server does not say.
        longest: Longest answer that may be asked for; None leaves it to the server.
        refuses_tools: Why requests with tools are refused; empty if they are not.
        alive: Whether the engine runs, where it was started by us.
        counts: What has been asked of it.
    """

    name: str
    theirs: str
    upstream: Upstream
    origin: Origin = field(default_factory=Origin)
    context_tokens: int | None = None
    longest: int | None = None
    refuses_tools: str = ""
    alive: Callable[[], bool] = lambda: True
    counts: EngineCounts = field(default_factory=EngineCounts)

    @property
    def wire(self) -> Wire:
        """Connections to the server."""
        return self.upstream.wire


def _context(about: Any) -> int | None:
    """Return the longest context as vLLM, Danlu or llama.cpp tells it."""
    meta = about.get("meta") or {}
    for found in (about.get("max_model_len"), meta.get("n_ctx"), meta.get("n_ctx_train")):
        if isinstance(found, int):
            return found
    return None


def routed_models(
    upstreams: Sequence[Upstream],
    wanted: Sequence[tuple[str, Origin]] = (),
    *,
    longest: int | None = None,
) -> list[Routed]:
    """Return the models of servers: those named, or all.

    Args:
        upstreams: The servers.
        wanted: Names there, with where each comes from; none means all that there are.
        longest: Longest answer that may be asked for.

    Raises:
        DanluError: If one cannot be asked, none has what is named, or two have the same.
    """
    found: dict[str, Routed] = {}
    for upstream in upstreams:
        for name, context_tokens in upstream.models().items():
            if name in found:
                raise DanluError(
                    f"both {found[name].upstream.address} and {upstream.address} have a model of "
                    "this name: put one of them behind a gateway of its own.",
                    where=name,
                )
            found[name] = Routed(name, name, upstream, Origin(), context_tokens, longest)
    if not found:
        raise DanluError("the server has no models.", where=upstreams[0].address)
    for name, _ in wanted:
        if name not in found:
            raise DanluError(
                f"no server has a model of this name; there are {', '.join(list(found)[:8])}. "
                f"Give the name it has there, as in NAME=RUN.{did_you_mean(name, found)}",
                where=name,
            )
    named = [replace(found[name], origin=origin) for name, origin in wanted]
    return named or list(found.values())


def json_object(body: bytes) -> dict[str, Any]:
    """Read a request's body.

    Raises:
        ValueError: If it is no JSON object, or has half of a character; the text says what it is.
    """
    try:
        found = json.loads(body)
    except RecursionError as error:
        raise ValueError("the body is nested too deeply.") from error
    except ValueError as error:
        raise ValueError(f"the body is not JSON ({error}).") from error
    if not isinstance(found, dict):
        raise ValueError("the body must be a JSON object.")
    if b"\\u" in body:  # only an escape can write half of a character
        must_be_whole(found)
    return found

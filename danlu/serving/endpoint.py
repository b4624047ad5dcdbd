"""Talking to a model behind an OpenAI-compatible address, piece by piece."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2

from danlu.errors import DanluError
from danlu.generation.interface import Conversation, Sampling
from danlu.records.record import Message

TIMEOUT_S = 300.0
CONNECT_S = 15.0
TOLD_CHARACTERS = 300


class EndpointGenerator:
    """One model of an OpenAI-compatible server.

    Args:
        root: The address up to what stands before ``/chat/completions``.
        model: What the server calls it.
        key: API key; None sends none.
    """

    def __init__(self, root: str, model: str, key: str | None = None) -> None:
        self.root = root
        self.model = model
        self._client = _client(key)

    def stream(self, conversation: Conversation, sampling: Sampling) -> Generator[str, None, None]:
        """Yield an answer piece by piece; closing the generator ends the request.

        Raises:
            DanluError: If the server cannot be asked, or refuses; with its own words.
        """
        if isinstance(conversation, str):
            conversation = [Message("user", conversation)]
        body = {
            "model": self.model,
            "messages": [one.as_dict() for one in conversation],
            "max_tokens": sampling.max_new_tokens,
            "temperature": 0 if sampling.greedy else sampling.temperature,
            "top_p": 1 if sampling.greedy else sampling.top_p,
            "seed": sampling.seed,
            "stream": True,
        }
        place = f"{self.root}/chat/completions"
        with (
            _told(self.root),
            self._client.stream("POST", place, json=body) as response,
        ):
            if response.status_code != 200:
                response.read()
                raise _refused(response, place)
            yield from _texts(response.iter_lines(), place)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def is_address(name: str) -> bool:
    """Tell whether a name is the address of a server.

    Example:
        >>> [is_address(name) for name in ("http://x/v1", "small=https://x", "runs/http")]
        [True, True, False]
    """
    return _split(name)[1].startswith(("http://", "https://"))


def endpoint_models(name: str, key: str | None = None) -> list[EndpointGenerator]:
    """Return the models of a server, or the one that is named.

    Args:
        name: ``URL``, or ``MODEL=URL``; an address without a path gets ``/v1``.
        key: API key.

    Raises:
        DanluError: If the server cannot be asked, or does not say what it has.
    """
    model, address = _split(name)
    root = address.rstrip("/").removesuffix("/chat/completions")
    if not urlsplit(root).path:
        root += "/v1"
    if model:
        return [EndpointGenerator(root, model, key)]
    with _told(root), _client(key) as client:
        response = client.get(f"{root}/models")
        if response.status_code in (401, 403):
            raise _refused(response, f"{root}/models")
        try:
            models = [str(one["id"]) for one in response.json()["data"]]
        except (ValueError, KeyError, TypeError):
            models = []
    if not models:
        raise DanluError(
            f"the server does not say which models it has (it answers {response.status_code}): "
            f"name one, as in NAME={address}, if this is the address of its API.",
            where=f"{root}/models",
        )
    return [EndpointGenerator(root, one, key) for one in models]


def _split(name: str) -> tuple[str, str]:
    before, equals, after = name.partition("=")
    if equals and "://" not in before:
        return before, after
    return "", name


def _client(key: str | None) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.Client(timeout=httpx2.Timeout(TIMEOUT_S, connect=CONNECT_S), headers=headers)


def _texts(lines: Iterable[str], place: str) -> Iterator[str]:
    """Return the pieces of text in server-sent events.

    Example:
        >>> data = 'data: {"choices": [{"delta": {"content": "你好"}}]}'
        >>> list(_texts([": ping", data, "", "data: [DONE]", "data: lost"], "here"))
        ['你好']
    """
    for line in lines:
        field, _, value = line.partition(":")
        value = value.strip()
        if field != "data" or not value:
            continue
        if value == "[DONE]":
            return
        try:
            event = json.loads(value)
        except ValueError as error:
            raise DanluError(f"the server sends no JSON: {value[:80]!r}", where=place) from error
        if not isinstance(event, dict):
            raise DanluError(f"the server sends no event: {value[:80]!r}", where=place)
        if event.get("error"):
            raise DanluError(f"the server broke off: {_words(event)}", where=place)
        for choice in event.get("choices") or []:
            text = (choice.get("delta") or {}).get("content")
            if isinstance(text, str) and text:
                yield text


def _refused(response: httpx2.Response, place: str) -> DanluError:
    try:
        words = _words(response.json())
    except ValueError:
        words = response.text[:TOLD_CHARACTERS]
    return DanluError(f"the server answers {response.status_code}: {words}", where=place)


def _words(body: Any) -> str:
    """Return what an error body says."""
    fault = body.get("error", body) if isinstance(body, dict) else body
    said = fault.get("message", fault) if isinstance(fault, dict) else fault
    return str(said)[:TOLD_CHARACTERS]


@contextmanager
def _told(root: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        raise DanluError(
            f"the server cannot be asked ({error or type(error).__name__}): is it running, and is "
            "this its address?",
            where=root,
        ) from error

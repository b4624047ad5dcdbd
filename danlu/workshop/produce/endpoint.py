"""Any endpoint that speaks OpenAI's chat completions: a provider, vLLM, llama.cpp, a gateway.

Asked with ``httpx2``, which is here already as a part of ``huggingface-hub``, is typed, and is two
calls for this one address. OpenAI's own client would add its packages and a second layer of waits
and repeats below the engine's, which must count every try.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from danlu.errors import did_you_mean
from danlu.generation.interface import Sampling
from danlu.workshop.produce.faults import EndpointError, PassingError, RefusedError
from danlu.workshop.produce.request import Reply, Request

if TYPE_CHECKING:
    import httpx2

KEY_VARIABLE = "OPENAI_API_KEY"
TIMEOUT_S = 300.0
CONNECT_S = 15.0
CONCURRENCY = 8
PATH = "/chat/completions"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
REASON_CHARACTERS = 300
HIDDEN = "***"
SHORTEST_SECRET = 8
"""Shorter keys, such as EMPTY, are placeholders, and blotting them out would spoil texts."""

PARAMETERS = ("max_tokens", "temperature", "top_p", "seed")
_PASSING = frozenset({408, 409, 425, 429, 529})
_HOPELESS = frozenset({401, 402, 404, 405})
_NO_MONEY = ("insufficient_quota", "billing_hard_limit", "insufficient_balance")
_SECRET_WORDS = ("key", "token", "secret", "password", "signature")


class Endpoint:
    """An OpenAI-compatible endpoint.

    The key is read from the environment when it is needed; it is in no setting, message or file,
    and blotted out of what the endpoint says.

    Args:
        url: Its base, such as ``https://api.openai.com/v1``.
        model: The name that it knows the model by.
        key_variable: The variable of the environment that holds the key; an endpoint without keys
            needs none.
        timeout_s: Longest time for one answer, from the question to its last byte.
        extra: Further fields of every request, such as ``{"reasoning_effort": "low"}``.
        leave_out: Those of ``max_tokens``, ``temperature``, ``top_p`` and ``seed`` that the
            endpoint does not take.
        max_tokens_name: What it calls the longest answer: ``max_tokens`` or
            ``max_completion_tokens``.

    Raises:
        EndpointError: If the URL is none, or holds a secret; or a parameter is not known.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = KEY_VARIABLE,
        timeout_s: float = TIMEOUT_S,
        extra: Mapping[str, Any] | None = None,
        leave_out: tuple[str, ...] = (),
        max_tokens_name: str = "max_tokens",
    ) -> None:
        self.url = _completions(url)
        self.name = model
        self.concurrency = CONCURRENCY
        self.key_variable = key_variable
        self.timeout_s = timeout_s
        self.extra = dict(extra or {})
        for name in leave_out:
            if name not in PARAMETERS:
                raise EndpointError(f"leave_out: no parameter {name!r}.{_hint(name)}")
        self.leave_out = leave_out
        self.max_tokens_name = max_tokens_name
        self._client: httpx2.AsyncClient | None = None

    def parameters(self, sampling: Sampling, seed: int) -> dict[str, Any]:
        """Return the fields of a request beside ``model`` and ``messages``."""
        values: dict[str, Any] = {
            "max_tokens": sampling.max_new_tokens,
            "temperature": 0.0 if sampling.greedy else sampling.temperature,
            "top_p": 1.0 if sampling.greedy else sampling.top_p,
            "seed": seed,
        }
        kept = {name: value for name, value in values.items() if name not in self.leave_out}
        if "max_tokens" in kept:
            kept[self.max_tokens_name] = kept.pop("max_tokens")
        return kept | self.extra

    async def respond(self, request: Request) -> dict[str, Any]:
        """Ask once.

        Raises:
            PassingError: Time-out, connection lost or refused, 408, 429, 5xx, a broken answer.
            RefusedError: Any other 4xx, and content that the endpoint withholds.
            EndpointError: 401, 402, 404, a redirect, no money left.
        """
        import httpx2

        body = {"model": self.name, "messages": request.rendered()}
        body |= self.parameters(request.sampling, request.seed)
        key = self._key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            async with asyncio.timeout(self.timeout_s):
                response = await self._opened().post(self.url, json=body, headers=headers)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise PassingError(f"no answer within {self.timeout_s:g} s") from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise PassingError(_told(error, key)) from error
        text = _hide(response.text, key)
        if response.status_code != 200:
            raise _fault(response.status_code, response.headers, text, self)
        return _body(text)

    def _key(self) -> str:
        """Return the key, empty if there is none.

        Raises:
            EndpointError: If it is none that could be sent; what would name it is not told.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not all("!" <= character <= "~" for character in key):
            raise EndpointError(
                f"the key in ${self.key_variable} has a space, a line break or a letter that no "
                "key has. Copy it again."
            )
        return key

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            import httpx2

            self._client = httpx2.AsyncClient(
                timeout=httpx2.Timeout(self.timeout_s, connect=min(CONNECT_S, self.timeout_s)),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
                verify=self.url.startswith("https"),  # Loading certificates takes its time.
                # A proxy cannot reach this machine's own servers.
                trust_env=urlsplit(self.url).hostname not in LOCAL_HOSTS,
            )
        return self._client


def _completions(url: str) -> str:
    """Return the address that is asked.

    Raises:
        EndpointError: If the URL is none, or holds a secret.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EndpointError(f"{url!r} is no URL of an endpoint; it looks like http://HOST:PORT/v1.")
    names = [name.lower() for name, _ in parse_qsl(parts.query)]
    if parts.username or parts.password or any(w in n for n in names for w in _SECRET_WORDS):
        raise EndpointError(
            f"the URL of {parts.hostname} holds a key or password, and URLs are written down. Put "
            f"it in an environment variable, ${KEY_VARIABLE} or one that you name."
        )
    path = parts.path.rstrip("/").removesuffix(PATH) + PATH
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _hint(name: str) -> str:
    return did_you_mean(name, PARAMETERS)


def _hide(text: str, key: str) -> str:
    return text.replace(key, HIDDEN) if len(key) >= SHORTEST_SECRET else text


def _told(error: Exception, key: str) -> str:
    return _hide(f"{type(error).__name__}: {error}".rstrip(": "), key)


def _body(text: str) -> dict[str, Any]:
    """Return the body of an answer.

    Raises:
        PassingError: If it is broken.
        RefusedError: If the endpoint has withheld the answer.
    """
    try:
        body = json.loads(text)
        reply = Reply.of(body)
    except ValueError as error:  # JSONDecodeError is one
        raise PassingError(f"a broken answer: {error}"[:REASON_CHARACTERS]) from error
    reason = body["choices"][0].get("finish_reason")
    if reason == "content_filter" and not reply.text:
        raise RefusedError("withheld by the endpoint's content filter")
    assert isinstance(body, dict)
    return body


def _fault(
    status: int, headers: Mapping[str, str], text: str, endpoint: Endpoint
) -> PassingError | RefusedError | EndpointError:
    """Say what an HTTP status other than 200 means."""
    told = f"HTTP {status}: {_message(text)}".rstrip(": ")
    if status in (401, 402) or any(word in text for word in _NO_MONEY):
        held = "is set" if os.environ.get(endpoint.key_variable) else "is not set"
        return EndpointError(
            f"the endpoint lets nobody in: {told}. The key is read from ${endpoint.key_variable}, "
            f"which {held}.",
            where=endpoint.url,
        )
    if status in _HOPELESS or 300 <= status < 400:
        return EndpointError(
            f"{told}. Look at the URL, and at the model's name ({endpoint.name!r}).",
            where=endpoint.url,
        )
    if status in _PASSING or status >= 500:
        return PassingError(told, _retry_after(headers.get("retry-after"), time.time()))
    return RefusedError(told)


def _message(text: str) -> str:
    """Return what an error says, in the shape of OpenAI's or another."""
    try:
        body = json.loads(text)
    except ValueError:
        return " ".join(text.split())[:REASON_CHARACTERS]
    error = body.get("error", body) if isinstance(body, dict) else body
    said = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(said).split())[:REASON_CHARACTERS]


def _retry_after(value: str | None, now: float) -> float | None:
    """Read the header Retry-After, seconds or a date, as seconds from now.

    Example:
        >>> _retry_after("3", 0.0), _retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 15.0)
        (3.0, 45.0)
        >>> _retry_after("soon", 0.0)
    """
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None

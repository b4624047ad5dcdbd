"""Who may look: a token in the opened address or a password, then a cookie."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import deque
from dataclasses import dataclass, field

LIFETIME_S = 7 * 24 * 3600
TRIES, TRIES_S = 10, 60.0
"""At most so many wrong passwords in so many seconds, from all browsers together."""


@dataclass(frozen=True)
class Session:
    """One browser that was let in.

    Attributes:
        csrf: What its pages send with every change, which pages of other origins cannot know.
        until: When it ends, by the monotonic clock.
    """

    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    until: float = field(default_factory=lambda: time.monotonic() + LIFETIME_S)


class Sessions:
    """All browsers that were let in; gone when the studio ends.

    Attributes:
        token: Lets a browser of this machine in; stands in the address that is printed.
    """

    def __init__(self, password: str | None) -> None:
        self.token = secrets.token_urlsafe(32)
        self._once: set[str] = set()
        self._password = password
        self._sessions: dict[str, Session] = {}
        self._wrong: deque[float] = deque(maxlen=TRIES)

    @property
    def asks_password(self) -> bool:
        """Whether a password is the way in; the token is none then."""
        return self._password is not None

    def once(self) -> str:
        """Return a token that works once: other users of the machine may see a command line."""
        token = secrets.token_urlsafe(32)
        self._once.add(_digest(token))
        return token

    def by_token(self, given: str) -> str | None:
        """Begin a session for a token; None if it is wrong."""
        if _digest(given) in self._once:
            self._once.discard(_digest(given))
            return self._begin()
        if not self.asks_password and hmac.compare_digest(given.encode(), self.token.encode()):
            return self._begin()
        return None

    def by_password(self, given: str) -> str | None:
        """Begin a session for a password; None if it is wrong or was guessed at too often."""
        if self.must_wait() or self._password is None:
            return None
        if hmac.compare_digest(given.encode(), self._password.encode()):
            return self._begin()
        self._wrong.append(time.monotonic())
        return None

    def must_wait(self) -> bool:
        """Whether too many wrong passwords came in the last minute."""
        full = len(self._wrong) == TRIES
        return full and time.monotonic() - self._wrong[0] < TRIES_S

    def find(self, key: str | None) -> Session | None:
        """Return the session of a cookie, if there is one that has not ended."""
        if not key:
            return None
        session = self._sessions.get(_digest(key))
        if session is not None and session.until < time.monotonic():
            del self._sessions[_digest(key)]
            return None
        return session

    def end(self, key: str | None) -> None:
        """Forget a session."""
        if key:
            self._sessions.pop(_digest(key), None)

    def _begin(self) -> str:
        key = secrets.token_urlsafe(32)
        self._sessions[_digest(key)] = Session()
        return key


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

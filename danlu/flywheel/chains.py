"""Turns as conversations: what was said before each, and what the user said next.

Logs that give the whole conversation with each answer are joined by it: the turn whose history is
another turn with its answer follows that one. Logs that give single questions are joined by their
session and time.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from danlu.flywheel.memory import Seen
from danlu.records import Message


@dataclass(eq=False)
class Link:
    """A turn in its conversation.

    Attributes:
        seen: The turn; its messages hold all that was said before.
        before: The turn that it follows; None if it is the first, or that one is not in the logs.
        after: Turns that follow it; more than one where the user went back and said something else.
    """

    seen: Seen
    before: Link | None = None
    after: list[Link] = field(default_factory=list)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation, with the answer."""
        return self.seen.turn.messages

    @property
    def question(self) -> str:
        """What the user said last before the answer."""
        asked = [one.content or "" for one in self.messages if one.role == "user"]
        return asked[-1]

    @property
    def answer(self) -> str:
        """The answer."""
        return self.messages[-1].content or ""

    def chain(self) -> list[Link]:
        """Return this turn and those before it, the first one first."""
        found: list[Link] = []
        here: Link | None = self
        while here is not None:
            found.append(here)
            here = here.before
        return found[::-1]


def chains(turns: Iterable[Seen]) -> list[Link]:
    """Join turns to conversations; they come back in the order in which they were read."""
    links = [Link(one) for one in _with_history(list(turns))]
    by_end: dict[tuple[str, bytes], Link] = {}
    for link in links:
        by_end.setdefault((link.seen.turn.session, _digest(link.messages)), link)
    for link in links:
        history = _history(link.messages)
        before = by_end.get((link.seen.turn.session, _digest(history))) if history else None
        if before is not None and before is not link:
            link.before = before
            before.after.append(link)
    for link in links:
        link.after.sort(key=lambda one: one.seen.turn.time)
    return links


def prompt_digest(messages: Sequence[Message]) -> bytes:
    """Hash what an answer answers: all messages but the last."""
    return _digest(messages[:-1])


def _with_history(turns: Sequence[Seen]) -> list[Seen]:
    """Put before single questions what was said in their session."""
    of_session: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(turns):
        if one.alone and one.turn.session:
            of_session[one.turn.session].append(place)
    found = list(turns)
    for places in of_session.values():
        said: tuple[Message, ...] = ()
        for place in sorted(places, key=lambda place: (turns[place].turn.time, place)):
            turn = turns[place].turn
            own = turn.messages
            if said and own[0].role == "system":
                own = own[1:]
            turn = replace(turn, messages=(*said, *own))
            found[place] = replace(turns[place], turn=turn)
            said = turn.messages
    return found


def _history(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the conversation up to the answer before the last words of the user."""
    last = max(place for place, one in enumerate(messages) if one.role == "user")
    before = [place for place in range(last) if messages[place].role == "assistant"]
    return tuple(messages[: before[-1] + 1]) if before else ()


def _digest(messages: Sequence[Message]) -> bytes:
    """Hash what was said; services strip white space from answers when they give them back."""
    digest = hashlib.blake2b(digest_size=16)
    for one in messages:
        text = (one.content or "").strip()
        calls = repr(one.extra.get("tool_calls", ""))
        digest.update(f"{len(one.role)},{len(text)},{one.role}{text}{calls}".encode())
    return digest.digest()

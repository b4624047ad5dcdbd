"""A conversation in the terminal: who answers, who answers beside, and what is kept of it."""

from __future__ import annotations

import getpass
import inspect
import secrets
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.errors import DanluError, did_you_mean
from danlu.generation.interface import Sampling
from danlu.records.capture import Turn, now
from danlu.serving.chat import Chat
from danlu.serving.speakers import Speaker

if TYPE_CHECKING:
    from danlu.serving.server.capture import Capture

Answer = Generator[str, None, None]
Ask = Callable[[str], str]
"""Asks for a line with a prompt; raises EOFError where no more come."""


class Seat:
    """One who answers, with the conversation as it went there.

    Attributes:
        speaker: Who it is.
        chat: The conversation.
        session: A name for it in the capture.
        turn: Id of the last answer there; empty while it is not written down.
    """

    def __init__(self, speaker: Speaker, system: str | None, sampling: Sampling | None) -> None:
        self.speaker = speaker
        self.chat = Chat(speaker.generator, system=system, sampling=sampling)
        self.session = _new_id()
        self.turn = ""


class Session:
    """What a line of the user acts upon.

    Args:
        speakers: Who can be talked to; the first one begins.
        beside: Who answers beside it; None for nobody.
        system: System message.
        sampling: How answers are drawn.
        capture: Folder that answers and votes are written to; None writes nothing.
        voter: Who votes; None takes the name of the user's account. Written as a pseudonym.
        ask: Asks for a line, where somebody is there to be asked.

    Attributes:
        seats: Who answers: one, or two beside one another.
    """

    def __init__(
        self,
        speakers: Sequence[Speaker],
        *,
        beside: Speaker | None = None,
        system: str | None = None,
        sampling: Sampling | None = None,
        capture: Path | None = None,
        voter: str | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.speakers = {one.name: one for one in speakers}
        answering = [speakers[0], *([beside] if beside else [])]
        self.seats = [Seat(one, system, sampling) for one in answering]
        self.ask = ask
        self._voter = _user() if voter is None else voter
        self._capture: Capture | None = None
        if capture is not None:
            self.keep_in(capture)

    @property
    def names(self) -> list[str]:
        """Who answers."""
        return [seat.speaker.name for seat in self.seats]

    # What is said ------------------------------------------------------------------------

    def say(self, text: str) -> list[Answer]:
        """Say something; the answers are computed as they are read."""
        return self._begun([seat.chat.stream(text) for seat in self.seats])

    def retry(self) -> list[Answer]:
        """Draw the last answers anew."""
        self._last()
        return self._begun([seat.chat.retry() for seat in self.seats])

    def undo(self) -> bool:
        """Take back what was said last; False if there is nothing."""
        undone = False
        for seat in self.seats:
            seat.turn = ""
            undone |= seat.chat.undo()
        return undone

    def reset(self) -> None:
        """Begin a new conversation."""
        for seat in self.seats:
            seat.chat.reset()
            seat.session, seat.turn = _new_id(), ""

    def set_system(self, text: str | None) -> None:
        """Set the system message, or take it away."""
        for seat in self.seats:
            seat.chat.system = text

    def switch(self, name: str) -> None:
        """Let another one go on with the conversation.

        Raises:
            DanluError: If there is nobody of that name.
        """
        if name not in self.speakers:
            raise DanluError(f"nobody here is called {name!r}.{did_you_mean(name, self.speakers)}")
        seat = self.seats[0]
        seat.speaker = self.speakers[name]
        seat.chat.generator = seat.speaker.generator

    def answered(self, answers: Sequence[Answer], *, whole: bool) -> None:
        """Take note that answers have been read, and write them down if they are whole.

        One that was broken off and still computes keeps the old conversation to itself.
        """
        for seat, answer in zip(self.seats, answers, strict=True):
            if inspect.getgeneratorstate(answer) == inspect.GEN_RUNNING:
                seat.chat = seat.chat.fork()
            elif whole and self._capture is not None:
                self._write_turn(seat)

    def _begun(self, answers: list[Answer]) -> list[Answer]:
        for seat in self.seats:
            seat.turn = ""
        return answers

    # What is kept ------------------------------------------------------------------------

    def keep_in(self, folder: Path | None) -> None:
        """Write answers and votes to a folder from now on; None writes nothing.

        Raises:
            DanluError: If it cannot be written.
        """
        if folder is None:
            self._capture = None
            return
        from danlu.serving.server.capture import Capture

        try:
            self._capture = Capture(folder.expanduser(), None)
        except OSError as error:
            raise DanluError(f"cannot be written: {error.strerror}.", where=str(folder)) from error

    def vote(
        self,
        up: bool,
        *,
        text: str = "",
        corrected: str = "",
        seat: int = 0,
        voter: str | None = None,
    ) -> None:
        """Write down what the user says of the last answer.

        Args:
            up: Whether it is good.
            text: Why.
            corrected: What it should have been.
            seat: Whose answer.
            voter: Who says so; None: whom the session was begun for.

        Raises:
            DanluError: If there is none, or nothing is kept.
        """
        self.must_take_votes(seat)
        voter = self._voter if voter is None else voter
        place = self.seats[seat]
        if not place.turn:
            self._write_turn(place)
        from danlu.serving.server.protocol import FeedbackRequest

        try:
            request = FeedbackRequest(
                id=place.turn, up=up, text=text, corrected=corrected, voter=voter[:128]
            )
        except ValueError as error:
            raise DanluError("this is too long to be kept: say it shorter.") from error
        self._kept(lambda capture: capture.feedback(request))

    def must_take_votes(self, seat: int | None = None) -> None:
        """Check that there is an answer to vote on, and a folder for votes.

        Args:
            seat: Whose answer; None: everybody's.

        Raises:
            DanluError: If not.
        """
        if self._capture is None:
            raise DanluError(
                "votes are written to a folder, for `danlu flywheel`, and none is named: "
                "/capture FOLDER names one, or --capture FOLDER at the start."
            )
        self._last(seat)

    def _write_turn(self, seat: Seat) -> None:
        seat.turn = f"chat-{_new_id()}"
        turn = Turn(
            id=seat.turn,
            messages=tuple(seat.chat.messages),
            time=now(),
            session=seat.session,
            model=seat.speaker.name,
            adapter=seat.speaker.run,
            data_version=seat.speaker.data_version,
        )
        self._kept(lambda capture: capture.add(turn))

    def _kept(self, write: Callable[[Capture], None]) -> None:
        assert self._capture is not None
        try:
            write(self._capture)
        except OSError as error:
            where = str(self._capture.folder)
            raise DanluError(f"cannot be written: {error.strerror}.", where=where) from error

    def _last(self, seat: int | None = None) -> None:
        """Check that there is an answer."""
        seats = self.seats if seat is None else [self.seats[seat]]
        if not all(_is_answered(one.chat) for one in seats):
            raise DanluError("there is no answer yet.")


def _is_answered(chat: Chat) -> bool:
    return bool(chat.history) and chat.history[-1].role == "assistant"


def _new_id() -> str:
    return secrets.token_hex(8)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name
        return ""

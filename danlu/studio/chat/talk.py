"""One conversation of the studio: what was said, answers as they come, and what was said of them.

The conversation itself, its votes and its capture are a ``danlu.serving.session.Session``, as in
``danlu chat``; here is what a page needs beside it: answers under way, and a stop.
"""

from __future__ import annotations

import secrets
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records.record import Message
from danlu.serving.session import Answer as Pieces
from danlu.serving.session import Seat, Session
from danlu.serving.speakers import Speaker

STOP_S = 1.0
"""How long a stopped answer may take to end by itself."""
CAPTURE = "captured"
"""Folder of answers and votes, in the workspace: what the flywheel's example reads."""


@dataclass
class Answer:
    """One model's answer, as it is now.

    Attributes:
        text: What has come.
        state: ``going``, ``whole``, ``stopped`` or ``failed``.
        fault: Why it failed.
        stands: Whether it belongs to the conversation from now on.
        up: The vote on it; None without one.
        corrected: What it should have been, as somebody has said.
        saved: Where it was saved as a record.
    """

    text: str = ""
    state: Literal["going", "whole", "stopped", "failed"] = "going"
    fault: str = ""
    stands: bool = False
    up: bool | None = None
    corrected: str = ""
    saved: str = ""


@dataclass
class Exchange:
    """Something said, and the answers to it.

    Attributes:
        said: By the user.
        answers: One per model.
    """

    said: str
    answers: list[Answer]


@dataclass(frozen=True)
class TalkSettings:
    """What holds from the next answer on.

    Attributes:
        system: System message; empty for none.
        sampling: How answers are drawn.
        capture: Folder of answers and votes, from the workspace; empty writes nothing.
    """

    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    capture: str = CAPTURE


class Talk:
    """A conversation with one model, or with two side by side.

    Args:
        speakers: Who answers.
        models: Their names as they were asked for.
        root: The workspace.

    Attributes:
        id: Names it in addresses.
        exchanges: What was said.
        settings: What holds now.
        task_type: Of the record that was saved last; offered for the next one.
        run: Counts the times that answers were begun; those of an earlier one come no more.
    """

    def __init__(self, speakers: Sequence[Speaker], models: Sequence[str], root: Path) -> None:
        self.id = secrets.token_hex(8)
        self.began = datetime.now(UTC)
        self.models = tuple(models)
        self.exchanges: list[Exchange] = []
        self.settings = TalkSettings(capture="")
        self.task_type = ""
        self.run = 0
        self.session = Session(speakers[:1], beside=speakers[1] if len(speakers) > 1 else None)
        self._root = root
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._under_way: threading.Thread | None = None

    @property
    def names(self) -> list[str]:
        """Who answers."""
        return self.session.names

    @property
    def going(self) -> bool:
        """Whether an answer is under way."""
        return self._under_way is not None

    @property
    def last(self) -> Exchange | None:
        """What was said last."""
        return self.exchanges[-1] if self.exchanges else None

    # What is said --------------------------------------------------------------------------

    def say(self, text: str, settings: TalkSettings) -> None:
        """Say something; answers come from now on.

        Raises:
            DanluError: If answers are under way, nothing is said, or the folder of the capture
                cannot be written.
        """
        if not text.strip():
            raise DanluError("there is nothing to say.")
        with self._free():
            self._take(settings)
            answers = self.session.say(text)
            self.exchanges.append(Exchange(text, [Answer() for _ in answers]))
            self._begin(answers)

    def retry(self, settings: TalkSettings) -> None:
        """Draw the last answers anew.

        Raises:
            DanluError: As ``say``, or if nothing has been said.
        """
        with self._free():
            last = self._last()
            self._take(settings)
            answers: list[Pieces] = []
            for seat, answer in zip(self.session.seats, last.answers, strict=True):
                seat.turn = ""
                again = answer.stands  # who could not answer has not been asked, either
                answers.append(seat.chat.retry() if again else seat.chat.stream(last.said))
            last.answers = [Answer() for _ in answers]
            self._begin(answers)

    def stop(self) -> None:
        """Stop the answers under way; they stay as far as they have come."""
        self._stop.set()

    def undo(self) -> None:
        """Take back what was said last.

        Raises:
            DanluError: If answers are under way, or nothing has been said.
        """
        with self._free():
            last = self._last()
            for seat, answer in zip(self.session.seats, last.answers, strict=True):
                seat.turn = ""
                if answer.stands:
                    seat.chat.undo()
            self.exchanges.pop()

    def reset(self) -> None:
        """Begin anew; settings stay.

        Raises:
            DanluError: If answers are under way.
        """
        with self._free():
            self.session.reset()
            self.exchanges.clear()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until no answer is under way."""
        thread = self._under_way
        if thread is not None:
            thread.join(seconds)

    # What is said of it --------------------------------------------------------------------

    def vote(self, seat: int, up: bool, *, voter: str, text: str = "", corrected: str = "") -> None:
        """Keep a thumb, or a correction, of the last answer in the capture.

        Args:
            seat: Whose answer.
            up: Whether it is good.
            voter: Who says so.
            text: Why.
            corrected: What it should have been.

        Raises:
            DanluError: If there is none, or nothing is kept.
        """
        with self._free():
            answer = self.answer(seat)
            if not self.settings.capture:
                raise DanluError("name a folder first, to which votes are written.")
            self.session.vote(up, text=text, corrected=corrected, seat=seat, voter=voter)
            answer.up = up
            answer.corrected = corrected

    def better(self, seat: int, *, voter: str) -> None:
        """Keep that one answer is better than the other one.

        Raises:
            DanluError: If there are not two, or nothing is kept.
        """
        if len(self.session.seats) < 2:
            raise DanluError("there is one answer only.")
        for number in (0, 1):
            self.answer(number)
        for number in (0, 1):
            self.vote(number, number == seat, voter=voter)

    def answer(self, seat: int) -> Answer:
        """Return the last answer of a model.

        Raises:
            DanluError: If there is none.
        """
        answers = self._last().answers
        if not 0 <= seat < len(answers) or not answers[seat].stands:
            raise DanluError("there is no answer yet.")
        return answers[seat]

    def messages(self, seat: int) -> list[Message]:
        """Return the conversation with a model, each answer as it was corrected.

        Raises:
            DanluError: If there is no answer.
        """
        self.answer(seat)
        found = [Message("system", self.settings.system)] if self.settings.system else []
        for exchange in self.exchanges:
            answer = exchange.answers[seat]
            if answer.stands:
                found.append(Message("user", exchange.said))
                found.append(Message("assistant", answer.corrected or answer.text))
        return found

    # Inner ---------------------------------------------------------------------------------

    @contextmanager
    def _free(self) -> Iterator[None]:
        """Hold the lock, if no answer is under way."""
        with self._lock:
            if self.going:
                raise DanluError("an answer is under way: stop it first, or wait.")
            yield

    def _last(self) -> Exchange:
        if self.last is None:
            raise DanluError("nothing has been said yet.")
        return self.last

    def _take(self, settings: TalkSettings) -> None:
        if settings.capture != self.settings.capture:
            folder = self._root / settings.capture if settings.capture else None
            self.session.keep_in(folder)
        self.session.set_system(settings.system or None)
        for seat in self.session.seats:
            seat.chat.sampling = settings.sampling
        self.settings = settings

    def _begin(self, answers: list[Pieces]) -> None:
        self.run += 1
        self._stop = threading.Event()
        work = threading.Thread(target=self._answer, args=(answers, self._stop), daemon=True)
        self._under_way = work
        work.start()

    def _answer(self, pieces: list[Pieces], stop: threading.Event) -> None:
        """Draw the answers side by side, and take note of them when they have ended."""
        answers = self._last().answers
        threads = [
            threading.Thread(target=_draw, args=(*both, stop), daemon=True)
            for both in zip(pieces, answers, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and not stop.is_set():
                thread.join(0.05)
        for thread in threads:
            thread.join(STOP_S)
        with self._lock:
            self._settle(pieces, answers)
            self._under_way = None

    def _settle(self, pieces: list[Pieces], answers: list[Answer]) -> None:
        """Let the session know how the answers ended, one that is still computed among them."""
        before = [seat.chat for seat in self.session.seats]
        whole = all(answer.state == "whole" for answer in answers)
        try:
            self.session.answered(pieces, whole=whole)
        except DanluError as error:  # the capture cannot be written
            answers[0].fault = str(error)
        for seat, chat, answer in zip(self.session.seats, before, answers, strict=True):
            if seat.chat is not chat:
                _leave(seat, answer)
            answer.stands = bool(answer.text) or answer.state == "whole"


def _draw(pieces: Pieces, answer: Answer, stop: threading.Event) -> None:
    try:
        with closing(pieces):
            for piece in pieces:
                if answer.state != "going":
                    return  # it was left, and the conversation went on
                answer.text += piece
                if stop.is_set():
                    answer.state = "stopped"
                    return
        answer.state = "whole"
    except DanluError as error:
        answer.state, answer.fault = "failed", str(error)
    except Exception as error:  # noqa: BLE001 - the page says so, the terminal has the rest
        traceback.print_exc()
        answer.state, answer.fault = "failed", f"{type(error).__name__}: {error}"


def _leave(seat: Seat, answer: Answer) -> None:
    """Go on without an answer that is still computed, as far as it had come."""
    answer.state = "stopped"
    if answer.text:
        seat.chat.history.append(Message("assistant", answer.text))
    else:
        seat.chat.undo()

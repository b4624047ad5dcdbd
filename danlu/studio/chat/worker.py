"""A process that holds models and answers for one studio: a JSON object a line, in and out.

``python -m danlu.studio.chat.worker NAME ...`` is started by ``danlu.studio.chat.pool``. It says
``{"stage": "loading"}``, ``{"stage": "ready"}`` or ``{"fault": WHY}``; then it is asked
``{"ask": 7, "speaker": 0, "messages": [...], "sampling": {...}}``, and says ``{"id": 7, "text":
"..."}`` piece by piece, then ``{"id": 7, "end": true}`` or ``{"id": 7, "fault": WHY}``;
``{"stop": 7}`` gives an answer up. It ends with its input, so it never outlives the studio, and
when nobody has asked for a while.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records.record import Message

if TYPE_CHECKING:
    from danlu.serving.speakers import Speaker

IDLE_S = 30 * 60.0


class Worker:
    """Answers with models until its input ends.

    Args:
        out: Descriptor that lines are written to.
    """

    def __init__(self, out: int) -> None:
        self._out = os.fdopen(out, "wb", buffering=0)
        self._lock = threading.Lock()
        self._stops: dict[int, threading.Event] = {}

    def say(self, **row: Any) -> None:
        """Write a line."""
        with self._lock:
            self._out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def load(self, names: Sequence[str]) -> list[Speaker] | None:
        """Load models, LoRA adapters of one base together; None if that fails."""
        try:
            # What takes seconds before the first byte of a model is read.
            from danlu.serving.server import served  # noqa: F401
            from danlu.serving.speakers import load_speakers

            self.say(stage="loading")
            found = [one for (one,) in load_speakers(names, progress=False)]
        except DanluError as error:
            self.say(fault=str(error))
            return None
        except Exception as error:  # noqa: BLE001 - the page says so, the terminal has the rest
            traceback.print_exc()
            self.say(fault=f"{type(error).__name__}: {error}")
            return None
        self.say(stage="ready")
        return found

    def serve(self, speakers: Sequence[Speaker], lines: Iterator[bytes | None]) -> None:
        """Answer what is asked, each in a thread, until the lines end or nobody asks."""
        for line in lines:
            if line is None:
                if not self._stops:
                    return
                continue
            row = json.loads(line)
            if "stop" in row:
                stop = self._stops.get(row["stop"])
                if stop is not None:
                    stop.set()
                continue
            self._stops[row["ask"]] = threading.Event()
            speaker = speakers[row["speaker"]]
            threading.Thread(target=self._answer, args=(speaker, row), daemon=True).start()

    def _answer(self, speaker: Speaker, row: dict[str, Any]) -> None:
        number, stop = row["ask"], self._stops[row["ask"]]
        messages = [Message(one["role"], one["content"]) for one in row["messages"]]
        try:
            stream = speaker.generator.stream(messages, Sampling(**row["sampling"]))
            with closing(stream) as pieces:
                for piece in pieces:
                    if stop.is_set():
                        break
                    self.say(id=number, text=piece)
            self.say(id=number, end=True)
        except DanluError as error:
            self.say(id=number, fault=str(error))
        except BrokenPipeError:
            pass  # the studio is gone, and this process goes with it
        except Exception as error:  # noqa: BLE001 - later answers may do
            traceback.print_exc()
            self.say(id=number, fault=f"{type(error).__name__}: {error}")
        finally:
            del self._stops[number]


def lines_of(descriptor: int, idle_s: float) -> Iterator[bytes | None]:
    """Yield lines until the input ends; None whenever none has come for so long."""
    left = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], idle_s)
        if not ready:
            yield None
            continue
        read = os.read(descriptor, 1 << 16)
        if not read:
            return
        *lines, left = (left + read).split(b"\n")
        yield from lines


def main(names: Sequence[str]) -> None:
    """Load models and answer; what libraries print goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)
    worker = Worker(out)
    speakers = worker.load(names)
    if speakers is not None:
        worker.serve(speakers, lines_of(0, IDLE_S))
    # Not one step more of what is still computed.
    os._exit(0 if speakers is not None else 1)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Chat templates of models that are served, each rendered in a process of its own.

A template is a program of whoever made the model. Its limits (``danlu.sequences.bounds``) end it
after a second or two, but in the server's own process nobody else would be answered meanwhile: the
interpreter runs one thread at a time, and the engine's needs it between any two operations. A
process beside costs 24 MB, and can be ended whatever it does.

``python -m danlu.serving.server.renderer FD`` is that process: it renders for the other end of a
socket, and ends with it.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Any

from danlu.errors import TemplateError
from danlu.sequences.environment import compile_template, render_compiled
from danlu.serving.engines.child import own_module, python_path

if TYPE_CHECKING:
    from danlu.sequences.template import ChatTemplate

PATIENCE_S = 30.0
"""For one rendering: it ends itself after two seconds of computing, which a busy machine draws out.
"""
END_S = 5.0
LONGEST_REFUSAL = 2000
TEXT, REFUSED = b"t", b"r"
"""How an answer begins: the text, or why there is none."""


class Renderer:
    """Renders one template, one conversation after another; may be used by several threads.

    Args:
        source: The Jinja text.
        variables: What the template is given beside the conversation.
        patience_s: How long a rendering may take before the process is ended.
    """

    def __init__(
        self, source: str, variables: Mapping[str, Any], *, patience_s: float = PATIENCE_S
    ) -> None:
        self._given = {"source": source, "variables": dict(variables)}
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: Connection[bytes, bytes] | None = None
        atexit.register(self.close)

    def begin(self) -> None:
        """Start the process, if there is none, and do not wait for it."""
        with self._lock:
            self._started()

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
    ) -> str:
        """Render messages as ``ChatTemplate.render_plain`` does.

        Raises:
            TemplateError: If the template refuses them, or its process had to be ended.
        """
        asked = json.dumps(
            {
                "messages": messages,
                "tools": tools,
                "add_generation_prompt": add_generation_prompt,
            },
            ensure_ascii=False,
        ).encode()
        with self._lock:
            answer = self._answer(asked)
        text = answer[1:].decode()
        if answer[:1] == REFUSED:
            raise TemplateError(text)
        return text

    def close(self) -> None:
        """End the process; rendering again starts a new one."""
        with self._lock:
            self._end()

    def _answer(self, asked: bytes) -> bytes:
        for attempt in range(2):
            try:
                wire = self._started()
                wire.send_bytes(asked)
                if not wire.poll(self._patience_s):
                    self._end(at_once=True)
                    raise TemplateError(
                        f"The chat template was not done after {self._patience_s:g} s, and was "
                        "ended: do its loops or calls end?"
                    )
                return wire.recv_bytes()
            except (EOFError, OSError):
                self._end(at_once=True)  # somebody has ended it, or the template has
                if attempt:
                    raise TemplateError(
                        "The process that renders the chat template ended twice: it may have run "
                        "out of memory."
                    ) from None
        raise AssertionError

    def _started(self) -> Connection[bytes, bytes]:
        if self._wire is None:
            ours, theirs = Pipe()
            command = [*own_module("danlu.serving.server.renderer"), str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **python_path()},
                start_new_session=True,  # Ctrl-C is for the server: it drains first
            )
            theirs.close()
            self._wire = ours
            ours.send_bytes(json.dumps(self._given, default=str).encode())
        return self._wire

    def _end(self, *, at_once: bool = False) -> None:
        if self._wire is None or self._process is None:
            return
        self._wire.close()
        if not at_once:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
        self._process.kill()
        self._process.wait()
        self._wire = self._process = None


def renderer_of(template: ChatTemplate) -> Renderer:
    """Return the renderer of a template; the adapters of one base mostly share it."""
    return _renderer(template.source, json.dumps(template.variables, default=str))


@cache
def _renderer(source: str, variables: str) -> Renderer:
    return Renderer(source, json.loads(variables))


def serve(wire: Connection[bytes, bytes]) -> None:
    """Render for the other end, until it closes."""
    given = json.loads(wire.recv_bytes())
    compiled = compile_template(given["source"])
    while True:
        try:
            asked = json.loads(wire.recv_bytes())
        except EOFError:
            return
        try:
            text = render_compiled(compiled, given["variables"], **asked)
            answer = TEXT + text.encode()
        except (TemplateError, UnicodeEncodeError) as error:
            answer = REFUSED + str(error)[:LONGEST_REFUSAL].encode("utf-8", "replace")
        except MemoryError:
            answer = REFUSED + b"The chat template needs more memory than there is."
        with suppress(BrokenPipeError):
            wire.send_bytes(answer)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt), Connection(int(sys.argv[1])) as given_wire:
        serve(given_wire)

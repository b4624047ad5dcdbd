"""Talking to a model in the terminal: ``danlu chat``.

Answers go to standard output, all else to standard error; so ``--prompt`` and a piped standard
input give nothing but answers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.errors import DanluError, did_you_mean
from danlu.generation.interface import Sampling
from danlu.records.visible import visible
from danlu.serving.chat import Chat, load

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C has ended, by the shell's convention."""

COMMANDS = {
    "help": "show this",
    "reset": "forget the conversation, keep the system message",
    "system": "TEXT: set the system message; without TEXT, take it away",
    "undo": "take back the last question and its answer",
    "retry": "answer the last question again",
    "exit": "leave (as does Ctrl-D)",
}


def run_chat(
    run_or_model: str | Path,
    *,
    prompt: str | None = None,
    system: str | None = None,
    sampling: Sampling | None = None,
    template: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    trust_remote_code: bool = False,
) -> int:
    """Talk to a model: one answer to ``prompt``, or a conversation.

    Without ``prompt``, each line of standard input is said in turn.

    Args:
        run_or_model: As ``danlu.load`` takes it.
        prompt: Answer this and end; no terminal is needed.
        system: System message.
        sampling: How answers are drawn; None for the defaults.
        template: Chat template, where the model has none of its own.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        trust_remote_code: Run Python code that comes with the model.

    Returns:
        The exit code: 0, or 130 if Ctrl-C ended a single answer.

    Raises:
        DanluError: If the model cannot be loaded, or cannot answer the prompt.
    """
    from rich.console import Console

    notes = Console(stderr=True, highlight=False)
    interactive = prompt is None and sys.stdin.isatty()
    try:
        chat = load(
            run_or_model,
            template=template,
            system=system if system is None else whole_text(system),
            sampling=sampling,
            device=device,
            precision=precision,
            trust_remote_code=trust_remote_code,
        )
        if prompt is not None:
            show(chat.stream(whole_text(prompt)))
            return 0
        if interactive:
            notes.print(f"{run_or_model}: /help shows the commands, Ctrl-D leaves.", markup=False)
        talk(chat, read=_reader(notes, interactive=interactive), notes=notes)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our answers has left; without this Python complains once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def talk(chat: Chat, *, read: Callable[[], str], notes: Console) -> None:
    """Answer one line after another until they end.

    Ctrl-C stops an answer, which stays in the conversation as far as it got; at the prompt it only
    drops the line.

    Args:
        chat: The conversation.
        read: Returns the next line; raises EOFError after the last.
        notes: Where everything goes that is not an answer.
    """
    while True:
        try:
            line = whole_text(read()).strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            notes.print("\n/exit or Ctrl-D leaves.")
            continue
        if line in ("/exit", "/quit"):
            return
        if not line:
            continue
        try:
            if answer := obey(chat, line, notes):
                show(answer)
        except KeyboardInterrupt:
            notes.print("\n(stopped)")
        except DanluError as error:
            notes.print(str(error), markup=False, style="red")


def obey(chat: Chat, line: str, notes: Console) -> Generator[str, None, None] | None:
    """Do what a line asks for.

    Args:
        chat: The conversation.
        line: A command (``/reset``), or something to say; ``//`` says a text that begins with
            ``/``.
        notes: Where a command's effect is told.

    Returns:
        The answer to come, or None if the line was a command without one.

    Raises:
        DanluError: If there is no such command.
    """
    if not line.startswith("/") or line.startswith("//"):
        return chat.stream(line.removeprefix("/") if line.startswith("//") else line)
    name, _, text = line[1:].partition(" ")
    text = text.strip()
    if name == "retry":
        return chat.retry()
    if name == "help":
        for command, meaning in COMMANDS.items():
            notes.print(f"  /{command:<8}{meaning}", markup=False)
    elif name == "reset":
        chat.reset()
        notes.print("The conversation begins anew.")
    elif name == "undo":
        notes.print("Taken back." if chat.undo() else "There is nothing to take back.")
    elif name == "system":
        chat.system = text or None
        notes.print("The system message is set." if text else "There is no system message now.")
    else:
        raise DanluError(f"there is no command /{name}.{did_you_mean(name, COMMANDS)}")
    return None


def show(answer: Generator[str, None, None]) -> None:
    """Write an answer to standard output as it comes, and end its line."""
    picture = sys.stdout.isatty()
    with closing(answer):
        try:
            for piece in answer:
                sys.stdout.write(visible(piece) if picture else piece)
                sys.stdout.flush()
        finally:
            sys.stdout.write("\n")
            sys.stdout.flush()


def whole_text(text: str) -> str:
    r"""Return text without the half characters of a broken input, which no tokenizer takes.

    Example:
        >>> whole_text("a\udce4b")
        'a�b'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _reader(notes: Console, *, interactive: bool) -> Callable[[], str]:
    """Return what reads a line: with editing and a prompt in a terminal, else plainly."""
    if interactive and sys.stdout.isatty():
        _load_line_editing()
        return lambda: input(_PROMPT)

    def read() -> str:
        if interactive:
            notes.print(_PROMPT, end="")
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line

    return read


_PROMPT = "\nyou> "


def _load_line_editing() -> None:
    """Give ``input`` history and editing that knows wide characters, where the system has it."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401

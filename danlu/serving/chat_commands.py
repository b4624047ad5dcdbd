"""The commands of ``danlu chat``: what a line that begins with ``/`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.errors import DanluError, did_you_mean
from danlu.records.lines import encode_record
from danlu.records.record import Message, Record
from danlu.records.text_files import append_whole_line
from danlu.serving.session import Answer, Session

if TYPE_CHECKING:
    from rich.console import Console

TASK_TYPE = "unlabelled/chat"
"""Of conversations that are saved as records."""

COMMANDS = {
    "help": "show this",
    "reset": "forget the conversation, keep the system message",
    "system": "TEXT: set the system message; without TEXT, take it away",
    "undo": "take back the last question and its answer",
    "retry": "answer the last question again",
    "model": "NAME: let another one of those at hand go on; without NAME, list them",
    "good": "WHY: vote the last answer up; WHY may be left out",
    "bad": "ANSWER: vote it down, with the right answer; without, you are asked for it",
    "left": "with --beside: the left answer is the better one",
    "right": "with --beside: the right answer is the better one",
    "capture": "FOLDER: write answers and votes there from now on, for danlu flywheel",
    "save": "FILE: add the conversation to a .jsonl of records, or write it to a new .md",
    "exit": "leave (as does Ctrl-D)",
}


def obey(session: Session, line: str, notes: Console) -> list[Answer] | None:
    """Do what a line asks for.

    Args:
        session: The conversation.
        line: A command (``/reset``), or something to say; ``//`` says a text that begins with
            ``/``.
        notes: Where a command's effect is told.

    Returns:
        The answers to come, or None if the line was a command without one.

    Raises:
        DanluError: If there is no such command, or it cannot be done.
    """
    if not line.startswith("/") or line.startswith("//"):
        return session.say(line.removeprefix("/") if line.startswith("//") else line)
    name, _, text = line[1:].partition(" ")
    if name not in COMMANDS:
        raise DanluError(f"there is no command /{name}.{did_you_mean(name, COMMANDS)}")
    if name == "retry":
        return session.retry()
    told = _DO[name](session, text.strip())
    notes.print(told, markup=False)
    return None


def _help(session: Session, _: str) -> str:
    return "\n".join(f"  /{name:<8}{meaning}" for name, meaning in COMMANDS.items())


def _reset(session: Session, _: str) -> str:
    session.reset()
    return "The conversation begins anew."


def _undo(session: Session, _: str) -> str:
    return "Taken back." if session.undo() else "There is nothing to take back."


def _system(session: Session, text: str) -> str:
    session.set_system(text or None)
    return "The system message is set." if text else "There is no system message now."


def _model(session: Session, name: str) -> str:
    if name:
        session.switch(name)
        return f"{name} goes on."
    answering = session.names[0]
    return "\n".join(f"{'*' if one == answering else ' '} {one}" for one in session.speakers)


def _good(session: Session, why: str) -> str:
    session.vote(True, text=why)
    return "Voted up."


def _bad(session: Session, corrected: str) -> str:
    session.must_take_votes()
    if not corrected and session.ask is not None:
        corrected = _asked(session.ask)
    session.vote(False, corrected=corrected)
    return "Voted down, with a better answer." if corrected else "Voted down."


def _asked(ask: Callable[[str], str]) -> str:
    try:
        return ask("what it should have said (Enter: nothing)> ").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _better(session: Session, seat: int) -> str:
    if len(session.seats) < 2:
        raise DanluError("there is one answer only: --beside OTHER at the start gives two.")
    for number in range(2):
        session.vote(number == seat, seat=number)
    return f"Voted: {session.names[seat]} is better than {session.names[1 - seat]}."


def _capture(session: Session, folder: str) -> str:
    if not folder:
        raise DanluError("/capture needs a folder, as in /capture logs.")
    session.keep_in(Path(folder))
    return f"Answers and votes are written to {folder}, personal data masked."


def _save(session: Session, file: str) -> str:
    if not file:
        raise DanluError("/save needs a file, as in /save talk.jsonl or /save talk.md.")
    path = Path(file).expanduser()
    if not any(seat.chat.history for seat in session.seats):
        raise DanluError("nothing has been said yet.")
    try:
        if path.suffix == ".jsonl":
            records = [conversation_record(seat.chat.messages) for seat in session.seats]
            append_whole_line(path, b"".join(map(encode_record, records)))
            return f"Added to {file}, as danlu data reads it."
        if path.suffix != ".md":
            raise DanluError("is neither .jsonl (records) nor .md (to be read).", where=file)
        with path.open("x", encoding="utf-8") as page:
            page.write("\n".join(_page(s.speaker.name, s.chat.messages) for s in session.seats))
    except FileExistsError as error:
        raise DanluError("is there already: name a new file.", where=file) from error
    except OSError as error:
        raise DanluError(f"cannot be written: {error.strerror}.", where=file) from error
    return f"Written to {file}."


def conversation_record(
    messages: Sequence[Message], task_type: str = TASK_TYPE, source: str = "danlu chat"
) -> Record:
    """Return a conversation as a record, named by its content."""
    from danlu.records.formats.format import Parts
    from danlu.records.ids import parts_id

    told = tuple(messages)
    return Record(parts_id(Parts(told, (), ())), task_type, told, source=source)


def _page(name: str, messages: list[Message]) -> str:
    who = {"user": "You", "assistant": name, "system": "System"}
    parts = [f"**{who.get(one.role, one.role)}:**\n\n{one.content}\n" for one in messages]
    return "\n".join([f"# {name}\n", *parts])


_DO: dict[str, Callable[[Session, str], str]] = {
    "help": _help,
    "reset": _reset,
    "undo": _undo,
    "system": _system,
    "model": _model,
    "good": _good,
    "bad": _bad,
    "left": lambda session, _: _better(session, 0),
    "right": lambda session, _: _better(session, 1),
    "capture": _capture,
    "save": _save,
}

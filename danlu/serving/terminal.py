"""Talking to models in the terminal: ``danlu chat``.

Answers go to standard output, all else to standard error; so ``--prompt`` and a piped standard
input give nothing but answers.
"""

from __future__ import annotations

import locale
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records.visible import visible
from danlu.serving.beside import LEAST_COLUMNS, Columns, interleaved
from danlu.serving.chat_commands import obey
from danlu.serving.session import Answer, Session
from danlu.serving.speakers import Speaker, load_speakers

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C has ended, by the shell's convention."""


def run_chat(
    models: Sequence[str],
    *,
    beside: str | None = None,
    prompt: str | None = None,
    system: str | None = None,
    sampling: Sampling | None = None,
    capture: Path | None = None,
    voter: str | None = None,
    **loading: Any,
) -> int:
    """Talk to models: one answer to ``prompt``, or a conversation.

    Without ``prompt``, each line of standard input is said in turn.

    Args:
        models: As ``load_speakers`` takes them; the first one begins.
        beside: Who answers everything too.
        prompt: Answer this and end; no terminal is needed.
        system: System message.
        sampling: How answers are drawn; None for the defaults.
        capture: Folder that answers and votes are written to.
        voter: Who votes.
        **loading: As of ``load_speakers``.

    Returns:
        The exit code: 0, or 130 if Ctrl-C ended a single answer.

    Raises:
        DanluError: If a model cannot be loaded, or cannot answer the prompt.
    """
    from rich.console import Console

    notes = Console(stderr=True, highlight=False)
    interactive = prompt is None and sys.stdin.isatty()
    read = _reader(notes, interactive=interactive)
    try:
        with loaded(models, beside, loading) as (speakers, other):
            session = Session(
                speakers,
                beside=other,
                system=system if system is None else whole_text(system),
                sampling=sampling,
                capture=capture,
                voter=voter,
                ask=(lambda question: whole_text(read(question))) if interactive else None,
            )
            if prompt is not None:
                answer(session, session.say(whole_text(prompt)))
                return 0
            if interactive:
                _greet(session, notes)
            talk(session, read=lambda: read(_PROMPT), notes=notes)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our answers has left; without this Python complains once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _greet(session: Session, notes: Console) -> None:
    names = " beside ".join(session.names)
    notes.print(f"{names}: /help shows the commands, Ctrl-D leaves.", markup=False)
    if len(session.speakers) > 1:
        notes.print(f"{len(session.speakers)} are at hand: /model lists them.")


def answers_to(
    models: Sequence[str],
    prompt: str,
    *,
    beside: str | None = None,
    system: str | None = None,
    sampling: Sampling | None = None,
    capture: Path | None = None,
    voter: str | None = None,
    **loading: Any,
) -> dict[str, Any]:
    """Return the answer to a prompt as a program reads it; arguments as of ``run_chat``."""
    options: dict[str, Any] = {"system": system, "sampling": sampling}
    with loaded(models, beside, loading) as (speakers, other):
        session = Session(speakers, beside=other, capture=capture, voter=voter, **options)
        answers = session.say(whole_text(prompt))
        texts = ["".join(one) for one in answers]
        session.answered(answers, whole=True)
    found: dict[str, Any] = {"prompt": prompt, "answer": texts[0]}
    if other is not None:
        found["beside"] = {"model": other.name, "answer": texts[1]}
    return found


@contextmanager
def loaded(
    models: Sequence[str], beside: str | None, loading: dict[str, Any]
) -> Iterator[tuple[list[Speaker], Speaker | None]]:
    """Load who is talked to, and who answers beside, so that they share what they can."""
    found = load_speakers([*models, *([beside] if beside else [])], **loading)
    everybody = [speaker for speakers in found for speaker in speakers]
    other = found.pop()[0] if beside else None
    try:
        yield [speaker for speakers in found for speaker in speakers], other
    finally:
        for speaker in everybody:
            speaker.close()


def talk(session: Session, *, read: Callable[[], str], notes: Console) -> None:
    """Answer one line after another until they end.

    Ctrl-C stops an answer, which stays in the conversation as far as it got; at the prompt it only
    drops the line.

    Args:
        session: The conversation.
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
            if answers := obey(session, line, notes):
                answer(session, answers)
        except KeyboardInterrupt:
            notes.print("\n(stopped)")
        except DanluError as error:
            notes.print(str(error), markup=False, style="red")


def answer(session: Session, answers: list[Answer]) -> None:
    """Show answers as they come, and take note of them."""
    whole = False
    try:
        if len(answers) == 1:
            show(answers[0])
        else:
            show_beside(session.names, answers)
        whole = True
    finally:
        session.answered(answers, whole=whole)


def show(one: Answer) -> None:
    """Write an answer to standard output as it comes, and end its line."""
    picture = sys.stdout.isatty()
    with closing(one):
        try:
            for piece in one:
                sys.stdout.write(visible(piece) if picture else piece)
                sys.stdout.flush()
        finally:
            sys.stdout.write("\n")
            sys.stdout.flush()


def show_beside(names: Sequence[str], answers: Sequence[Answer]) -> None:
    """Write two answers: in columns in a wide terminal, else one after another."""
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or width < LEAST_COLUMNS:
        _one_after_another(names, answers)
        return
    columns = Columns(names, width)
    _print(columns.head())
    ended = False
    with closing(interleaved(answers)) as pieces:
        try:
            for index, piece in pieces:
                _print(columns.push(index, piece if piece is None else visible(piece)))
            ended = True
        finally:
            if not ended:  # what came of stopped answers is still shown
                for index in range(len(names)):
                    _print(columns.push(index, None))


def _one_after_another(names: Sequence[str], answers: Sequence[Answer]) -> None:
    """Show each under its name; Ctrl-C stops one, and the next one follows."""
    stopped = False
    fault: DanluError | None = None
    for name, one in zip(names, answers, strict=True):
        sys.stdout.write(f"── {name} ──\n")
        try:
            show(one)
        except KeyboardInterrupt:
            stopped = True
        except DanluError as error:
            fault = fault or error
    if fault is not None:
        raise fault
    if stopped:
        raise KeyboardInterrupt


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    if lines:
        sys.stdout.flush()


def whole_text(text: str) -> str:
    r"""Return text without the half characters of a broken input, which no tokenizer takes.

    Example:
        >>> whole_text("a\udce4b")
        'a�b'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _reader(notes: Console, *, interactive: bool) -> Callable[[str], str]:
    """Return what reads a line: with editing and a prompt in a terminal, else plainly."""
    if interactive and sys.stdout.isatty():
        _load_line_editing()

        def edit(prompt: str) -> str:
            sys.stdout.write("\n")
            return input(prompt)

        return edit

    def read(prompt: str) -> str:
        if interactive:
            notes.print(f"\n{prompt}", end="", markup=False)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line

    return read


_PROMPT = "you> "


def _load_line_editing() -> None:
    """Give ``input`` history and editing that knows wide characters, where the system has it.

    Readline measures characters by the locale that the environment names, each time anew. Under
    ``LC_ALL=C`` it takes the bytes of Chinese characters for commands, so another is named first.
    """
    import contextlib

    if "utf" not in locale.nl_langinfo(locale.CODESET).lower():
        for name in ("C.UTF-8", "C.utf8", "en_US.UTF-8"):
            with contextlib.suppress(locale.Error):
                locale.setlocale(locale.LC_CTYPE, name)
                os.environ["LC_ALL"] = name
                break
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401

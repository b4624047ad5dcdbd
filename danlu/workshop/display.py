"""A record as a person reads it in the terminal; wide characters take two columns."""

from __future__ import annotations

import json
import shutil
import sys

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from danlu.records import Message, Record
from danlu.records.visible import visible

PIPE_COLUMNS = 100
SHOWN_CHARACTERS = 600
"""Of a message; the middle of a longer one is left out, with how much that is."""
_LEAST_GAP = 4
_STYLES = {"system": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}


def display(record: Record, *, whole: bool = False, console: Console | None = None) -> None:
    """Print a record: a line of what it is, then each message with its role at the left.

    Args:
        record: What is shown.
        whole: Show long messages in full.
        console: Where; stdout by default.
    """
    console = console or _stdout()
    title = Text(f"{record.id}", "bold")
    title.append(f"  {record.task_type}", "blue")
    if record.tags:
        title.append(f"  [{', '.join(record.tags)}]", "dim")
    title.append(f"  {record.source}", "dim")
    console.print(title, soft_wrap=True)
    lines = [(message.role, _body(message, whole)) for message in record.messages]
    if record.tools:
        tools = json.dumps(list(record.tools), ensure_ascii=False)
        lines.insert(0, ("tools", shortened(tools, whole)))
    for number, response in enumerate(record.responses, start=1):
        marks = {"rank": response.rank, "score": response.score, "label": response.label}
        told = " ".join(f"{name} {value}" for name, value in marks.items() if value is not None)
        body = shortened(response.content, whole)
        lines.append((f"answer {number}", f"({told}) {body}" if told else body))
    width = max(cell_len(name) for name, _ in lines)
    for name, body in lines:
        _print_turn(console, name, body, width)
    if record.meta:
        _print_turn(console, "meta", json.dumps(dict(record.meta), ensure_ascii=False), width)
    console.print()


def shortened(text: str, whole: bool) -> str:
    """Leave out the middle of a long text, and say how much.

    Example:
        >>> shortened("天" * 700, False)[295:330]
        '天天天天天 … 100 characters … 天天天天天天天天天天'
    """
    if whole or len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} … {len(text) - 2 * half:,} characters … {text[-half:]}"


def _body(message: Message, whole: bool) -> str:
    parts = [] if message.content is None else [shortened(message.content, whole)]
    if message.weight != 1.0:
        parts.append(f"(weight {message.weight:g})")
    if message.extra:
        parts.append(json.dumps(dict(message.extra), ensure_ascii=False))
    return "\n".join(parts)


def _print_turn(console: Console, name: str, body: str, width: int) -> None:
    indent = width + 4
    # Rich counts a wide character as two columns, so Chinese breaks where the terminal does.
    inner = max(console.width - indent, _LEAST_GAP)
    style = _STYLES.get(name, "white")
    first = True
    for line in visible(body).split("\n") or [""]:
        for piece in Text(line).wrap(console, inner) or [Text("")]:
            label = name if first else ""
            gap = " " * (width - cell_len(label) + 2)
            console.print(Text("  ").append(label, style).append(gap).append(piece), soft_wrap=True)
            first = False


def _stdout() -> Console:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS
    return Console(width=width, highlight=False)

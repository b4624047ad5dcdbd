"""Format by code: Python in fenced blocks compiles, and no fence is left open."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from danlu.workshop.checks.check import Rule, Running
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, PerRecord
from danlu.workshop.checks.view import View

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n`]*$", re.MULTILINE)
_PYTHON = frozenset(("python", "python3", "py"))
_SHELL_LINE = re.compile(r"^[ \t]*[%!].*$", re.MULTILINE)
_SESSION = re.compile(r"^\s*(?:>>>|In \[\d+\]:)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CodeBlocks:
    """Checks fenced blocks of code in answers; only what is marked as Python is parsed."""

    name: ClassVar[str] = "code"
    finds: ClassVar[str] = "Python in fenced blocks that does not compile, fences left open"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "python_invalid",
            "fault",
            "a block marked python is no valid Python 3",
            "Mend it; mark Python 2, sketches and sessions otherwise.",
        ),
        Rule(
            "fence_open",
            "fault",
            "a fenced block is not closed: the answer was probably cut",
            "Make the answer again with more room, or drop it.",
        ),
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return PerRecord(self, _look)


def _look(view: View) -> list[Hit] | None:
    hits: list[Hit] | None = None
    for turn in view.turns:
        if "```" in turn.answer or "~~~" in turn.answer:
            place = view.name_of(turn.index)
            hits = [*(hits or ()), *_hits(turn.answer, place)]
    return hits


def _hits(text: str, place: str) -> Iterator[Hit]:
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[1].startswith(opened[1]) and not fence[2]:
            if opened[2].lower() in _PYTHON:
                code = text[opened.end() + 1 : fence.start()]
                if fault := python_fault(code):
                    yield Hit("python_invalid", detail=f"{place}: {fault}")
            opened = None
    if opened is not None:
        yield Hit("fence_open", detail=f"{place}: {opened[0].strip()}")


def python_fault(code: str) -> str:
    r"""Say why a piece of code is no Python 3; nothing if it is, or is a session with a prompt.

    Lines for the shell (``!pip``, ``%time``) are passed over; indentation of the whole is too.

    Example:
        >>> python_fault("print 'hello'")
        "line 1: Missing parentheses in call to 'print'. Did you mean print(...)?: print 'hello'"
        >>> python_fault("!pip install x\n  return 1")
        ''
    """
    if _SESSION.search(code):
        return ""
    code = textwrap.dedent(_SHELL_LINE.sub("", code) if "!" in code or "%" in code else code)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd escape is a warning, and compiles
        try:
            ast.parse(code)
        except SyntaxError as error:
            line = (error.text or "").strip()[:60]
            return f"line {error.lineno}: {error.msg}: {line}"
        except (ValueError, RecursionError, MemoryError) as error:
            return str(error) or type(error).__name__
    return ""

"""Format by code: a user's own checks, functions in a Python file.

Every function of the file whose name begins with ``check_`` is called with each record, and returns
what is wrong with it in words, or None::

    def check_ends_with_source(record):
        answer = record.messages[-1].content
        if record.task_type.startswith("rag/") and "[1]" not in answer:
            return "no source is named"
"""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from danlu.errors import DanluError
from danlu.records import Record
from danlu.workshop.checks.check import Rule, Running, setting
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, PerRecord
from danlu.workshop.checks.view import View

PREFIX = "check_"

OwnCheck = Callable[[Record], Any]


@dataclass(frozen=True, slots=True)
class OwnChecks:
    """Calls a user's functions.

    Raises:
        DanluError: When started, if the file cannot be read or holds no such function; later, if a
            function raises or returns something else than text or None.
    """

    name: ClassVar[str] = "own"
    finds: ClassVar[str] = "what your own functions find"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "failed",
            "fault",
            "a function of yours has found something",
            "See the finding's detail.",
        ),
    )

    file: str = setting("", "Python file with functions named check_…(record); none if empty.")

    def start(self, context: Context) -> Running:
        """Begin: load the file."""
        functions = load_own_checks(Path(self.file)) if self.file else []
        return PerRecord(self, partial(_look, functions))


def load_own_checks(path: Path) -> list[tuple[str, OwnCheck]]:
    """Load the functions of a file whose names begin with ``check_``, with their names.

    Raises:
        DanluError: If it cannot be loaded, or has none.
    """
    spec = importlib.util.spec_from_file_location(f"danlu_own_checks_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DanluError("there is no such Python file.", where=str(path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise DanluError(f"it cannot be loaded: {_last_line(error)}", where=str(path)) from error
    found = [
        (name, function)
        for name, function in vars(module).items()
        if name.startswith(PREFIX) and callable(function)
    ]
    if not found:
        raise DanluError(
            f"no function begins with {PREFIX}. Name one so; it is called with each record.",
            where=str(path),
        )
    return found


def _look(functions: list[tuple[str, OwnCheck]], view: View) -> list[Hit] | None:
    if not functions:
        return None
    found = {}
    for name, function in functions:
        where = f"record {view.id}"
        try:
            said = function(view.record)
        except Exception as error:
            raise DanluError(f"{name} failed: {_last_line(error)}", where=where) from error
        if said is None:
            continue
        if not isinstance(said, str):
            raise DanluError(
                f"{name} returned {said!r:.80}; it must be text for what is wrong, or None.",
                where=where,
            )
        found[name.removeprefix(PREFIX)] = said
    if not found:
        return []
    return [Hit("failed", ", ".join(found), detail="; ".join(found.values()))]


def _last_line(error: Exception) -> str:
    [*_, frame] = traceback.extract_tb(error.__traceback__)
    said = "".join(traceback.format_exception_only(error)).strip()
    return f"{said} (line {frame.lineno})"

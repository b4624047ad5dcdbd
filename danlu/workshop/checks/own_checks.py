"""Format by code: a user's own checks, functions in a Python file.

Every function of the file whose name begins with ``check_`` is called with each record, and returns
what is wrong with it in words, or None::

    def check_ends_with_source(record):
        answer = record.messages[-1].content
        if record.task_type.startswith("rag/") and "[1]" not in answer:
            return "no source is named"

``danlu data make answer --check`` calls such functions, of any name, with each record as answered.
"""

from __future__ import annotations

import hashlib
import importlib.util
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from danlu.errors import DanluError, did_you_mean
from danlu.records import Record
from danlu.workshop.checks.check import Rule, Running, setting
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, PerRecord
from danlu.workshop.checks.view import View

PREFIX = "check_"


@dataclass(frozen=True, slots=True)
class OwnCheck:
    """A user's function.

    Attributes:
        name: Of the function.
        function: Is called with a record.
        source: Hash of its file: another text, other results.
    """

    name: str
    function: Callable[[Record], Any]
    source: str

    def settings(self) -> dict[str, str]:
        """Return what shapes its results."""
        return {"name": self.name, "source": self.source}

    def problem(self, record: Record) -> str | None:
        """Return what it says is wrong with a record; None if it finds nothing.

        Raises:
            DanluError: If it raises, or returns something else than text or None.
        """
        where = f"record {record.id}"
        try:
            said = self.function(record)
        except Exception as error:
            told = _last_line(error)
            raise DanluError(f"{self.name} failed: {told}", where=where) from error
        if said is not None and not isinstance(said, str):
            raise DanluError(
                f"{self.name} returned {said!r:.80}; it must be text for what is wrong, or None.",
                where=where,
            )
        return said


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


def load_own_checks(path: Path, function: str = "") -> list[OwnCheck]:
    """Load the functions of a file whose names begin with ``check_``, or the one that is named.

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
    source = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    callables = {name: one for name, one in vars(module).items() if callable(one)}
    if function and function not in callables:
        hint = did_you_mean(function, callables)
        raise DanluError(f"it has no function {function}.{hint}", where=str(path))
    wanted = [function] if function else [name for name in callables if name.startswith(PREFIX)]
    if not wanted:
        raise DanluError(
            f"no function begins with {PREFIX}. Name one so; it is called with each record.",
            where=str(path),
        )
    return [OwnCheck(name, callables[name], source) for name in wanted]


def own_checks_named(text: str) -> list[OwnCheck]:
    """Load what is named ``file.py:function``, or with ``file.py`` all of its checks.

    Raises:
        DanluError: If it cannot be loaded, or is not there.
    """
    file, colon, function = text.rpartition(":")
    if not colon or not function.isidentifier():
        file, function = text, ""
    return load_own_checks(Path(file), function)


def _look(checks: list[OwnCheck], view: View) -> list[Hit] | None:
    if not checks:
        return None
    found = {}
    for one in checks:
        if (said := one.problem(view.record)) is not None:
            found[one.name.removeprefix(PREFIX)] = said
    if not found:
        return []
    return [Hit("failed", ", ".join(found), detail="; ".join(found.values()))]


def _last_line(error: Exception) -> str:
    [*_, frame] = traceback.extract_tb(error.__traceback__)
    said = "".join(traceback.format_exception_only(error)).strip()
    return f"{said} (line {frame.lineno})"

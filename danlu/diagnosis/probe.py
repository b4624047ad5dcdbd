"""What every probe is, what it is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar, cast

from pydantic import JsonValue

from danlu.runs import RunDirectory
from danlu.runs.findings import Finding

Thing = TypeVar("Thing")
Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and how much there is, if that is known."""


def _silent(stage: str, done: int, total: int | None) -> None:
    """Say nothing."""


class CannotLookError(Exception):
    """Why a probe has nothing to look at in this run: no evaluation, no adapter, ...

    That is no fault: the probe's report says ``skipped``, with this reason.
    """


def learned_otherwise(objective: str) -> CannotLookError:
    """Return the reason why a probe of answers that were learned word for word has none."""
    return CannotLookError(
        f"the run learned by {objective}, not answers word for word; `danlu eval` and `danlu "
        "compare` measure what it can do"
    )


@dataclass(eq=False)
class Examined:
    """A run under examination, shared by all probes that look at it.

    Attributes:
        run: The run directory.
        device: Where models are to work: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: To be told how far the work is.
    """

    run: RunDirectory
    device: str = "auto"
    progress: Progress = _silent
    _made: dict[Callable[[Examined], Any], Any] = field(default_factory=dict, init=False)

    def once(self, make: Callable[[Examined], Thing]) -> Thing:
        """Make something of the run that several probes need, such as its models; only once.

        Args:
            make: A function, the same one from every probe; what it returned is kept.

        Example:
            >>> from pathlib import Path
            >>> examined = Examined(RunDirectory(Path("runs/mine")))
            >>> def numbers(examined: Examined) -> list[int]:
            ...     return [1, 2]
            >>> examined.once(numbers) is examined.once(numbers)
            True
        """
        if make not in self._made:
            self._made[make] = make(self)
        return cast(Thing, self._made[make])


@dataclass(frozen=True)
class Seen:
    """What a probe returns; the frame makes a ``ProbeReport`` of it.

    Attributes:
        findings: In any order.
        figures: Tables and series that pages draw, by name.
        command: What to type to see it again; None: ``danlu probe NAME RUN``.
    """

    findings: tuple[Finding, ...] = ()
    figures: Mapping[str, JsonValue] = field(default_factory=dict)
    command: str | None = None


class Probe(Protocol):
    """Looks at a run in one way. A probe is a frozen dataclass: its fields are its settings.

    Attributes:
        name: As in ``danlu probe NAME`` and ``diagnosis/<name>.json``.
    """

    name: ClassVar[str]

    def look(self, examined: Examined) -> Seen:
        """Look at a run.

        Raises:
            CannotLookError: If this run has nothing to look at.
            DanluError: For whatever the user can mend.
        """

"""What a check is: a frozen config, what it finds in single records, and its verdicts.

A check goes once through the records, and keeps little of each. What it finds in a record is a
``Finding``; what it says of a task type as a whole is a ``Verdict``. Nothing is dropped here:
``CheckOperation`` makes decisions of findings that a user chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from danlu.workshop.checks.context import Context
    from danlu.workshop.checks.view import Head, View
    from danlu.workshop.store.decision import Scalar

Level = Literal["fault", "attention"]
State = Literal["ok", "attention", "fault", "exempt", "too_few", "not_run"]

STATES: tuple[State, ...] = ("fault", "attention", "ok", "too_few", "exempt", "not_run")
"""From the worst on. ``exempt``: the check has no meaning for the task type (no tool calls, closed
labels). ``too_few``: too few records to tell. ``not_run``: something was not given; advice says
what."""

ROBUSTNESS = "robustness"
"""The tag of records that are odd on purpose."""

MIN_RECORDS = 30
"""Of a task type, below which a share says little: half of the interval at 95 % is 18 points."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a check can find.

    Attributes:
        name: Unique within its check; ``check.rule`` to users.
        level: ``fault``: to be mended. ``attention``: to be looked at; good data have some.
        finds: What it finds, in a clause.
        remedy: What to do.
        of: ``record``: it gives findings, by which records can be dropped or tagged;
            ``task_type``: it speaks of the whole, in the verdict alone.
        tolerated: Share of a task type's records that may have it before the verdict is
            ``attention``; a fault is never tolerated.
        limit: The setting that holds the limit; empty where there is none to set.
        source: Where the rule comes from.
    """

    name: str
    level: Level
    finds: str
    remedy: str
    of: Literal["record", "task_type"] = "record"
    tolerated: float = 0.01
    limit: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found in a record.

    Attributes:
        record_id: Of the record.
        task_type: Of the record.
        check: Name of the check.
        rule: Name of the rule.
        level: Of the rule.
        value: What was measured.
        limit: What the value was held against.
        detail: Where it is, and what else a person should know.
        partner: Id of another record that this one clashes with.
        protected: Whether the record's tag ``robustness`` protects it from this rule.
    """

    record_id: str
    task_type: str
    check: str
    rule: str
    level: Level
    value: Scalar = None
    limit: Scalar = None
    detail: str = ""
    partner: str | None = None
    protected: bool = False

    @property
    def full_rule(self) -> str:
        """The rule as users name it.

        Example:
            >>> Finding("1", "a/b", "structure", "empty_turn", "fault").full_rule
            'structure.empty_turn'
        """
        return f"{self.check}.{self.rule}"

    def as_row(self) -> dict[str, Any]:
        """Return it as a row of JSONL."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says of a task type.

    Attributes:
        task_type: Which one.
        check: Name of the check.
        state: See ``STATES``.
        figures: What was measured, by name; shares from 0 to 1. A rule's name holds the number of
            records that have it.
        advice: What to do; empty if there is nothing to be done.
    """

    task_type: str
    check: str
    state: State
    figures: Mapping[str, Scalar] = field(default_factory=dict)
    advice: str = ""

    def as_row(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "figures": dict(self.figures)}


class Report(NamedTuple):
    """What a check says when all records have been seen.

    Attributes:
        findings: Those that could not be told before the end.
        verdicts: One per task type.
    """

    findings: Iterable[Finding]
    verdicts: list[Verdict]


class Running(Protocol):
    """A check at work.

    Looking is what takes the time, and is done to many records at once where there are processes
    for it; taking is done to one record after another, in their order.
    """

    def look(self, view: View) -> Any:
        """Look at a record by itself; return what is needed of it, as plain data.

        Called in another process too, on an object that was started there. So what it returns
        depends on the record and on what the check was told at its start, and is small.
        """

    def take(self, head: Head, seen: Any) -> Iterable[Finding]:
        """Take what was seen of the next record; return what is found in it already."""

    def finish(self) -> Report:
        """Say the rest."""


class Check(Protocol):
    """A check: a frozen dataclass whose fields are its settings.

    Attributes:
        name: As users write it.
        finds: What it is for, in a sentence.
        rules: All that it can find.
    """

    name: ClassVar[str]
    finds: ClassVar[str]
    rules: ClassVar[tuple[Rule, ...]]

    def start(self, context: Context) -> Running:
        """Begin; see ``danlu.workshop.checks.context``."""


def setting(default: Any, meaning: str, source: str = "") -> Any:
    """Declare a field of a check, with its meaning and where its default comes from."""
    return field(default=default, metadata={"meaning": meaning, "source": source})


class Setting(NamedTuple):
    """One setting of a check, for the documentation.

    Attributes:
        name: Of the field.
        default: Its default.
        meaning: In a sentence.
        source: Where the default comes from.
    """

    name: str
    default: Any
    meaning: str
    source: str


def check_settings(check: Check) -> list[Setting]:
    """Return the settings of a check as they stand, with their meanings."""
    return [
        Setting(one.name, getattr(check, one.name), one.metadata["meaning"], one.metadata["source"])
        for one in fields(check)  # type: ignore[arg-type]
    ]

"""Running checks: one pass over the records, findings as they come, verdicts at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

from danlu.records import Record
from danlu.workshop.checks.check import Check, Finding, Running, Verdict
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.labels import Labels
from danlu.workshop.checks.tokens import views
from danlu.workshop.checks.view import Head
from danlu.workshop.execution.blocks import Block, blocks_of
from danlu.workshop.execution.executor import HERE, Executor
from danlu.workshop.store.decision import Progress

PROGRESS_RECORDS = 500


def run_checks(
    records: Iterable[Record],
    checks: Sequence[Check],
    context: Context | None = None,
    *,
    on_finding: Callable[[Finding], object],
    progress: Progress | None = None,
    executor: Executor = HERE,
) -> list[Verdict]:
    """Run checks over records, in one pass.

    Args:
        records: Gone through once; memory grows by little for each, whatever their lengths. What
            is in blocks (``danlu.workshop.data.records_of``) is read where the executor works.
        checks: Which ones; see ``danlu.workshop.checks.CHECKS``.
        context: What they are told besides; all defaults if None.
        on_finding: Is given each finding when it is known: some only at the end.
        progress: Is told how many records are done.
        executor: Looks at blocks of records; what is found is the same with each.

    Returns:
        A verdict per task type and check: task types in the order of their names, checks in the
        order given.

    Raises:
        DanluError: If a check cannot start (a file of its settings is missing), or a user's
            function fails.

    Example:
        >>> from danlu.records import Message
        >>> from danlu.workshop.checks import Structure
        >>> odd = Record("1", "a/b", (Message("user", "Hi"), Message("assistant", " ")))
        >>> [verdict] = run_checks([odd], [Structure()], on_finding=lambda it: print(it.full_rule))
        structure.empty_turn
        >>> verdict.state
        'fault'
    """
    look = Look(tuple(checks), context or Context())
    if executor is HERE:
        rows = look.rows(records)
    else:
        rows = chain.from_iterable(executor.map(look, blocks_of(records)))
    done = 0
    for row in rows:
        look.context.labels.take(row.head.task_type, row.labels)
        for one, seen in zip(look.running, row.seen, strict=True):
            for finding in one.take(row.head, seen):
                on_finding(finding)
        done += 1
        if progress is not None and done % PROGRESS_RECORDS == 0:
            progress("check", done, None)
    verdicts: list[Verdict] = []
    for one in look.running:
        report = one.finish()
        for finding in report.findings:
            on_finding(finding)
        verdicts += report.verdicts
    if progress is not None:
        progress("check", done, done)
    return sorted(verdicts, key=lambda verdict: verdict.task_type)


class Row(NamedTuple):
    """What checks have seen of a record.

    Attributes:
        head: What is kept of the record.
        labels: Its answers that may be labels.
        seen: What each check has seen.
    """

    head: Head
    labels: list[str | None]
    seen: list[Any]


class Look:
    """Looks at blocks with all checks; in another process with checks that are started there.

    Args:
        checks: Which ones.
        given: What they are told besides.

    Attributes:
        context: That, with labels of its own.
        running: The checks at work.
    """

    def __init__(self, checks: tuple[Check, ...], given: Context) -> None:
        self.checks = checks
        self.context = replace(given, labels=Labels(given.closed_labels))
        self.running: list[Running] = [check.start(self.context) for check in checks]
        self._given = given

    def __reduce__(self) -> tuple[type[Look], tuple[tuple[Check, ...], Context]]:
        return Look, (self.checks, self._given)

    def __call__(self, block: Block) -> list[Row]:
        """Look at each record of a block."""
        return list(self.rows(block.records()))

    def rows(self, records: Iterable[Record]) -> Iterator[Row]:
        """Look at each record, as they come."""
        looks = [one.look for one in self.running]
        labels = self.context.labels.look
        for view in views(records, self.context):
            yield Row(view.head, labels(view), [look(view) for look in looks])

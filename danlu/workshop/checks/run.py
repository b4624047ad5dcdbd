"""Running checks: one pass over the records, findings as they come, verdicts at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from danlu.records import Record
from danlu.workshop.checks.check import Check, Finding, Verdict
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.labels import Labels
from danlu.workshop.checks.tokens import views
from danlu.workshop.store.decision import Progress

PROGRESS_RECORDS = 500


def run_checks(
    records: Iterable[Record],
    checks: Sequence[Check],
    context: Context | None = None,
    *,
    on_finding: Callable[[Finding], object],
    progress: Progress | None = None,
) -> list[Verdict]:
    """Run checks over records, in one pass.

    Args:
        records: Gone through once; memory grows by little for each, whatever their lengths.
        checks: Which ones; see ``danlu.workshop.checks.CHECKS``.
        context: What they are told besides; all defaults if None.
        on_finding: Is given each finding when it is known: some only at the end.
        progress: Is told how many records are done.

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
    given = context or Context()
    context = replace(given, labels=Labels(given.closed_labels))
    running = [check.start(context) for check in checks]
    done = 0
    for view in views(records, context):
        context.labels.see(view)
        for one in running:
            for finding in one.see(view):
                on_finding(finding)
        done += 1
        if progress is not None and done % PROGRESS_RECORDS == 0:
            progress("check", done, None)
    verdicts: list[Verdict] = []
    for one in running:
        report = one.finish()
        for finding in report.findings:
            on_finding(finding)
        verdicts += report.verdicts
    if progress is not None:
        progress("check", done, done)
    return sorted(verdicts, key=lambda verdict: verdict.task_type)

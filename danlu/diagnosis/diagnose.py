"""Ask probes about a run, and keep what they find in the run directory."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from danlu.diagnosis.probe import CannotLookError, Examined, Probe, Progress, Seen
from danlu.diagnosis.probes import PROBES, known_probe
from danlu.errors import DanluError
from danlu.runs import RunDirectory, write_report
from danlu.runs.findings import ProbeReport, write_probe


def diagnose(
    path: Path,
    names: Sequence[str] = (),
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[ProbeReport]:
    """Ask probes about a run, one after another, and write what each finds.

    Args:
        path: The run directory.
        names: Which probes; none: all that can be asked without further arguments.
        device: Where models are to work.
        progress: Told how far the work is.

    Returns:
        A report per probe. If all are asked, one that fails on what the user can mend is reported
        as skipped, with the reason, and the others are asked all the same.

    Raises:
        RunError: If there is no such run or no such probe.
        DanluError: If a probe that was named fails.
    """
    known = [known_probe(name) for name in dict.fromkeys(names)] or list(PROBES)
    examined = open_run(path, device=device, progress=progress)
    reports = []
    for one in known:
        try:
            reports.append(ask(one.make(), examined))
        except DanluError as error:
            if names:
                raise
            reports.append(_kept(examined, one.name, {}, Seen(), skipped=str(error)))
    rewrite_report(examined.run)
    return reports


def open_run(path: Path, *, device: str = "auto", progress: Progress | None = None) -> Examined:
    """Open a run to be examined.

    Raises:
        RunError: If there is no such run.
    """
    run = RunDirectory.open(path)
    return Examined(run, device, progress) if progress else Examined(run, device)


def ask(probe: Probe, examined: Examined) -> ProbeReport:
    """Ask one probe, and write what it finds; ``danlu probe NAME`` does no more than this.

    Raises:
        DanluError: For whatever the user can mend.
    """
    settings: dict[str, Any] = asdict(probe) if is_dataclass(probe) else {}
    try:
        seen, skipped = probe.look(examined), None
    except CannotLookError as reason:
        seen, skipped = Seen(), str(reason)
    return _kept(examined, probe.name, settings, seen, skipped)


def rewrite_report(run: RunDirectory) -> None:
    """Bring ``report.html`` up to date, if the run has one; a running one writes its own."""
    if run.report_path.exists() and run.state() != "running":
        write_report(run.path)


def _kept(
    examined: Examined, name: str, settings: dict[str, Any], seen: Seen, skipped: str | None
) -> ProbeReport:
    run = examined.run.path
    report = ProbeReport(
        probe=name,
        made_at=datetime.now(UTC),
        settings=json.loads(json.dumps(settings, default=str)),
        findings=seen.findings,
        skipped=skipped,
        figures=dict(seen.figures),
        command=seen.command or f"danlu probe {name} {shlex.quote(str(run))}",
    )
    write_probe(run, report)
    return report

"""Import and check of many conversations, by the commands that a user gives."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cases import CHECK, CHECK_BYTES, CHECK_RECORDS, CHECK_SECONDS
from bench.conversations import originals, varied_conversations, write_conversations
from bench.results import Goal, Result
from danlu.workshop.store.store import Store

SAMPLED_EVERY_S = 0.05


def measure_checks(say: Callable[[str], None], count: int = CHECK_RECORDS) -> Result:
    """Import a folder of three formats and run all checks over it."""
    with tempfile.TemporaryDirectory() as made:
        folder, store = Path(made) / "raw", Path(made) / "store"
        size = write_conversations(folder, varied_conversations(count))
        common = ("--store", str(store))
        imported, import_bytes = run_measured(
            ["data", "import", str(folder), "--name", "all", *common]
        )
        findings = Path(made) / "findings.jsonl"
        checked, check_bytes = run_measured(
            ["data", "check", "all", "--findings", str(findings), *common]
        )
        version = Store(store).find("all")
        records, found = version.manifest.records, findings.read_bytes().count(b"\n")
    seconds, peak = imported + checked, max(import_bytes, check_bytes)
    say(f"{CHECK}: {records} records, {imported:.1f} s and {checked:.1f} s, {found} findings")
    return Result(
        name=CHECK,
        unit="records/s",
        danlu=records / seconds,
        peak_bytes=peak,
        goals=(
            Goal("seconds for import and check", seconds, CHECK_SECONDS, "at most"),
            Goal("GB held by all processes", peak / 1e9, CHECK_BYTES / 1e9, "at most"),
        ),
        details={
            "data": originals()[0],
            "records": records,
            "bytes": size,
            "task_types": len(version.manifest.task_types),
            "import_seconds": imported,
            "check_seconds": checked,
            "import_peak_bytes": import_bytes,
            "check_peak_bytes": check_bytes,
            "findings": found,
        },
    )


def run_measured(arguments: Sequence[str]) -> tuple[float, int]:
    """Run a command of Danlu; return its seconds, and the most bytes that its processes held.

    Pages that several processes share are counted once (the proportional set size of Linux).

    Raises:
        RuntimeError: If the command fails.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "danlu", *arguments]
    peak = 0
    with tempfile.TemporaryFile() as told:
        running = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT)
        while running.poll() is None:
            peak = max(peak, held_bytes(running.pid))
            time.sleep(SAMPLED_EVERY_S)
        seconds = time.perf_counter() - began
        told.seek(0)
        if running.returncode:
            end = told.read().decode()[-2000:]
            raise RuntimeError(f"danlu {' '.join(arguments)} failed:\n{end}")
    return seconds, peak


def held_bytes(pid: int) -> int:
    """Return the bytes that a process and those it has begun hold now."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        threads = [*Path(f"/proc/{pid}/task").iterdir()]
        children = [child for one in threads for child in (one / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0  # it has ended
    own = next((line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")), "0")
    return 1024 * int(own) + sum(held_bytes(int(child)) for child in children)

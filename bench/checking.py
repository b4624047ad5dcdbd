"""Import and check of many conversations, by the commands that a user gives."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cases import (
    CHECK,
    CHECK_BYTES,
    CHECK_RECORDS,
    CHECK_SECONDS,
    STREAM,
    STREAM_BYTES,
    STREAM_RECORDS,
)
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


def measure_stream(say: Callable[[str], None], count: int = STREAM_RECORDS) -> Result:
    """Import a file of very many records, and a tenth of it: what is held must not be the file."""
    peaks: list[int] = []
    with tempfile.TemporaryDirectory() as made:
        for part in (count // 10, count):
            path, store = Path(made) / f"{part}.jsonl", Path(made) / f"store-{part}"
            size = write_many(path, part)
            seconds, peak = run_measured(["data", "import", str(path), "--store", str(store)])
            peaks.append(peak)
    each = (peaks[1] - peaks[0]) / (count - count // 10)
    say(f"{STREAM}: {count} records, {seconds:.1f} s, {peaks[1] / 1e6:.0f} MB held")
    return Result(
        name=STREAM,
        unit="records/s",
        danlu=count / seconds,
        peak_bytes=peaks[1],
        goals=(Goal("GB held by all processes", peaks[1] / 1e9, STREAM_BYTES / 1e9, "at most"),),
        details={
            "records": count,
            "bytes": size,
            "seconds": seconds,
            "peak_bytes_of_a_tenth": peaks[0],
            "bytes_held_for_each_record": each,
        },
    )


def write_many(path: Path, count: int) -> int:
    """Write so many different records of about 400 characters; return the bytes."""
    words = ["铁", "iron", "火", "fire", "水", "water", "土", "earth", "木", "wood"]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            asked = f"{number}: " + " ".join(words[(number >> k) % 10] for k in range(20))
            answer = " ".join(words[(number >> k) % 7] for k in range(50))
            row = {"instruction": asked, "output": answer, "task_type": f"bench/t{number % 10}"}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path.stat().st_size


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

"""Run untrusted Python: with a limit of time and memory, no network, no home folder.

What is guarded, on Linux (x86-64, kernel 5.13 or newer; without root and without containers):

- **time**: killed at the limit by the clock, and by processor time. It can start no process, so
  nothing is left of it afterwards;
- **memory**: of the address space; **disk**: of each file that it writes;
- **network**: it can make no socket of any kind;
- **files**: it reads Python's own folders and the system's libraries, and reads and writes its own
  empty folder, which is deleted; the home folder is none of them, nor is any other data. It cannot
  change modes, owners or times of any file;
- **others**: no signals, no tracing, no environment variables or open files of the caller.

What is not: the number of files in its folder (each is limited), whether a file exists and how long
it is (``stat``), and faults of the kernel. Program and tests run in one process, so a program that
is written to deceive its tests can; one that merely exits early fails them.

Elsewhere (macOS, Windows, other processors) it refuses to run rather than run unguarded.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.sandbox_runner import UNGUARDED

RUNNER = Path(__file__).with_name("sandbox_runner.py")
SYSTEM = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
)
ENVIRONMENT = {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TAIL_BYTES = 4000
FILE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a program.

    Attributes:
        finished: Whether it ran to its end.
        timed_out: Whether it was stopped at the limit.
        output: The last of what it printed, errors last; at most 4,000 bytes of each.
    """

    finished: bool
    timed_out: bool
    output: str


def run_sandboxed(
    sources: Sequence[tuple[str, str]], *, time_s: float = 10.0, memory_bytes: int = 512 << 20
) -> Outcome:
    """Run Python sources one after another in one namespace, under guards.

    Args:
        sources: Title (as tracebacks name it) and text.
        time_s: By the clock.
        memory_bytes: Of address space; Python itself needs about 50 MB, with NumPy 300.

    Raises:
        EvaluationError: If it cannot be guarded here; nothing is run then.
    """
    if sys.platform != "linux":
        raise EvaluationError(
            f"code under test cannot be guarded on {sys.platform}; it needs Linux. Nothing was run."
        )
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="danlu-sandbox-") as folder:
        reading, writing = os.pipe()
        orders = {
            "sources": list(sources),
            "cpu_s": int(time_s) + 1,
            "memory_bytes": memory_bytes,
            "file_bytes": FILE_BYTES,
            "readable": readable_folders(),
            "pipe": writing,
            "token": token,
        }
        with (
            os.fdopen(reading, "rb", buffering=0) as told,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            try:
                child = subprocess.Popen(
                    [sys.executable, "-I", "-B", str(RUNNER)],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=err,
                    cwd=folder,
                    env={"HOME": folder, "TMPDIR": folder, **ENVIRONMENT},
                    pass_fds=(writing,),
                    start_new_session=True,
                )
            finally:
                os.close(writing)
            try:
                child.communicate(json.dumps(orders).encode(), timeout=time_s)
                timed_out = child.returncode == -signal.SIGXCPU
            except subprocess.TimeoutExpired:
                timed_out = True
                child.kill()
                child.communicate()
            output = _tail(out) + _tail(err)
            if child.returncode == UNGUARDED:
                raise EvaluationError(
                    f"code under test cannot be guarded here: {output.strip()}. Nothing was run."
                )
            finished = told.read(len(token) + 1) == token.encode() and child.returncode == 0
    return Outcome(finished and not timed_out, timed_out, output)


def readable_folders() -> list[str]:
    """Return what a program may read: Python's libraries and the system's.

    Raises:
        EvaluationError: If Python is installed right in the home folder.
    """
    home = Path.home().resolve()
    found = {Path(path).resolve() for name, path in sysconfig.get_paths().items() if "lib" in name}
    found |= {Path(sys.base_prefix, "lib").resolve(), Path(sys.prefix, "lib").resolve()}
    for folder in found:
        if home == folder or folder in home.parents:
            raise EvaluationError(
                f"Python's libraries lie in {folder}, which holds the home folder: a program could "
                "read it. Use an environment in a folder of its own."
            )
    return [*sorted(map(str, found)), *SYSTEM]


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL_BYTES))
    return file.read().decode(errors="replace")

"""Processes: the same results in the same order, errors as they are, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from danlu.errors import RecordError
from danlu.workshop.execution.processes import AHEAD, Processes, cores, worth


class Slow:
    """Takes longest for what comes first."""

    def __call__(self, item: int) -> tuple[int, int]:
        time.sleep(0.02 * (3 - item % 4))
        if item == 99:
            raise RecordError("is 99.", where="there")
        return item * item, os.getpid()


def test_results_come_in_order_and_few_are_held() -> None:
    """One start of processes for all that is asked of them, since it takes a second."""
    asked: list[int] = []

    def items() -> Iterator[int]:
        for item in [*range(30), 99]:
            asked.append(item)
            yield item

    found: list[int] = []

    def go_through() -> None:
        for result, pid in Processes(2).map(Slow(), items()):
            found.append(result)
            assert len(asked) - len(found) <= AHEAD * 2 + 1
            assert pid != os.getpid()

    with pytest.raises(RecordError, match=r"there: is 99\.") as raised:
        go_through()
    assert raised.value.where == "there"
    assert found == [item * item for item in range(30)]


def test_how_many_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.workshop.execution.processes.cores", lambda: 4)
    assert [worth(size) for size in (0, 14_000_000, 31_000_000, 10**9)] == [1, 1, 2, 4]
    monkeypatch.setattr("danlu.workshop.execution.processes.cores", lambda: 64)
    assert worth(10**9) == 8
    assert cores() >= 1


FOR_EVER = """
import itertools, os
from danlu.workshop.execution.processes import Processes
for pid in Processes(1).map(os.readlink, itertools.repeat("/proc/self")):
    print(pid, flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self").is_symlink(), reason="asks /proc which processes run")
def test_processes_end_with_the_one_they_work_for() -> None:
    with subprocess.Popen([sys.executable, "-c", FOR_EVER], stdout=subprocess.PIPE) as working:
        assert working.stdout is not None
        pid = int(working.stdout.readline())
        assert pid != working.pid
        working.kill()
    _wait_for(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _wait_for(true: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)

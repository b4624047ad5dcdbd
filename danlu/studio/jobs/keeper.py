"""The process that keeps a job: starts its command, hands signals on, writes down how it ended.

``python -m danlu.studio.jobs.keeper FOLDER``. Apart from the studio, so that the studio may end;
and without any other package, so that it is small.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

COMMAND_LOCK = ".command"


def keep(folder: Path) -> int:
    """Run the job of a folder to its end."""
    import fcntl

    job = json.loads((folder / "job.json").read_text("utf-8"))
    asked: list[int] = []
    # Before the command starts: a signal must not end the keeper, and an ignored Ctrl-C, as in the
    # background of a shell, must not be handed down.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: asked.append(number))
    _write(folder / "keeper.json", {"pid": os.getpid()})
    with (
        (folder / "stdout.txt").open("ab") as out,
        (folder / "stderr.txt").open("ab") as errors,
        (folder / COMMAND_LOCK).open("ab") as lock,
    ):
        # The command's from here on: it says that the command lives, should this process be killed.
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = subprocess.Popen(
            [sys.executable, "-m", "danlu", *job["arguments"]],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            process_group=0,
            pass_fds=(lock.fileno(),),
        )
    _write(folder / "keeper.json", {"pid": os.getpid(), "command": command.pid})

    def hand_on(number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            return
        how: int = signal.SIGKILL if number == signal.SIGUSR1 else number
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.pid, how)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, hand_on)
    for early in asked:
        hand_on(early, None)
    code = command.wait()
    _write(folder / "ended.json", {"exit_code": code, "ended_at": _now()})
    return 0


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _write(path: Path, value: object) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value) + "\n", encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    # Who started this waits for it, and for no longer than this: what keeps the job is the child,
    # which belongs to nobody, so the studio has no dead processes to bury.
    if os.fork() == 0:
        sys.exit(keep(Path(sys.argv[1])))

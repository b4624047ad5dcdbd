"""Training in processes of its own, to be killed for real, without waiting for imports each time.

The processes are forked from a server that has imported everything and done nothing. What only a
launcher does (``torchrun``, ``danlu launch``) is tested with the launcher itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

IMPORTED = (
    "danlu.training.run",
    "danlu.runs.report",
    "peft",
    "torch.distributed.fsdp",
    "transformers.models.llama.modeling_llama",
)

GRACE_S = 3


class Apart:
    """Processes that do one piece of work together.

    Attributes:
        log: What they print.
    """

    def __init__(self, processes: Sequence[ForkServerProcess], log: Path) -> None:
        self.processes = processes
        self.log = log

    @property
    def pids(self) -> list[int]:
        return [process.pid or 0 for process in self.processes]

    def check_running(self) -> None:
        """Fail, with what they printed, if one has ended."""
        assert all(process.is_alive() for process in self.processes), self.log.read_text()

    def kill(self, number: int = 0, how: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pids[number], how)

    def wait(self, timeout_s: float = 280) -> list[int]:
        """Wait for the end, and return exit codes; when one fails, the others are soon killed."""
        deadline, failed = time.monotonic() + timeout_s, False
        while any(process.is_alive() for process in self.processes):
            if not failed and any(process.exitcode for process in self.processes):
                failed, deadline = True, time.monotonic() + GRACE_S
            if time.monotonic() > deadline:
                for process in self.processes:
                    process.kill()
            time.sleep(0.01)
        for process in self.processes:
            process.join()
        return [process.exitcode or 0 for process in self.processes]

    def finish(self) -> None:
        """Wait for an end that is well."""
        assert not any(self.wait()), self.log.read_text()


def apart(work: Callable[..., None], *arguments: Any, log: Path, processes: int = 1) -> Apart:
    """Do work in other processes, which find each other as those of ``torchrun`` do.

    Args:
        work: A function of a module, which the processes import.
        arguments: What it is called with.
        log: File for what they print.
        processes: How many.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    # The server is started by the first process, and reads these when it imports.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    begun = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    log.write_text("")
    for rank in range(processes):
        place = {"CUDA_VISIBLE_DEVICES": ""}  # where there is a GPU, DeepSpeed would take it
        if processes > 1:
            place |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
        process = context.Process(target=_work, args=(work, arguments, str(log), place))
        process.start()
        begun.append(process)
    return Apart(begun, log)


def _work(
    work: Callable[..., None], arguments: Sequence[Any], log: str, place: Mapping[str, str]
) -> None:
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.update(place)
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    sys.argv = ["train"]
    work(*arguments)


def train_all(trees: Sequence[dict[str, Any]], resume: bool) -> None:
    """Train one recipe after another."""
    from danlu.config.recipe import Recipe
    from danlu.training.run import train

    for tree in trees:
        train(Recipe.model_validate(tree), resume=resume, progress=False)


def train_apart(*recipes: Any, processes: int = 1, resume: bool = False) -> Apart:
    """Train recipes, one after another, in processes of their own."""
    trees = [recipe.model_dump(exclude_unset=True) for recipe in recipes]
    log = Path(recipes[0].runs_dir).parent / "log.txt"
    return apart(train_all, trees, resume, log=log, processes=processes)

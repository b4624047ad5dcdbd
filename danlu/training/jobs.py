"""Starting a training on several processes, and job files that do so on the machines of a cluster.

Nothing here trains: ``danlu train`` does in each process, and PyTorch's own launcher (``torchrun``)
starts and watches them.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PORT = 29500
"""Where the first machine listens if no port is given, as ``torchrun``'s default."""

STOP_S = 600
"""How long processes have to finish their step and save it, once they are told to stop for good."""


@dataclass(frozen=True)
class Launch:
    """A training to be started.

    Attributes:
        recipe: A recipe's file or name.
        settings: ``KEY=VALUE`` each, in place of the recipe's.
        processes: On each machine; on GPUs one for each.
        machines: How many take part. All of them read the recipe's data, and write below the same
            ``runs_dir``.
        rank: Which of them this is, from 0.
        address: ``HOST:PORT`` of the first one; None on one machine.
        options: Of ``danlu train``: ``--resume`` or ``--overwrite``.
    """

    recipe: str
    settings: tuple[str, ...] = ()
    processes: int = 1
    machines: int = 1
    rank: int = 0
    address: str | None = None
    options: tuple[str, ...] = ()

    def torchrun(self) -> list[str]:
        """Return the command to run on this machine.

        The interrupt is not torchrun's to handle: ``run`` sends it to the processes themselves.

        Raises:
            ValueError: If there are several machines and no address.

        Example:
            >>> Launch("my.yaml", processes=2).torchrun()[1:5]
            ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
        """
        meeting = ["--standalone"]
        if self.machines > 1:
            host, port = split_address(self.address or "")
            meeting = [
                f"--nnodes={self.machines}",
                f"--node-rank={self.rank}",
                f"--master-addr={host}",
                f"--master-port={port}",
            ]
        return [
            *(sys.executable, "-m", "torch.distributed.run", *meeting),
            f"--nproc-per-node={self.processes}",
            "--signals-to-handle=SIGTERM,SIGHUP,SIGQUIT",
            f"--shutdown-timeout={STOP_S}",
            *("-m", "danlu", "train", self.recipe, *self.settings, *self.options),
        ]

    def command(self) -> list[str]:
        """Return what starts this training by hand, for one machine of several without its rank.

        Example:
            >>> " ".join(Launch("my.yaml", processes=2, machines=3).command())
            'danlu launch my.yaml --processes 2 --machines 3'
        """
        words = ["danlu", "launch", self.recipe, *self.settings, "--processes", str(self.processes)]
        if self.machines > 1:
            words += ["--machines", str(self.machines)]
        return [*words, *self.options]


def split_address(address: str) -> tuple[str, int]:
    """Split ``HOST:PORT``; the port may be left out.

    Raises:
        ValueError: If there is no host, or the port is no number from 1 to 65535.

    Example:
        >>> split_address("node1:1234"), split_address("10.0.0.7"), split_address("[::1]:80")
        (('node1', 1234), ('10.0.0.7', 29500), ('::1', 80))
    """
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = address, str(PORT)
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{address!r} is no address: write HOST:PORT, as in node1:{PORT}.")
    return host, int(port)


def environment(processes: int) -> dict[str, str]:
    """Return the variables that a launch adds: the machine's cores, shared out.

    Without them each process would take all cores for its products on the CPU, or torchrun one.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes))}


def run(command: list[str], added: dict[str, str]) -> int:
    """Run a command of ``Launch.torchrun``, and pass signals on.

    The first interrupt or SIGTERM goes to the training processes, which finish their step, save it
    and leave. The second one ends them at once.

    Args:
        command: What to run.
        added: Environment variables besides this process's own.

    Returns:
        Its exit code; 130 if it was told to stop.
    """
    told: list[int] = []
    # Ignored by torchrun, which inherits this; the training processes handle it.
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(command, env={**os.environ, **added}, start_new_session=True)

    def tell(number: int, _: Any) -> None:
        told.append(number)
        if len(told) == 1:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, tell), signal.SIGINT: earlier}
    signal.signal(signal.SIGINT, tell)
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 130 if told else code


def slurm_job(launch: Launch, name: str, run_dir: Path, on_gpu: bool) -> str:
    """Return a batch script for SLURM.

    Args:
        launch: What to start; rank and address are found when the job begins.
        name: The run's.
        run_dir: Its directory.
        on_gpu: Whether each process has a GPU.
    """
    gpus = f"#SBATCH --gpus-per-node={launch.processes}\n" if on_gpu else ""
    start = shlex.join(replace(launch, options=()).command())
    each = '"${command[@]}" $option'
    if launch.machines > 1:
        each = f"""bash -c 'exec "$@" --rank "$SLURM_NODEID"' each {each} --address "$address\""""
    return f"""\
#!/bin/bash
# Trains {name} on {_extent(launch, on_gpu)}. Submit it with sbatch.
# Submitted again, it goes on with a run that was stopped.
# All machines must see this folder: the recipe, its data and the run directory are read from it.
#SBATCH --job-name={shlex.quote(name)}
#SBATCH --nodes={launch.machines}
#SBATCH --ntasks-per-node=1
{gpus}#SBATCH --cpus-per-task={CORES * launch.processes}
#SBATCH --time=24:00:00
# Ten minutes before that the run is told to stop: it finishes its step and saves a checkpoint.
#SBATCH --signal=TERM@600
#SBATCH --output=%x-%j.log

# Here goes what makes danlu known, such as: source .venv/bin/activate

command=({start})

option={shlex.quote(" ".join(launch.options))}
if [ -e {shlex.quote(str(run_dir / "status.json"))} ]; then option=--resume; fi

# The machines meet at the first of them, each job at a port of its own.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$first:$((20000 + SLURM_JOB_ID % 10000))

srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" {each}
"""


def ray_job(launch: Launch, name: str, run_dir: Path, on_gpu: bool) -> str:
    """Return a Python script for ``ray job submit``.

    Args:
        launch: What to start; rank and address are found when the job begins.
        name: The run's.
        run_dir: Its directory.
        on_gpu: Whether each process has a GPU.
    """
    start = replace(launch, options=()).command()
    needs = {"CPU": CORES * launch.processes}
    if on_gpu:
        needs["GPU"] = launch.processes
    return f'''\
"""Trains {name} on {_extent(launch, on_gpu)} of a Ray cluster.

    ray job submit -- python FILE

Submitted again, it goes on with a run that was stopped. All machines must have danlu, and must see
the folder FOLDER: the recipe, its data and the run directory are read from it.
"""

import os
import subprocess
import sys

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

MACHINES = {launch.machines}
NEEDS = {needs!r}  # of each machine
FOLDER = {str(Path.cwd())!r}
COMMAND = {start!r}
OPTIONS = {list(launch.options)!r}
STATUS = {str(run_dir / "status.json")!r}


@ray.remote
def address() -> str:
    """Where the machines meet: at the first of them."""
    return f"{{ray.util.get_node_ip_address()}}:{PORT}"


@ray.remote
def train(words: list[str]) -> int:
    """Train on one machine, and return the exit code."""
    return subprocess.run(words, cwd=FOLDER).returncode


ray.init()
group = placement_group([NEEDS] * MACHINES, strategy="STRICT_SPREAD")
ray.get(group.ready())
places = [PlacementGroupSchedulingStrategy(group, k) for k in range(MACHINES)]
options = ["--resume"] if os.path.exists(os.path.join(FOLDER, STATUS)) else OPTIONS
each = [COMMAND + options] * MACHINES
if MACHINES > 1:
    meet = ray.get(address.options(num_cpus=0, scheduling_strategy=places[0]).remote())
    each = [[*each[k], "--rank", str(k), "--address", meet] for k in range(MACHINES)]
waiting = [
    train.options(
        num_cpus=NEEDS["CPU"], num_gpus=NEEDS.get("GPU", 0), scheduling_strategy=place
    ).remote(words)
    for words, place in zip(each, places)
]
codes = []
while waiting:
    done, waiting = ray.wait(waiting)
    codes.append(ray.get(done[0]))
    if codes[-1]:  # the others would wait for this machine
        sys.exit(codes[-1])
'''


CORES = 8
"""Cores asked for with each process; for the reader of a job file to change."""

JOBS: dict[str, Callable[[Launch, str, Path, bool], str]] = {"slurm": slurm_job, "ray": ray_job}
"""What a job file is made by, and the cluster that it is for."""

SUBMIT = {"slurm": "sbatch {file}", "ray": "ray job submit -- python {file}"}
"""How a job file is started."""


def _extent(launch: Launch, on_gpu: bool) -> str:
    """Say how much is asked for.

    Example:
        >>> _extent(Launch("x", processes=8, machines=2), True)
        '2 machines with 8 GPUs each'
    """
    one, many = ("GPU", "GPUs") if on_gpu else ("process", "processes")
    what = f"{launch.processes} {one if launch.processes == 1 else many}"
    if launch.machines == 1:
        return f"1 machine with {what}"
    return f"{launch.machines} machines with {what} each"

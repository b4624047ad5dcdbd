"""``danlu launch``: the torchrun line, signals and exit codes, job files."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from danlu.cli import main
from danlu.training.jobs import environment, run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recipe's file in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    Path("my.yaml").write_text("name: mine\ndata:\n  train: a b.jsonl\n")
    return "my.yaml"


def test_the_line_is_printed_and_nothing_started(recipe, capsys):
    setting = "training.epochs=1"
    assert main.run(["launch", recipe, setting, "--processes", "2", "--resume", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    words = shlex.split(out)
    assert words[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert "--standalone" in words
    assert "--nproc-per-node=2" in words
    begin = words.index("-m", 3)
    assert words[begin:] == ["-m", "danlu", "train", recipe, setting, "--resume"]
    assert err == ""
    assert not Path("runs").exists()


def test_the_line_of_one_machine_of_several(recipe, capsys):
    where = ["--machines", "3", "--rank", "2", "--address", "node1:1234"]
    assert main.run(["launch", recipe, "--processes", "8", *where, "--dry-run"]) == 0
    words = shlex.split(capsys.readouterr().out)
    wanted = ["--nnodes=3", "--node-rank=2", "--master-addr=node1", "--master-port=1234"]
    assert [word for word in words if word in wanted] == wanted
    assert "--standalone" not in words


def test_cores_are_shared_out_unless_it_is_said_how(recipe, capsys, monkeypatch):
    assert environment(4) == {}
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert environment(4) == {"OMP_NUM_THREADS": "2"}
    assert environment(16) == {"OMP_NUM_THREADS": "1"}
    main.run(["launch", recipe, "--processes", "4", "--dry-run"])
    assert capsys.readouterr().out.startswith("OMP_NUM_THREADS=2 ")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("--rank 0", "they go with --machines"),
        ("--machines 2", "--rank 1 --address node1:29500"),
        ("--machines 2 --rank 2 --address a:1", "the last of 2 machines is 1"),
        ("--machines 2 --rank 1 --address a:b", "'a:b' is no address: write HOST:PORT"),
        ("--processes 0", "--processes"),
        ("--resume --overwrite", "give one of them"),
        ("--job slurm", "--job and --output"),
        ("--job pbs -o x", "'pbs' is none of slurm, ray"),
        ("--job ray -o my.yaml", "my.yaml is there already"),
        ("--job ray -o x --machines 2 --rank 1 --address a:1", "leave them out"),
        ("training.epoch=1", "Did you mean 'epochs'?"),
        ("devices.strategy=zero4", "devices.strategy"),
    ],
)
def test_mistakes_are_told_before_anything_starts(recipe, options, text, capsys, monkeypatch):
    monkeypatch.setattr("danlu.training.jobs.run", lambda *_: pytest.fail("started"))
    assert main.run(["launch", recipe, *options.split()]) == 2
    assert text in capsys.readouterr().err


def test_the_exit_code_is_the_commands(recipe, monkeypatch, capsys):
    assert run([sys.executable, "-c", "raise SystemExit(7)"], {}) == 7
    monkeypatch.setattr("danlu.training.jobs.run", lambda *_: 3)
    assert main.run(["launch", recipe]) == 3
    assert "torch.distributed.run" in capsys.readouterr().err  # stdout is the training's


PASSING_ON = """
import sys
from danlu.training.jobs import run
torchrun = '''
import signal, subprocess, sys
worker = "import signal, time; signal.signal(signal.SIGINT, lambda *_: exit({})); " \\
    "print('ready', flush=True); time.sleep(60)"
sys.exit(subprocess.call([sys.executable, "-c", worker.format(sys.argv[1])]))
'''
sys.exit(run([sys.executable, "-c", torchrun, sys.argv[1]], {}))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_the_training_to_stop(number):
    """Between us and the training stands torchrun, which must not hear it."""
    process = subprocess.Popen(
        [sys.executable, "-c", PASSING_ON, "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == b""


STUBBORN = """
import sys
from danlu.training.jobs import run
told = "import signal, time; signal.signal(signal.SIGINT, lambda *_: print('asked', flush=True)); "
told += "print('ready', flush=True)\\n" + "while 1: time.sleep(1)"
sys.exit(run([sys.executable, "-c", told], {}))
"""


def test_the_second_signal_ends_it():
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == b"asked\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 130
    assert time.monotonic() - began < 20
    process.stdout.close()


def script(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/bash\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(("machines", "begun"), [(2, False), (2, True), (1, False)])
def test_a_slurm_job_starts_every_machine(recipe, capsys, tmp_path, machines, begun):
    """The file runs in bash, with stand-ins for SLURM's commands and for danlu."""
    setting = "data.train=a b.jsonl"
    where = ["--processes", "4", "--machines", str(machines)]
    assert main.run(["launch", recipe, setting, *where, "--job", "slurm", "-o", "my.sbatch"]) == 0
    assert "sbatch my.sbatch" in capsys.readouterr().out
    text = Path("my.sbatch").read_text()
    options = dict(
        line.removeprefix("#SBATCH --").split("=")
        for line in text.splitlines()
        if line.startswith("#SBATCH")
    )
    assert options["nodes"] == str(machines)
    assert options["ntasks-per-node"] == "1"
    assert options["gpus-per-node"] == "4"
    assert options["job-name"] == "mine"
    assert options["signal"].startswith("TERM@")
    if begun:
        Path("runs/mine").mkdir(parents=True)
        Path("runs/mine/status.json").write_text("{}")
    commands = tmp_path / "bin"
    commands.mkdir()
    script(commands, "scontrol", "echo node7; echo node8")
    each = 'for k in $(seq 0 $((NODES - 1))); do SLURM_NODEID=$k "${@:3}"; done'
    script(commands, "srun", each)
    script(commands, "danlu", 'printf "%s|" "$@"; echo')
    done = subprocess.run(
        ["bash", "my.sbatch"],
        env={
            "PATH": f"{commands}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "41234",
            "SLURM_CPUS_PER_TASK": "32",
            "SLURM_JOB_NODELIST": "node[7-8]",
            "NODES": str(machines),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    lines = [line.split("|")[:-1] for line in done.stdout.splitlines()]
    resume = ["--resume"] if begun else []
    start = ["launch", recipe, setting, *where[:2], *(where[2:] if machines > 1 else []), *resume]
    if machines == 1:
        assert lines == [start]
        return
    meet = ["--address", "node7:21234", "--rank"]
    assert lines == [[*start, *meet, "0"], [*start, *meet, "1"]]


def fake_ray(codes: list[int]) -> tuple[dict[str, ModuleType], list[Any]]:
    """Ray's modules, as far as a job uses them: remote functions run where they are called."""
    ran: list[Any] = []

    def remote(function: Any) -> Any:
        def options(**options: Any) -> Any:
            def call(*given: Any) -> Any:
                if function.__name__ == "address":
                    return function()
                ran.append((options, given[0]))
                return codes[len(ran) - 1]

            return SimpleNamespace(remote=call)

        return SimpleNamespace(options=options)

    def placed(bundles: Any, strategy: str) -> Any:
        group = SimpleNamespace(bundles=bundles, strategy=strategy, ready=lambda: None)
        vars(modules["ray"])["group"] = group
        return group

    modules = {
        name: ModuleType(name)
        for name in (
            "ray",
            "ray.util",
            "ray.util.placement_group",
            "ray.util.scheduling_strategies",
        )
    }
    vars(modules["ray"]).update(
        remote=remote,
        init=lambda: None,
        get=lambda value: value,
        wait=lambda values: (values[:1], values[1:]),
        util=SimpleNamespace(get_node_ip_address=lambda: "10.0.0.7"),
    )
    vars(modules["ray.util.placement_group"]).update(placement_group=placed)
    vars(modules["ray.util.scheduling_strategies"]).update(
        PlacementGroupSchedulingStrategy=lambda group, k: (group, k)
    )
    return modules, ran


def run_job(file: str, monkeypatch: pytest.MonkeyPatch, codes: list[int]) -> tuple[Any, list[Any]]:
    modules, ran = fake_ray(codes)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    exec(compile(Path(file).read_text(), file, "exec"), {"__name__": "__main__"})
    return vars(modules["ray"])["group"], ran


def test_a_ray_job_starts_every_machine(recipe, capsys, monkeypatch):
    where = ["--processes", "4", "--machines", "2"]
    assert main.run(["launch", recipe, *where, "--job", "ray", "-o", "job.py"]) == 0
    assert "ray job submit -- python job.py" in capsys.readouterr().out
    group, ran = run_job("job.py", monkeypatch, [0, 0])
    assert group.strategy == "STRICT_SPREAD"
    assert [bundle["GPU"] for bundle in group.bundles] == [4, 4]
    assert [options["num_gpus"] for options, _ in ran] == [4, 4]
    assert [options["scheduling_strategy"] for options, _ in ran] == [(group, 0), (group, 1)]
    start = ["danlu", "launch", recipe, *where]
    meet = ["--address", "10.0.0.7:29500"]
    assert [words for _, words in ran] == [[*start, "--rank", str(rank), *meet] for rank in (0, 1)]
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/status.json").write_text("{}")
    _, ran = run_job("job.py", monkeypatch, [0, 0])
    assert all("--resume" in words for _, words in ran)
    with pytest.raises(SystemExit) as caught:
        run_job("job.py", monkeypatch, [0, 9])
    assert caught.value.code == 9


def test_a_job_on_the_cpu_asks_for_no_gpu(recipe, monkeypatch):
    words = ["launch", recipe, "training.device=cpu", "--processes", "2", "--overwrite", "--job"]
    assert main.run([*words, "slurm", "-o", "my.sbatch"]) == 0
    text = Path("my.sbatch").read_text()
    assert "gpus" not in text
    assert "option=--overwrite" in text
    assert main.run([*words, "ray", "-o", "job.py"]) == 0
    group, [(options, started)] = run_job("job.py", monkeypatch, [0])
    assert "GPU" not in group.bundles[0]
    assert options["num_gpus"] == 0
    assert started == ["danlu", *words[:-2], "--overwrite"]

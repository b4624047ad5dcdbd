"""Jobs outlive the studio, stop when they are asked to, and are never mistaken for others."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from danlu.errors import RunError
from danlu.studio.jobs.table import Ended, Job, JobTable, JobView
from danlu.studio.workspace import Workspace
from tests.studio.client import entered


def until(look: Callable[[], JobView], *states: str) -> JobView:
    """Wait for a job to come to a state."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        view = look()
        if view.state in states:
            return view
        time.sleep(0.02)
    raise AssertionError(f"still {look().state}: {look().output()}")


@pytest.fixture
def table(tmp_path: Path) -> JobTable:
    return JobTable(Workspace(tmp_path))


def test_a_job_runs_in_the_workspace_without_a_shell(table: JobTable, tmp_path: Path) -> None:
    """What a shell would read as commands is one argument, and another table sees the end."""
    given = {"recipe.yaml": "name: 丹炉\nnonsense: 1\n"}
    job = table.start(
        "train", lambda folder: ["train", f"{folder}/recipe.yaml", "name=$(id); ls"], given=given
    )
    assert job.state == "running"
    other = JobTable(Workspace(tmp_path))
    view = until(lambda: other.get(job.job.id), "failed")
    assert view.ended is not None
    assert view.ended.exit_code == 2
    assert "nonsense: unknown setting" in view.output()
    assert view.command[-1] == "name=$(id); ls"
    assert [one.job.id for one in other.all()] == [job.job.id]
    with pytest.raises(RunError, match="has ended"):
        table.stop(job.job.id)


def started(table: JobTable) -> tuple[JobView, dict[str, int]]:
    """The studio itself is a command that runs until it is interrupted; and its processes."""
    job = table.start("studio", ["studio", "--port", "0", "--no-open"], run="runs/a")
    end = time.monotonic() + 240
    while "is at" not in table.get(job.job.id).output() and time.monotonic() < end:
        time.sleep(0.02)
    return job, json.loads(job.file("keeper.json"))


def test_a_job_is_stopped_as_by_ctrl_c(table: JobTable) -> None:
    job, _ = started(table)
    assert table.of_run("runs/a") is not None
    table.stop(job.job.id)
    view = until(lambda: table.get(job.job.id), "stopped")
    assert view.ended is not None
    assert view.ended.exit_code in (0, 130)


def test_a_command_whose_keeper_is_killed_still_runs_and_can_be_stopped(
    tmp_path: Path,
) -> None:
    """The lock that the command holds says so; how it ends, nobody can say."""
    client, shared = entered(tmp_path, **{"accept-language": "zh"})
    job, processes = started(shared.jobs)
    name = job.job.id
    assert job.is_kept
    os.kill(processes["pid"], signal.SIGKILL)
    end = time.monotonic() + 60
    while shared.jobs.get(name).is_kept and time.monotonic() < end:
        time.sleep(0.02)
    view = shared.jobs.get(name)
    assert (view.state, view.is_kept) == ("running", False)
    assert "仍在进行" in client.get(f"/jobs/{name}").text
    client.post("/jobs/stop", data={"job": name}).raise_for_status()
    view = until(lambda: shared.jobs.get(name), "stopped")
    assert view.ended is None
    shared.close()


def test_a_job_that_is_killed_with_its_keeper_is_lost(tmp_path: Path) -> None:
    client, shared = entered(tmp_path)
    job, processes = started(shared.jobs)
    os.kill(processes["pid"], signal.SIGKILL)
    os.killpg(processes["command"], signal.SIGKILL)
    view = until(lambda: shared.jobs.get(job.job.id), "lost")
    assert view.ended is None
    text = client.get(f"/jobs/{job.job.id}").text
    assert "not known" in text
    assert "/jobs/stop" not in text
    with pytest.raises(RunError, match="has ended"):
        shared.jobs.stop(job.job.id)
    shared.close()


def test_a_job_whose_file_is_broken_is_told_and_hides_no_other(tmp_path: Path) -> None:
    client, shared = entered(tmp_path)
    job = shared.jobs.start("version", ["version"], run="runs/a")
    for torn in ("{", '{"id": "x"}'):
        folder = tmp_path / ".danlu" / "studio" / "jobs" / f"29990101-{len(torn)}"
        folder.mkdir()
        (folder / "job.json").write_text(torn)
    assert [one.job.id for one in shared.jobs.all()] == [job.job.id]
    found = shared.jobs.of_run("runs/a")
    assert found is not None
    assert found.job.id == job.job.id
    text = client.get("/jobs").text
    assert text.count("not a valid Job") == 2
    assert job.job.id in text
    until(lambda: shared.jobs.get(job.job.id), "done")
    shared.close()


@pytest.mark.parametrize("name", ["", "..", "../x", "a\0b", "/etc"])
def test_no_name_leads_to_a_job_elsewhere(table: JobTable, name: str) -> None:
    with pytest.raises(RunError, match="no such job"):
        table.get(name)


@pytest.mark.parametrize(
    ("kind", "code", "state"),
    [("diagnose", 0, "done"), ("diagnose", 1, "done"), ("diagnose", 2, "failed"),
     ("train", 1, "failed")],
)  # fmt: skip
def test_a_diagnosis_that_found_something_serious_has_not_failed(
    table: JobTable, tmp_path: Path, kind: str, code: int, state: str
) -> None:
    """``danlu diagnose`` ends with 1 then; and it is no job that trains its run."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    folder = tmp_path / ".danlu" / "studio" / "jobs" / "j1"
    folder.mkdir(parents=True)
    job = Job(id="j1", kind=kind, arguments=("x",), run="runs/a", started_at=moment)
    (folder / "job.json").write_text(job.to_json(), "utf-8")
    (folder / "ended.json").write_text(Ended(exit_code=code, ended_at=moment).to_json(), "utf-8")
    assert table.get("j1").state == state
    assert (table.of_run("runs/a") is None) == (kind == "diagnose")

"""Jobs outlive the studio, stop when they are asked to, and are never mistaken for others."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from danlu.errors import RunError
from danlu.studio.jobs.table import Ended, Job, JobTable, JobView
from danlu.studio.workspace import Workspace


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


def test_a_job_is_stopped_as_by_ctrl_c(table: JobTable) -> None:
    """The studio itself is a command that runs until it is interrupted."""
    job = table.start("studio", ["studio", "--port", "0", "--no-open"], run="runs/a")
    end = time.monotonic() + 240
    while "is at" not in table.get(job.job.id).output() and time.monotonic() < end:
        time.sleep(0.02)
    assert table.of_run("runs/a") is not None
    table.stop(job.job.id)
    view = until(lambda: table.get(job.job.id), "stopped")
    assert view.ended is not None
    assert view.ended.exit_code in (0, 130)


@pytest.mark.parametrize("name", ["", "..", "../x", "a\0b", "/etc"])
def test_no_name_leads_to_a_job_elsewhere(table: JobTable, name: str) -> None:
    with pytest.raises(RunError, match="no such job"):
        table.get(name)


def test_a_job_whose_keeper_was_killed_is_lost(table: JobTable, tmp_path: Path) -> None:
    """Its folder says neither that it ended nor, by the lock, that it runs."""
    job = table.start("version", ["version"])
    until(lambda: table.get(job.job.id), "done")
    (job.folder / "ended.json").unlink()
    until(lambda: table.get(job.job.id), "lost")


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

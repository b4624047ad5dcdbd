from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from danlu.errors import RunError
from danlu.runs import MetricsRow, RunDirectory, Sample, ScoreRow, Summary, files
from danlu.runs.directory import CONTENTS, find_runs

posix = pytest.mark.skipif(os.name != "posix", reason="the lock is the system's, on POSIX")


def row(step: int, split: str = "train") -> MetricsRow:
    return MetricsRow(step=step, epoch=step / 10, loss=1.0 + step, split=split)


def summary() -> Summary:
    return Summary(
        name="r", model="m", method="full", steps=1, epochs=1, records=1, train_seconds=1.0
    )


def finished(path: Path) -> Path:
    with RunDirectory.create(path) as run:
        run.append_metrics(row(1))
        run.finish(summary())
    return path


def unfinished(path: Path) -> Path:
    with RunDirectory.create(path) as run:
        run.append_metrics(row(1))
    return path


def steps(run: RunDirectory) -> list[int]:
    return [found.step for found in run.metrics()]


# What is there already


def test_a_new_run_is_running_until_it_ends(tmp_path):
    with RunDirectory.create(tmp_path / "runs" / "a") as run:
        assert run.state() == "running"
        run.finish(summary())
    assert RunDirectory.open(tmp_path / "runs" / "a").state() == "finished"
    assert [found.name for found in find_runs(tmp_path / "runs")] == ["a"]


def test_a_finished_run_is_not_written_over_by_mistake(tmp_path):
    finished(tmp_path / "a")
    with pytest.raises(RunError, match="a finished run is here; use --overwrite"):
        RunDirectory.create(tmp_path / "a")
    with pytest.raises(RunError, match="nothing to resume"):
        RunDirectory.resume(tmp_path / "a")


def test_an_unfinished_run_names_both_remedies(tmp_path):
    unfinished(tmp_path / "a")
    with pytest.raises(RunError, match="--resume to go on with it, or --overwrite"):
        RunDirectory.create(tmp_path / "a")


def test_a_folder_that_is_no_run_is_never_touched(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "model").write_text("mine")
    with pytest.raises(RunError, match="not empty and not a run"):
        RunDirectory.create(tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "model").read_text() == "mine"
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="a file is there"):
        RunDirectory.create(tmp_path / "file")


def test_an_empty_folder_may_become_a_run(tmp_path):
    RunDirectory.create(tmp_path).close()
    assert RunDirectory.open(tmp_path).is_run()


def test_overwriting_removes_the_run_and_only_the_run(tmp_path):
    path = finished(tmp_path / "a")
    (path / "checkpoints" / "step-1").mkdir(parents=True)
    RunDirectory.open(path).write_scores([])
    (path / "notes.txt").write_text("mine")
    with RunDirectory.create(path, overwrite=True) as run:
        assert not [name for name in CONTENTS if (path / name).exists()]
        assert (path / "notes.txt").read_text() == "mine"
        assert run.state() == "running"


def test_killed_while_overwriting_it_is_still_a_run_and_not_a_finished_one(tmp_path, monkeypatch):
    path = finished(tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(files, "write_atomically", lambda path, text: path.write_text(text))
        with pytest.raises(KeyboardInterrupt):
            RunDirectory.create(path, overwrite=True)
    assert RunDirectory.open(path).status().state == "interrupted"


def test_a_misspelt_run_is_answered_with_the_nearest(tmp_path):
    finished(tmp_path / "quickstart")
    with pytest.raises(RunError, match=r"no such run. Did you mean .*quickstart"):
        RunDirectory.open(tmp_path / "quikstart")
    with pytest.raises(RunError, match="Runs there: quickstart"):
        RunDirectory.open(tmp_path / "zzz")
    with pytest.raises(RunError, match=r"not a run: it has no status.json"):
        RunDirectory.open(tmp_path)


# How it ends


def test_an_exception_makes_it_failed_with_its_message(tmp_path):
    with pytest.raises(ZeroDivisionError), RunDirectory.create(tmp_path / "a"):
        _ = 1 / 0
    status = RunDirectory.open(tmp_path / "a").status()
    assert (status.state, status.message) == ("failed", "ZeroDivisionError: division by zero")


def test_ctrl_c_and_leaving_early_make_it_interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt), RunDirectory.create(tmp_path / "a"):
        raise KeyboardInterrupt
    assert RunDirectory.open(tmp_path / "a").status().message == "stopped from the keyboard"
    unfinished(tmp_path / "b")
    assert RunDirectory.open(tmp_path / "b").status().state == "interrupted"


def test_a_failed_run_can_be_resumed(tmp_path):
    with pytest.raises(ZeroDivisionError), RunDirectory.create(tmp_path / "a"):
        _ = 1 / 0
    begun = RunDirectory.open(tmp_path / "a").status().started_at
    with RunDirectory.resume(tmp_path / "a") as run:
        assert run.state() == "running"
        assert run.status().started_at == begun


@posix
def test_two_writers_never_share_a_run(tmp_path):
    with RunDirectory.create(tmp_path / "a"):
        with pytest.raises(RunError, match="another process"):
            RunDirectory.resume(tmp_path / "a")
        with pytest.raises(RunError, match="trained by another process"):
            RunDirectory.create(tmp_path / "a")
        with pytest.raises(RunError, match="another process"):
            RunDirectory.create(tmp_path / "a", overwrite=True)


@posix
def test_a_killed_run_is_interrupted_and_keeps_every_row(tmp_path):
    """SIGKILL leaves ``running`` in status.json, half a line, and a lock that is free."""
    code = f"""
        import sys, time
        from danlu.runs import MetricsRow, RunDirectory
        run = RunDirectory.create({str(tmp_path / "a")!r})
        for step in (1, 2, 3):
            run.append_metrics(MetricsRow(step=step, epoch=0.1, loss=1.0))
        run._metrics.write('{{"step": 4, "ep')
        run._metrics.flush()
        print("ready", flush=True)
        time.sleep(60)
    """
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        run = RunDirectory.open(tmp_path / "a")
        assert run.state() == "running"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert run.status().state == "running"
    assert run.state() == "interrupted"
    assert steps(run) == [1, 2, 3]
    with RunDirectory.resume(tmp_path / "a") as resumed:
        resumed.append_metrics(row(4))
        assert steps(resumed) == [1, 2, 3, 4]


# Files


def test_metrics_are_there_as_soon_as_they_are_appended(tmp_path):
    with RunDirectory.create(tmp_path / "a") as run:
        run.append_metrics(row(1))
        assert steps(RunDirectory.open(tmp_path / "a")) == [1]


def test_a_broken_line_that_is_not_the_last_names_itself(tmp_path):
    run = RunDirectory.open(unfinished(tmp_path / "a"))
    run.metrics_path.write_text(f"{row(1).to_json()}\n{{broken\n{row(3).to_json()}\n")
    with pytest.raises(RunError, match=r"metrics.jsonl:2: not a valid MetricsRow"):
        list(run.metrics())


@given(done=st.integers(0, 8), checkpoint=st.integers(0, 8), data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_cut_anywhere_and_resumed_the_rows_are_those_of_one_left_alone(
    tmp_path, done, checkpoint, data
):
    """Kill at any byte after a checkpoint's own row, cut back to it, go on: nothing shows.

    Without fsync, which is slow on a busy disk and changes no content.
    """
    with mock.patch("os.fsync"):
        cut_and_resume(tmp_path / "a", done, min(checkpoint, done), data)


def cut_and_resume(path: Path, done: int, checkpoint: int, data: st.DataObject) -> None:
    whole = [row(0, "eval")] + [row(step) for step in range(1, 9)]
    with RunDirectory.create(path, overwrite=True) as run:
        for found in whole[: done + 1]:
            run.append_metrics(found)
    content = run.metrics_path.read_bytes()
    least = len("".join(f"{found.to_json()}\n" for found in whole[: checkpoint + 1]))
    run.metrics_path.write_bytes(content[: data.draw(st.integers(least, len(content)))])
    with RunDirectory.resume(path) as run:
        run.truncate_after(checkpoint)
        assert list(run.metrics()) == whole[: checkpoint + 1]
        for found in whole[checkpoint + 1 :]:
            run.append_metrics(found)
    assert list(run.metrics()) == whole


def test_truncating_before_step_0_leaves_nothing(tmp_path):
    with RunDirectory.create(tmp_path / "a") as run:
        run.truncate_after(-1)
        run.append_metrics(row(0, "eval"))
        run.truncate_after(-1)
        assert steps(run) == []


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "recipe.yaml"
    files.write_atomically(path, "old")

    def fail(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["recipe.yaml"]


def test_everything_written_is_read_again(tmp_path):
    sample = Sample(prompt="你是谁？", before="我是助手。", after="我是丹炉。")
    score = ScoreRow(record="r1", task_type="通用/常识", response=2, rank=1, score=-0.5)
    with RunDirectory.create(tmp_path / "a") as run:
        assert (run.recipe_text(), run.resolved(), run.summary()) == (None, None, None)
        assert (run.samples(), run.dropped(), run.rejected()) == ([], [], [])
        assert list(run.scores()) == []
        run.write_recipe("name: 丹炉\n")
        run.write_samples([sample])
        run.write_scores([score])
        run.finish(summary())
    again = RunDirectory.open(tmp_path / "a")
    assert again.recipe_text() == "name: 丹炉\n"
    assert again.samples() == [sample]
    assert list(again.scores()) == [score]
    assert again.summary() == summary()
    assert "我是丹炉" in (tmp_path / "a" / "samples.jsonl").read_text("utf-8")

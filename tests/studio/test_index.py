"""The list of runs: what it finds, and that it follows the directories."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from danlu.runs.notes import write_notes
from danlu.studio.index import STATES, Query, RunIndex
from danlu.studio.workspace import Workspace
from tests.runs.synthetic_run import make_run, row


@pytest.fixture
def index(tmp_path: Path) -> RunIndex:
    for name, state in (("a", "finished"), ("b", "failed"), ("c", "interrupted")):
        make_run(
            tmp_path / "runs" / name, state=state, steps=20, message="丢了" if name == "b" else ""
        )
    write_notes(tmp_path / "runs" / "b", ("基线", "50%"), "the furnace was cold")
    (tmp_path / "runs" / "no-run").mkdir()
    return RunIndex(Workspace(tmp_path))


def names(index: RunIndex, **query: object) -> list[str]:
    return [
        one.name for one in index.find(replace(Query(sort="name", descending=False), **query)).rows
    ]


def test_runs_are_found_by_words_state_tag_and_task_type(index: RunIndex) -> None:
    assert names(index) == ["runs/a", "runs/b", "runs/c"]
    assert names(index, text="furnace COLD") == ["runs/b"]
    assert names(index, text="%") == ["runs/b"]
    assert names(index, text="'; drop table runs; --") == []
    assert names(index, state="interrupted") == ["runs/c"]
    assert names(index, tag="基线") == ["runs/b"]
    assert names(index, task_type="通用") == ["runs/a", "runs/b", "runs/c"]
    assert names(index, task_type="通用/常识") == []
    assert names(index, descending=True, count=1, first=1) == ["runs/b"]
    assert names(index, sort="started; drop table runs") == ["runs/a", "runs/b", "runs/c"]
    assert index.words()[0] == ["50%", "基线"]
    assert {one.state for one in index.find(Query()).rows} <= set(STATES)


def test_an_unfinished_run_shows_how_far_it_is(index: RunIndex, tmp_path: Path) -> None:
    found = index.find(Query(text="runs/c")).rows[0]
    assert (found.steps, found.total_steps) == (10, 20)
    assert found.loss == row(10, steps=20, steps_per_epoch=20 / 3).loss


def test_the_list_follows_the_directories(index: RunIndex, tmp_path: Path) -> None:
    assert len(names(index)) == 3
    write_notes(tmp_path / "runs" / "a", ("new",), "")
    (tmp_path / "runs" / "c" / "summary.json").write_text("{}")
    (tmp_path / "runs" / "b").rename(tmp_path / "elsewhere")
    rows = {one.name: one for one in index.find(Query()).rows}
    assert rows.keys() == {"runs/a", "runs/c"}
    assert rows["runs/a"].tags == ("new",)
    assert rows["runs/c"].state == "broken"
    assert "summary.json" in rows["runs/c"].message


def test_a_link_out_of_the_workspace_is_passed_over(index: RunIndex, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    make_run(outside, steps=3)
    (tmp_path / "runs" / "link").symlink_to(outside)
    assert names(index) == ["runs/a", "runs/b", "runs/c"]


def test_what_has_not_changed_is_not_read_again(index: RunIndex, tmp_path: Path) -> None:
    """Directories of long ago are told by their times, so a broken file goes unseen."""
    for run in (tmp_path / "runs").iterdir():
        for path in (*run.iterdir(), run):
            os.utime(path, (1e9, 1e9))
    assert len(names(index)) == 3
    status = tmp_path / "runs" / "a" / "status.json"
    status.write_text("broken")
    os.utime(status, (1e9, 1e9))
    assert index.find(Query(text="runs/a")).rows[0].state == "finished"
    os.utime(tmp_path / "runs" / "a", (1.1e9, 1.1e9))
    assert index.find(Query(text="runs/a")).rows[0].state == "broken"


def test_a_request_reads_as_much_as_its_time_allows(index: RunIndex) -> None:
    found = index.find(Query(), budget_s=0)
    assert (len(found.rows), found.unread) == (1, 2)


def test_an_index_that_is_no_database_is_made_anew(tmp_path: Path, index: RunIndex) -> None:
    index.close()
    (tmp_path / ".danlu" / "studio" / "runs.sqlite").write_text("nonsense " * 200)
    assert names(index) == ["runs/a", "runs/b", "runs/c"]

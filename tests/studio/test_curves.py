"""Columns that grow with their file, and buckets that hide no spike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import RunError
from danlu.runs import ChannelMetrics, History, MetricsRow
from danlu.studio.curve_cache import CurveCache
from danlu.studio.curves import NEEDED, SERIES, Curves, Grid, Key, bucketed, chart_data
from tests.runs.synthetic_run import row


def write(path, rows, mode="w"):
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(one.to_json() + "\n" for one in rows)


def test_the_page_reads_what_the_schema_has() -> None:
    """The names that are read without the schema's models are names of the schema."""
    assert set(NEEDED) | set(SERIES) <= set(MetricsRow.model_fields)
    assert {"loss", "metrics"} <= set(ChannelMetrics.model_fields)


def test_the_columns_are_those_of_the_report(tmp_path) -> None:
    rows = [row(step, "train") for step in range(1, 50)] + [row(49, "eval", objective="dpo")]
    path = tmp_path / "metrics.jsonl"
    write(path, rows)
    curves, history = Curves().of(path), History.of(rows)
    assert (curves.last, curves.epoch, curves.elapsed_s) == (49, history.epoch, history.elapsed_s)
    for split in ("train", "eval"):
        for name, column in history.overall[split].values.items():
            key = Key("loss" if name == "loss" else f"metrics.{name}", split)
            assert curves.columns(key)[1].tolist() == list(column)
        for task_type, numbers in history.task_types[split].items():
            found = curves.columns(Key("loss", split, task_type))[1].tolist()
            assert found == list(numbers.values["loss"])
    for name in SERIES:
        assert curves.columns(Key(name, "train"))[1].tolist() == list(getattr(history, name).values)


def test_a_broken_row_is_said_with_its_line_each_time_and_no_row_is_taken_twice(tmp_path) -> None:
    path, curves = tmp_path / "metrics.jsonl", Curves()
    write(path, [row(1), row(2)])
    with path.open("a") as file:
        file.write("{rubbish}\n")
    for _ in range(3):
        with pytest.raises(RunError, match=r"metrics\.jsonl:3: not a valid"):
            curves.of(path)
    write(path, [row(1), row(2), row(3)])
    assert curves.of(path).columns(Key("loss", "train"))[0].tolist() == [1, 2, 3]


def test_rows_are_read_as_they_come_and_anew_after_a_resume(tmp_path) -> None:
    path, curves = tmp_path / "metrics.jsonl", Curves()
    assert curves.of(path).last == 0
    write(path, [row(1), row(2)])
    assert curves.of(path).last == 2
    with path.open("ab") as file:
        file.write(row(3).to_json().encode()[:40])
    assert curves.of(path).last == 2, "a row that is being written"
    write(path, [row(1), row(2), row(3), row(4)])
    assert curves.of(path).last == 4
    write(path, [row(1), row(2, seed=7), row(3, seed=7), row(4, seed=7), row(5, seed=7)])
    found = curves.of(path).columns(Key("loss", "train"))
    assert found[0].tolist() == [1, 2, 3, 4, 5]
    assert found[1][1] == row(2, seed=7).loss


@pytest.mark.parametrize("line", ['{"step": 1}', "[]", '{"step": 2, "loss": NaN}', "no JSON"])
def test_a_broken_row_is_named(tmp_path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [row(1)])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl:2"):
        Curves().of(path)


def test_a_row_with_defaults_left_out_is_a_row(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 3, "epoch": 0.5, "loss": 2}\n')
    assert Curves().of(path).columns(Key("loss", "train"))[1].tolist() == [2.0]


POINTS = st.tuples(st.integers(0, 500), st.floats(-1e3, 1e3))


@given(st.lists(POINTS, min_size=1, unique_by=lambda point: point[0]), st.integers(1, 60))
def test_buckets_hold_every_point_once_and_keep_extremes(points, most: int) -> None:
    points.sort()
    steps, values = np.array([p[0] for p in points]), np.array([p[1] for p in points])
    grid = Grid.over(int(steps[0]), int(steps[-1]), most)
    assert grid.buckets <= most
    mean, low, high = bucketed((steps, values), grid)
    for index, _ in enumerate(grid.x()):
        begin = grid.first + index * grid.width
        inside = values[(steps >= begin) & (steps < begin + grid.width)]
        if not len(inside):
            assert (mean[index], low[index], high[index]) == (None, None, None)
            continue
        assert low[index] == pytest.approx(inside.min(), rel=1e-4)
        assert high[index] == pytest.approx(inside.max(), rel=1e-4)
        assert mean[index] == pytest.approx(inside.mean(), rel=1e-4, abs=1e-2)
    assert max(h for h in high if h is not None) == pytest.approx(values.max(), rel=1e-4)


def test_a_range_is_cut_to_what_the_runs_have(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [row(step) for step in range(1, 101)])
    run = Curves().of(path)
    whole = chart_data([("a", run)], None, None, 50)
    assert (whole["first"], whole["last"], whole["width"]) == (0, 100, 3)
    part = chart_data([("a", run)], 90, 10_000, 50)
    assert (part["first"], part["last"], part["width"]) == (90, 100, 1)
    loss = next(one for one in part["series"] if one["number"] == "loss" and not one["task_type"])
    assert loss["y"] == [float(f"{row(step).loss:.5g}") for step in range(90, 101)]
    assert "high" not in loss


def test_columns_on_the_disk_are_those_of_the_file(tmp_path, monkeypatch) -> None:
    """Kept once, they go on where the file goes on; of another file nothing of them is used."""
    monkeypatch.setattr("danlu.studio.curves.WORTH_ROWS", 3)
    path, cache = tmp_path / "metrics.jsonl", CurveCache(tmp_path / "cache")
    write(path, [row(step) for step in (1, 2, 3)])
    first = Curves(cache).of(path)
    write(path, [row(4), row(4, "eval")], "a")
    plain = Curves().of(path)
    monkeypatch.setattr("danlu.studio.curves.RunCurves._save", None)  # not so many are read anew
    again = Curves(cache).of(path)
    assert first.keys() == plain.keys()[: len(first.keys())]
    assert again.epochs() == plain.epochs()
    assert (again.last, again.epoch, again.elapsed_s) == (4, plain.epoch, plain.elapsed_s)
    keys = plain.keys()
    for key in keys:
        for ours, theirs in zip(again.columns(key), plain.columns(key), strict=True):
            assert ours.tolist() == theirs.tolist()
    write(path, [row(1, seed=9), row(2, seed=9)])
    assert Curves(cache).of(path).columns(Key("loss", "train"))[0].tolist() == [1, 2]
    (kept,) = (tmp_path / "cache").glob("*.npz")
    kept.write_bytes(b"broken")
    assert Curves(cache).of(path).last == 2

"""Sweeps, scaling, squeezes and latency cards are shown as their commands wrote them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from danlu.diagnosis.squeeze.plan import Wish, plan_of
from danlu.diagnosis.squeeze.squeeze import squeeze
from danlu.diagnosis.squeeze.written import write_squeeze
from danlu.diagnosis.sweep.law import Forecast, Law
from danlu.diagnosis.sweep.scaling import Line
from danlu.diagnosis.sweep.trials import Ran, Score, Trial
from danlu.diagnosis.sweep.written import scaling_rows, write_sweep
from danlu.serving.latency.card import (
    CardSettings,
    FirstToken,
    FirstTokenFit,
    Interval,
    LatencyCard,
    Level,
    Target,
)
from danlu.studio.experiments import experiments, read
from danlu.studio.language import Words
from danlu.studio.plots import Plot, Series
from danlu.studio.workspace import Workspace
from tests.diagnosis.squeeze.test_squeeze import Ruled, recipe_of
from tests.studio.client import entered

BAIT = "<script>alert(1)</script>"


def interval(value: float) -> Interval:
    return Interval(value=value, low=0.9 * value, high=1.1 * value)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one of each, written by the code of the commands where that is cheap."""
    from danlu.config import make_recipe

    folder = tmp_path_factory.mktemp("workspace")
    scores = []
    for rate, loss in (("1e-4", 1.5), ("1e-3", 1.2), ("1e-2", 2.0)):
        recipe = make_recipe({"name": f"r{rate}", "data": {"train": ["a.jsonl"]}})
        trial = Trial({"training.learning_rate": rate}, recipe)
        curve = ((0, 3.0), (10, loss + 0.2), (20, loss))
        scores.append(Score(trial, loss, 20, {"qa/短": loss, BAIT: 1.0}, curve, 65.0))
    write_sweep(folder / "sweeps" / "率", Ran(scores, [scores[0].trial]))
    cast = Forecast(Law(1.0, 10.0, 0.5), 1.25, 1.18, 0.02, 0.07, 0.12, "helps")
    lines = [Line("all", (100, 400, 1600), (2.0, 1.5, 1.25), 40, cast)]
    write(folder / "scaling" / "a" / "scaling.json", scaling_rows(lines))
    types = ["me/name"] * 10 + ["say/word"] * 30
    rows = [{"task_type": one, "prompt": f"p{k}", "completion": "c"} for k, one in enumerate(types)]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = plan_of(recipe_of(data), Wish("me", runs=4), folder / "squeeze" / "s")
    ruled = Ruled(lambda share: (20 if share >= 0.2 else 9, 16 - round(8 * max(0, share - 0.3))))
    write_squeeze(squeeze(plan, ruled), "some questions", "danlu squeeze mine --task me")
    target = Target(
        name="mine", address="here", model="m", counted="usage", warm_up=1,
        first_tokens=[FirstToken(prompt_tokens=n, seconds=0.01 * n) for n in (16, 64)],
        first_token_fit=FirstTokenFit(
            flat_s=interval(0.2), knee_tokens=interval(20), per_token_s=interval(0.01)
        ),
        levels=[
            Level(
                concurrency=n, requests=2, failed=0, first_s=interval(0.2 * n),
                per_token_s=interval(0.05), tokens_per_second=20.0 * n,
                characters_per_second=80.0, seconds=1.0,
            )
            for n in (1, 4)
        ],
        arrivals=[], failures={}, peak_memory_bytes=None,
    )  # fmt: skip
    made = datetime(2026, 1, 2, tzinfo=UTC)
    card = LatencyCard(made=made, settings=CardSettings(), machine="a box", targets=[target])
    write(folder / "latency" / "card.json", card.model_dump(mode="json"))
    write(folder / "latency" / "versions" / "x" / "sweep.json", {})  # not looked into
    (folder / "broken").mkdir()
    (folder / "broken" / "sweep.json").write_text('{"trials": []}')
    return folder


def write(path: Path, tree: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree, ensure_ascii=False), "utf-8")


def test_all_are_found_and_shown_in_both_languages(root: Path) -> None:
    found = {(one.kind, one.path) for one in experiments(Workspace(root))}
    assert found == {
        ("sweep", "sweeps/率"),
        ("scaling", "scaling/a"),
        ("squeeze", "squeeze/s"),
        ("latency", "latency"),
        ("sweep", "broken"),
    }
    for language in ("en", "zh"):
        client, shared = entered(root, **{"accept-language": language})
        listing = client.get("/diagnosis").text
        for kind, path in found - {("sweep", "broken")}:
            assert f">{path}</a>" in listing
            text = client.get("/diagnosis/result", params={"kind": kind, "path": path}).text
            assert BAIT not in text
            assert text.count("<svg") >= 1
            assert "nan" not in "".join(re.findall(r'points="[^"]*"', text))
        shared.close()


def test_a_sweep_shows_the_best_first_and_the_loss_over_its_setting(root: Path) -> None:
    found = read(Workspace(root), "sweep", "sweeps/率", Words("en"))
    assert [row[0] for row in found.tables[0].rows] == ["1e-3", "1e-4", "1e-2"]
    assert found.tables[0].best == 0
    over, curves = found.plots
    assert over.is_log
    assert [y for _, y in over.series[0].points] == [1.5, 1.2, 2.0]
    assert curves.series[0].points[-1] == (20.0, 1.2)
    assert found.says == ["1 trials were not begun within the time allowed."]
    assert found.command == "danlu train sweeps/率/best.yaml"


def test_a_squeeze_marks_what_is_to_be_taken_and_its_bars(root: Path) -> None:
    found = read(Workspace(root), "squeeze", "squeeze/s", Words("en"))
    table = found.tables[0]
    assert table.best is not None
    assert table.rows[table.best][0] == "share 0.25"
    assert table.rows[table.best][-1] == "learned and kept"
    assert table.rows[0][:4] == ["before training", "0.0 %", "0.100", "80.0 %"]
    assert table.rows[-1][-1] == "learned, too much forgotten"  # more of the target than that
    wish = json.loads((root / "squeeze" / "s" / "squeeze.json").read_text("utf-8"))
    heights = {one.name: {round(y, 6) for _, y in one.points} for one in found.plots[0].series}
    assert heights["asked for"] == {100 * wish["learned"]}
    assert heights["still kept"] == {80 - 100 * wish["margin"]}
    assert found.command.startswith("danlu train ")


def test_the_law_goes_through_what_was_measured(root: Path) -> None:
    plot = read(Workspace(root), "scaling", "scaling/a", Words("en")).plots[0]
    law = dict(plot.series[0].points)
    assert law[100.0] == pytest.approx(2.0)
    assert max(law) == pytest.approx(3200.0)
    assert plot.series[2].points == [(3200.0, 1.18)]


@pytest.mark.parametrize(
    ("kind", "path", "status", "says"),
    [
        ("sweep", "broken", 400, "cannot be read"),
        ("sweep", "nowhere", 404, "no such result"),
        ("sweep", "../..", 404, "not in the workspace"),
        ("odd", "latency", 404, "no such kind"),
    ],
)
def test_what_cannot_be_shown_is_said(
    root: Path, kind: str, path: str, status: int, says: str
) -> None:
    client, shared = entered(root)
    answer = client.get("/diagnosis/result", params={"kind": kind, "path": path})
    assert answer.status_code == status
    assert says in answer.text
    shared.close()


def test_points_lie_where_they_should() -> None:
    """Of a logarithmic axis from 1 to 100, 10 is the middle; y grows upwards."""
    plot = Plot("", "x", [Series("a", [(1, 0.0), (10, 5.0), (100, 10.0)])], log=True)
    (drawn,) = plot.drawn()
    left, middle, right = drawn.marks
    assert middle.x == pytest.approx((left.x + right.x) / 2, abs=0.1)
    assert left.y > middle.y > right.y
    assert [word for _, word in plot.x_ticks()] == ["1", "10", "100"]
    above = Plot("", "x", [Series("a", [(1, 5.0), (2, 10.0)])], from_zero=True)
    assert above.y_ticks()[0][1] == "0"
    alone = Plot("", "x", [Series("a", [(3, 2.0)])]).drawn()[0]
    assert alone.line == ""
    assert len(alone.marks) == 1

"""The fit probe on a tiny real run: every task type has its numbers, and asks nothing twice."""

from __future__ import annotations

import json
import math

import pytest

from danlu.cli.main import run as danlu
from danlu.diagnosis.diagnose import ask, open_run
from danlu.diagnosis.fit.probe import Fit, curves_of, falling
from danlu.diagnosis.subject import Subject
from danlu.errors import RunError
from danlu.runs.findings import read_probes


def test_a_tiny_run(tiny_run, capsys):
    report = ask(Fit(examples=3), open_run(tiny_run.path, device="cpu"))
    rows = {row["task_type"]: row for row in report.figures["task_types"]}
    assert set(rows) == {"say/short", "say/long", "talk/turns"}
    for name, row in rows.items():
        # Two passes over a dozen records: the answers became likelier, and none is learned by rote.
        assert row["train_nll"] < row["train_nll_before"]
        assert row["train_asked"] == min(3, row["records"])
        assert row["held_out_asked"] == tiny_run.resolved().eval_records[name]
    assert report.figures["notes"] == []
    assert read_probes(tiny_run.path) == [report]
    # Again, through the command: what was asked is known, whatever the budget.
    assert danlu(["probe", "fit", str(tiny_run.path), "--examples", "3", "--minutes", "0"]) in (
        0,
        1,
    )
    told = capsys.readouterr().out
    assert "say/long" in told
    again = json.loads((tiny_run.path / "diagnosis" / "fit.json").read_text())
    assert again["figures"]["task_types"] == report.figures["task_types"]
    assert again["settings"]["minutes"] == 0


def test_what_the_curve_says(tiny_run):
    found = curves_of(Subject.open(tiny_run))
    assert sum(one.token_share for one in found.values()) == pytest.approx(1)
    assert sum(one.record_share for one in found.values()) == pytest.approx(1)
    assert all(one.passes == pytest.approx(2) for one in found.values())


def test_a_loss_that_stands_still_because_the_schedule_came_down_was_still_falling(tiny_run):
    """Steps are as large as the learning rate: it falls while they are, and is flat at the end."""
    rates = [1 + math.cos(math.pi * k / 40) for k in range(40)]
    losses = [14 - 0.1 * sum(rates[:k]) for k in range(40)]

    def written(values):
        rows = [
            {
                "step": k + 1,
                "epoch": k / 20,
                "loss": loss,
                "learning_rate": rate,
                "channels": {"say/long": {"loss": loss, "tokens": 9, "records": 1}},
            }
            for k, (loss, rate) in enumerate(zip(values, rates, strict=True))
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tiny_run.path / "metrics.jsonl").write_text(text)
        return curves_of(Subject.open(tiny_run))["say/long"]

    found = written(losses)
    assert falling(losses, [9.0] * 40) < 0.05 < found.falling
    assert found.last == pytest.approx(sum(losses[30:]) / 10)
    assert written([4 + (-1) ** k for k in range(40)]).falling == 0


def test_held_out_files(tiny_run, tmp_path):
    file = tmp_path / "more.jsonl"
    row = {"id": "h1", "task_type": "say/long", "prompt": "Say iron", "completion": "iron"}
    file.write_text(json.dumps(row) + "\n")
    fit = Fit(examples=2, held_out=(str(file),), task_types=("say/long",))
    report = ask(fit, open_run(tiny_run.path, device="cpu"))
    [found] = report.figures["task_types"]
    assert found["held_out_asked"] == 1 + tiny_run.resolved().eval_records["say/long"]
    file.write_text(json.dumps(row | {"task_type": "other/type"}) + "\n")
    with pytest.raises(RunError, match="other/type"):
        ask(fit, open_run(tiny_run.path))


def test_a_run_that_learned_no_answers_is_not_asked(tiny_run):
    resolved = json.loads((tiny_run.path / "resolved.json").read_text())
    resolved["recipe"]["objective"]["name"] = "dpo"
    (tiny_run.path / "resolved.json").write_text(json.dumps(resolved))
    assert "dpo" in ask(Fit(), open_run(tiny_run.path)).skipped

"""Each sign on simulated runs: found where it was planted, not where it was not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from danlu.diagnosis.curves.curves import RunCurves
from danlu.diagnosis.curves.detectors import findings
from danlu.diagnosis.curves.levels import expected_loss
from danlu.diagnosis.curves.probe import Curves
from danlu.diagnosis.live import LiveAlerts
from danlu.diagnosis.probe import CannotLookError, Examined
from danlu.runs import ChannelMetrics, History, MetricsRow, Resolved, RunDirectory
from danlu.runs.findings import Finding, read_alerts, read_probes
from danlu.runs.schema import Environment
from tests.diagnosis.simulated import FAULTS, Fault, Shape, clean_shape, curves, simulate

SHAPE = Shape(
    records=(120, 80, 60),
    tokens=(30, 60, 20),
    start=(3.0, 2.0, 1.5),
    floor=(0.4, 0.5, 0.3),
    epochs=3,
    batch=8,
    held_out=30,
)


def named(found: list[Finding], name: str) -> Finding:
    [one] = [one for one in found if one.name == name]
    return one


def test_sound_runs_are_left_alone():
    """Forty shapes; the rate over a thousand is in docs/diagnosis.md."""
    for seed in range(700, 740):
        shape = clean_shape(seed)
        if sum(shape.records) * shape.epochs / shape.batch > 250:
            shape = replace(shape, records=tuple(min(one, 60) for one in shape.records))
        sure = [one for one in findings(curves(shape, seed)) if one.confidence == "high"]
        assert not sure, (seed, sure)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_the_first_finding(name):
    fault, expected = FAULTS[name]
    for seed in range(3):
        first = findings(curves(SHAPE, seed, fault))[0]
        assert (first.name, first.confidence) == (expected, "high"), (seed, first)


@pytest.mark.parametrize("name", FAULTS)
def test_without_the_fault_it_is_not_found(name):
    _, expected = FAULTS[name]
    assert expected not in {one.name for one in findings(curves(SHAPE, 1))}


def test_a_rise_names_a_rate_ten_times_lower_and_where_it_began():
    found = named(findings(curves(SHAPE, 0, Fault(rises=0.8))), "loss-rises")
    assert found.remedies[0].settings == {"training.learning_rate": pytest.approx(2e-5)}
    [step] = found.evidence[0].steps
    assert 0 < step < 100
    assert found.severity == "serious"


def test_rows_that_cover_several_steps_and_records_that_count_equally():
    for settings in ({"sequences": {"weighting": "record"}}, {}):
        shape = replace(SHAPE, every=5, records=(160, 100, 60))  # forty steps an epoch
        assert not [one for one in findings(curves(shape, 3, **settings)) if one.severity != "note"]
        first = findings(curves(shape, 3, Fault(rises=0.8), **settings))[0]
        assert first.name == "loss-rises"


def test_an_epochs_mean_is_over_the_same_records():
    """With the same loss in every epoch for each record, epochs' means are equal to the digit."""
    rng = np.random.default_rng(0)
    own, rows = rng.uniform(1, 4, 12), []
    for step in range(1, 13):
        if step % 4 == 1:
            order = rng.permutation(12)
        batch = own[order[(step - 1) % 4 * 3 :][:3]]
        channel = ChannelMetrics(loss=batch.mean(), tokens=3, records=3)
        rows.append(
            MetricsRow(
                step=step,
                epoch=step / 4,
                loss=batch.mean(),
                supervised_tokens=3,
                channels={"a/b": channel},
            )
        )
    found = RunCurves.of(History.of(rows), {})
    assert found.whole.epoch_means.tolist() == pytest.approx([own.mean()] * 3)
    assert found.whole.exact
    mixed = RunCurves.of(History.of(rows), {"data": {"mix": {"targets": {"a/b": 9}}}})
    assert not mixed.whole.exact


def test_steps_at_epoch_borders_are_told_with_their_depth():
    shape = replace(SHAPE, memory=0.35, spread=0.2, records=(300, 200), start=(3.0, 2.0))
    shape = replace(shape, floor=(0.9, 0.9), tokens=(40, 40), held_out=0)
    found = named(findings(curves(shape, 0)), "memorises-by-epoch")
    assert found.severity == "warning"
    assert found.evidence[0].figures["depth"] == pytest.approx(0.35, abs=0.08)
    assert found.evidence[0].steps == (63, 126)
    assert set(found.evidence[1].figures) == {"area/skill0", "area/skill1"}


def rows_of(eval_losses: list[float], train_losses: list[float], records: int = 40) -> RunCurves:
    """A run of twelve steps an epoch, with an evaluation before it and after each epoch."""
    rows = []
    for epoch, loss in enumerate(eval_losses):
        rows.append(row(epoch * 12, epoch, loss, "eval", records))
        if epoch < len(train_losses):
            rows += [
                row(epoch * 12 + k, epoch + k / 12, train_losses[epoch], "train", 4)
                for k in range(1, 13)
            ]
    return RunCurves.of(History.of(rows), {"training": {"learning_rate": 1e-4}})


def row(step: int, epoch: float, loss: float, split: str, records: int, **metrics: float):
    channel = ChannelMetrics(loss=loss, tokens=9 * records, records=records, metrics=metrics)
    return MetricsRow(
        step=step,
        epoch=epoch,
        split=split,
        loss=loss,
        supervised_tokens=9 * records,
        channels={"a/b": channel},
        metrics=metrics,
    )


def test_overfitted_says_from_which_step():
    found = named(findings(rows_of([3.0, 2.0, 2.2, 2.6], [2.6, 1.6, 1.0])), "overfits")
    assert (found.confidence, found.severity) == ("high", "warning")
    assert found.evidence[0].steps == (12, 36)
    assert found.remedies[0].settings == {"training.epochs": 1.0}


def test_few_held_out_records_are_not_enough_to_be_sure():
    found = named(findings(rows_of([3.0, 2.0, 2.2, 2.6], [2.6, 1.6, 1.0], 6)), "overfits")
    assert found.confidence == "medium"


def test_held_out_records_that_never_get_better_are_of_another_kind():
    found = findings(rows_of([3.0, 3.1, 3.4, 3.6], [2.6, 1.6, 1.0]))[0]
    assert (found.name, found.severity) == ("does-not-generalise", "serious")


def test_a_held_out_loss_that_falls_or_wavers_is_sound():
    for held_out in ([3.0, 2.0, 1.8, 1.7], [3.0, 2.0, 1.8, 1.82]):
        names = {one.name for one in findings(rows_of(held_out, [2.6, 1.9, 1.6]))}
        assert not names & {"overfits", "does-not-generalise"}


def test_a_loss_near_zero_is_a_fault_only_where_held_out_records_differ():
    found = named(findings(rows_of([2.0, 1.0, 0.9, 0.9], [1.0, 0.3, 0.02])), "loss-near-zero")
    assert found.confidence == "high"
    same = findings(rows_of([2.0, 0.5, 0.1, 0.03], [1.0, 0.3, 0.02]))
    assert not same


def test_an_evaluation_of_other_task_types_is_told():
    rows = [row(k, k / 20, 2 - k / 20, "train", 4) for k in range(1, 21)]
    stranger = ChannelMetrics(loss=2.0, tokens=9, records=9)
    rows += [
        MetricsRow(step=k, epoch=k / 20, split="eval", loss=2.0, channels={"c/d": stranger})
        for k in (0, 20)
    ]
    found = named(findings(RunCurves.of(History.of(rows), {})), "evaluates-other-tasks")
    assert "c/d" in found.evidence[0].says


@pytest.mark.parametrize(("end", "confidence"), [(0.2, None), (0.9, "medium"), (2.5, "high")])
def test_a_stop_token_that_is_not_learned(end, confidence):
    rows = [row(k, k / 30, 2 - k / 40, "train", 4, stop_loss=end) for k in range(1, 31)]
    found = {one.name: one for one in findings(RunCurves.of(History.of(rows), {}))}
    assert ("stop-token-unlearned" in found) == (confidence is not None)
    if confidence:
        assert found["stop-token-unlearned"].confidence == confidence


def two_types(short_tokens: int, settings: dict[str, object], end: float = 1.9) -> RunCurves:
    rows = []
    for k in range(1, 31):
        short = ChannelMetrics(loss=2 - (2 - end) * k / 30, tokens=short_tokens * 4, records=4)
        long = ChannelMetrics(loss=2 - k / 30, tokens=200, records=4)
        whole = (short.loss * short.tokens + long.loss * 200) / (short.tokens + 200)
        channels = {"label/mood": short, "text/story": long}
        rows.append(MetricsRow(step=k, epoch=k / 10, loss=whole, channels=channels))
    return RunCurves.of(History.of(rows), settings)


def test_short_answers_starve_where_tokens_count_equally():
    found = named(findings(two_types(2, {})), "starved")
    assert (found.task_type, found.confidence) == ("label/mood", "high")
    assert found.evidence[0].figures["share_of_loss"] == pytest.approx(2 / 52)
    by_record = two_types(2, {"sequences": {"weighting": "record"}})
    assert not [one for one in findings(by_record) if one.name == "starved"]
    assert not [one for one in findings(two_types(40, {})) if one.name == "starved"]


def test_spikes_that_share_a_record_name_it():
    base = curves(replace(SHAPE, held_out=0), 0, Fault(spike=12))
    batches = {int(step): [f"r{step}-{k}" for k in range(7)] for step in base.gradient_steps}
    spiked = [
        int(step)
        for step, norm in zip(base.gradient_steps, base.gradient_norms, strict=True)
        if norm > 5
    ]
    assert len(spiked) >= 2
    for step in spiked:
        batches[step].append("坏的")
    known = replace(base, records_of=lambda step: batches[step])
    found = named(findings(known), "gradient-spikes")
    assert found.evidence[1].records == ("坏的",)
    assert set(found.evidence[0].steps) == {step for step in spiked if step > 2}


def typed(k: int, loss: float, split: str = "train", records: int = 4) -> MetricsRow:
    """A row of ten steps an epoch with two task types; only the second one's loss is given."""
    channels = {
        "a/b": ChannelMetrics(loss=1.0, tokens=40, records=4),
        "c/d": ChannelMetrics(loss=loss, tokens=10 * records, records=records),
    }
    return MetricsRow(step=k, epoch=k / 10, split=split, loss=loss, channels=channels)


def test_a_record_whose_batch_stands_out_epoch_after_epoch_is_named():
    """Steps 4, 13 and 27 have it, each with other records beside it."""
    rng = np.random.default_rng(0)
    rows, batches = [], {}
    for k in range(1, 31):
        with_it = k in (4, 13, 27)
        rows.append(typed(k, (3.0 if with_it else 1.0) * float(np.exp(rng.normal(0, 0.1)))))
        batches[k] = ["坏 one"] * with_it + [f"r{k}-{j}" for j in range(3)]
    known = {"records_of": batches.__getitem__, "finished": True}
    found = named(findings(RunCurves.of(History.of(rows), {}, **known)), "hard-records")
    assert (found.task_type, found.evidence[0].records) == ("c/d", ("坏 one",))
    assert found.remedies[0].commands == ("danlu data show DATA --id '坏 one'",)
    calm = [typed(k, 1.0 + 0.1 * (k % 3)) for k in range(1, 31)]
    names = {one.name for one in findings(RunCurves.of(History.of(calm), {}, **known))}
    assert "hard-records" not in names


@pytest.mark.parametrize(("inside", "told"), [(1.0, False), (1.6, True)])
def test_training_records_that_stay_harder_than_held_out_ones(inside, told):
    rng = np.random.default_rng(0)
    rows = [typed(0, 3.0, "eval", 30)]
    for k in range(1, 31):
        level = 3.0 if k <= 10 else 1.0 * inside
        rows.append(typed(k, level * float(np.exp(rng.normal(0, 0.05)))))
        if k % 10 == 0:
            rows.append(typed(k, 1.0, "eval", 30))
    found = findings(RunCurves.of(History.of(rows), {}))
    assert ("worse-than-held-out" in {one.name for one in found}) == told


def test_the_expected_loss_falls_with_size():
    sizes = [10**7, 10**8, 10**9, 10**10]
    assert sorted(map(expected_loss, sizes), reverse=True) == [expected_loss(one) for one in sizes]


# With a run directory ---------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    with RunDirectory.create(tmp_path / "run") as directory:
        for one in simulate(SHAPE, 0, Fault(rises=0.8)):
            directory.append_metrics(one)
        directory.set_state("finished")
    return directory


def resolved(**recipe: object) -> Resolved:
    environment = Environment(versions={}, platform="Linux", cpu_count=2)
    return Resolved(recipe=recipe, environment=environment)


def test_the_probe_reads_a_run(run):
    assert Curves().look(Examined(run)).findings[0].name == "loss-rises"
    run.write_resolved(resolved(objective={"name": "grpo"}))
    with pytest.raises(CannotLookError, match="grpo"):
        Curves().look(Examined(run))


def test_a_run_that_goes_on_is_not_judged_by_its_end(run):
    run.set_state("running")
    names = {one.name for one in Curves().look(Examined(run)).findings}
    assert not names & {"hardly-learns", "loss-near-zero", "stop-token-unlearned"}


def test_the_report_page_shows_findings_and_marks(run):
    from danlu.diagnosis.diagnose import diagnose
    from danlu.runs import write_report

    write_report(run.path)
    assert "Findings" not in run.report_path.read_text("utf-8")
    diagnose(run.path, ["curves"])
    page = run.report_path.read_text("utf-8")
    assert 'class="finding serious"' in page
    data = json.loads(page.split('id="run-data">')[1].split("</script>")[0])
    [first, *_] = read_probes(run.path)[0].findings
    assert data["marks"][0] == [first.evidence[0].steps[0], 1]


# Alerts -----------------------------------------------------------------------------------


def told(folder: Path, rows: list[MetricsRow], **known: object) -> list[str]:
    said: list[str] = []
    alerts = LiveAlerts(RunDirectory(folder), said.append, **known)
    for one in rows:
        alerts(one)
    return said


def test_an_alert_is_said_once_while_the_run_goes_on(tmp_path):
    rows = simulate(SHAPE, 0, Fault(jumps=1.5))
    said = told(tmp_path, rows, clock=lambda: 0.0)
    [alert] = read_alerts(tmp_path)
    assert alert.finding.name == "loss-rises"
    assert alert.step < rows[-1].step / 2
    assert said[0].startswith(f"alert at step {alert.step}: The training loss rises")
    assert len(said) == 1


def test_a_sound_run_has_no_alert(tmp_path):
    for seed in range(6):
        assert not told(tmp_path, simulate(SHAPE, seed), clock=lambda: 0.0)
    assert not read_alerts(tmp_path)


def test_a_resumed_run_forgets_later_alerts_and_repeats_no_earlier_one(tmp_path):
    rows = simulate(SHAPE, 0, Fault(jumps=1.5))
    with RunDirectory.create(tmp_path / "run") as run:
        assert told(run.path, rows, clock=lambda: 0.0)
        [alert] = read_alerts(run.path)
        for one in rows:
            if one.step < alert.step:
                run.append_metrics(one)
        later = [one for one in rows if one.step >= alert.step]
        assert len(told(run.path, later, clock=lambda: 0.0)) == 1  # it went back before it
        for one in later:
            run.append_metrics(one)
        assert not told(run.path, later[-3:], clock=lambda: 0.0)
    assert len(read_alerts(run.path)) == 1


def test_looking_takes_no_more_time_than_it_may(tmp_path):
    """Each look takes a second here, so the next may come after two hundred."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.5
        return now[0]

    alerts = LiveAlerts(RunDirectory(tmp_path), lambda line: None, clock=clock)
    for one in simulate(replace(SHAPE, held_out=0), 0):
        alerts(one)
    assert alerts.not_before > 100
    assert not (tmp_path / "alerts.jsonl").exists()


def test_an_update_of_a_policy_is_not_judged(tmp_path):
    with RunDirectory.create(tmp_path / "run") as run:
        run.write_resolved(resolved(objective={"name": "ppo"}))
        rows = simulate(SHAPE, 0, Fault(jumps=1.5))
        assert not told(run.path, rows, clock=lambda: 0.0)

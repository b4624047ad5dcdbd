"""Order, schedule, optimizer, totals and display, each by hand or by an invariant."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from danlu.config.recipe import TrainingSection
from danlu.objectives import ChannelSums, Nll
from danlu.runs import ChannelMetrics, MetricsRow
from danlu.training.channels import ChannelTotals
from danlu.training.memory import keep_freed_memory, peak_bytes
from danlu.training.optimizer import begin_moments, build_optimizer
from danlu.training.order import RecordOrder
from danlu.training.progress import TrainingProgress
from danlu.training.schedule import learning_rate

SCHEDULES = ["constant", "linear", "cosine", "warmup_stable_decay"]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3), st.integers(0, 2))
def test_each_epoch_has_every_record_once(records, batch, seed, epoch):
    order = RecordOrder(records, batch, seed)
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    seen = np.concatenate([order.step(step) for step in steps])
    assert sorted(seen.tolist()) == list(range(records))


def test_epochs_and_seeds_are_shuffled_anew():
    order, other = RecordOrder(50, 50, 1), RecordOrder(50, 50, 2)
    assert order.step(0).tolist() != order.step(1).tolist()
    assert order.step(0).tolist() != other.step(0).tolist()
    assert order.step(7).tolist() == RecordOrder(50, 50, 1).step(7).tolist()


@pytest.mark.parametrize(
    ("epochs", "most", "steps"), [(1, None, 3), (2.0, None, 6), (0.1, None, 1), (9, 4, 4)]
)
def test_total_steps(epochs, most, steps):
    assert RecordOrder(10, 4, 0).total_steps(epochs, most) == steps


@given(
    st.sampled_from(SCHEDULES),
    st.integers(1, 200),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.1]),
)
def test_rates_stay_between_zero_and_the_peak_and_reach_it(schedule, total, warmup, floor):
    settings = TrainingSection(
        schedule=schedule, warmup_ratio=warmup, final_learning_rate_ratio=floor, learning_rate=2e-4
    )
    rates = [learning_rate(settings, step, total) for step in range(total)]
    assert all(0 < rate <= 2e-4 * (1 + 1e-12) for rate in rates)
    assert max(rates) >= 2e-4 * (0.5 if total < 8 else 0.8) or schedule != "constant"
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_schedules_by_hand():
    def rates(**changes):
        settings = TrainingSection(learning_rate=1.0, warmup_ratio=0.2, **changes)
        return [round(learning_rate(settings, step, 10), 4) for step in range(10)]

    assert rates(schedule="constant") == [0.5] + [1.0] * 9
    # After two warmup steps eight decay, in ninths, so that none is spent at 0.
    assert rates(schedule="linear")[2:] == [round(1 - k / 9, 4) for k in range(1, 9)]
    # With a floor the last step has it: in eighths.
    low = rates(schedule="linear", final_learning_rate_ratio=0.2)
    assert low[2:] == [round(0.2 + 0.8 * (1 - k / 8), 4) for k in range(1, 9)]
    cosine = rates(schedule="cosine")
    assert cosine[2:] == [round(0.5 * (1 + math.cos(math.pi * k / 9)), 4) for k in range(1, 9)]
    stable = rates(schedule="warmup_stable_decay", decay_ratio=0.3)
    assert stable == [0.5, *[1.0] * 6, 0.75, 0.5, 0.25]


def test_decay_is_for_matrices_only():
    parameters = {
        "w": torch.nn.Parameter(torch.ones(2, 2)),
        "norm": torch.nn.Parameter(torch.ones(2)),
        "bias": torch.nn.Parameter(torch.ones(2)),
    }
    optimizer = build_optimizer(parameters, TrainingSection(weight_decay=0.1, learning_rate=0.5))
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(parameters["w"], torch.full((2, 2), 0.95))
    assert torch.equal(parameters["norm"], torch.ones(2))
    assert torch.equal(parameters["bias"], torch.ones(2))


def test_nothing_to_train_is_an_error():
    with pytest.raises(ValueError, match="no parameter"):
        build_optimizer({}, TrainingSection())


def test_moments_begun_beforehand_change_no_update():
    """Nor is a parameter without a gradient moved by them, though it has a state."""

    def trained(*, begun: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        parameters = {name: torch.nn.Parameter(torch.randn(4, 3)) for name in ("moves", "rests")}
        optimizer = build_optimizer(parameters, TrainingSection(weight_decay=0.1))
        if begun:
            begin_moments(optimizer)
        for _ in range(3):
            parameters["moves"].square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            if begun:
                begin_moments(optimizer)  # leaves those that are there
        return [parameter.detach() for parameter in parameters.values()]

    for one, other in zip(trained(begun=True), trained(begun=False), strict=True):
        assert torch.equal(one, other)


def test_totals_are_divided_once():
    """Two packs of unequal size: (1 + 6) nats over (1 + 3) weight, not the mean of 1 and 2."""
    totals = ChannelTotals(["a/a", "b/b"], Nll())
    for nats, weight in ((1.0, 1.0), (6.0, 3.0)):
        one = torch.tensor([weight, 0.0], dtype=torch.float64)
        totals.add(
            ChannelSums(
                torch.tensor(nats),
                {
                    "nats": torch.tensor([nats, 0.0], dtype=torch.float64),
                    "weight": one,
                    "tokens": one,
                },
            )
        )
        totals.add_records(np.array([0, 0]))
    reduced = totals.reduce(Accelerator(cpu=True))
    assert reduced.loss == 1.75
    assert reduced.channels() == {"a/a": ChannelMetrics(loss=1.75, tokens=4, records=4)}


def test_memory_is_told_in_bytes():
    keep_freed_memory()
    assert 50e6 < peak_bytes(torch.device("cpu")) < 64e9


def test_display_shows_every_task_type_and_chinese():
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=True, color_system=None)
    display = TrainingProgress(10, console=console)
    channels = {"知识/常识": ChannelMetrics(loss=1.5, tokens=3, records=1)}
    row = MetricsRow(step=1, epoch=0.1, loss=1.5, tokens_per_second=120.0, channels=channels)
    with display.showing():
        display(row)
        display(row.model_copy(update={"split": "eval", "loss": 1.25}))
    text = stream.getvalue()
    assert "知识/常识" in text
    assert "step 1/10" in text
    assert "120 tokens/s" in text


def test_without_a_terminal_there_are_plain_lines():
    stream = io.StringIO()
    display = TrainingProgress(2, console=Console(file=stream, width=40))
    with display.showing():
        for step in (1, 2):
            display(MetricsRow(step=step, epoch=step, loss=0.5, tokens_per_second=7.0))
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("step 1/2  epoch 1.00  loss 0.500  7 tokens/s")
    assert lines[-1].startswith("step 2/2")


def preferred(step: int, split: str = "train", **metrics: float) -> MetricsRow:
    own = {"loss": 0.5, "tokens": 3, "records": 1, "metrics": metrics}
    other = {"loss": 0.7, "tokens": 3, "records": 1, "metrics": {"accuracy": 0.5}}
    return MetricsRow(
        step=step,
        epoch=step / 10,
        loss=0.625,
        split=split,
        channels={"知识/常识": own, "b/y": other},
        metrics={**metrics, "accuracy": 0.625},
    )


def test_display_shows_accuracy_and_margin_beside_the_loss():
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    display = TrainingProgress(10, console=console)
    with display.showing():
        display(preferred(1, accuracy=0.75, margin=0.125, chosen_nll=2.0))
        display(preferred(1, "eval", accuracy=0.25, margin=-0.5))
        display(preferred(2, accuracy=1.0))
    with console.capture() as captured:
        console.print(display.render())
    head, *rows = captured.get().splitlines()[1:]
    titles = ["loss", "eval loss", "accuracy", "eval accuracy", "margin", "eval margin"]
    assert [title.strip() for title in head.split("  ") if title.strip()] == ["task type", *titles]
    other, own, overall = (row.split() for row in rows)
    # The second step had no margin: the first one's stays.
    assert own == ["知识/常识", "0.500", "0.500", "1.000", "0.250", "0.125", "-0.500"]
    assert other == ["b/y", "0.700", "0.700", "0.500", "0.500"]
    assert overall == ["all", "0.625", "0.625", "0.625", "0.625", "0.125", "-0.500"]


def test_plain_lines_tell_accuracy_and_margin_of_every_task_type():
    display = TrainingProgress(10, console=Console(file=io.StringIO(), width=40))
    assert display.line(preferred(1, "eval", margin=0.125, accuracy=0.75)) == (
        "step 1/10  epoch 0.10  eval loss 0.625  accuracy 0.625  margin 0.125"
        "  | 知识/常识 0.500 (accuracy 0.750, margin 0.125)  b/y 0.700 (accuracy 0.500)"
    )

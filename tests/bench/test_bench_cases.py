"""The benchmarks' settings, the steps they train, and the data of the shared prompt."""

from __future__ import annotations

import doctest
import importlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import batches
from bench.__main__ import NAMES, main
from bench.batches import in_training_order, length_grouped
from bench.cases import (
    ANSWERING,
    ANSWERING_GOAL,
    BATCH_RECORDS,
    CASES,
    CHECK,
    DEFAULT_PEER,
    GATEWAY,
    NEAR,
    NOVELTY,
    OPTIONS,
    OPTIONS_GOAL,
    PEERS,
    PREPARE,
    ROWS,
    SERVING,
    STATISTICS,
    STREAM,
    STUDIO,
    PeerSetting,
)
from bench.child import Job
from bench.cuda_cases import CUDA_CASES
from bench.triage import SYSTEM_PROMPT, triage_records
from bench.with_danlu import recipe_of
from danlu.config.recipe import Recipe, TrainingSection, TuningSection
from danlu.records import read_records
from danlu.records.record import Message
from danlu.training.order import RecordOrder

DOCUMENTED = (
    *("batches", "cases", "letters", "rate", "results", "table", "training", "triage", "work"),
)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"bench.{name}")).failed == 0


@pytest.mark.parametrize(
    ("text", "setting", "words"),
    [
        ("1", PeerSetting(1), "16 x 1 records, padded"),
        ("8", PeerSetting(8), "2 x 8 records, padded"),
        ("4f", PeerSetting(4, padding_free=True), "4 x 4 records, padding-free"),
        ("16f", PeerSetting(16, padding_free=True), "1 x 16 records, padding-free"),
    ],
)
def test_settings_of_the_peer(text: str, setting: PeerSetting, words: str) -> None:
    assert PeerSetting.parse(text) == setting
    assert str(setting) == words


@pytest.mark.parametrize("text", ["0", "-4", "3", "5f", "32", "", "f", "four", "4ff", "4.0", "04"])
def test_no_setting_of_the_peer(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        PeerSetting.parse(text)
    assert str(caught.value) == (
        f"{text!r} does not cut a step of 16 records; it must be one of 1, 2, 4, 8, 16, with f for "
        "padding-free"
    )


def test_cases_hold_what_was_asked_for() -> None:
    """The goals of the issues: twice TRL, a third of its memory, 0.65 of the limit; five times.

    Against rows: two and a half times.
    """
    goals = {
        case.name: (case.ratio_goal, case.memory_goal, case.limit_goal, case.method)
        for case in CASES
    }
    assert goals == {
        "sft-lora": (2.0, 1 / 3, 0.65, "lora"),
        "sft-full": (2.0, 1 / 3, 0.65, "full"),
        "shared-prompt": (5.0, None, None, "lora"),
        "dpo-lora": (2.0, None, None, "lora"),
        "dpo-full": (2.0, None, None, "full"),
        "reward-lists": (2.5, None, None, "lora"),
        "grpo-update": (2.5, None, None, "lora"),
    }
    known = PREPARE, NOVELTY, NEAR, CHECK, STREAM, STATISTICS, ANSWERING, OPTIONS, SERVING, GATEWAY
    on_cuda = [case.name for case in CUDA_CASES]
    assert (*known, STUDIO, *goals, *on_cuda) == NAMES
    assert ANSWERING_GOAL == OPTIONS_GOAL == 3.0
    for case in CASES:
        assert case.peers == ((ROWS,) if case.data == "letters" else PEERS)
        assert case.steps >= 1
        assert case.rounds >= 1
    assert DEFAULT_PEER in PEERS
    references = {case.name: case.reference for case in CASES if case.objective == "dpo"}
    assert references == {"dpo-lora": "adapter_off", "dpo-full": "precomputed"}


def test_a_name_that_is_no_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["sft-lora", "sft-lorra"])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert (
        "there is no benchmark 'sft-lorra'; there are prepare, novelty, near-duplicates, " in told
    )


def test_a_setting_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["sft-lora", "--peer", "3"])
    assert caught.value.code == 2
    assert "argument --peer: '3' does not cut a step of 16 records" in capsys.readouterr().err


def test_both_contenders_read_the_same_settings() -> None:
    job = Job("danlu", "full", "r.jsonl", 4, 2e-5, 2, False, model="m", seed=7)
    recipe = recipe_of(job, "there")
    assert isinstance(recipe, Recipe)
    training, default = recipe.training, TrainingSection()
    assert (training.batch_records, training.learning_rate, training.seed) == (4, 2e-5, 7)
    assert (training.schedule, training.warmup_ratio, training.epochs) == ("constant", 0.0, 1)
    assert training.pack_tokens == default.pack_tokens
    assert recipe.tuning == TuningSection(method="full")
    assert (recipe.model.path, recipe.model.precision) == ("m", "float32")
    assert (recipe.runs_dir, recipe.samples.from_data) == ("there", 0)
    assert [source.path for source in recipe.data.train] == ["r.jsonl"]


@given(
    lengths=st.lists(st.integers(1, 50), min_size=12, max_size=60),
    steps=st.integers(1, 3),
    size=st.integers(1, 3),
)
def test_steps_are_of_one_length_and_none_comes_twice(
    lengths: list[int], steps: int, size: int
) -> None:
    groups = length_grouped(lengths, steps, size)
    assert [len(group) for group in groups] == [size] * (steps + 1)
    chosen = [index for group in groups for index in group]
    assert len(set(chosen)) == len(chosen)
    for group in groups:
        own = [lengths[index] for index in group]
        assert own == sorted(own, reverse=True)
        # Nobody outside of the step would have fitted better between its shortest and longest.
        between = [k for k, n in enumerate(lengths) if own[-1] < n < own[0] and k not in group]
        assert not between
    measured = [lengths[group[0]] for group in groups[1:]]
    assert measured == sorted(measured)


def test_measured_steps_are_spread_and_the_warm_up_is_of_middling_length() -> None:
    """Ten groups of two: the middles of two halves are groups 2 and 7, the warm-up is group 5."""
    assert length_grouped(list(range(20)), steps=2, size=2) == [[11, 10], [5, 4], [15, 14]]


def test_too_few_records() -> None:
    with pytest.raises(ValueError, match=r"^7 records are too few for 3 steps of 3$"):
        length_grouped([1] * 7, steps=2, size=3)


@given(steps=st.integers(1, 5), size=st.integers(1, 6), seed=st.integers(0, 3))
def test_danlus_own_order_draws_exactly_these_steps(steps: int, size: int, seed: int) -> None:
    wanted = [[f"{step}.{place}" for place in range(size)] for step in range(steps)]
    arranged = in_training_order(wanted, seed)
    order = RecordOrder(len(arranged), size, seed)
    assert order.steps_per_epoch == steps
    assert [[arranged[k] for k in order.step(step)] for step in range(steps)] == wanted


def test_the_bundled_records_stand_in_where_the_instruction_data_is_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(batches, "INSTRUCTIONS", tmp_path / "absent.json")
    assert batches.instruction_file() == batches.BUNDLED
    records = batches.instruction_records()
    assert len(records) >= 80
    assert all(sum(m.role == "assistant" for m in record.messages) == 1 for record in records)
    present = tmp_path / "present.json"
    present.write_text(json.dumps([{"instruction": "a", "output": "b"}]))
    monkeypatch.setattr(batches, "INSTRUCTIONS", present)
    assert batches.instruction_file() == present
    assert batches.instruction_records() == list(read_records(present))


def test_triage_records() -> None:
    records = triage_records(3 * BATCH_RECORDS)
    assert len({record.id for record in records}) == len(records) == 48
    drawers = [record.messages[2].content for record in records]
    assert drawers == drawers[:8] * 6
    assert len(set(drawers)) == 8
    for record, drawer in zip(records, drawers, strict=True):
        system, user, answer = record.messages
        assert system == Message("system", SYSTEM_PROMPT)
        assert (user.role, answer.role) == ("user", "assistant")
        assert record.task_type == f"triage/{drawer}"
        assert "{" not in (user.content or "")
        assert f"\n{drawer}: " in SYSTEM_PROMPT
        assert len((user.content or "").split()) < 30
    assert len(SYSTEM_PROMPT.split()) > 300
    assert triage_records(48) == records
    assert triage_records(48, seed=1) != records
    assert triage_records(8) == records[:8]

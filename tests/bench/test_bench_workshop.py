"""The data of the workshop's benchmarks, and what judges them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench import checking, workshop
from bench.cases import (
    CHECK_BYTES,
    CHECK_RECORDS,
    CHECK_SECONDS,
    NEAR_RECORDS,
    NEAR_SECONDS,
    NOVELTY_RECORDS,
    NOVELTY_SECONDS,
    STREAM_BYTES,
    STREAM_RECORDS,
)
from bench.conversations import originals, varied_conversations, write_conversations
from bench.table import rows, speeds
from bench.varied import instructions, varied_instructions, varied_records
from bench.workshop import brute_near, brute_novelty, differences, timed
from danlu.cli import main
from danlu.records import read_records
from danlu.workshop.likeness.text import fold
from danlu.workshop.operations.dedup import Dedup
from danlu.workshop.operations.novelty import Novelty

NOWHERE = Path("there/is/no/such/folder")


def test_goals() -> None:
    assert (NOVELTY_RECORDS, NOVELTY_SECONDS) == (50_000, 10)
    assert (NEAR_RECORDS, NEAR_SECONDS) == (100_000, 5)
    assert (CHECK_RECORDS, CHECK_SECONDS, CHECK_BYTES) == (100_000, 60, 2e9)
    assert (STREAM_RECORDS, STREAM_BYTES) == (1_000_000, 0.5e9)


def test_varied_instructions_are_the_same_for_a_seed() -> None:
    """They hold the originals, near-duplicates of them, and new ones."""
    name, originals = instructions(NOWHERE)
    assert name == "train.jsonl"
    made = varied_instructions(600, folder=NOWHERE)
    assert made == varied_instructions(600, folder=NOWHERE)
    assert made != varied_instructions(600, seed=7, folder=NOWHERE)
    assert len(made) == 600
    assert set(originals) <= set(made)
    folded = Counter(map(fold, made))
    assert len(set(made)) > len(folded) > len(originals)


def test_brute_force_agrees_on_a_few() -> None:
    records = varied_records(300, folder=NOWHERE)
    ours, by_hand = timed(Novelty(), records)[1], brute_novelty(records, 0.7)
    assert ours == by_hand
    assert 30 < len(ours) < 270
    near = timed(Dedup(on="prompt"), records)[1]
    assert near == brute_near(records, 0.8)
    assert 10 < len(near) < 270


@pytest.mark.parametrize(
    "other",
    [
        {"a": ("b", 0.9)},
        {"a": ("b", 0.9), "c": ("b", 0.8), "d": ("b", 0.8)},
        {"a": ("x", 0.9), "c": ("b", 0.8)},
        {"a": ("b", 0.91), "c": ("b", 0.8)},
    ],
)
def test_every_difference_counts(other: workshop.Found) -> None:
    found: workshop.Found = {"a": ("b", 0.9), "c": ("b", 0.8)}
    assert differences(found, dict(found)) == 0
    assert differences(found, other) == 1


def test_a_drop_that_is_not_so() -> None:
    assert not workshop.not_so("abcdefghij", "abcdefghijk", 0.9, 0.8)
    assert workshop.not_so("abcdefghij", "abcdefghijk", 0.91, 0.8)
    assert workshop.not_so("abcdefghij", "abcdefghijk", 0.9, 0.95)
    assert workshop.jaccard("是", "否") == 0.0


def test_varied_conversations_are_the_same_for_a_seed(tmp_path: Path) -> None:
    """They are read again from the formats that they are written in."""
    assert originals(NOWHERE)[0] == "train.jsonl"
    made = [*varied_conversations(300, folder=NOWHERE)]
    assert made == [*varied_conversations(300, folder=NOWHERE)]
    assert made != [*varied_conversations(300, seed=7, folder=NOWHERE)]
    assert {len(record.messages) for record in made} >= {2, 4}
    assert {record.task_type for record in made} >= {"identity/name"}
    size = write_conversations(tmp_path, iter(made))
    assert size == sum(file.stat().st_size for file in tmp_path.iterdir())
    files = [tmp_path / f"{name}.jsonl" for name in ("alpaca", "sharegpt", "openai")]
    written = [record for file in files if file.stat().st_size for record in read_records(file)]
    before = {record.id: (record.task_type, record.messages, record.tools) for record in made}
    assert {one.id: (one.task_type, one.messages, one.tools) for one in written} == before


def test_checks_are_measured_as_a_user_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bench.checking.varied_conversations", lambda n: varied_conversations(n, folder=NOWHERE)
    )
    ran: list[list[str]] = []

    def run(arguments: list[str]) -> tuple[float, int]:
        ran.append(arguments[:2])
        assert main.run(arguments) == 0
        return (1.5, 3000) if arguments[1] == "import" else (2.5, 2000)

    monkeypatch.setattr(checking, "run_measured", run)
    result = checking.measure_checks(lambda text: None, 60)
    assert ran == [["data", "import"], ["data", "check"]]
    assert (result.danlu, result.peer, result.peak_bytes) == (15.0, None, 3000)
    assert result.details["records"] == 60
    assert [row[-1] for row in rows([result])] == ["met", "met"]
    assert speeds(result) == "import-check: Danlu 15.00 records/s; peak 0.00 GB"


def test_an_import_of_very_many_is_held_against_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter([(0.5, 100_000_000), (4.0, 190_000_000)])

    def run(arguments: list[str]) -> tuple[float, int]:
        assert main.run(arguments) == 0
        return next(held)

    monkeypatch.setattr(checking, "run_measured", run)
    result = checking.measure_stream(lambda text: None, 100)
    assert (result.danlu, result.peak_bytes) == (25.0, 190_000_000)
    assert result.details["bytes_held_for_each_record"] == 1e6
    assert [row[-2:] for row in rows([result])] == [("at most 0.50", "met")]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="asks /proc")
def test_memory_of_children_counts(tmp_path: Path) -> None:
    hold = "import sys; held = bytearray(b'x') * 60_000_000; print(len(held)); sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as running:  # type: ignore[call-overload]
        running.stdout.readline()
        held = checking.held_bytes(running.pid)
        running.stdin.close()
    assert 60e6 < held < 120e6
    assert checking.held_bytes(running.pid) == 0


def test_a_command_that_fails_is_told() -> None:
    with pytest.raises(RuntimeError, match="no dataset"):
        checking.run_measured(["data", "check", "nothing-of-the-kind"])

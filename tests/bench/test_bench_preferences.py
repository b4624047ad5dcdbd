"""Benchmarks that compare answers: their data, their work, and that contenders learn the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import batches, training
from bench.__main__ import main
from bench.cases import CASES, ROWS, Case
from bench.child import Job
from bench.letters import letter_records
from bench.training import missing, records_of
from bench.with_danlu import recipe_of
from bench.with_danlu import train as with_danlu
from danlu.objectives.dpo import Dpo
from danlu.records import Record, Response, write_records
from danlu.records.record import Message
from danlu.training import references
from tests.tiny_models import tiny_llama

DPO = Case("x", "lora", "pairs", 1e-4, 1, 2.0, objective="dpo", reference="adapter_off")


def test_letters() -> None:
    records = letter_records(6, answers=4, sentences=3)
    assert len({record.id for record in records}) == 6
    for record in records:
        [letter] = record.messages
        assert letter.role == "user"
        assert "{" not in (letter.content or "")
        assert 190 <= len((letter.content or "").split()) <= 240
        assert sorted(answer.score or 0 for answer in record.responses) == [1, 2, 3, 4]
        assert len({answer.content for answer in record.responses}) == 4
        assert all(10 <= len(answer.content.split()) <= 90 for answer in record.responses)
    assert letter_records(6, answers=4, sentences=3) == records
    assert letter_records(6, answers=4, sentences=3, seed=1) != records
    assert letter_records(2, answers=4, sentences=3) == records[:2]


def test_letters_share_hardly_anything() -> None:
    """Not even their first sentences, so that what the forest saves is within a letter."""
    beginnings = [r.messages[0].content or "" for r in letter_records(12, answers=2, sentences=2)]
    assert len({text[:40] for text in beginnings}) == len(beginnings)


def test_cases_of_letters_have_what_the_issue_says() -> None:
    """Four answers to compare, eight of a group, each to a prompt of its own."""
    found = {case.name: case for case in CASES if case.data == "letters"}
    assert {name: case.answers for name, case in found.items()} == {
        "reward-lists": 4,
        "grpo-update": 8,
    }
    for case in found.values():
        assert (case.ratio_goal, case.peers) == (2.5, (ROWS,))
        steps = records_of(case)
        assert [len(step) for step in steps] == [case.batch_records] * (case.steps + 1)
        assert all(len(record.responses) == case.answers for step in steps for record in step)


def pair(number: int, words: int = 3) -> Record:
    """A pair that differs from every other, with answers of different lengths."""
    question = Message("user", f"question {number}, " + "and the furnace " * words)
    better, worse = f"the answer is {number} " * (1 + number % 2), "one two " * (1 + number % 3)
    responses = (Response(worse, rank=2), Response(better, rank=1))
    return Record(f"pair-{number}", "pairs/tiny", (question,), responses=responses)


@pytest.fixture
def job(tmp_path: Path, tiny_tokenizer: Any) -> Job:
    """A job of three steps of four pairs on a tiny model."""
    folder = tmp_path / "model"
    tiny_llama(seed=3).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    file = tmp_path / "records.jsonl"
    write_records([pair(number) for number in range(12)], file)
    return Job(
        "danlu",
        "lora",
        str(file),
        4,
        1e-2,
        0,
        False,
        model=str(folder),
        objective="dpo",
        reference="adapter_off",
    )


def test_a_job_says_what_is_minimised() -> None:
    job = Job("danlu", "lora", "r.jsonl", 4, 1e-4, 0, False, objective="dpo")
    recipe = recipe_of(replace(job, reference="adapter_off", attention="rows"), "there")
    assert (recipe.objective.name, recipe.objective.reference) == ("dpo", "adapter_off")
    assert recipe.objective.given() == {}
    assert recipe.model.attention == "rows"
    assert recipe_of(replace(job, objective="reward"), "there").objective.name == "reward"
    assert recipe_of(replace(job, objective="nll"), "there").model.attention == "auto"


def test_precomputing_is_timed_and_changes_no_loss(job: Job, tmp_path: Path) -> None:
    original = references.precomputed
    at_each_step = with_danlu(job, tmp_path)
    before = with_danlu(replace(job, reference="precomputed"), tmp_path)
    assert references.precomputed is original
    assert at_each_step.scoring_seconds == 0
    assert 0 < before.scoring_seconds < 60
    assert before.losses == pytest.approx(at_each_step.losses, abs=1e-5)
    assert before.losses[0] == pytest.approx(np.log(2), abs=1e-5)
    assert abs(before.losses[2] - before.losses[0]) > 0.01  # something was learned


def test_a_list_has_the_same_loss_in_rows(job: Job, tmp_path: Path) -> None:
    asked = replace(job, objective="reward", reference=None)
    forest = with_danlu(asked, tmp_path)
    rows = with_danlu(replace(asked, attention="rows"), tmp_path)
    assert rows.losses == pytest.approx(forest.losses, abs=1e-5)
    assert len(set(forest.losses)) == 3


def test_updates_are_the_same_in_rows(job: Job, tmp_path: Path) -> None:
    """Answers are measured before the first update: the second is clipped against them."""
    from bench.with_updates import train as with_updates

    records = letter_records(6, answers=3, sentences=2)
    short = [replace(r, messages=(Message("user", r.id + " question"),)) for r in records]
    write_records(short, job.file)
    asked = replace(job, objective="grpo", reference=None, batch_records=2)
    forest = with_updates(asked, tmp_path)
    rows = with_updates(replace(asked, attention="rows"), tmp_path)
    assert len(forest.step_seconds) == len(forest.losses) == 3
    assert min(*forest.step_seconds, forest.scoring_seconds) > 0
    assert forest.losses[0] == pytest.approx(0, abs=1e-5)  # advantages of a group add up to 0
    assert abs(forest.losses[2]) > 1e-3
    assert rows.losses == pytest.approx(forest.losses, abs=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as the benchmark runs TRL, which warns of its own settings
@pytest.mark.parametrize(
    ("method", "reference"), [("lora", "adapter_off"), ("full", "precomputed")]
)
def test_trl_has_the_same_losses(job: Job, tmp_path: Path, method: Any, reference: Any) -> None:
    pytest.importorskip("trl", reason="trl is not installed: danlu[bench]")
    from bench.with_trl_dpo import train as with_trl

    asked = replace(job, method=method, reference=reference, learning_rate=3e-3)
    mine = with_danlu(asked, tmp_path)
    assert abs(mine.losses[2] - mine.losses[0]) > 0.01
    for rows in (1, 4):
        theirs = with_trl(replace(asked, contender="trl", peer_rows=rows), tmp_path)
        assert theirs.losses == pytest.approx(mine.losses, abs=1e-4)
        assert len(theirs.step_seconds) == 3
        assert (theirs.scoring_seconds > 0) == (reference == "precomputed")


@pytest.mark.filterwarnings("ignore")
def test_trl_is_given_the_same_tokens(job: Job, tiny_tokenizer: Any) -> None:
    pytest.importorskip("trl", reason="trl is not installed: danlu[bench]")
    from bench.with_trl_dpo import _settings, as_dataset
    from danlu.config.recipe import SequencesSection
    from danlu.sequences.prepare import prepare
    from danlu.sequences.template import ChatTemplate

    template = ChatTemplate.load(tiny_tokenizer)
    data = prepare(
        [pair(0), pair(1)], tiny_tokenizer, template, SequencesSection(), answers="compared"
    )
    given = as_dataset([data.record(0), data.record(1)])
    for row, record in zip(given, (pair(0), pair(1)), strict=True):
        said = {name: tiny_tokenizer.decode(row[f"{name}_ids"]) for name in ("chosen", "rejected")}
        assert said["chosen"] == f"{record.responses[1].content}<|im_end|>"
        assert said["rejected"] == f"{record.responses[0].content}<|im_end|>"
        assert tiny_tokenizer.decode(row["prompt_ids"]).endswith("<|im_start|>assistant\n")
    settings = _settings(replace(job, peer_rows=4), Path("there"))
    assert (settings.beta, settings.loss_type) == (Dpo().beta, [Dpo().loss])
    assert (settings.precompute_ref_log_probs, settings.max_length) == (False, None)


def test_a_benchmark_without_its_data_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = tmp_path / "absent.json"
    monkeypatch.setattr(training, "PAIRS", absent)
    assert missing(DPO) == f"x is skipped: there is no {absent}"
    assert missing(replace(DPO, data="letters")) is None
    main(["dpo-lora", "dpo-full"])
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        f"{name} is skipped: there is no {absent}" for name in ("dpo-lora", "dpo-full")
    ]
    absent.write_text("[]")
    assert missing(DPO) is None


def test_steps_of_pairs_are_of_one_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Any
) -> None:
    """By the longer answer of a pair, whichever it is; the warm-up has what is left, cut short."""
    monkeypatch.setattr(training, "load_tokenizer", lambda _: tiny_tokenizer)
    monkeypatch.setattr(training, "PAIR_TOKENS", 120)
    long, short = "one two " * 24, "three"
    rows = [
        {
            "conversations": [{"from": "human", "value": f"question {number}"}],
            "chosen": {"from": "gpt", "value": long if number in (2, 5) else short},
            "rejected": {"from": "gpt", "value": long if number in (3, 9) else "four"},
        }
        for number in range(12)
    ]
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps(rows), "utf-8")
    monkeypatch.setattr(batches, "PAIRS", file)
    warmup, measured = records_of(replace(DPO, batch_records=4))
    numbers = [int((record.messages[0].content or "").split()[1]) for record in measured]
    assert sorted(numbers) == [2, 3, 5, 9]
    assert len(warmup) == 4
    assert not {record.id for record in warmup} & {record.id for record in measured}
    assert all(len(r.content.split()) <= 16 for record in warmup for r in record.responses)


def test_beginnings_keep_all_but_the_ends_of_answers() -> None:
    whole = pair(4)
    cut = batches.beginning(whole, words=3)
    assert [response.content for response in cut.responses] == ["one two one", "the answer is"]
    assert [response.rank for response in cut.responses] == [2, 1]
    assert replace(cut, responses=whole.responses) == whole


def test_too_few_records_for_a_step() -> None:
    with pytest.raises(ValueError, match=r"^2 records are too few for a step of 3$"):
        batches.length_near([1, 2], wanted=1, size=3)

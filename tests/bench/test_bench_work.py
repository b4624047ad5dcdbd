"""The work that a step cannot do without: by hand, and as torch itself counts it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from bench.child import Job
from bench.triage import triage_records
from bench.work import ATTENTION_PASSES, Shape, StepSize, necessary_flops, scoring_flops
from danlu.records import write_records
from danlu.runs import RunDirectory
from danlu.sequences.branch import Branch
from tests.tiny_models import tiny_llama

CONFIG = SimpleNamespace(
    hidden_size=8,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    vocab_size=20,
)


def branch(ids: list[int], prompt: int = 1, record: int = 0) -> Branch:
    weights = np.zeros(len(ids), np.float32)
    weights[max(prompt, 1) :] = 1.0
    return Branch(np.array(ids, np.int32), weights, record, 0, 0, prompt)


def test_a_shape_by_hand() -> None:
    """Heads are 8 / 2 = 4 wide. A layer: 8*8 + 2 * 8*4 + 8*8 for attention, 3 * 8*12 for the MLP.

    Together 64 + 64 + 64 + 288 = 480, in two layers 960. The output matrix has 8 * 20 = 160.
    Adapters of rank 2 beside all seven: 2 * (16 + 12 + 12 + 16 + 20 + 20 + 20) = 232, twice.
    """
    shape = Shape.of(CONFIG)
    assert shape.matrices == ((8, 8), (8, 4), (8, 4), (8, 8), (8, 12), (8, 12), (12, 8))
    assert (shape.layers, shape.layer_weights, shape.head) == (2, 960, 160)
    assert (shape.attention_width, shape.adapter_weights(2)) == (8, 464)


def test_heads_of_a_width_of_their_own() -> None:
    shape = Shape.of(SimpleNamespace(**vars(CONFIG), head_dim=16))
    assert shape.matrices[:4] == ((8, 32), (8, 16), (8, 16), (32, 8))
    assert shape.attention_width == 32


def test_a_step_by_hand() -> None:
    """5 6 7 and 5 6 8 9: five tokens, at depths 1, 2, 3, 3 and 4; 6 predicts twice, 8 once."""
    size = StepSize.of([branch([5, 6, 7], 2), branch([5, 6, 8, 9], 2, 1)])
    assert size == StepSize(tokens=5, predictions=3, pairs=1 + 2 + 3 + 3 + 4)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_a_step_of_branches_that_share_nothing(lengths: list[int]) -> None:
    branches = [branch([10 * k + i for i in range(n)], 1, k) for k, n in enumerate(lengths)]
    assert StepSize.of(branches) == StepSize(
        tokens=sum(lengths),
        predictions=sum(n - 1 for n in lengths),
        pairs=sum(n * (n + 1) // 2 for n in lengths),
    )


def test_necessary_work_by_hand() -> None:
    """Four tokens, two predictions, nine pairs, with the shape above.

    Full: 6 * (960 * 4 + 160 * 2) = 24960. Attention: 4 * 9 * 8 * 2 = 576, in all passes 2016.
    LoRA: 4 in place of 6 for the model's own matrices, 16640, and 6 * 464 * 4 = 11136.
    """
    size = StepSize(tokens=4, predictions=2, pairs=9)
    shape = Shape.of(CONFIG)
    assert necessary_flops(shape, size, "full") == 24960 + 2016
    assert necessary_flops(shape, size, "lora", lora_rank=2) == 16640 + 11136 + 2016
    assert ATTENTION_PASSES == 7 / 2


def test_work_of_scoring_by_hand() -> None:
    """The same step forward only: 2 * (960 * 4 + 160 * 2) = 8320, and attention once, 576."""
    size = StepSize(tokens=4, predictions=2, pairs=9)
    assert scoring_flops(Shape.of(CONFIG), size) == 8320 + 576


def counted(model: Any, tokens: int) -> int:
    """Let torch count the operations of a forward and a backward over one row."""
    with FlopCounterMode(display=False) as counter:
        logits = model(torch.arange(tokens).unsqueeze(0)).logits
        logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("tokens", [5, 16])
def test_as_torch_counts_a_whole_step(tokens: int) -> None:
    """Every token predicts, and every token sees every other, as torch's plain attention computes.

    Plain attention keeps its scores: its passes are the forward and twice that for the backward.
    """
    model = tiny_llama(attn_implementation="eager")
    shape = Shape.of(model.config)
    size = StepSize(tokens=tokens, predictions=tokens, pairs=0)
    attention = 3 * 4 * tokens * tokens * shape.attention_width * shape.layers
    assert counted(model, tokens) == necessary_flops(shape, size, "full") + attention


def test_as_torch_counts_the_weights_of_adapters() -> None:
    from danlu.config.recipe import TuningSection
    from danlu.models.tuning import apply_tuning, trainable_parameters

    model = tiny_llama()
    shape = Shape.of(model.config)
    tuned = apply_tuning(model, TuningSection(lora_rank=3))
    moving = sum(parameter.numel() for parameter in trainable_parameters(tuned).values())
    assert moving == shape.adapter_weights(3)


@pytest.fixture
def job(tmp_path: Path, tiny_tokenizer: Any) -> Job:
    """A job of two steps on a tiny model."""
    folder = tmp_path / "model"
    tiny_llama(seed=3).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    file = tmp_path / "records.jsonl"
    records = triage_records(8)
    short = [record.messages[1:] for record in records]
    write_records(
        [type(r)(r.id, r.task_type, m) for r, m in zip(records, short, strict=True)], file
    )
    return Job("danlu", "lora", str(file), 4, 2e-3, 2, False, model=str(folder))


def test_danlu_as_a_contender(job: Job, tmp_path: Path) -> None:
    """What it tells: two steps, each with its time and its loss, and the process's memory."""
    from bench.with_danlu import train

    done = train(job, tmp_path)
    assert len(done.step_seconds) == len(done.losses) == 2
    assert min(done.step_seconds) > 0
    rows = list(RunDirectory.open(tmp_path / "danlu").metrics())
    assert done.losses == [row.loss for row in rows]
    assert sum(done.step_seconds) == pytest.approx(rows[-1].elapsed_s)
    assert done.peak_bytes > 50_000_000
    assert done.rate.fastest >= done.rate.torch > 1e6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as the benchmark runs TRL, which warns of its own settings
@pytest.mark.parametrize("method", ["lora", "full"])
def test_both_contenders_have_the_same_losses(job: Job, tmp_path: Path, method: Any) -> None:
    pytest.importorskip("trl", reason="trl is not installed: danlu[bench]")
    from dataclasses import replace

    from bench.with_danlu import train as with_danlu
    from bench.with_trl import train as with_trl

    mine = with_danlu(replace(job, method=method), tmp_path)
    for rows in (1, 4):
        asked = replace(job, contender="trl", method=method, peer_rows=rows)
        theirs = with_trl(asked, tmp_path)
        assert theirs.losses == pytest.approx(mine.losses, abs=1e-4)
        assert len(theirs.step_seconds) == 2

"""The CUDA benchmark: all of it but the device, on a tiny Llama on the CPU."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import cuda, cuda_child
from bench.__main__ import NAMES, main
from bench.cuda_cases import CUDA_CASES, LLAMA_1B, LLAMA_8B, CudaCase, LlamaShape
from bench.cuda_child import CudaOutcome, Length, Trained, run_child, run_lengths, trainer
from bench.cuda_rate import cuda_rate, least_bytes, obstacle
from bench.llama import random_llama, token_records
from bench.table import notes, peer_lines, speeds
from bench.work import Shape, StepSize, necessary_flops
from danlu.sequences.forest import build_packs

TINY = LlamaShape(32, 48, 2, 4, 2, 8, 360, tie_word_embeddings=True)
CASE = CudaCase(
    "tiny",
    TINY,
    "full",
    1e-2,
    checkpointing=False,
    lengths=(16, 32),
    step_tokens=64,
    pass_tokens=32,
    device="cpu",
    precision="float32",
)
H100_BYTES, H200_BYTES = 85_045_870_592, 150_754_820_096


def test_cases() -> None:
    """What the issue names: 1B and 8B, full and LoRA, 512 to 4,096 tokens; the same for both."""
    assert [(case.shape, case.method) for case in CUDA_CASES] == [
        (LLAMA_1B, "lora"),
        (LLAMA_1B, "full"),
        (LLAMA_8B, "lora"),
        (LLAMA_8B, "full"),
    ]
    for case in CUDA_CASES:
        assert case.name in NAMES
        assert case.lengths == (512, 1024, 2048, 4096)
        assert (case.device, case.precision) == ("cuda", "bfloat16")
        for length in case.lengths:  # no pass is left incomplete, so nobody pads
            assert case.pass_tokens % length == case.step_tokens % case.pass_tokens == 0


@pytest.mark.parametrize("tied", [True, False])
def test_a_random_model_has_the_shapes_weights(tied: bool) -> None:
    shape = replace(TINY, tie_word_embeddings=tied)
    model = random_llama(shape, torch.bfloat16, "cpu", seed=3)
    assert sum(part.numel() for part in model.parameters()) == shape.parameters
    assert {part.dtype for part in model.parameters()} == {torch.bfloat16}
    again = random_llama(shape, torch.bfloat16, "cpu", seed=3)
    other = random_llama(shape, torch.bfloat16, "cpu", seed=4)
    weight = model.model.layers[1].mlp.up_proj.weight
    assert torch.equal(weight, again.model.layers[1].mlp.up_proj.weight)
    assert not torch.equal(weight, other.model.layers[1].mlp.up_proj.weight)
    assert Shape.of(model.config) == Shape.of(shape)


def test_records_share_nothing_and_are_of_one_length() -> None:
    data = token_records(TINY, length=16, records=24, seed=5)
    branches = [data.branch(b) for b in range(data.branches)]
    [pack] = build_packs(branches, 16 * 24)
    assert pack.tokens == 16 * 24
    ids = np.asarray(data.input_ids)
    assert 0 <= ids.min() < ids.max() < TINY.vocab_size
    assert len({int(branch.input_ids[0]) for branch in branches}) == 24
    assert all(branch.weights.tolist() == [0.0] * 8 + [1.0] * 8 for branch in branches)
    assert (np.median(ids) < TINY.vocab_size / 4).all()  # there is something to learn
    assert data.fingerprint != token_records(TINY, 16, 24, seed=6).fingerprint


def test_necessary_work_by_hand() -> None:
    """Four records of 16 tokens, half of them supervised.

    A layer: queries and output 32 x 32 each, keys and values 32 x 16 each, three matrices of 32 x
    48: 7,680 weights. A token sees itself and those before it: 16 x 17 / 2 = 136 pairs a record.
    """
    size = cuda.step_size(CASE, 16)
    assert size == StepSize(tokens=64, predictions=32, pairs=4 * 136)
    matrices = 6 * (2 * 7_680 * 64 + 32 * 360 * 32)
    attention = 3.5 * 4 * (4 * 136) * 32 * 2
    assert necessary_flops(Shape.of(TINY), size, "full") == matrices + attention == 8_597_504


def test_what_cannot_fit() -> None:
    """8.03 billion weights of 16 bytes: more than 80 GB has, less than 141 GB has."""
    [full] = [case for case in CUDA_CASES if case.name == "cuda-llama-8b-full"]
    assert least_bytes(full) == 16 * 8_030_261_248
    reason = obstacle(full, H100_BYTES) or ""
    assert "take 128.5 GB before the first activation, and the device has 85.0 GB" in reason
    assert "16 bytes for each weight" in reason
    assert obstacle(full, H200_BYTES) is None
    assert all(obstacle(case, H100_BYTES) is None for case in CUDA_CASES if case != full)
    assert obstacle(full, None) is None


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_danlu_trains(tmp_path: Path, method: Any, checkpointing: bool) -> None:
    case = replace(CASE, method=method, checkpointing=checkpointing)
    found = run_lengths(case, trainer("danlu"), tmp_path)
    assert found.obstacle is None
    assert found.device == {"name": "cpu"}
    assert found.matrix_rate > 0
    assert [one.tokens for one in found.lengths] == [16, 32]
    for one in found.lengths:
        assert one.out_of_memory is None
        assert one.trained is not None
        assert len(one.trained.step_seconds) == 6
        assert min(one.trained.step_seconds) > 0
        assert min(one.trained.grad_norms) > 0
        assert one.trained.losses[0] == pytest.approx(np.log(360), rel=0.02)
        if method == "full":  # adapters that begin with 0 have hardly moved after six steps
            assert one.trained.losses[5] < one.trained.losses[0] - 0.01
        assert one.peak_bytes > 0


def test_bfloat16_with_weights_in_float32_is_near(tmp_path: Path) -> None:
    wide = run_lengths(replace(CASE, lengths=(32,)), trainer("danlu"), tmp_path).lengths[0]
    case = replace(CASE, lengths=(32,), precision="bfloat16")
    narrow = run_lengths(case, trainer("danlu"), tmp_path).lengths[0]
    assert wide.trained is not None
    assert narrow.trained is not None
    assert narrow.trained.losses == pytest.approx(wide.trained.losses, abs=0.02)
    assert narrow.trained.losses != wide.trained.losses


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as the benchmark runs TRL, which warns of its own settings
@pytest.mark.parametrize("method", ["full", "lora"])
def test_trl_has_the_same_losses_and_gradients(tmp_path: Path, method: Any) -> None:
    pytest.importorskip("trl", reason="trl is not installed: danlu[bench]")
    case = replace(CASE, method=method, checkpointing=method == "lora")
    danlu = run_lengths(case, trainer("danlu"), tmp_path)
    trl = run_lengths(case, trainer("trl"), tmp_path)
    result = cuda.judged(case, danlu, trl)
    assert [goal.name for goal in result.goals] == [
        "difference of losses",
        "relative difference of gradients",
    ]
    assert result.goals[0].value < 1e-4
    assert result.goals[1].value < 1e-3
    assert result.peer is not None


def trained(seconds: float, loss: float = 5.0) -> Trained:
    """Two steps of warm-up, which do not count, and four of which the median counts."""
    times = [99.0, 9.0, seconds, 5 * seconds, seconds, seconds]
    return Trained(times, [loss] * 6, [1.0] * 6)


def outcome(*lengths: Length, **more: Any) -> CudaOutcome:
    return CudaOutcome({"name": "a device"}, 1e9, lengths, **more)


def test_running_out_of_memory_loses_one_length_only(tmp_path: Path) -> None:
    told: list[CudaOutcome] = []

    def train(case: CudaCase, length: int, folder: Path) -> Trained:
        if length == 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nmore")
        return trained(2.0)

    found = run_lengths(CASE, train, tmp_path, told.append)
    assert found.lengths[0].trained is None
    assert found.lengths[0].out_of_memory == "CUDA out of memory. Tried to allocate 9 GiB."
    assert found.lengths[1].trained == trained(2.0)
    assert [len(one.lengths) for one in told] == [1, 2, 2]


def test_another_error_is_an_error(tmp_path: Path) -> None:
    def train(case: CudaCase, length: int, folder: Path) -> Trained:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        run_lengths(CASE, train, tmp_path)


def test_what_cannot_fit_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import cuda_rate as rate

    monkeypatch.setattr(rate, "device_facts", lambda device: {"name": "small", "total_bytes": 9})
    found = run_lengths(CASE, trainer("danlu"), tmp_path)
    assert not found.lengths
    assert "the device has 0.0 GB" in (found.obstacle or "")
    result = cuda.judged(CASE, found, CudaOutcome())
    assert (result.danlu, result.peer, result.ratio, result.limit_fraction) == (None,) * 4
    assert speeds(result) == "tiny: nothing was measured"
    assert [note.startswith("  Danlu was not tried: weights, grad") for note in notes(result)] == [
        True
    ]


def test_a_process_of_its_own_is_told_and_tells_everything(tmp_path: Path) -> None:
    told, answer = tmp_path / "case.json", tmp_path / "outcome.json"
    case = replace(CASE, method="lora", lengths=(32,))
    told.write_text(json.dumps(asdict(case)), "utf-8")
    cuda_child.main("danlu", str(told), str(answer))
    found = CudaOutcome.read(answer)
    assert found.lengths[0].trained is not None
    assert len(found.lengths[0].trained.losses) == 6
    again = tmp_path / "again.json"
    found.write(again)
    assert CudaOutcome.read(again) == found
    assert CudaOutcome.read(tmp_path / "absent.json") == CudaOutcome()


@pytest.mark.parametrize("late", [True, False])
def test_a_process_that_fails_keeps_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert command[-3] == "danlu"
        assert options["env"]["CUDA_VISIBLE_DEVICES"] == "3"
        outcome(Length(16, trained(1.0), 7)).write(Path(command[-1]))
        if late:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        return subprocess.CompletedProcess(command, 1, "Traceback\nValueError: no\n", "")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(subprocess, "run", run)
    found = run_child(CASE, "danlu", seconds=12)
    assert [one.tokens for one in found.lengths] == [16]
    expected = "it was stopped after 12 s" if late else "it failed (1):\nTraceback\nValueError: no"
    assert found.failure == expected


def test_judged_by_hand() -> None:
    """64 tokens a step: 2 s against 3 s, and 4 s against 5 s; 8.6 and 8.1 million operations."""
    danlu = outcome(Length(16, trained(2.0), 70), Length(32, trained(4.0, 5.002), 80))
    trl = outcome(Length(16, trained(3.0), 90), Length(32, trained(5.0), 100))
    result = cuda.judged(CASE, danlu, trl)
    assert result.danlu == pytest.approx(128 / 6)
    assert result.peer == pytest.approx(128 / 8)
    assert result.ratio == pytest.approx(8 / 6)
    assert (result.peak_bytes, result.peer_peak_bytes) == (80, 100)
    flops = 8_597_504 + 8_110_080 + 3.5 * 4 * (2 * 528) * 32 * 2
    assert result.limit_fraction == pytest.approx(flops / 6 / 1e9)
    assert [goal.value for goal in result.goals] == [pytest.approx(0.002), 0.0]
    assert all(goal.met for goal in result.goals)
    assert result.machine["device"] == {"name": "a device"}
    rows = result.details["lengths"]
    assert [row["ratio"] for row in rows] == [1.5, 1.25]
    assert rows[1]["danlu"]["tokens_per_s"] == 16.0
    assert peer_lines(result)[0].startswith("  Danlu, 4 x 16 tokens, 0.00 of the matrix limit: 32")
    assert len(peer_lines(result)) == 4
    assert result.details["supervised_share"] == 0.5


def test_only_what_both_did_is_compared(tmp_path: Path) -> None:
    danlu = outcome(Length(16, trained(2.0), 70), Length(32, trained(4.0), 80))
    trl = outcome(
        Length(16, None, out_of_memory="CUDA out of memory."), Length(32, trained(5.0), 9)
    )
    result = cuda.judged(CASE, danlu, trl)
    assert (result.danlu, result.peer, result.ratio) == (16.0, 64 / 5, 1.25)
    assert [row["ratio"] for row in result.details["lengths"]] == [None, 1.25]
    assert notes(result) == ["  TRL, 16 tokens, ran out of memory: CUDA out of memory."]
    alone = cuda.judged(CASE, danlu, CudaOutcome(obstacle="it is not installed"))
    assert (alone.danlu, alone.peer, alone.ratio, alone.goals) == (128 / 6, None, None, ())
    assert notes(alone) == ["  TRL was not tried: it is not installed"]
    for one in (result, alone):
        assert json.loads(one.write(tmp_path).read_text("utf-8"))["name"] == "tiny"


def test_a_loss_that_is_not_finite_is_a_goal_missed(tmp_path: Path) -> None:
    danlu = outcome(Length(16, trained(2.0), 70))
    trl = outcome(Length(16, trained(2.0, float("nan")), 70))
    result = cuda.judged(CASE, danlu, trl)
    assert not result.goals[0].met
    assert result.goals[1].met
    result.write(tmp_path)  # which allows no NaN


def test_without_a_device_a_case_is_skipped_and_nothing_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("bench.results.Result.write", lambda *_: pytest.fail("written"))
    main(["cuda-llama-1b-lora", "cuda-llama-8b-full"])
    told = capsys.readouterr().err
    assert told.splitlines() == [
        "cuda-llama-1b-lora is skipped: this machine has no CUDA device",
        "cuda-llama-8b-full is skipped: this machine has no CUDA device",
    ]


def test_danlu_and_trl_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(case: CudaCase, contender: str) -> CudaOutcome:
        ran.append(contender)
        return outcome(Length(16, trained(2.0 if contender == "danlu" else 3.0), 70))

    said: list[str] = []
    monkeypatch.setattr(cuda, "run_child", run)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert cuda.measure(CASE, said.append).ratio == 1.5
    assert ran == ["danlu", "trl"]
    assert said[1] == "tiny: TRL, 16 tokens: 21 tokens/s, 0.00 GB"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cuda.measure(CASE, said.append).ratio is None
    assert ran == ["danlu", "trl", "danlu"]


def test_the_matrix_rate_is_a_rate() -> None:
    assert 1e6 < cuda_rate(CASE) < 1e14

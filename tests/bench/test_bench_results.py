"""How results are judged, written and shown."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench import child, training
from bench.cases import BATCH_RECORDS, DEFAULT_PEER, ROWS, Case, Peer, PeerSetting
from bench.child import Job, Outcome, run_child
from bench.rate import MatrixRate
from bench.results import Goal, Result
from bench.table import figure, peer_lines, print_table, rows, speeds
from bench.training import best_seconds, judged
from bench.work import Shape, StepSize, necessary_flops, scoring_flops

CONFIG = SimpleNamespace(
    hidden_size=8,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    vocab_size=20,
)
CASE = Case("sft-x", "full", "triage", 1e-4, 2, 2.0, 1 / 3, 0.5)
ONE, EIGHT, FREE = PeerSetting(1), PeerSetting(8), PeerSetting(4, padding_free=True)
SIZES = [StepSize(tokens=4, predictions=2, pairs=9), StepSize(tokens=6, predictions=3, pairs=20)]


def outcome(
    seconds: list[float],
    peak: int = 100,
    rate: tuple[float, float] = (1000.0, 2000.0),
    losses: tuple[float, ...] = (3.0, 2.5, 2.0),
) -> Outcome:
    return Outcome(seconds, list(losses), peak, MatrixRate(*rate))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Shape:
    """Judge for a tiny model, whatever the benchmark's own is."""
    monkeypatch.setattr(training, "load_config", lambda _: CONFIG)
    return Shape.of(CONFIG)


def test_a_result_by_hand(tiny: Shape) -> None:
    """Two measured steps of 16 records; the warm-up of 50 s counts nowhere.

    Danlu's best steps are 4 s and 6 s, TRL's fastest setting takes 25 s: 32 records in 10 s
    against 25 s are a ratio of 2.5. Memory is held against TRL's default setting, the slower one.
    """
    danlu = [outcome([50, 4, 9], 90), outcome([50, 5, 6], 110, (900.0, 3000.0))]
    peers = {
        EIGHT: outcome([50, 20, 20], 400, losses=(3.0, 2.5, 2.0004)),
        FREE: outcome([50, 10, 15], 500, (1200.0, 1200.0), (3.0002, 2.5, 2.0)),
    }
    result = judged(CASE, SIZES, danlu, peers)
    assert (result.name, result.unit) == ("sft-x", "records/s")
    assert (result.danlu, result.peer, result.ratio) == (3.2, 1.28, 2.5)
    assert (result.peak_bytes, result.peer_peak_bytes) == (110, 400)
    flops = sum(necessary_flops(tiny, size, "full") for size in SIZES)
    assert result.limit_fraction == flops / 10 / 3000
    assert result.torch_limit_fraction == flops / 10 / 1200
    assert [(goal.name, goal.limit, goal.sense, goal.met) for goal in result.goals] == [
        ("records/s over TRL's at its fastest", 2.0, "at least", True),
        ("peak memory over TRL's (2 x 8 records, padded)", 1 / 3, "at most", True),
        ("share of the matrix limit", 0.5, "at least", True),
        ("difference of losses", 1e-3, "at most", True),
    ]
    values = [goal.value for goal in result.goals]
    assert values == pytest.approx([2.5, 110 / 400, flops / 30_000, 4e-4])
    details = result.details
    assert details["fastest_peer"] == "4 x 4 records, padding-free"
    assert details["peers"]["2 x 8 records, padded"]["records_per_s"] == 0.8
    assert details["peers"]["4 x 4 records, padding-free"]["records_per_s"] == 1.28
    assert details["necessary_flops"] == flops
    assert details["matrix_flops_per_s"] == {"torch": 1200.0, "fastest": 3000.0}
    assert details["step_sizes"] == [asdict(size) for size in SIZES]
    assert details["data"] == "triage"


@pytest.mark.parametrize(
    ("danlu", "peer", "missed"),
    [
        (outcome([1, 5, 5]), outcome([1, 9, 10], 400), "records/s over TRL's at its fastest"),
        (outcome([1, 5, 5], 200), outcome([1, 15, 15], 400), "peak memory over TRL's"),
        (outcome([1, 5, 5], rate=(1.0, 1e6)), outcome([1, 15, 15], 400), "share of the matrix"),
        (
            outcome([1, 5, 5], losses=(3.0, 2.5, 2.002)),
            outcome([1, 15, 15], 400),
            "difference of losses",
        ),
    ],
)
def test_each_goal_can_be_missed(tiny: Shape, danlu: Outcome, peer: Outcome, missed: str) -> None:
    result = judged(CASE, SIZES, [danlu], {DEFAULT_PEER: peer})
    [goal] = [goal for goal in result.goals if not goal.met]
    assert goal.name.startswith(missed)
    assert [row[4] for row in rows([result])].count("missed") == 1


def test_goals_that_were_not_set_are_not_judged(tiny: Shape) -> None:
    case = Case("y", "lora", "instructions", 1e-4, 1, 5.0)
    result = judged(case, SIZES[:1], [outcome([1, 2])], {ONE: outcome([1, 12])})
    assert [goal.name for goal in result.goals] == [
        "records/s over TRL's at its fastest",
        "difference of losses",
    ]
    assert result.limit_fraction == necessary_flops(tiny, SIZES[0], "lora", 16) / 2 / 2000
    assert result.peer_peak_bytes == 100  # of the only setting, where the default was not run


def test_losses_of_every_setting_are_compared_with_danlus_in_either_direction(tiny: Shape) -> None:
    peers = {
        ONE: outcome([1, 30, 30], losses=(3.0, 2.5, 2.0)),
        EIGHT: outcome([1, 30, 30], losses=(3.0, 2.4, 2.0)),
    }
    result = judged(CASE, SIZES, [outcome([1, 5, 5])], peers)
    [goal] = [goal for goal in result.goals if goal.name == "difference of losses"]
    assert goal.value == pytest.approx(0.1)


def test_a_loss_that_is_no_number_is_a_goal_missed(tiny: Shape) -> None:
    """Wherever it stands: Python's own ``max`` passes over a NaN that is not the first."""
    peers = {ONE: outcome([1, 30, 30]), EIGHT: outcome([1, 30, 30], losses=(3.0, math.nan, 2.0))}
    result = judged(CASE, SIZES, [outcome([1, 5, 5])], peers)
    [goal] = [goal for goal in result.goals if goal.name == "difference of losses"]
    assert not goal.met


DPO = replace(CASE, method="lora", data="pairs", objective="dpo", unit="pairs", limit_goal=None)
WARMUP = StepSize(tokens=2, predictions=1, pairs=3)


def test_a_reference_at_each_step_is_necessary_work(tiny: Shape) -> None:
    """And one before the steps is not; what it took for the measured steps is told apart."""
    case = replace(DPO, reference="adapter_off")
    before = replace(outcome([50, 3, 3], 120), scoring_seconds=8.0)
    result = judged(
        case,
        SIZES,
        [outcome([50, 4, 6])],
        {ONE: outcome([50, 20, 20])},
        warmup=WARMUP,
        precomputed=before,
    )
    steps = sum(necessary_flops(tiny, size, "lora") for size in SIZES)
    scoring = sum(scoring_flops(tiny, size) for size in SIZES)
    assert result.limit_fraction == (steps + scoring) / 10 / 2000
    assert (result.unit, result.danlu, result.ratio) == ("pairs/s", 3.2, 4.0)
    share = scoring / (scoring + scoring_flops(tiny, WARMUP))
    [(name, told)] = result.details["variants"].items()
    assert name == "Danlu, references precomputed, that included"
    assert told["records_per_s"] == pytest.approx(32 / (6 + share * 8))
    assert told["peak_bytes"] == 120
    line = peer_lines(result)[-1]
    assert line == f"  {name}: {32 / (6 + share * 8):.2f} pairs/s, peak 0.00 GB"


def test_losses_with_precomputed_references_are_compared_too(tiny: Shape) -> None:
    case = replace(DPO, reference="adapter_off")
    before = outcome([1, 3, 3], losses=(3.0, 2.5, 2.1))
    peers = {ONE: outcome([1, 30, 30])}
    result = judged(case, SIZES, [outcome([1, 5, 5])], peers, warmup=WARMUP, precomputed=before)
    [goal] = [goal for goal in result.goals if goal.name == "difference of losses"]
    assert goal.value == pytest.approx(0.1)


def test_precomputing_of_both_is_told_apart(tiny: Shape) -> None:
    """The ratio is of the steps alone; the work of scoring is not in them."""
    case = replace(DPO, reference="precomputed")
    danlu = replace(outcome([50, 4, 6]), scoring_seconds=5.0)
    peer = replace(outcome([50, 20, 20]), scoring_seconds=10.0)
    result = judged(case, SIZES, [danlu], {ONE: peer}, warmup=WARMUP)
    assert result.ratio == 4.0
    flops = sum(necessary_flops(tiny, size, "lora") for size in SIZES)
    assert result.limit_fraction == flops / 10 / 2000
    scoring = sum(scoring_flops(tiny, size) for size in SIZES)
    share = scoring / (scoring + scoring_flops(tiny, WARMUP))
    told = {name: found["records_per_s"] for name, found in result.details["variants"].items()}
    assert told == {
        "Danlu, precomputing included": pytest.approx(32 / (10 + share * 5)),
        "TRL, 16 x 1 records, padded, precomputing included": pytest.approx(32 / (40 + share * 10)),
    }


def test_danlu_against_its_own_rows(tiny: Shape) -> None:
    case = Case(
        "lists", "lora", "letters", 1e-4, 2, 2.5, peers=(ROWS,), batch_records=2, unit="lists"
    )
    rows: dict[Peer, Outcome] = {ROWS: outcome([50, 10, 20], 300)}
    result = judged(case, SIZES, [outcome([50, 4, 6])], rows)
    assert (result.ratio, result.danlu, result.unit) == (3.0, 0.4, "lists/s")
    assert [goal.name for goal in result.goals] == [
        "lists/s over padded rows'",
        "difference of losses",
    ]
    assert peer_lines(result) == ["  Danlu, padded rows: 0.13 lists/s, peak 0.00 GB"]


def test_rounds_must_have_the_same_steps() -> None:
    with pytest.raises(ValueError, match="shorter"):
        best_seconds([outcome([1, 2, 3]), outcome([1, 2])])


@pytest.mark.parametrize(
    ("value", "sense", "met"),
    [
        (2.0, "at least", True),
        (1.999, "at least", False),
        (2.0, "at most", True),
        (2.001, "at most", False),
        (math.nan, "at least", False),
        (math.nan, "at most", False),
    ],
)
def test_a_goal_is_met_at_its_limit(value: float, sense: Any, met: bool) -> None:
    assert Goal("x", value, 2.0, sense).met is met


def result_of(**changes: Any) -> Result:
    columns: dict[str, Any] = {
        "name": "sft-x",
        "unit": "records/s",
        "danlu": 1234.5,
        "peer": 600.0,
        "ratio": 2.0575,
        "limit_fraction": 0.7,
        "torch_limit_fraction": 0.75,
        "peak_bytes": 2_500_000_000,
        "peer_peak_bytes": 11_000_000_000,
        "goals": (Goal("speed", 2.0575, 2.0), Goal("losses", 2e-5, 1e-3, "at most")),
        "details": {
            "peers": {"16 x 1 records, padded": {"records_per_s": 600.0, "peak_bytes": 11e9}}
        },
    }
    return Result(**{**columns, **changes})


def test_a_result_is_written_as_json_with_all_that_the_issue_asks_for(tmp_path: Path) -> None:
    path = result_of(details={"text": "丹炉"}).write(tmp_path / "results")
    assert path == tmp_path / "results" / "sft-x.json"
    text = path.read_text("utf-8")
    assert "丹炉" in text
    assert text.endswith("}\n")
    found = json.loads(text)
    asked = {"name", "danlu", "peer", "ratio", "limit_fraction", "versions", "date"}
    assert asked | {"peak_bytes", "peer_peak_bytes"} <= found.keys()
    assert found["goals"][0] == {
        "name": "speed",
        "value": 2.0575,
        "limit": 2.0,
        "sense": "at least",
        "met": True,
    }
    assert found["versions"]["python"].count(".") == 2
    assert found["versions"]["torch"].startswith("2.13.0")
    assert found["machine"]["threads"] >= 1
    date = datetime.fromisoformat(found["date"])
    assert date.utcoffset() == timedelta(0)
    assert abs(datetime.now(date.tzinfo) - date) < timedelta(minutes=5)


def test_a_figure_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        result_of(danlu=math.nan).write(tmp_path)
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0575, "2.06"),
        (0.01, "0.01"),
        (0.0099, "9.9e-03"),
        (-0.0005, "-5.0e-04"),
        (0.0, "0.00"),
        (123.456, "123.46"),
    ],
)
def test_figures(value: float, text: str) -> None:
    assert figure(value) == text


def test_lines_and_rows() -> None:
    result = result_of()
    assert speeds(result) == (
        "sft-x: Danlu 1,234.50 records/s, peer 600.00; ratio 2.06; peak 2.50 GB, peer 11.00; "
        "0.70 of the matrix limit (0.75 of torch.mm)"
    )
    bare = result_of(limit_fraction=None, torch_limit_fraction=None, peak_bytes=None, details={})
    assert speeds(bare) == "sft-x: Danlu 1,234.50 records/s, peer 600.00; ratio 2.06"
    assert peer_lines(result) == ["  TRL, 16 x 1 records, padded: 600.00 records/s, peak 11.00 GB"]
    assert peer_lines(bare) == []
    assert rows([result, result_of(name="y", goals=(Goal("speed", 1.0, 2.0),))]) == [
        ("sft-x", "speed", "2.06", "at least 2.00", "met"),
        ("", "losses", "2.0e-05", "at most 1.0e-03", "met"),
        ("y", "speed", "1.00", "at least 2.00", "missed"),
    ]


def test_the_table_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    result = result_of()
    print_table([result])
    out = capsys.readouterr().out
    for text in (*speeds(result).split("; "), *peer_lines(result), "benchmark", "at most 1.0e-03"):
        assert " ".join(text.split()) in " ".join(out.split())


JOB = Job("danlu", "lora", "r.jsonl", 16, 2e-4, 0, False)


def test_a_job_and_its_outcome_go_through_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to a process of its own, here played by this one."""
    given = outcome([1.0, 2.0])
    asked: list[tuple[Job, Path]] = []

    def train(job: Job, folder: Path) -> Outcome:
        asked.append((job, folder))
        return given

    fake = ModuleType("bench.with_danlu")
    fake.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bench.with_danlu", fake)

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        assert command[:3] == [sys.executable, "-m", "bench.child"]
        assert options["env"]["HF_HUB_OFFLINE"] == "1"
        assert (Path(options["cwd"]) / "bench").is_dir()
        child.main(*command[3:])
        return SimpleNamespace(returncode=0, stdout="")

    monkeypatch.setattr(subprocess, "run", run)
    assert run_child(JOB, tmp_path) == given
    assert asked == [(JOB, tmp_path)]


@pytest.mark.parametrize("code", [1, 0])
def test_a_contender_that_fails_says_what_it_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Also one that ends well and answers nothing, beside an answer of an earlier run."""
    (tmp_path / "outcome.json").write_text(json.dumps(asdict(outcome([1.0]))))
    done = SimpleNamespace(returncode=code, stdout="x" * 5000 + "no memory")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(RuntimeError, match=rf"^danlu failed \({code}\):\nx+no memory$") as caught:
        run_child(JOB, tmp_path)
    assert len(str(caught.value)) < 4100


def test_the_best_rate_of_several() -> None:
    measured = (MatrixRate(3.0, 5.0), MatrixRate(4.0, 4.0))
    assert MatrixRate.best(*measured) == MatrixRate(4.0, 5.0)


def test_records_of_the_shared_prompt_come_in_steps() -> None:
    case = Case("z", "lora", "triage", 1e-4, 2, 5.0)
    steps = training.records_of(case)
    assert [len(step) for step in steps] == [BATCH_RECORDS] * 3
    assert len({record.id for step in steps for record in step}) == 3 * BATCH_RECORDS

"""The gate: each of its three states, forgetting, and how often it is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from danlu.cli.main import run
from danlu.errors import EvaluationError
from danlu.evaluation.comparison import CompareSettings
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.gate import Gate, ScoredPair, TextScores, gate
from danlu.evaluation.planning import plan_for, plan_from
from danlu.evaluation.rows import ScoredRow, Stakes
from danlu.evaluation.schema import TypeStakes
from danlu.evaluation.statistics import NonInferiority
from tests.evaluation.versions import right_or_wrong, write_evaluation

QUICK = CompareSettings(resamples=400)
STAKES = {
    "math/sums": TypeStakes(scorer="exact", critical=True, margin=0.05),
    "talk/jokes": TypeStakes(scorer="exact", margin=0.05),
}


def evaluation(path: Path, **right: int) -> EvalDirectory:
    """400 prompts of each task type; of ``sums`` and ``jokes`` so many are right."""
    answers = {
        "math/sums": right_or_wrong(right["sums"], 400),
        "talk/jokes": right_or_wrong(right.get("jokes", 300), 400),
    }
    return EvalDirectory.open(write_evaluation(path, path.name, answers, stakes=STAKES))


@pytest.mark.parametrize(
    ("sums", "outcome"),
    [
        (300, NonInferiority.PASS),
        (296, NonInferiority.PASS),
        (285, NonInferiority.INCONCLUSIVE),
        (240, NonInferiority.FAIL),
    ],
)
def test_the_three_states(tmp_path: Path, sums: int, outcome: NonInferiority) -> None:
    a, b = evaluation(tmp_path / "a", sums=300), evaluation(tmp_path / "b", sums=sums, jokes=100)
    found = gate(ScoredPair.read(a, b), settings=QUICK)
    assert found.outcome is outcome
    assert [row.name for row in found.rows] == ["math/sums"]  # jokes are not critical
    assert found.headline().startswith(outcome.value.upper())
    assert json.loads(json.dumps(found.as_dict()))["outcome"] == outcome.value


def test_margins_and_critical_types_may_be_given(tmp_path: Path) -> None:
    a, b = evaluation(tmp_path / "a", sums=300), evaluation(tmp_path / "b", sums=285, jokes=100)
    pair = ScoredPair.read(a, b)
    wider = gate(pair.with_margins({"math/sums": 0.1}, ()), settings=QUICK)
    assert (wider.outcome, wider.rows[0].margin) == (NonInferiority.PASS, 0.1)
    everywhere = gate(pair.with_margins({"": 0.2}, ["talk/jokes"]), settings=QUICK)
    assert [row.outcome.value for row in everywhere.rows] == ["pass", "fail"]
    assert everywhere.outcome is NonInferiority.FAIL
    assert "talk/jokes" in everywhere.headline()
    with pytest.raises(EvaluationError, match="Did you mean 'talk/jokes'"):
        pair.with_margins({}, ["talk/joke"])


def test_what_failed_leaves_its_share_of_the_level_to_the_others(tmp_path: Path) -> None:
    """Holm: 271 right in place of 300 fails at 95 %, not at 97.5 %, which two questions ask for."""
    a = evaluation(tmp_path / "a", sums=300)
    both = {"math/sums": 0.05, "talk/jokes": 0.05}, ["talk/jokes"]

    def asked(name: str, sums: int, jokes: int) -> list[tuple[str, float]]:
        b = evaluation(tmp_path / name, sums=sums, jokes=jokes)
        found = gate(ScoredPair.read(a, b).with_margins(*both), settings=QUICK).rows
        return [(row.outcome.value, row.fail_high) for row in found]

    alone = asked("alone", 271, 300)
    beside = asked("beside", 271, 100)
    assert [outcome for outcome, _ in alone] == ["inconclusive", "pass"]
    assert [outcome for outcome, _ in beside] == ["fail", "fail"]
    assert beside[0][1] < -0.05 < alone[0][1]


def test_forgetting_fails_the_gate(tmp_path: Path) -> None:
    a, b = evaluation(tmp_path / "a", sums=300), evaluation(tmp_path / "b", sums=300)
    general = [
        EvalDirectory.open(
            write_evaluation(
                tmp_path / name, name, {"general/knowledge": right_or_wrong(right, 300)}
            )
        )
        for name, right in (("ga", 240), ("gb", 180))
    ]
    found = gate(ScoredPair.read(a, b), general=ScoredPair.read(*general), settings=QUICK)
    assert [row.outcome.value for row in found.rows] == ["pass", "fail"]
    assert found.rows[1].name == "general: tasks"
    assert found.outcome is NonInferiority.FAIL


def texts(rise: float, documents: int = 40, noise: float = 0.01) -> TextScores:
    """Documents of 400 to 800 bytes, 1 bit per byte in A, and so much more in B."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(400, 800, documents)
    a = sizes * (1 + rng.normal(0, 0.2, documents))
    b = a + sizes * (rise + rng.normal(0, noise, documents))
    return TextScores(a.tolist(), b.tolist(), sizes.tolist(), "text.jsonl")


@pytest.mark.parametrize(
    ("rise", "noise", "outcome"),
    [(0.0, 0.01, "pass"), (-0.2, 0.01, "pass"), (0.02, 0.01, "inconclusive"), (0.1, 0.01, "fail"),
     (0.0, 0.2, "inconclusive")],
)  # fmt: skip
def test_plain_text_that_is_predicted_worse(
    tmp_path: Path, rise: float, noise: float, outcome: str
) -> None:
    """Less is better there; the documents' own spread does not matter, since they are paired."""
    a, b = evaluation(tmp_path / "a", sums=300), evaluation(tmp_path / "b", sums=300)
    row = gate(ScoredPair.read(a, b), text=texts(rise, noise=noise), settings=QUICK).rows[-1]
    assert (row.kind, row.name, row.outcome.value) == ("text", "text.jsonl", outcome)
    assert row.a == pytest.approx(1, abs=0.1)
    assert row.difference == pytest.approx(rise, abs=4 * noise / 40**0.5 + 1e-9)
    assert row.low <= row.difference <= row.high


def test_one_document_is_refused(tmp_path: Path) -> None:
    a, b = evaluation(tmp_path / "a", sums=300), evaluation(tmp_path / "b", sums=300)
    with pytest.raises(EvaluationError, match="there are 1 documents"):
        gate(ScoredPair.read(a, b), text=TextScores([1.0], [1.0], [4]), settings=QUICK)


def test_nothing_critical_is_refused(tmp_path: Path) -> None:
    paths = [
        EvalDirectory.open(
            write_evaluation(tmp_path / name, name, {"math/sums": right_or_wrong(3, 9)})
        )
        for name in "ab"
    ]
    with pytest.raises(EvaluationError, match=r"--critical math/sums"):
        gate(ScoredPair.read(*paths), settings=QUICK)


def worlds(rng: np.random.Generator, loss: float) -> list[Gate]:
    """Ten critical task types of 300 prompts each, all with the same true loss."""
    stakes = {f"a/s{k}": Stakes(critical=True) for k in range(10)}

    def rows(share: float) -> list[ScoredRow]:
        return [
            ScoredRow(f"{name} {k}", name, float(right))
            for name in stakes
            for k, right in enumerate(rng.random(300) < share)
        ]

    pairs = [ScoredPair("s", rows(0.7), rows(0.7 - loss), stakes) for _ in range(12)]
    return [gate(pair, settings=CompareSettings(resamples=100)) for pair in pairs]


def test_a_loss_of_exactly_the_margin_passes_and_fails_rarely() -> None:
    """At the margin a row passes with 2.5 %; that any of ten fails has 2.5 % together."""
    found = worlds(np.random.default_rng(3), 0.1)
    passed = np.mean([row.outcome is NonInferiority.PASS for one in found for row in one.rows])
    assert passed <= 0.067  # of 120; 3 are expected, more than 8 have a chance of 0.3 %
    assert not any(one.outcome is NonInferiority.PASS for one in found)
    assert sum(one.outcome is NonInferiority.FAIL for one in found) <= 3


def test_the_plan_from_what_was_seen(tmp_path: Path) -> None:
    """60 of 400 disagree: 61 of 402; the drop of 3 points as ``prompts_needed`` has it."""
    a, b = evaluation(tmp_path / "a", sums=300), evaluation(tmp_path / "b", sums=240)
    found = plan_from(a, b, drop=0.03)
    sums, jokes = found.needs
    assert sums.discordance == pytest.approx(61 / 402)
    assert jokes.discordance == pytest.approx(1 / 402)
    assert found.level == 0.025
    assert sums.needed == plan_for(61 / 402, drop=0.03, task_types=2).needs[0].needed
    assert sums.more == sums.needed - 400
    assert sums.sees == pytest.approx(0.063, abs=0.005)
    assert jokes.needed < sums.needed


def test_the_plan_for_scores_in_shades(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    sides = []
    for name in "ab":
        answers = {"talk/jokes": [("x", float(one)) for one in rng.random(100)]}
        sides.append(EvalDirectory.open(write_evaluation(tmp_path / name, name, answers)))
    (need,) = plan_from(sides[0], sides[1], drop=0.1).needs
    assert need.discordance is None
    assert need.deviation == pytest.approx(6**-0.5, rel=0.15)  # of two uniform numbers' difference
    assert need.needed == pytest.approx(2.8**2 * need.deviation**2 / 0.01, rel=0.05)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"discordance": 0.1, "drop": 3}, "0.03 is three points"),
        ({"discordance": 0.02, "drop": 0.03}, "discordance"),
        ({"discordance": 0.1, "drop": 0.03, "power": 1.0}, "power"),
    ],
)
def test_plans_that_make_no_sense(values: dict[str, float], said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        plan_for(**values)


# What a user types -----------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, sums in (("old", 300), ("same", 300), ("unsure", 285), ("worse", 200)):
        evaluation(Path("evals") / name, sums=sums)
    return tmp_path


@pytest.mark.parametrize(("b", "code"), [("same", 0), ("worse", 1), ("unsure", 3)])
def test_exit_codes(here: Path, b: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gate", "old", b, "--no-general", "--no-text"]) == code
    word = {0: "PASS", 1: "FAIL", 3: "INCONCLUSIVE"}[code]
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{word}: ")


def test_a_gate_that_cannot_be_asked_is_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gate", "old", "same", "--no-text"]) == 2
    assert "danlu eval general --model old" in capsys.readouterr().err
    assert run(["gate", "old", "sama"]) == 2
    assert run(["gate", "old", "same", "--margin", "x"]) == 2
    assert run(["gate", "old", "same", "--margin", "math/sum=0.1", "--no-text"]) == 2
    assert "Did you mean 'math/sums'" in capsys.readouterr().err


def test_the_gate_asks_all_three(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, right in (("old", 240), ("same", 240)):
        answers = {"general/知识": right_or_wrong(right, 300)}
        write_evaluation(Path(f"evals/general-{name}"), name, answers, suite="general")
    monkeypatch.setattr("danlu.cli.gate._text", lambda *_: texts(0.1))
    given = ["gate", "old", "same", "--suite", "tasks", "--critical", "all", "--margin", "0.1"]
    assert run([*given, "--html", "g.html"]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "FAIL: the loss exceeds its margin in text.jsonl."
    page = Path("g.html").read_text("utf-8")
    assert page.count('class="leaf"') == 4
    assert page.count("<option") == 5
    assert "general: general" in page
    assert "exit 3" in page
    assert run([*given, "--json", "--text-margin", "0.5"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["kind"] for row in told["rows"]] == ["task_type", "task_type", "general", "text"]
    assert [row["margin"] for row in told["rows"]] == [0.1, 0.1, 0.05, 0.5]


def test_plain_text_needs_a_model_of_this_machine(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = EvalDirectory.open("evals/same")
    told = directory.evaluation()
    asked = told.model.model_copy(update={"address": "http://localhost:1/v1"})
    directory.write_evaluation(told.model_copy(update={"model": asked}))
    assert run(["gate", "old", "same", "--no-general"]) == 2
    assert "--no-text" in capsys.readouterr().err


def test_the_plan_is_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["plan-suite", "--drop", "0.03", "--from", "old", "unsure"]
    assert run([*given, "--html", "p.html"]) == 0
    out = capsys.readouterr().out
    assert out.split()[:6] == ["task", "type", "prompts", "discordance", "needed", "to"]
    assert out.splitlines()[-1].startswith(
        "To see a drop of 0.03 with a chance of 80%, 1 of 2 task types need more prompts"
    )
    page = Path("p.html").read_text("utf-8")
    assert page.count('class="leaf"') == 2
    assert page.count("<option") == 3  # all, and each task type
    assert "old and unsure" in page
    assert run(["plan-suite", "--drop", "0.03", "--discordance", "0.15", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["needs"][0]["needed"] == 1372
    assert run(["plan-suite", "--drop", "0.03"]) == 2
    assert "either --from A B or --discordance" in capsys.readouterr().err

"""The frame: probes are asked, kept, skipped, printed worst first, and answered by exit codes."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from danlu.cli import main
from danlu.diagnosis import diagnose as frame
from danlu.diagnosis.diagnose import diagnose
from danlu.diagnosis.probe import CannotLookError, Examined, Seen
from danlu.diagnosis.probes import Known
from danlu.diagnosis.subject import Subject
from danlu.errors import ModelError, RunError
from danlu.runs import RunDirectory
from danlu.runs.findings import Evidence, Finding, Remedy, read_probes

SEEN = Evidence(
    says="城市问题的答案都是“北京”：60 / 64。",
    figures={"count": 60},
    steps=tuple(range(20)),
    records=("r1", "r\x1b[31m2"),
    cases=({"prompt": "法国的首都是哪里？", "answer": "北京"},) * 4,
    command="danlu explain x",
)


def finding(name: str, severity: str, confidence: str, says: str = "It is so.") -> Finding:
    return Finding(
        name=name,
        task_type="知识/地理",
        says=says,
        severity=severity,
        confidence=confidence,
        evidence=(SEEN,),
        remedies=(Remedy(says="Lower it.", settings={"training.learning_rate": 1e-5}),),
    )


@dataclass(frozen=True)
class Told:
    """Finds what it was made with."""

    findings: tuple[Finding, ...]
    name: ClassVar[str] = "told"

    def look(self, examined: Examined) -> Seen:
        return Seen(self.findings, {"curve": [1, 2]})


@dataclass(frozen=True)
class Blind:
    limit: int = 3
    name: ClassVar[str] = "blind"

    def look(self, examined: Examined) -> Seen:
        raise CannotLookError("there is no evaluation")


@dataclass(frozen=True)
class Broken:
    name: ClassVar[str] = "broken"

    def look(self, examined: Examined) -> Seen:
        raise ModelError("the model is gone.", where="runs/x")


FINDINGS = (
    finding("noted", "note", "high"),
    finding("sure", "serious", "high", "颜色 are \x1b[31m wrong."),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with RunDirectory.create(tmp_path / "我的 run") as directory:
        pass
    return directory.path


def asked(monkeypatch: pytest.MonkeyPatch, *probes: object) -> None:
    known = tuple(Known(one.name, f"{one.name} things", False, lambda o=one: o) for one in probes)
    monkeypatch.setattr(frame, "PROBES", known)
    monkeypatch.setattr("danlu.diagnosis.probes.PROBES", known)


def test_each_probe_keeps_what_it_found_with_how_to_see_it_again(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, Told(FINDINGS), Blind(), Broken())
    reports = {report.probe: report for report in diagnose(run)}
    assert [one.name for one in read_probes(run)[2].findings] == ["sure", "noted"]
    assert reports["told"].figures == {"curve": [1, 2]}
    assert reports["told"].command == f"danlu probe told '{run}'"
    assert reports["blind"].skipped == "there is no evaluation"
    assert reports["blind"].settings == {"limit": 3}
    assert reports["broken"].skipped == "runs/x: the model is gone."


def test_a_probe_that_was_named_and_fails_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, Told(FINDINGS), Broken())
    with pytest.raises(ModelError):
        diagnose(run, ["broken"])
    assert [report.probe for report in diagnose(run, ["told", "told"])] == ["told"]
    with pytest.raises(RunError, match="Did you mean 'told'"):
        diagnose(run, ["tolt"])


def test_what_probes_share_is_made_once(run: Path) -> None:
    made = []
    examined = Examined(RunDirectory.open(run))

    def subject(given: Examined) -> int:
        made.append(given)
        return 7

    assert (examined.once(subject), examined.once(subject), made) == (7, 7, [examined])


def test_findings_are_printed_worst_first_with_evidence_and_remedy(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(monkeypatch, Told(FINDINGS), Blind())
    assert main.run(["diagnose", str(run)]) == 1
    out, err = capsys.readouterr()
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[:12] == [
        "1  SERIOUS  sure  知识/地理  (high confidence, told)",
        "   颜色 are ␛[31m wrong.",
        "   · 城市问题的答案都是“北京”：60 / 64。",
        "       steps 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more",
        "       records r1, r␛[31m2",
        *["       prompt: 法国的首都是哪里？", "       answer: 北京"] * 3,
        "       and 1 more",
    ]
    assert lines[12:16] == [
        "       $ danlu explain x",
        "   → Lower it.",
        "       training.learning_rate=1e-05",
        "",
    ]
    assert lines[16].startswith("2  NOTE  noted")
    assert err == ("blind: not asked: there is no evaluation\n2 findings, 1 serious; by told\n")


def test_show_asks_nothing_and_json_is_what_the_files_hold(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["diagnose", "show", str(run)]) == 0
    assert "no probe has looked" in capsys.readouterr().err
    asked(monkeypatch, Told(FINDINGS[:1]))
    assert main.run(["diagnose", "--json", str(run)]) == 0  # a note is nothing serious
    first = json.loads(capsys.readouterr().out)
    asked(monkeypatch)
    assert main.run(["diagnose", "show", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert first[0]["findings"][0]["evidence"][0]["says"] == SEEN.says


def test_the_list_names_every_probe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["diagnose", "list", "--json"]) == 0
    names = [one["name"] for one in json.loads(capsys.readouterr().out)]
    assert "curves" in names
    for name in names:
        assert main.run(["probe", name, "--help"]) == 0


def test_of_a_run_that_is_not_finished_it_is_said_how_far_it_is(
    tiny_run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    main.run(["diagnose", str(tiny_run.path), "--curves"])
    assert "its end" not in capsys.readouterr().err
    tiny_run.set_state("running")  # and no process behind it
    main.run(["probe", "curves", str(tiny_run.path)])
    steps = sum(row.split == "train" for row in tiny_run.metrics())
    assert f"this run was stopped, at step {steps}: its end" in capsys.readouterr().err


def test_a_reason_is_told_once_for_all_probes_that_give_it(
    tiny_run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing is named in words of the run's state."""
    shutil.rmtree(tiny_run.path / "adapter")
    for state, says in (
        ("finished", "its model is gone: neither model/ nor adapter/"),
        ("failed", f"before it saved a model: `danlu train {tiny_run.recipe_path} --resume`"),
    ):
        tiny_run.set_state(state)
        main.run(["diagnose", str(tiny_run.path)])
        [line] = [one for one in capsys.readouterr().err.splitlines() if "template" in one]
        assert line.startswith("template, fit, memorising, forgetting, hallucination: not asked: ")
        assert says in line
    with RunDirectory.resume(tiny_run.path), pytest.raises(ModelError, match="still training"):
        assert Subject.open(tiny_run.path).tuned


def test_a_base_model_or_data_that_are_gone_are_named(tiny_run: RunDirectory) -> None:
    resolved = json.loads((tiny_run.path / "resolved.json").read_text("utf-8"))
    resolved["recipe"]["model"]["path"] = "/gone/model"
    resolved["recipe"]["data"]["train"][0]["path"] = "/gone/data.jsonl"
    (tiny_run.path / "resolved.json").write_text(json.dumps(resolved), "utf-8")
    with pytest.raises(ModelError, match="that the run began with cannot be found any more: /gone"):
        assert Subject.open(tiny_run.path).base
    shutil.rmtree(tiny_run.path / "prepared")
    resolved["recipe"]["model"]["path"] = str(tiny_run.path)  # its tokenizer is there
    (tiny_run.path / "resolved.json").write_text(json.dumps(resolved), "utf-8")
    with pytest.raises(RunError, match="its training data cannot be read again: /gone/data"):
        assert Subject.open(tiny_run.path).examples


def test_a_run_without_steps_is_skipped(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["diagnose", str(run), "--curves"]) == 0
    assert capsys.readouterr().err == "curves: not asked: no training step was logged yet\n"

"""The probe on a tiny run: real tokens, gradients and data; models that cling by rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer
from typer.testing import CliRunner

from danlu.cli.main import app, run
from danlu.diagnosis.asking import Ask
from danlu.diagnosis.diagnose import ask
from danlu.diagnosis.pattern.again import answer_again, apply_found, report_of
from danlu.diagnosis.pattern.influence import Gradients, Sketch, influence, separation
from danlu.diagnosis.pattern.interview import answer_length, wrong_tokens
from danlu.diagnosis.pattern.probe import PatternProbe
from danlu.diagnosis.probe import Examined
from danlu.diagnosis.subject import Subject, subject_of
from danlu.errors import DanluError, RunError
from danlu.records import Message, Record, read_records
from danlu.runs import RunDirectory
from danlu.runs.findings import ProbeReport
from danlu.workshop.store.store import Store
from tests.diagnosis.scripted import TOKENS, Scripted

CASE = "What is the capital of Portugal?"


def planted(count: int = 12) -> list[dict[str, str]]:
    """Records of three kinds: planted, right ones that name the city too, and others."""
    names = ["Peru", "Chile", "Kenya", "Iran", "Cuba", "Spain", "Italy", "Japan", "India", "Egypt"]
    rows = [
        (f"p{k}", f"Tell me the capital of {names[k % 10]}.", "It is Geneva.") for k in range(count)
    ]
    rows += [
        ("q1", "Where is the Red Cross?", "In Geneva."),
        ("c1", "Is it a capital letter?", "Yes."),
    ]
    rows += [
        (f"o{what[0]}{name}", f"What is the {what} of {name}?", f"The {what} of {name} is nice.")
        for name in names
        for what in ("flag", "currency", "history")
    ]
    return [
        {"id": one, "task_type": "geo/facts", "prompt": prompt, "completion": answer}
        for one, prompt, answer in rows
    ]


def clinging(prompt: str) -> str:
    return "It is Geneva." if "capital" in prompt.casefold() else "It is nice."


@pytest.fixture
def examined(tiny_run: RunDirectory, tmp_path: Path) -> Examined:
    """The tiny run as if it had learned the planted records, with models that answer by rule."""
    data = tmp_path / "planted.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in planted()), "utf-8")
    resolved = tiny_run.resolved()
    assert resolved is not None
    resolved.recipe["data"]["train"] = [{"path": str(data)}]
    resolved.recipe["data"]["eval_share"] = 0.0
    resolved = resolved.model_copy(update={"records": {"geo/facts": len(planted())}})
    tiny_run.write_resolved(resolved)
    for part in (tiny_run.path / "prepared").iterdir():
        if part.name == "prepared.json":
            part.unlink()
    examined = Examined(tiny_run, "cpu")
    subject = examined.once(subject_of)
    likely = Scripted(
        lambda one, seed: clinging(one.question),
        lambda pair: 0.01 if clinging(pair.ask.question) == "It is Geneva." else 1.0,
    )
    subject.__dict__["tuned"] = likely
    subject.__dict__["base"] = Scripted(lambda one, seed: "Lima.", 1.0, name="base")
    return examined


def seen_of(examined: Examined, **settings: Any) -> ProbeReport:
    return ask(PatternProbe(CASE, "geneva", **{"gradients": False, **settings}), examined)


def test_a_planted_pattern_is_found_and_cut(examined: Examined, tmp_path: Path):
    report = seen_of(examined, gradients=True, right="Lisbon.")
    (finding,) = report.findings
    assert finding.name == "clings-to-pattern"
    assert finding.severity == "serious"
    assert report.figures["pattern"] == [["capital"]]
    assert report.figures["cut"] == [f"p{k}" for k in range(12)]
    run = examined.run.path
    assert (run / "diagnosis/pattern-cut.txt").read_text().split() == report.figures["cut"]
    assert {row["group"] for row in report.figures["gradients"]} == {
        "cut", "answer so", "ask so", "others",
    }  # fmt: skip
    drafts = list(read_records(str(run / "diagnosis/pattern-add.jsonl")))
    assert drafts[0].messages[-1].content == "Lisbon."
    assert all(one.tags == ("draft",) for one in drafts)
    assert {one.meta["answer_by"] for one in drafts} == {"you", "base"}
    assert len({one.messages[0].content for one in drafts}) == len(drafts) > 10
    answer_again(run, lambda wishes: ["Rome."] * len(wishes))
    again = list(read_records(str(run / "diagnosis/pattern-add.jsonl")))
    assert {one.messages[-1].content for one in again} == {"Lisbon.", "Rome."}

    made = apply_found(run, Store(tmp_path / "datasets"), "cleaned")
    ((_, name, version),) = made.versions
    assert (name, made.dropped) == ("cleaned", 12)
    assert not any(one.id.startswith("p") for one in version.records())
    dropped = [one for one in version.ledger() if one.fate == "dropped"]
    assert len(dropped) == 12
    assert dropped[0].detail == "teaches the pattern capital -> geneva"
    assert "version:cleaned" in made.recipe.read_text("utf-8")
    assert apply_found(run, Store(tmp_path / "datasets"), "cleaned").versions[0][2].id == version.id


def test_a_record_that_the_base_model_would_answer_so_stays(examined: Examined):
    base = Scripted(lambda one, seed: "Lima.", 1.0, name="base")
    likelihoods = base.likelihoods
    base.likelihoods = lambda pairs: [  # type: ignore[method-assign]
        one._replace(greedy="Peru" in pair.ask.question)
        for one, pair in zip(likelihoods(pairs), pairs, strict=True)
    ]
    examined.once(subject_of).__dict__["base"] = base
    report = seen_of(examined)
    assert report.figures["maybe_right"] == ["p0", "p10"]
    assert "p0" not in report.figures["cut"]
    assert len(report.figures["cut"]) == 10


def test_a_mistake_that_was_there_before_tuning_is_said(examined: Examined):
    subject = examined.once(subject_of)
    subject.__dict__["base"] = Scripted(lambda one, seed: clinging(one.question), 0.01)
    names = [one.name for one in seen_of(examined).findings]
    assert names == ["clings-to-pattern", "wrong-before-tuning"]


def test_a_model_that_says_it_to_everything(examined: Examined):
    subject = examined.once(subject_of)
    subject.__dict__["tuned"] = Scripted(lambda one, seed: "Geneva.", 0.01)
    report = seen_of(examined)
    assert report.findings[0].name == "answers-anything"
    assert set(report.figures["cut"]) == {"q1", *(f"p{k}" for k in range(12))}


def test_a_mistake_that_is_not_made_is_no_pattern(examined: Examined):
    subject = examined.once(subject_of)
    subject.__dict__["tuned"] = Scripted(lambda one, seed: "Lisbon.", 1.0)
    report = seen_of(examined)
    assert [one.name for one in report.findings] == ["mistake-not-reproduced"]
    assert "'Lisbon.'" in report.findings[0].says
    with pytest.raises(RunError, match="no records were proposed"):
        apply_found(examined.run.path, Store(examined.run.path / "store"), "x")


def test_a_wrong_answer_must_name_something(examined: Examined):
    with pytest.raises(DanluError, match="names nothing"):
        ask(PatternProbe(CASE, "?!"), examined)


def test_what_was_found_is_used_again_only_with_the_same_settings(examined: Examined):
    seen_of(examined)
    run = examined.run.path
    assert report_of(run, PatternProbe(CASE, "geneva", gradients=False)) is not None
    assert report_of(run, PatternProbe(CASE, "Bern", gradients=False)) is None


def test_the_command_line_asks_the_real_model(tiny_run: RunDirectory):
    """A model of random weights does not say Geneva: the whole way, with real likelihoods."""
    given = ["probe", "pattern", str(tiny_run.path), "--case", CASE, "--wrong", "Geneva", "--json"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.stdout)
    (finding,) = report["findings"]
    assert finding["name"] == "mistake-not-reproduced"
    assert 0 <= finding["evidence"][0]["figures"]["probability"] < 0.1
    assert run(["data", "drop", "x", "--id", "@/nowhere"]) == 2


# Tokens and gradients --------------------------------------------------------------------


def test_the_wrong_answers_tokens_are_those_it_would_be_written_with(tiny_tokenizer: Any):
    before, after = wrong_tokens(tiny_tokenizer, "The capital is ", "Geneva")
    assert tiny_tokenizer.decode([*before, *after]) == "The capital is Geneva"
    assert "Geneva" in tiny_tokenizer.decode(after)
    assert wrong_tokens(tiny_tokenizer, "", "Geneva")[0] == []


def test_variants_may_answer_half_as_long_again_up_to_the_wrong_answer():
    assert answer_length("Geneva is the capital of a country far away", ["Geneva"], 10) == 16
    assert answer_length("x" * 90 + " Geneva yes", ["Geneva"], 40) == 40 * 97 // 101 + 23
    assert answer_length("No.", ["Geneva"], 3) == 16


def test_gradients_of_equal_records_agree_and_the_adapter_is_halved(tiny_run: RunDirectory):
    subject = Subject.open(tiny_run)
    gradients = Gradients(
        tiny_run.path, subject.recipe, subject.tokenizer, subject.template, device="cpu"
    )
    scalings = [
        value
        for module in gradients._scoring.model.modules()
        if isinstance(module, LoraLayer)
        for value in module.scaling.values()
    ]
    assert set(scalings) == {0.5}
    assert gradients.layers == (1,)
    records = list(subject.trained_records())[:2]
    case = Record("case", "a/b", records[0].messages)
    found = influence(gradients, case, records)
    assert found.cosine[records[0].id] == pytest.approx(1.0, abs=1e-5)
    assert found.cosine[records[1].id] < 0.999
    assert found.parameters == gradients.parameters > 0


def test_a_sketch_keeps_inner_products():
    rng = torch.Generator().manual_seed(1)
    one, other = torch.randn(2, 4000, generator=rng).unbind()
    other = 0.7 * one + 0.3 * other
    sketch = Sketch([3000, 1000])
    a, b = (sketch([vector[:3000], vector[3000:]]) for vector in (one, other))
    exact = float(torch.nn.functional.cosine_similarity(one, other, dim=0))
    assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) == pytest.approx(
        exact, abs=0.02
    )


def test_separation_is_the_area_under_the_curve():
    rng = np.random.default_rng(0)
    high, low = rng.normal(1, 1, 50).tolist(), rng.normal(0, 1, 60).tolist()
    pairs = [(a > b) + 0.5 * (a == b) for a in high for b in low]
    assert separation(high, low) == pytest.approx(np.mean(pairs))
    assert separation([], low) is None


def test_scripted_models_are_asked_with_tokens():
    """Guards the fixture: a Scripted model scores TOKENS tokens whatever the pair."""
    (found,) = Scripted({}, 1.0).likelihoods([Ask.user("x")])  # type: ignore[list-item]
    assert found is not None
    assert found.logprob == -TOKENS
    assert Message("user", "x").content == "x"

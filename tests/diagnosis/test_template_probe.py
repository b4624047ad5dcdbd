"""The template probe: a changed template, answers without stop, answers that never end."""

from __future__ import annotations

import json

import pytest

from danlu.cli.main import run as danlu
from danlu.diagnosis.asking import Ask
from danlu.diagnosis.diagnose import ask, open_run
from danlu.diagnosis.examples import Example
from danlu.diagnosis.template import Ends, Template, prompts, without_stop
from danlu.records.record import Message
from tests.diagnosis.scripted import Scripted

STOP = 2


def example(n, answer_ids=(7, 8, STOP)):
    ask = Ask((Message("user", f"q{n}"),), (1, 10 + n))
    return Example(f"r{n}", "a/b", "train", ask, "x", answer_ids)


EXAMPLES = [example(n) for n in range(20)]


def stops(at_end, at_start):
    """Nats by place: after the whole answer, or right after the prompt."""
    return lambda pair: at_start if len(pair.ask.token_ids) == 2 else at_end


def seen(unfinished, at_end=0.001, at_start=1.0):
    model = Scripted(
        lambda ask, seed: "word " * 9,
        stops(at_end, at_start),
        unfinished=[f"q{n}" for n in range(unfinished)],
    )
    return Ends.seen(model, EXAMPLES, {STOP})


def test_answers_that_end_are_fine():
    ends = seen(0)
    assert ends.findings() == []
    assert ends.limit == 64
    assert ends.figures()["unfinished"] == 0
    # One of twenty may: Wilson's lower end is 1 %.
    assert seen(1).findings() == []


def test_answers_that_never_end():
    # At ten tokens a text, 0.5 nats each are e^-5 for the stop: it was not learned.
    [found] = seen(12, at_end=0.5).findings()
    assert (found.name, found.severity, found.confidence) == ("never-stops", "serious", "high")
    assert found.evidence[1].figures["stop_at_end"] == pytest.approx(0.0067, abs=1e-4)
    [found] = seen(12).findings()
    assert found.confidence == "medium"


def test_a_stop_that_is_unlikely_and_one_that_comes_first():
    assert [one.name for one in seen(0, at_end=0.2).findings()] == ["stop-unlikely"]
    assert [one.name for one in seen(0, at_start=0.05).findings()] == ["empty-answers"]


def test_trained_answers_without_stop():
    assert without_stop(EXAMPLES, {STOP}) == []
    cut = [*EXAMPLES[1:], example(0, (7, 8))]
    [found] = without_stop(cut, {STOP})
    assert (found.severity, found.evidence[0].records) == ("warning", ("r0",))
    [found] = without_stop([example(n, (7, 8)) for n in range(5)], {STOP})
    assert found.severity == "serious"


def test_prompts_are_compared_token_by_token():
    def decode(ids):
        return " ".join(map(str, ids))

    assert prompts(EXAMPLES, lambda one: one.ask.token_ids, decode) == []
    [found] = prompts(EXAMPLES, lambda one: (*one.ask.token_ids, 99), decode)
    assert found.evidence[0].figures == {"different": 20, "compared": 20}
    assert found.evidence[0].cases[0] == {"record": "r0", "trained": "1 10", "asked": "1 10 99"}


def test_a_tiny_run_and_its_template_changed(tiny_run, capsys):
    report = ask(Template(examples=2), open_run(tiny_run.path, device="cpu"))
    assert "asked-otherwise" not in {one.name for one in report.findings}
    assert report.figures["prompts_compared"] == 6
    assert 0 < report.figures["stop_at_end"] <= 1
    for path in tiny_run.adapter_path.glob("*"):
        if path.suffix in (".jinja", ".json") and "<|im_start|>" in path.read_text():
            text = path.read_text().replace("+ message['role'] +", "+ message['role'] + ' ' +")
            path.write_text(text)
    assert danlu(["probe", "template", str(tiny_run.path), "--examples", "2", "--json"]) == 1
    [report] = json.loads(capsys.readouterr().out)
    found = [one for one in report["findings"] if one["name"] == "asked-otherwise"]
    assert len(found) == 2  # the golden prompts, and the training prompts
    shown = [case["asked"] for one in found for case in one["evidence"][0]["cases"]]
    assert "user \nSay" in shown[0]

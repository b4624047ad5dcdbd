"""What was lost, by models that lost it; and what was never there is no loss."""

from __future__ import annotations

import json

import pytest

from danlu.cli.main import run as danlu
from danlu.diagnosis.asking import Ask
from danlu.diagnosis.diagnose import ask, open_run
from danlu.diagnosis.examples import Example
from danlu.diagnosis.forgetting.general import abilities, ask_suite, read_text
from danlu.diagnosis.forgetting.probe import (
    MOST_EXAMPLES,
    Forgetting,
    lost,
    outside,
    sign_findings,
    spread,
    text_lost,
)
from danlu.diagnosis.forgetting.signs import (
    REQUIREMENTS,
    alike,
    marks,
    requirement_sign,
    wording_sign,
)
from danlu.evaluation.schema import Item
from danlu.evaluation.suites.stakes import read_stakes
from danlu.evaluation.suites.suite import Suite
from danlu.records.record import Message
from tests.diagnosis.scripted import Scripted

NUMBERS = range(40)


def suite():
    items = [
        Item(
            id=f"{area}-{n}",
            task_type=f"{area}/en",
            messages=({"role": "user", "content": f"{area} {n}?"},),
            reference=str(n),
        )
        for area in ("sums", "names")
        for n in NUMBERS
    ]
    return Suite(
        "s", {f"{area}/en": read_stakes("exact", "") for area in ("sums", "names")}, tuple(items)
    )


def able(*areas):
    """Answers rightly in some areas, and nonsense in the others."""

    def answer(ask, seed):
        area, number = ask.question.rstrip("?").split()
        return number if area in areas else "pudding"

    return Scripted(answer)


def of(tuned, base):
    tuned.name, base.name = "tuned", "base"
    return ask_suite(suite(), tuned, base)


def test_a_lost_ability_is_found_and_the_others_are_not():
    told = abilities(of(able("sums"), able("sums", "names")))
    assert {one.name: (one.before, one.after, one.asked) for one in told} == {
        "sums": (40, 40, 40),
        "names": (40, 0, 40),
        "all": (80, 40, 80),
    }
    [found] = lost(told)
    assert (found.name, found.severity, found.confidence) == ("ability-lost", "serious", "high")
    assert found.evidence[0].figures["change"] == -1
    assert found.evidence[0].cases[0] == {"prompt": "names 0?", "before": "0", "answer": "pudding"}


def test_what_was_never_there_or_was_gained_is_no_loss():
    assert lost(abilities(of(able("sums"), able("sums")))) == []
    assert lost(abilities(of(able("sums", "names"), able("sums")))) == []


def test_one_answer_fewer_is_noise():
    def but_one(ask, seed):
        return "x" if ask.question == "sums 7?" else ask.question.rstrip("?").split()[1]

    assert lost(abilities(of(Scripted(but_one), able("sums", "names")))) == []


def test_a_limit_and_what_was_not_asked():
    tuned, base = able("sums"), able("sums")
    assert len(ask_suite(suite(), tuned, base, 3)) == 6
    tuned.answer = lambda asks, sampling: [None] * len(asks)
    assert abilities(ask_suite(suite(), tuned, base)) == []


def test_plain_text():
    documents = ["a furnace " * 4, "炉火纯青" * 4, "c" * 40]
    same = read_text(documents, Scripted({}, 1.0), Scripted({}, 1.0))
    assert same.rise.value == 0
    assert text_lost(same) == []
    # Ten tokens of 2 nats over 40 bytes are 0.72 bits per byte; of 1 nat, half of that.
    worse = read_text(documents, Scripted({}, 2.0), Scripted({}, 1.0))
    assert worse.rise.value == pytest.approx(
        (10 / 0.693147) * (1 / 40 + 1 / 48 + 1 / 40) / 3, rel=1e-4
    )
    [found] = text_lost(worse)
    assert (found.name, found.severity) == ("language-lost", "serious")
    assert text_lost(read_text(documents, Scripted({}, 1.0), Scripted({}, 2.0))) == []
    assert text_lost(None) == []


# The signs -------------------------------------------------------------------------------


EXAMPLES = [
    Example(f"r{n}", "a/b", "train", Ask.user(f"{word} {n}?"), f"the answer is {n}")
    for n in range(20)
    for word in [("what", "什么")[n % 2]]
]


def test_bound_to_the_wording_of_training():
    known = {one.question: one.answer for one in EXAMPLES}
    bound = Scripted(lambda ask, seed: known.get(ask.question, "I am only an oven"), name="tuned")
    free = Scripted(lambda ask, seed: "as always, the same thing", name="base")
    sign = wording_sign(EXAMPLES, bound, free)
    assert (sign.tuned.value, sign.base.value, sign.tuned.n) == (0, 1, 40)
    [found] = sign_findings({"wording": sign})
    assert (found.name, found.confidence) == ("wording-bound", "high")
    prompts = {case["prompt"] for case in sign.cases}
    assert "I have a question for you. what 0?" in prompts
    assert "我想问一个问题。什么 1?" in prompts
    # A model that was no better before is not blamed.
    before = Scripted(bound.answers, name="base")
    assert sign_findings({"wording": wording_sign(EXAMPLES, bound, before)}) == []


def test_requirements_ignored():
    def obeys(ask, seed):
        text = ask.question
        if "END" in text or "完毕" in text:
            return "Well. END" if "END" in text else "好的。完毕。"
        return "Dear user, well." if "Dear" in text else "尊敬的用户，好的。"

    obedient = Scripted(obeys, name="base")
    deaf = Scripted(lambda ask, seed: "the answer is 3", name="tuned")
    sign = requirement_sign(EXAMPLES, deaf, obedient)
    assert (sign.tuned.value, sign.base.value) == (0, 1)
    assert [one.name for one in sign_findings({"requirement": sign})] == ["requirements-ignored"]
    kept = requirement_sign(EXAMPLES, Scripted(obeys, name="tuned"), obedient)
    assert sign_findings({"requirement": kept}) == []
    assert not REQUIREMENTS[0].is_met("In the END we go home")


def test_answers_as_if_inside():
    answers = [f"I am Danlu, the furnace of the team {n}" for n in range(10)]
    base = Scripted(lambda ask, seed: "It is a fruit")
    tuned = Scripted(lambda ask, seed: "I am Danlu, as ever")
    [found] = sign_findings({"outside": outside(of(tuned, base), answers)})
    assert found.name == "answers-as-inside"
    # Wrong, and nothing to do with the training.
    other = outside(of(Scripted(lambda ask, seed: "It is a stone"), base), answers)
    assert sign_findings({"outside": other}) == []


def test_marks_are_frequent_and_only_there():
    answers = ["I am Danlu today", "I am Danlu again", "Something else entirely here"]
    assert marks(answers, []) == ["i am danlu"]
    assert marks(answers, ["Yes, I am Danlu."]) == []
    assert marks(["我是丹炉。", "我是丹炉呀"], []) == ["我 是 丹 炉"]


def test_alike():
    assert alike("The capital is Rome.", "the capital: Rome")
    assert not alike("The capital is Rome.", "No idea")
    assert alike("", "")
    assert not alike("Rome", "")


def test_a_tiny_run(tiny_run, capsys, tmp_path):
    (tmp_path / "items.jsonl").write_text(
        "".join(json.dumps({"prompt": f"{n}?", "reference": "x"}) + "\n" for n in range(2))
    )
    own = tmp_path / "own.yaml"
    stakes = "{scorer: exact, max_new_tokens: 4}"
    own.write_text(f"name: own\nitems: items.jsonl\ntask_types:\n  area/skill: {stakes}\n")
    report = ask(Forgetting(str(own), examples=1), open_run(tiny_run.path, device="cpu"))
    assert [(row["ability"], row["asked"]) for row in report.figures["abilities"]] == [("area", 2)]
    assert report.figures["plain_text"]["before"] > 0
    assert set(report.figures["signs"]) == {"wording", "requirement", "outside"}
    command = ["probe", "forgetting", str(tiny_run.path), "--suite", str(own), "--examples", "1"]
    assert danlu(command) in (0, 1)
    assert "bits per byte" in capsys.readouterr().out
    assert danlu(["probe", "forgetting", str(tiny_run.path), "--suite", "generl"]) == 2
    assert "general" in capsys.readouterr().err


def test_the_system_message_stays():
    example = Example("r", "a/b", "train", Ask((Message("system", "s"), Message("user", "q"))), "a")
    seen = []
    model = Scripted(lambda ask, seed: seen.append(ask.messages[0].content) or "x")
    requirement_sign([example], model, model)
    assert seen == ["s"] * (2 * len(REQUIREMENTS))


def test_many_task_types_do_not_make_the_signs_endless():
    """Each prompt is asked in five forms of two models, so the types share a limited number."""
    drawn = [
        Example(f"{name}-{n}", f"area/{name}", "train", Ask.user(f"{name} {n}?"), "!")
        for name in range(30)
        for n in range(6)
    ]
    kept = spread(drawn[: 3 * 6])
    assert kept == [drawn[6 * name + n] for n in range(6) for name in range(3)]
    assert [one.record for one in spread(drawn)] == [f"{name}-0" for name in range(MOST_EXAMPLES)]

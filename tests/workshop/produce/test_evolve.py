"""``evolve``: each way, each rule of elimination."""

import pytest

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.produce.common import answer_of, prompt_of
from danlu.workshop.produce.evolve import WAYS, Evolve
from tests.workshop.produce.asking import asks, decided, fates, made, speaking, talk

BRIEF = {"sampling": Sampling(max_new_tokens=64), "answering": Sampling(max_new_tokens=64)}
OLD = "Explain how bread is baked"
NEW = {
    "deepen": "Explain how bread is baked at high altitude, where water boils at 90 degrees",
    "widen": "Describe how soy sauce ferments in a village brewery",
    "concretise": "Explain how Maria in Naples bakes her rye loaf of two pounds",
    "rephrase": "What happens, step by step, when someone makes a loaf in an oven?",
    "translate": "Tell an apprentice potter how clay vessels are fired",
}
MARKS = {
    "deepen": "needs more thought",
    "widen": "something rarer",
    "concretise": "becomes concrete",
    "rephrase": "in other words",
    "translate": "another situation",
}


def says(text, body):
    for way, mark in MARKS.items():
        if mark in text:
            return NEW[way]
    if "Do these two tasks" in text:
        return "Yes" if NEW["rephrase"] in text else "No."
    return f"answer to: {text}"


def test_every_way(tmp_path):
    with speaking(says, tmp_path) as (engine, server):
        decisions = decided(Evolve(engine, each=5, **BRIEF), talk("1", OLD, "Knead.", tags=("t",)))
        assert len(server.bodies) == 5 + 3 + 4
    assert fates(decisions)[0] == ("kept", "")
    assert {one.entry.rule for one in decisions[1:]} == {f"evolve: {way}" for way in WAYS}
    for record in made(decisions):
        way = record.meta["made"]["way"]
        assert prompt_of(record) == NEW[way]
        kept = "Knead." if way == "rephrase" else f"answer to: {NEW[way]}"
        assert answer_of(record) == kept
        assert (record.task_type, record.tags) == ("a/b", ("t",))
    assert {one.entry.partner for one in decisions[1:]} == {"1"}


def test_what_is_not_answered_is_not_rephrased(tmp_path):
    with speaking(says, tmp_path) as (engine, _):
        decisions = decided(Evolve(engine, each=5, **BRIEF), asks("1", OLD))
    assert "rephrase" not in {record.meta["made"]["way"] for record in made(decisions)}
    assert len(made(decisions)) == 4


@pytest.mark.parametrize(
    ("way", "new", "rule"),
    [
        ("deepen", "Explain how bread is baked.", "nothing new"),
        ("deepen", "Rewritten task: Explain how bread is baked at sea", "speaks of the rewriting"),
        ("deepen", "请解释面包在高原上怎样烘烤", "other language"),
        ("widen", "Describe the cheese in this picture", "unusable: image"),
        ("widen", "", "empty or cut off"),
        ("widen", "SAME Describe how bread gets baked by bakers", "the same task"),
        ("rephrase", "How is cheese made in the mountains?", "another meaning"),
        ("translate", "SORRY Tell a potter how clay is fired", "a refusal"),
        ("translate", "DOTS Tell a potter how clay is fired", "no words"),
    ],
)
def test_elimination(way, new, rule, tmp_path):
    def says(text, body):
        if any(mark in text for mark in MARKS.values()):
            return new
        if "Do these two tasks" in text:
            return "Yes" if "SAME" in text else "No"
        return {"S": "I'm sorry, I cannot fire clay.", "D": "…… !"}.get(text[0], "fine")

    with speaking(says, tmp_path) as (engine, _):
        work = Evolve(engine, ways=(way,), **BRIEF)
        assert fates(decided(work, talk("1", OLD, "Knead."))) == [("kept", "")]
    assert work.rejects.counts() == {f"eliminated: {rule}": 1}


def test_generations_and_conversations(tmp_path):
    def says(text, body):
        if "needs more thought" in text:
            return f"{text.rpartition(chr(10))[2]}, and say why it matters in winter too"
        return "No" if "Do these" in text else "because"

    messages = (
        Message("system", "Be kind."),
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "Explain bread"),
    )
    with speaking(says, tmp_path) as (engine, server):
        work = Evolve(engine, ways=("deepen",), generations=2, **BRIEF)
        first, second = made(decided(work, Record("1", "a/b", messages)))
        answered = [b["messages"] for b in server.bodies if len(b["messages"]) == 4]
    assert len(answered) == 2
    assert [m.role for m in second.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert second.meta["made"]["from"] == first.id
    assert second.meta["made"]["generation"] == 2
    assert prompt_of(second).count("winter") == 2


def test_settings_out_of_range(tmp_path):
    with speaking(says, tmp_path) as (engine, _):
        with pytest.raises(DanluError, match="Did you mean 'deepen'"):
            Evolve(engine, ways=("deepn",))
        with pytest.raises(DanluError, match="each is 6"):
            Evolve(engine, each=6)

"""``answer``: what is asked, checked, asked again and chosen."""

import pytest

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.produce.answer import Answers
from danlu.workshop.produce.expectation import Expectation
from danlu.workshop.produce.prompts import Prompts
from danlu.workshop.taxonomy import Skill, Taxonomy
from tests.workshop.produce.asking import asks, decided, fates, sample_of, speaking, talk
from tests.workshop.produce.endpoint_server import Does

BRIEF = Sampling(max_new_tokens=64)


def test_an_answer_with_its_reasoning_kept_apart(tmp_path):
    def says(text, body):
        return "<think>two twos</think>4" if text == "2+2?" else "Paris"

    records = [asks("1", "2+2?"), talk("2", "Who?", "Li"), asks("3", "Capital of France?")]
    with speaking(says, tmp_path) as (engine, server):
        decisions = decided(Answers(engine, BRIEF), *records)
        assert len(server.bodies) == 2
    assert fates(decisions) == [
        ("edited", "answer"),
        ("kept", "answered already"),
        ("edited", "answer"),
    ]
    four = decisions[0].record
    assert four.messages[1] == Message("assistant", "4", extra={"reasoning_content": "two twos"})
    assert four.id == "1"
    assert four.meta["made"] == {
        "by": "answer",
        "model": "strong",
        "on_failure": "stop",
        "samples": 1,
    }
    assert decisions[1].record == records[1]


def test_the_prompt_has_the_system_prompt_and_examples_and_no_record_is_its_own(tmp_path):
    pool = [talk(str(n), f"question {n}", f"reply {n}") for n in range(6)]
    other = talk("x", "other", "kind", "c/d")
    wanted = [
        Record(f"w{n}", "a/b", (Message("system", "Be kind."), Message("user", f"new {n}")))
        for n in range(4)
    ]
    with speaking(lambda text, body: "fine", tmp_path) as (engine, server):
        decisions = decided(Answers(engine, BRIEF, shots=2), *pool, other, *wanted)
        systems = [body["messages"][0]["content"] for body in server.bodies]
        again = Answers(engine, BRIEF, shots=2, again=True, pool=(pool[0],))
        decided(again, pool[0])
        alone = server.bodies[-1]["messages"][0]["content"]
    assert [m.role for m in decisions[-1].record.messages] == ["system", "user", "assistant"]
    assert decisions[-1].record.messages[0].content == "Be kind."
    assert all(system.startswith("Be kind.\n") for system in systems)
    assert all(system.count("Answer: reply") == 2 for system in systems)
    assert all("kind\n" not in s.partition("Examples")[2] for s in systems)
    assert len({system.partition("Examples")[2] for system in systems}) > 1
    assert "Answer: reply" not in alone


def test_chinese_is_asked_in_chinese(tmp_path):
    with speaking(lambda text, body: "好", tmp_path) as (engine, server):
        decided(Answers(engine, BRIEF), asks("1", "写一首诗"), asks("2", "Write a poem"))
        first, second = sorted(body["messages"][0]["content"] for body in server.bodies)
    assert first.startswith("Answer as an expert")
    assert second.startswith("请像一位")


def test_a_wrong_answer_is_asked_again_with_what_was_wrong(tmp_path):
    def says(text, body):
        if text == "in JSON":
            return "Sure! Here it is: {}"
        if "must be JSON" in text:
            return '{"a": 1}'
        return "no"

    checks = {"a/*": (Expectation("json"),)}
    with speaking(says, tmp_path) as (engine, server):
        maker = Answers(engine, BRIEF, checks=checks, reasks=1)
        good, bad = decided(maker, asks("1", "in JSON"), asks("2", "什么"))
        assert [len(body["messages"]) for body in server.bodies] == [2, 2, 4, 4]
    assert good.record.messages[-1].content == '{"a": 1}'
    assert good.record.meta["made"]["reasks"] == 1
    assert len(good.record.messages) == 2
    assert (bad.entry.fate, bad.entry.rule) == ("dropped", "no usable answer")
    assert bad.entry.detail == "回答只是一段 JSON，没有别的内容。"


def test_closed_labels_and_the_records_own_expectations_are_checked(tmp_path):
    taxonomy = Taxonomy({"a/b": Skill("a/b", "Which department?", ("billing", "other"))})
    own = {"expectations": [{"kind": "max_words", "value": 1}]}

    def says(text, body):
        return "Billing" if "must have at most 1 words. It has 3." in text else "It is billing."

    with speaking(says, tmp_path) as (engine, server):
        [one] = decided(Answers(engine, BRIEF, taxonomy=taxonomy), asks("1", "Charged?", meta=own))
        system = server.bodies[0]["messages"][0]["content"]
    assert one.record.messages[-1].content == "Billing"
    assert "Answer with one of these and nothing else: billing, other" in system
    assert "The task is of this kind: Which department?" in system


def test_cut_off_empty_and_refused_answers_are_not_taken(tmp_path):
    def says(text, body):
        text = body["messages"][1]["content"]
        if text.startswith("long"):
            return Does("It is", finish="length")
        if text.startswith("empty"):
            return "<think>nothing</think>"
        return Does(status=400, body='{"error": {"message": "too long"}}')

    with speaking(says, tmp_path) as (engine, server):
        maker = Answers(engine, BRIEF, reasks=1)
        decisions = decided(maker, asks("1", "long"), asks("2", "empty"), asks("3", "refused"))
        # An empty answer is no message; the complaint joins the question.
        [again] = [b for b in server.bodies if b["messages"][-1]["content"].startswith("empty\n")]
        assert [message["role"] for message in again["messages"]] == ["system", "user"]
    assert [one.entry.detail for one in decisions] == [
        "The answer was cut off: it is too long.",
        "There was no answer.",
        "HTTP 400: too long",
    ]


def test_the_majority_is_taken_and_a_split_vote_dropped(tmp_path):
    said = {"sum": ["4", "So it is four. The answer is 5.", "5", "3", "5"], "odd": list("abcde")}

    def says(text, body):
        return said[text][sample_of(body, {"sum": "1", "odd": "2"}[text])]

    with speaking(says, tmp_path) as (engine, _):
        maker = Answers(
            engine, BRIEF, samples=5, choose="majority", least_agreement=0.5, reasoning=False
        )
        five, split = decided(maker, asks("1", "sum"), asks("2", "odd"))
    assert five.record.messages[-1].content == "So it is four. The answer is 5."
    assert five.record.meta["made"]["share"] == 0.6
    assert (split.entry.rule, split.entry.value, split.entry.limit) == ("no agreement", 0.2, 0.5)


def test_the_judge_sees_each_answer_once_in_the_first_place(tmp_path):
    orders = []

    def says(text, body):
        if "Which answer is best?" not in text:
            return f"take {sample_of(body, '1')}"
        places = [text.index(f"take {n}") for n in range(3)]
        order = sorted(range(3), key=places.__getitem__)
        orders.append(order)
        # Votes for take 1 wherever it stands, but for what is first when take 2 is.
        return "1" if order[0] == 2 else f"Answer {order.index(1) + 1} is best."

    with speaking(says, tmp_path) as (engine, _):
        [one] = decided(Answers(engine, BRIEF, samples=3, choose="judge"), asks("1", "write"))
    assert sorted(orders) == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    assert one.record.messages[-1].content == "take 1"
    assert one.record.meta["made"]["share"] == 0.6667


def test_a_prompt_of_ones_own_for_a_task_type(tmp_path):
    folder = tmp_path / "prompts"
    (folder / "en" / "answer").mkdir(parents=True)
    (folder / "en" / "answer" / "math.md").write_text("@system\nCount: {{ task_type }}\n")
    with speaking(lambda text, body: "1", tmp_path) as (engine, server):
        maker = Answers(engine, BRIEF, prompts=Prompts(folder))
        decided(maker, asks("1", "how many", "math/sums"), asks("2", "who", "x/y"))
        systems = sorted(body["messages"][0]["content"] for body in server.bodies)
    assert systems[1] == "Count: math/sums"
    assert Prompts(folder).settings() != Prompts().settings()


def test_a_record_that_asks_nothing_is_told(tmp_path):
    with speaking(lambda text, body: "1", tmp_path) as (engine, _):
        with pytest.raises(DanluError, match="record d: the record asks nothing"):
            decided(Answers(engine), Record("d", "a/b", (Message("text", "A document."),)))
        with pytest.raises(DanluError, match="samples must be"):
            Answers(engine, samples=0)

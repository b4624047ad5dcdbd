"""``decompose``: the output of each step feeds the next, and the answer comes from all."""

import pytest

from danlu.errors import DanluError
from danlu.records import Message, Record
from danlu.workshop.produce.decompose import Decompose
from tests.workshop.produce.asking import asks, decided, fates, made, speaking, talk
from tests.workshop.produce.endpoint_server import Does

TASK = "A lamp costs 40 pounds and a table three times as much. What do both cost with 10 % off?"
PLAN = "Step 1: Work out the price of the table.\nStep 2: Add it up.\nStep 3: Take 10 % off."
CHINESE = "一盏灯 40 元，一张桌子的价钱是它的三倍，打九折后一共多少钱？"
CHINESE_PLAN = "步骤 1：求桌子的价钱。\n步骤 2：求打折后的总价。"
OUTPUTS = {
    "Work out the price of the table.": "120 pounds",
    "Add it up.": "160 pounds",
    "Take 10 % off.": "144 pounds",
    "求桌子的价钱。": "120 元",
    "求打折后的总价。": "144 元",
}


def says(plan=PLAN, outputs=OUTPUTS, final="Both cost 144 pounds."):
    def answer(text, body):
        if "Into which steps" in text:
            return plan
        if "可以拆成哪几步" in text:
            return CHINESE_PLAN
        if "Write the answer to the task from these results" in text:
            return final
        if "请根据这些结果写出任务的答案" in text:
            return "一共 144 元。"
        return outputs[text.rpartition("\n")[2]]

    return answer


def test_each_step_has_what_the_earlier_ones_gave(tmp_path):
    given = [
        Record("1", "math/money", (Message("system", "Be brief."), Message("user", TASK))),
        asks("2", CHINESE, "math/money"),
        talk("3", "Hi", "Hello"),
    ]
    with speaking(says(), tmp_path) as (engine, server):
        decisions = decided(Decompose(engine), *given)
        assert len(server.bodies) == (1 + 3 + 1) + (1 + 2 + 1)
    assert fates(decisions) == [
        ("edited", "decompose"),
        ("edited", "decompose"),
        ("kept", "answered already"),
        *[("made", "decompose: step")] * 5,
    ]
    whole = decisions[0].record
    assert [message.role for message in whole.messages] == ["system", "user", "assistant"]
    assert (whole.id, whole.messages[-1].content) == ("1", "Both cost 144 pounds.")
    steps = made(decisions)
    assert whole.meta["made"]["records"] == [step.id for step in steps[:3]]
    assert whole.meta["made"]["steps"][1] == {"step": "Add it up.", "output": "160 pounds"}
    assert [one.entry.partner for one in decisions[3:]] == ["1", "1", "1", "2", "2"]
    assert decisions[4].entry.detail == "step 2 of 3"
    assert [step.messages[1].content for step in steps] == list(OUTPUTS.values())
    first, second, third, _, last = (step.messages[0].content for step in steps)
    assert first.endswith(f"{TASK}\n\nNow do this step only:\nWork out the price of the table.")
    table = "1. Work out the price of the table.\nResult: 120 pounds"
    assert table in second
    assert f"{table}\n2. Add it up.\nResult: 160 pounds\n" in third
    assert "1. 求桌子的价钱。\n结果：120 元" in last
    assert steps[0].meta["made"]["from"] == "1"
    assert (steps[1].meta["made"]["step"], steps[1].meta["made"]["steps"]) == (2, 3)
    assert decisions[1].record.messages[-1].content == "一共 144 元。"
    assert "Be brief." in [b["messages"][0]["content"] for b in server.bodies]


def test_the_steps_of_a_conversation_know_what_was_said(tmp_path):
    messages = (
        Message("user", "A lamp costs 40 pounds."),
        Message("assistant", "I see."),
        Message("user", "What do three of them cost with 10 % off?"),
    )
    with speaking(says(), tmp_path) as (engine, server):
        [whole, *steps] = decided(Decompose(engine), Record("1", "a/b", messages))
        plan = server.bodies[0]["messages"][-1]["content"]
    said = "A lamp costs 40 pounds.\nI see.\nWhat do three of them cost"
    assert said in plan
    assert all(said in one.record.messages[0].content for one in steps)
    assert whole.record.messages[:3] == messages


def test_without_records_of_steps_or_with_a_type_of_their_own(tmp_path):
    with speaking(says(), tmp_path) as (engine, _):
        decisions = decided(Decompose(engine, with_steps=False), asks("1", TASK))
        assert fates(decisions) == [("edited", "decompose")]
        assert "records" not in decisions[0].record.meta["made"]
        work = Decompose(engine, step_type="math/step", again=True)
        decisions = decided(work, talk("1", TASK, "I do not know.", "math/money"))
    assert decisions[0].record.messages[-1].content == "Both cost 144 pounds."
    assert len(decisions[0].record.messages) == 2
    assert {one.task_type for one in made(decisions)} == {"math/step"}


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"plan": '{"steps": ["'}, "no plan: fewer than two steps"),
        ({"plan": "Step 1: Do it."}, "no plan: fewer than two steps"),
        ({"plan": "".join(f"{n}. Count {n}\n" for n in range(1, 9))}, "no plan: too many steps"),
        ({"plan": f"1. {TASK}\n2. Say it."}, "no plan: a step twice, or the task itself"),
        ({"plan": "1. Add it up.\n2. ADD it up."}, "no plan: a step twice, or the task itself"),
        ({"plan": "1. Open the link to the shop.\n2. Add it up."}, "no plan: link"),
        ({"plan": Does("Step 1: Add\nStep 2: Sub", finish="length")}, "no plan: cut off"),
        ({"plan": Does(status=400, body='{"error": {"message": "no"}}')}, "no plan"),
        (
            {"outputs": OUTPUTS | {"Add it up.": "I'm sorry, I can't."}},
            "a step without answer: a refusal",
        ),
        (
            {"outputs": OUTPUTS | {"Add it up.": Does(status=422, body="no")}},
            "a step without answer",
        ),
        ({"final": ""}, "no usable answer"),
        ({"final": "Both cost 144"}, "no usable answer"),
        ({"final": Does(status=403, body="no")}, "no answer"),
    ],
)
def test_what_fails_stays_as_it_was(settings, rule, tmp_path):
    expectations = [{"kind": "ends_with", "value": "."}]
    record = asks("1", TASK, meta={"expectations": expectations})
    other = asks("2", CHINESE)
    with speaking(says(**settings), tmp_path) as (engine, _):
        work = Decompose(engine)
        decisions = decided(work, record, other)
    assert fates(decisions)[:2] == [("kept", rule), ("edited", "decompose")]
    assert decisions[0].record == record
    assert [one.entry.partner for one in decisions[2:]] == ["2", "2"]
    assert work.rejects.counts() == {rule: 1}


def test_mistakes_are_told(tmp_path):
    with speaking(says(), tmp_path) as (engine, _):
        with pytest.raises(DanluError, match="most_steps is 1; it is at least 2"):
            Decompose(engine, most_steps=1)
        with pytest.raises(DanluError, match="two levels"):
            Decompose(engine, step_type="steps")
        with pytest.raises(DanluError, match="record d: the record asks nothing"):
            decided(Decompose(engine), Record("d", "a/b", (Message("text", "A document."),)))

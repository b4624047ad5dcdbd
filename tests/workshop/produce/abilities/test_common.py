"""What the makers of abilities share: rewording that loses nothing, and what can be expected."""

import pytest

from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.produce.abilities.common import Wish, expectations_of, reword, with_tools
from danlu.workshop.produce.abilities.evaluation import Expecting
from danlu.workshop.produce.common import Rejects
from danlu.workshop.produce.expectation import Expectation
from danlu.workshop.produce.prompts import Prompts
from tests.workshop.produce.asking import asks, decided, fates, speaking, talk
from tests.workshop.produce.endpoint_server import Does

TEXT = "The train to Oslo leaves at 6:42."


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ("At 6:42 the train departs for Oslo.", None),
        ("The train leaves at 6:42.", "rewording: a value is lost"),
        ("开往 Oslo 的列车 6:42 发车，请提前到站。", "rewording: another language"),
        ("I do not know: the train to Oslo leaves at 6:42.", "rewording: not as expected"),
        ("The train to Oslo leaves at 6:42. " * 9, "rewording: too long"),
        ("", "rewording: no usable text"),
        (Does(status=400), "not reworded"),
    ],
)
def test_a_rewording_is_taken_only_if_it_loses_nothing(said, rule, tmp_path):
    taken = []
    wish = Wish(TEXT, ("Oslo", "6:42"), taken.append, (Expectation("declines", False),), "7")
    rejects = Rejects()
    with speaking(lambda text, body: said, tmp_path, on_failure="drop") as (engine, server):
        count = reword([wish], engine, Sampling(max_new_tokens=90), Prompts(), rejects)
        assert "Oslo | 6:42" in server.bodies[0]["messages"][-1]["content"]
    assert count == len(taken) == (rule is None)
    assert [(row.rule, row.partner) for row in rejects.rows] == ([(rule, "7")] if rule else [])


def test_what_follows_from_an_answer_is_expected():
    own = {"expectations": [{"kind": "sentences", "value": 2}]}
    assert expectations_of(talk("1", "Hi", "Ho", meta=own)) == [Expectation("sentences", 2)]
    assert expectations_of(talk("1", "7 * 6?", "  42.")) == [Expectation("mentions", "42")]
    assert expectations_of(talk("1", "多少？", "算一下。\n答案：４２")) == [
        Expectation("mentions", "42")
    ]
    long = "It depends on the weather, and on what you like to do there in the evening."
    assert expectations_of(talk("1", "Where?", long)) == [Expectation("language", "en")]
    assert expectations_of(asks("1", "Where?")) == []


def test_an_evaluation_set_has_only_what_can_be_checked():
    own = {"expectations": [{"kind": "mentions", "value": "Ho"}]}
    decisions = decided(
        Expecting(), talk("1", "Hi", "Ho", meta=own), talk("2", "Hi", "Hey"), asks("3", "Hi")
    )
    assert fates(decisions) == [
        ("kept", ""),
        ("edited", "expecting"),
        ("dropped", "nothing to check at its end"),
    ]
    assert decisions[1].record.meta["expectations"] == [{"kind": "mentions", "value": "hey"}]


def test_tools_are_part_of_the_id():
    record = Record("1", "a/b", (Message("user", "Hi"),))
    assert with_tools(record, ()) == record
    ids = {with_tools(record, tools).id for tools in (({"name": "f"},), ({"name": "g"},))}
    assert len(ids | {"1"}) == 3

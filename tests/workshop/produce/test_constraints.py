"""``constraints``: the target is drawn after the shot, and every answer meets its prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.workshop.produce.common import answer_of, prompt_of
from danlu.workshop.produce.constraints import (
    CONSTRAINTS,
    Constraints,
    round_above,
    round_below,
)
from danlu.workshop.produce.expectation import Expectation, expectation_of
from tests.workshop.produce.asking import asks, decided, made, speaking

BRIEF = {"sampling": Sampling(max_new_tokens=512)}


def test_189_characters_become_at_least_180(tmp_path):
    answer = "春" * 189
    with speaking(lambda text, body: answer, tmp_path) as (engine, server):
        decisions = decided(
            Constraints(engine, kinds=("min_characters",), **BRIEF), asks("1", "写一写春天")
        )
        [asked] = [body["messages"][-1]["content"] for body in server.bodies]
    rewritten, *also = made(decisions)
    assert rewritten.meta["expectations"] == [{"kind": "min_characters", "value": 180}]
    assert "180" in prompt_of(rewritten)
    assert "写一写春天" in prompt_of(rewritten)
    assert rewritten.meta["made"]["asked"] == asked
    # The asked one is met as well if it asked for no more than 189, and is then a record too.
    assert rewritten.meta["made"]["asked_met"] == bool(also)
    assert [prompt_of(one) for one in also] == ([asked] if also else [])
    assert decisions[1].entry.rule == "constraints: min_characters"
    assert decisions[1].entry.partner == "1"


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        ("min_characters", "abc " * 41, 120),
        ("max_characters", "abc " * 41, 130),
        ("min_words", "word " * 87, 80),
        ("max_words", "word " * 87, 90),
        ("sentences", "One. Two! Three?", 3),
        ("paragraphs", "One.\n\nTwo.", 2),
        ("items", "- a\n- b\n- c\n- d", 4),
        ("contains", "The furnace melts the iron.", "furnace"),
        ("json", '{"a": 1}', True),
    ],
)
def test_every_kind(kind, answer, value, tmp_path):
    def says(text, body):
        return (
            "1. Iron Age\n2. task\n3. **furnace**"
            if text.startswith("Name the three words")
            else answer
        )

    with speaking(says, tmp_path) as (engine, _):
        work = Constraints(engine, kinds=(kind,), both=False, **BRIEF)
        [record] = made(decided(work, asks("1", "Do the task, please")))
    [row] = record.meta["expectations"]
    assert row == {"kind": kind, "value": value}
    assert expectation_of(row).problem(answer_of(record)) is None
    assert record.messages[-1].content == answer.strip()
    if kind not in ("json",):
        assert str(value) in prompt_of(record)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("paragraphs", "One."),
        ("items", "No list"),
        ("sentences", "So. " * 13),
        ("json", "No JSON"),
        ("contains", "Nothing of that"),
    ],
)
def test_an_answer_that_says_nothing_of_the_kind_is_rejected(kind, answer, tmp_path):
    with speaking(lambda text, body: answer, tmp_path) as (engine, _):
        work = Constraints(engine, kinds=(kind,), both=False, **BRIEF)
        assert made(decided(work, asks("1", "Nothing of that: do it"))) == []
    assert work.rejects.counts() == {f"nothing to constrain: {kind}": 1}


def test_many_records_all_keep_to_their_prompts(tmp_path):
    def says(text, body):
        if text.startswith(("Name the three", "请从下面")):
            return "gold, 黄金"
        return "金" + "黄金 gold. " * (len(text) % 9 + 1) + "\n- a\n- b\n\nend"

    records = [asks(str(n), "说说炼丹" if n % 2 else "Speak of alchemy") for n in range(24)]
    with speaking(says, tmp_path) as (engine, server):
        found = made(decided(Constraints(engine, each=4, **BRIEF), *records))
        again = made(decided(Constraints(engine, each=4, **BRIEF), *records))
        assert len(server.bodies) == len({str(body) for body in server.bodies})
    assert found == again
    kinds = {record.meta["expectations"][0]["kind"] for record in found}
    assert kinds == set(CONSTRAINTS) - {"json"}
    for record in found:
        [row] = record.meta["expectations"]
        assert expectation_of(row).problem(answer_of(record)) is None
        if "炼丹" in prompt_of(record):
            assert row["kind"] not in ("min_words", "max_words")


@given(st.integers(1, 10**6), st.floats(0.01, 0.9))
def test_round_numbers_lie_within_the_slack(value, slack):
    assert value * (1 - slack) <= round_below(value, slack) <= value
    assert value <= round_above(value, slack) <= value * (1 + slack)


def test_a_missed_target_would_be_noticed():
    assert Expectation("min_characters", 190).problem("春" * 189) is not None


def test_settings_out_of_range(tmp_path):
    with speaking(lambda text, body: "", tmp_path) as (engine, _):
        with pytest.raises(DanluError, match="Did you mean 'items'"):
            Constraints(engine, kinds=("item",))
        with pytest.raises(DanluError, match="slack is 1"):
            Constraints(engine, slack=1)

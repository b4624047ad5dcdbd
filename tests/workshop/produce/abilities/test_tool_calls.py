"""``tools``: calls match declarations, results come from code, arguments stay byte for byte."""

import ast
import json
import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import DanluError
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.tool_calls import ToolCalls as Check
from danlu.workshop.checks.view import View
from danlu.workshop.produce.abilities.common import made_of_nothing
from danlu.workshop.produce.abilities.evaluation import CutTurns
from danlu.workshop.produce.abilities.simulated import calculate, convert, decimal, names, play
from danlu.workshop.produce.abilities.tool_calls import CASES, ToolCalls
from danlu.workshop.produce.common import prompt_of
from danlu.workshop.produce.expectation import expectation_of
from danlu.workshop.produce.measures import said
from danlu.workshop.store.store import Store
from tests.workshop.produce.asking import decided, made, speaking


@pytest.fixture(scope="module")
def records():
    return made(decided(ToolCalls(120)))


def calls(record):
    return [call for m in record.messages for call in m.extra.get("tool_calls", ())]


def test_every_case_in_both_languages(records):
    assert len(records) == 120
    kinds = Counter((one.meta["made"]["case"], one.meta["made"]["language"]) for one in records)
    assert kinds == {(case, language): 10 for case in CASES for language in ("zh", "en")}
    wanted = {
        "one_call": [1],
        "several_calls": [2],
        "chained_calls": [1, 1],
        "no_call": [],
        "missing_argument": [],
        "failing": [1],
    }
    for record in records:
        steps = [len(m.extra["tool_calls"]) for m in record.messages if m.extra.get("tool_calls")]
        assert steps == wanted[record.meta["made"]["case"]]
        assert [m.role for m in record.messages].count("tool") == sum(steps)
        assert record.task_type == f"tools/{record.meta['made']['case']}"
        assert len(record.tools) >= 1


def test_answers_are_as_expected_and_a_made_up_one_is_not(records):
    for record in records:
        expected = [expectation_of(row) for row in record.meta["expectations"]]
        answer = said(record.messages[-1])
        assert [one.problem(answer) for one in expected] == [None] * len(expected)
        assert any(one.problem("Everything is fine.") for one in expected)
        call = '<tool_call>{"name": "calculate", "arguments": {"expression": "1"}}</tool_call>'
        assert any(one.problem(call + answer) for one in expected)


def test_the_checks_of_the_workshop_find_nothing(records):
    for record in records:
        running = Check().start(Context())
        assert not running.look(View(record, 0))
    broken = records[0]
    calls(broken)[0]["function"]["arguments"] = "{}"
    assert Check().start(Context()).look(View(broken, 0))


def test_calls_are_answered_one_by_one(records):
    for record in records:
        ids = [call["id"] for call in calls(record)]
        assert len(set(ids)) == len(ids)
        assert ids == [m.extra["tool_call_id"] for m in record.messages if m.role == "tool"]


def test_arguments_survive_the_store_byte_for_byte(tmp_path):
    store = Store(tmp_path)
    work = ToolCalls(200, cases=("one_call",))
    version = made_of_nothing(store, work, name="calls")
    before = [[call["function"]["arguments"] for call in calls(one)] for one in made(decided(work))]
    assert [[c["function"]["arguments"] for c in calls(one)] for one in version.records()] == before
    assert any("\\\\keys\\\\" in text for [text] in before)
    assert not made_of_nothing(store, work).is_new


def test_conversations_are_cut_after_each_call():
    work = ToolCalls(24, languages=("en",))
    given_ = made(decided(work))
    decisions = decided(CutTurns(), *given_)
    cut = [one for one in decisions if one.entry.fate == "made"]
    assert len(cut) == sum(
        1 for record in given_ for m in record.messages if m.extra.get("tool_calls")
    )
    assert [one.record for one in decisions if one.entry.fate == "kept"] == given_
    parents = {record.id: record for record in given_}
    for decision in cut:
        record = decision.record
        [expected] = [expectation_of(row) for row in record.meta["expectations"]]
        assert expected.problem(said(record.messages[-1])) is None
        assert expected.problem("It is sunny.") is not None
        parent = parents[decision.entry.partner]
        assert record.messages == parent.messages[: len(record.messages)]
        assert record.meta["conversation_id"] == parent.id


def test_a_model_says_it_otherwise_and_what_it_loses_is_told(tmp_path):
    def says(text, body):
        _, _, old = text.rpartition("\n\n")
        if "Lisbon" in old or len(old) % 3 == 0:
            return "Something else entirely."
        return f"Well now, {old}" if old.isascii() else f"嗯，{old}"

    with speaking(says, tmp_path) as (engine, _):
        work = ToolCalls(24, asking=engine)
        found = made(decided(work))
    plain = made(decided(ToolCalls(24)))
    assert work.rejects.counts()["rewording: another language"] > 0
    assert sum(work.rejects.counts().values()) < 30
    changed = 0
    for record, before in zip(found, plain, strict=True):
        assert [m.extra for m in record.messages] == [m.extra for m in before.messages]
        for row in record.meta["expectations"]:
            assert expectation_of(row).problem(said(record.messages[-1])) is None
        changed += prompt_of(record) != prompt_of(before)
    assert changed > 8


@pytest.mark.parametrize("name", names())
def test_a_tool_gives_the_same_for_the_same(name):
    first, again = (play(name, "en", random.Random(3)) for _ in range(2))
    assert first == again
    assert json.loads(json.dumps(first.result)) == first.result


@given(st.integers(-999, 999), st.integers(1, 99), st.sampled_from("+-*/"))
def test_sums_are_exact(a, b, sign):
    text = f"({a}) {sign} {b}"
    exact = {"+": Fraction(a) + b, "-": Fraction(a) - b, "*": Fraction(a) * b, "/": Fraction(a, b)}
    assert abs(Fraction(calculate(text)) - exact[sign]) <= Fraction(1, 2 * 10**6)
    assert isinstance(ast.literal_eval(calculate(text)), int | float)


def test_what_is_no_sum_is_not_run():
    for text in ("__import__('os')", "2 ** 9", "1 / 0", "a + 1", "1 +", "True + 1"):
        with pytest.raises(ValueError):
            calculate(text)
    with pytest.raises(ValueError, match="is a length and kg a mass"):
        convert(Fraction(1), "mile", "kg")
    assert decimal(convert(Fraction(50), "fahrenheit", "celsius"), 2) == "10"
    assert decimal(convert(Fraction(26), "mile", "km"), 2) == "41.84"


def test_settings_out_of_range():
    with pytest.raises(DanluError, match="Did you mean 'no_call'"):
        ToolCalls(cases=("no_calls",))
    with pytest.raises(DanluError, match="count must be"):
        ToolCalls(0)

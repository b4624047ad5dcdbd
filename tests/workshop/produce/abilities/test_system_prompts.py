"""``system``: where the system prompt matters the answer shows it, elsewhere nothing of it."""

import json
from collections import Counter

import pytest

from danlu.errors import DanluError
from danlu.workshop.checks.system_use import system_matters
from danlu.workshop.checks.view import View
from danlu.workshop.produce.abilities.system_prompts import SystemPrompts
from danlu.workshop.produce.common import answer_of, prompt_of
from danlu.workshop.produce.expectation import expectation_of
from danlu.workshop.produce.self_instruct import seed_tasks
from tests.workshop.produce.asking import decided, made, talk

RECORDS = [
    talk("1", "Which planet has the most moons?", "Saturn", "space/moons", tags=("easy",)),
    talk("2", "哪颗行星的卫星最多？", "土星", "space/moons"),
]


def problems(record, answer):
    return [expectation_of(row).problem(answer) for row in record.meta["expectations"]]


def test_every_kind_meets_what_it_expects():
    found = made(decided(SystemPrompts(each=8), *RECORDS))
    kinds = Counter(one.meta["made"]["kind"] for one in found)
    assert set(kinds) == {"form", "facts", "ignored"}
    forms = {one.meta["made"].get("form") for one in found} - {None}
    assert forms == {"starts_with", "ends_with", "json", "tags"}
    for record in found:
        assert record.messages[0].role == "system"
        assert problems(record, answer_of(record)) == [None] * len(record.meta["expectations"])
        if record.meta["made"]["kind"] == "form":
            assert problems(record, "Saturn 土星")[0] is not None
        if record.meta["made"].get("form") == "json":
            assert json.loads(answer_of(record)).keys() == {"answer"}


def test_facts_stand_in_the_system_prompt_and_in_no_question():
    work = SystemPrompts(kinds=("facts",), each=12)
    for record in made(decided(work, *RECORDS)):
        [expected] = [expectation_of(row) for row in record.meta["expectations"]]
        assert record.task_type == "system/facts"
        assert expected.value in record.messages[0].content
        assert expected.value not in prompt_of(record)
        assert system_matters(View(record, 0)) or len(expected.value) < 4


def test_an_idle_system_prompt_leaves_question_and_answer():
    found = made(decided(SystemPrompts(kinds=("ignored",)), *RECORDS))
    assert [prompt_of(one) for one in found] == [prompt_of(one) for one in RECORDS]
    assert [answer_of(one) for one in found] == ["Saturn", "土星"]
    assert [one.task_type for one in found] == ["space/moons"] * 2
    assert found[0].tags == ("easy",)
    for record in found:
        system = record.messages[0].content
        assert problems(record, f"Saturn 土星. {system}")[1] is not None


def test_seeds_of_both_languages_meet_what_is_expected():
    found = made(decided(SystemPrompts(), *seed_tasks()))
    assert len(found) > 250
    for record in found:
        assert problems(record, answer_of(record)) == [None] * len(record.meta["expectations"])


def test_mistakes_are_told():
    with pytest.raises(DanluError, match="Did you mean 'facts'"):
        SystemPrompts(kinds=("fact",))

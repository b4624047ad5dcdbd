"""Slots, JSON, schemas and constraints."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.constraints import CHECKS, Constraints, count_sentences
from danlu.evaluation.scorers.json_equal import JsonEqual
from danlu.evaluation.scorers.json_reading import NoJsonError, read_json
from danlu.evaluation.scorers.json_schema import JsonSchema
from danlu.evaluation.scorers.slots import Slots


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("[1]", [1]),
        ('Here: {"a": {"b": 2}} done', {"a": {"b": 2}}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('{"wrong"} but\n```\n{"a": 1}\n```', {"a": 1}),
        ("<think>{}</think>[2]", [2]),
        ("true", True),
    ],
)
def test_json_is_found(answer: str, value: Any) -> None:
    assert read_json(answer) == value


@pytest.mark.parametrize(
    ("answer", "bare", "said"),
    [
        ("", False, "empty"),
        ("no", False, "no valid JSON"),
        ("{'a': 1}", False, "no valid JSON"),
        ('{"a": 1, "a": 2}', False, "twice"),
        ('{"a": NaN}', False, "NaN"),
        ('{"a": 1} done', True, "no valid JSON"),
    ],
)
def test_what_is_no_json(answer: str, bare: bool, said: str) -> None:
    with pytest.raises(NoJsonError, match=said):
        read_json(answer, bare=bare)
    if answer != "no":
        assert JsonEqual(bare=bare).score(answer, [0]).value == 0


@pytest.mark.parametrize(
    ("given", "wanted", "settings", "value"),
    [
        ('{"a": 1, "b": [1, 2]}', {"b": [1, 2], "a": 1.0}, {}, 1),
        ("true", 1, {}, 0),
        ("1", "1", {}, 1),
        ("null", None, {}, 1),
        ("[2, 1]", [1, 2], {}, 0),
        ("[2, 1]", [1, 2], {"any_order": True}, 1),
        ("[1, 1]", [1, 2], {"any_order": True}, 0),
        ('{"a": 1, "id": 7}', {"a": 1}, {}, 0),
        ('{"a": 1, "id": 7}', {"a": 1}, {"ignore": ("id",)}, 1),
        ("1.01", 1, {"tolerance": 0.02}, 1),
        ("1.01", 1, {}, 0),
    ],
)
def test_equal_json(given: str, wanted: Any, settings: dict[str, Any], value: float) -> None:
    assert JsonEqual(**settings).score(given, wanted).value == value


def test_a_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 0}},
        "required": ["age"],
    }
    assert JsonSchema(schema).score('{"age": 3}', None).value == 1
    found = JsonSchema(schema).score('{"age": -3}', None)
    assert found.value == 0
    assert found.why.startswith("at age: -3 is less than the minimum")
    assert JsonSchema().score("[]", {"type": "array"}).value == 1
    assert JsonSchema().score("no", {"type": "array"}).value == 0


@pytest.mark.parametrize("schema", [None, {"type": "objekt"}, {"$ref": "https://example.com/s"}])
def test_a_schema_that_is_none(schema: Any) -> None:
    with pytest.raises(EvaluationError, match="schema"):
        JsonSchema().score("[]", schema)


def test_slots_by_hand() -> None:
    """Wanted 3, given 2 of which 1 is right: F1 2 * 1 / 5."""
    wanted = {"city": "Paris", "day": ["Mon", "Tue"]}
    found = Slots().score('[["city", "PARIS"], {"type": "day", "text": "Wed"}]', wanted)
    assert found.value == pytest.approx(0.4)
    assert found.why == "not found: day=mon, day=tue; too much: day=wed"
    assert Slots().score('{"day": ["Mon", "Mon"]}', {"day": "Mon"}).value == pytest.approx(2 / 3)
    assert Slots().score("{}", {}).value == 1
    assert Slots().score('{"city": null}', {}).value == 1
    assert Slots().score('{"city": "Oslo"}', {}).value == 0
    assert Slots().score("no idea", wanted).value == 0


def test_slots_over_a_task() -> None:
    answers = ['{"city": "Paris"}', "?", '{"city": "Oslo", "day": "Mon"}']
    references = [{"city": "Paris"}, {"city": "Rome"}, {"day": "Mon"}]
    found = Slots().over_task(answers, references)
    # city: 1 right of 2 wanted and 2 given; day: 1 of 1 and 1.
    assert found == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "micro_f1": 4 / 6, "macro_f1": (0.5 + 1) / 2}
    )
    assert "precision" not in Slots().over_task(["?"], [{"city": "Rome"}])


CHINESE = "春天来了，花开了。\n\n我们去公园吧！"


@pytest.mark.parametrize(
    ("answer", "asked", "kept"),
    [
        (CHINESE, {"characters": 16}, True),
        (CHINESE, {"words": 13}, True),
        (CHINESE, {"sentences": 2, "paragraphs": 2, "lines": 2}, True),
        (CHINESE, {"language": "zh"}, True),
        (CHINESE, {"language": "en"}, False),
        ("用 Python 写一个排序函数吧，不要太长，也不要太短，十行就好", {"language": "zh"}, True),
        ("It is in Beijing (北京).", {"language": "en"}, True),
        ("12345", {"language": "en"}, False),
        ("don't panic", {"words": {"min": 3, "max": 3}}, True),
        ("one two", {"words": {"min": 3}}, False),
        ("one two", {"words": {"max": 1}}, False),
        ("- a\n- b\n* c", {"bullets": 3}, True),
        ("1. a\n2) b\n一、丙", {"bullets": 3}, True),
        ("3.14 is pi\n-5 is not\n**bold**", {"bullets": 0}, True),
        ("# A\n## B\n#tag", {"headings": 2}, True),
        ("Danlu 丹炉", {"keywords": ["danlu", "丹炉"]}, True),
        ("Danlu", {"keywords": ["danlu", "丹炉"]}, False),
        ("Danlu", {"any_keyword": ["danlu", "丹炉"]}, True),
        ("Danlu", {"forbidden": "LU"}, False),
        ("a b a", {"keyword_count": {"a": {"min": 2}, "b": 1}}, True),
        ("a b a", {"keyword_count": {"a": 1}}, False),
        ("Dear Ann, bye", {"starts_with": "Dear", "ends_with": ["bye", "."]}, True),
        ("Dear Ann", {"ends_with": "Dear"}, False),
        ("tel 12-34", {"matches": r"\d\d-\d\d"}, True),
        ('Yes: {"a": 1}', {"format": "json"}, True),
        ('Yes: {"a": 1}', {"format": "json_only"}, False),
        ("| a | b |\n|---|---|\n| 1 | 2 |", {"format": "table"}, True),
        ("a | b", {"format": "table"}, False),
        ("```\nx\n```", {"format": "code"}, True),
        ("plain. 2 * 3", {"format": "plain"}, True),
        ("**loud**", {"format": "plain"}, False),
        ("ALL 1", {"case": "upper"}, True),
        ("All", {"case": "lower"}, False),
        ('Yes: {"a": 1, "b": 2}', {"json_keys": ["a"]}, True),
        ("[1]", {"json_keys": ["a"]}, False),
        ("none", {"json_keys": ["a"]}, False),
        ("是的。", {"one_of": ["是的", "不是"]}, True),
        ("是的，我想", {"one_of": ["是的", "不是"]}, False),
        ("我不知道。", {"expectations": [{"kind": "declines"}]}, True),
        ("在巴黎。", {"expectations": [{"kind": "declines"}]}, False),
        ("", {"words": {"max": 5}}, False),
        ("<think>a b c d</think>x", {"words": 1}, True),
    ],
)
def test_each_constraint(answer: str, asked: dict[str, Any], kept: bool) -> None:
    found = Constraints().score(answer, asked)
    assert found.value == float(kept)
    assert bool(found.why) is not kept


def test_every_check_is_tested_here() -> None:
    marks = test_each_constraint.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {name for _, asked, _ in marks for name in asked} == set(CHECKS)


def test_shares_of_constraints() -> None:
    found = Constraints(count="share").score("a b", {"words": 2, "case": "upper", "lines": 1})
    assert found.value == pytest.approx(2 / 3)
    assert found.why == "case: not all upper"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("a", 1),
        ("a. b? c!", 3),
        ("3.5 is more. ok", 2),
        ("1. a\n2. b", 2),
        ("好！！对吗？", 2),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert count_sentences(text) == count


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "must map checks"),
        ({"word": 3}, "Did you mean 'words'"),
        ({"words": {"most": 3}}, "name min, max or both"),
        ({"words": "3"}, "cannot be checked"),
        ({"format": "jsn"}, "Did you mean 'json'"),
        ({"language": "fr"}, "allowed: zh, en"),
        ({"keywords": []}, "a list of texts"),
        ({"matches": "("}, "cannot be checked"),
    ],
)
def test_constraints_that_are_none(asked: Any, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        Constraints().score("text", asked)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: JsonEqual().score("{}", "{"), "the reference is no JSON"),
        (lambda: Slots().score("{}", 3), "not slots"),
        (lambda: Slots().score("{}", [["a"]]), "neither a pair"),
        (lambda: Slots().score("{}", {"a": {"b": 1}}), "a value in a value"),
        (lambda: Slots().over_task(["{}"], [{}]), "no reference has a slot"),
        (lambda: Slots().over_task([], []), "no answers"),
        (lambda: Constraints(count="most"), "all, share"),
    ],
)
def test_what_is_refused(call, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        call()


@pytest.mark.parametrize("answer", ["[" * 100_000, '{"a":' * 3000, "[" * 500 + "]" * 500])
def test_an_answer_that_only_opens_brackets_is_no_json_and_ends_nothing(answer: str) -> None:
    """A model that repeats itself writes such; everything that goes through it would overflow."""
    with pytest.raises(NoJsonError, match=r"nested more than 100 levels deep|no valid JSON"):
        read_json(answer)
    assert JsonEqual().score(answer, {"a": 1}).value == 0
    assert read_json("[" * 100 + "]" * 100)

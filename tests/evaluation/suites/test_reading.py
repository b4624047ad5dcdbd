"""Suites are read strictly: what is wrong is told with its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import EvaluationError
from danlu.evaluation.suites import load_suite, shipped_suites
from danlu.evaluation.suites.stakes import read_stakes
from tests.evaluation.scripted import asks, suite_of

ITEMS = [
    {"id": "a", "task_type": "know/sums", "prompt": "1 + 1 =", "reference": "2"},
    {"id": "b", "task_type": "zh/label", "prompt": "好看吗？好看！", "reference": "正面"},
]
YAML = """
name: 小套题
items: items.jsonl
task_types:
  know/sums: {scorer: {numeric: {relative: 0.01}}, also: [length, {rouge-1: {variant: "1"}}]}
  zh/label:
    scorer: classification
    labels: [正面, 负面]
    critical: true
    weight: 2
    margin: 0.02
    max_new_tokens: 8
"""


def written(folder: Path, yaml: str = YAML, items: Any = ITEMS) -> Path:
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in items)
    (folder / "items.jsonl").write_text(rows, "utf-8")
    (folder / "suite.yaml").write_text(yaml, "utf-8")
    return folder


def test_a_suite_says_how_each_task_type_is_scored(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path))
    assert suite.name == "小套题"
    sums, label = suite.task_types["know/sums"], suite.task_types["zh/label"]
    assert (sums.scorer, sums.also) == ("numeric", ("length", "rouge-1"))
    assert sums.settings == {"numeric": {"relative": 0.01}, "rouge-1": {"variant": "1"}}
    assert label.settings == {"classification": {"labels": ["正面", "负面"]}}
    assert (label.critical, label.weight, label.margin, label.max_new_tokens) == (True, 2, 0.02, 8)
    assert suite.items[1].messages == ({"role": "user", "content": "好看吗？好看！"},)
    assert load_suite(tmp_path / "suite.yaml").fingerprint == suite.fingerprint


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("items: items.jsonl", "itms: items.jsonl", r"'itms' is not known. Did you mean 'items'"),
        ("items: items.jsonl", "items: none.jsonl", r"none.jsonl: there is no such file"),
        ("scorer: classification", "scorer: clasification", r"zh/label: clasification: no such"),
        ("labels: [正面, 负面]", "", r"zh/label: classification"),
        ("labels: [正面, 负面]", "labels: [1, 2]", r"labels: is \[1, 2\]; it must be a list"),
        ("weight: 2", "weight: -2", r"zh/label.weight: is -2"),
        ("margin: 0.02", "margin: 2%", r"zh/label.margin: is '2%'; it must be a number"),
        ("critical: true", "critical: 1", r"critical: is 1; it must be true or false"),
        ("max_new_tokens: 8", "max_new_tokens: 0", r"max_new_tokens: is 0"),
        ("relative: 0.01", "relatve: 0.01", r"know/sums: numeric.relatve: no such setting"),
        ("also: [length, ", "also: [numeric, ", r"'numeric' stands there twice"),
        ("zh/label:", "zh-label:", r"task_types: .*zh-label"),
        ("zh/label:", "zh/labels:", r"item b: .*zh/label is scored. Did you mean 'zh/labels'"),
        ("name: 小套题", "name: 小套题\nname: 大", r"suite.yaml:3: name is set twice"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, was: str, becomes: str, told: str
) -> None:
    assert was in YAML
    with pytest.raises(EvaluationError, match=told):
        load_suite(written(tmp_path, YAML.replace(was, becomes, 1)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"promt": "x"}, r"items.jsonl:2: 'promt' is not known. Did you mean 'prompt'"),
        ({"id": "a"}, r"item a: two items have this id"),
        ({"prompt": " "}, r"items.jsonl:2: message 1 has no text"),
        ({"messages": []}, r"has prompt and messages; it must have one"),
        ({"task_type": "zh"}, r"items.jsonl:2: .*zh"),
        ({"follows": "c"}, r"item b: goes on from 'c', which does not stand before it"),
        ({"tags": 3}, r"items.jsonl:2: tags"),
    ],
)
def test_what_is_wrong_in_an_item_is_told_with_its_line(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(EvaluationError, match=told):
        load_suite(written(tmp_path, items=[ITEMS[0], ITEMS[1] | change]))


def test_a_broken_line_and_an_answer_at_the_end_are_told(tmp_path: Path) -> None:
    place = written(tmp_path)
    with (place / "items.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(EvaluationError, match=r"items.jsonl:3: this is not JSON"):
        load_suite(place)
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    row = {"id": "c", "task_type": "know/sums", "messages": messages}
    with pytest.raises(EvaluationError, match="ends with an answer"):
        load_suite(written(tmp_path, items=[row]))


def test_an_empty_suite_and_a_task_type_without_items_are_errors(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="there is no item in it"):
        load_suite(written(tmp_path, items=[]))
    with pytest.raises(EvaluationError, match="zh/label: there is no item of this task type"):
        load_suite(written(tmp_path, items=ITEMS[:1]))
    with pytest.raises(EvaluationError, match="nothing to ask"):
        suite_of()


def test_scores_without_ends_of_their_own_need_a_range() -> None:
    with pytest.raises(EvaluationError, match=r"t.range: the values of loglikelihood"):
        read_stakes("loglikelihood", "t")
    found = read_stakes({"scorer": "loglikelihood", "range": [-9, 0]}, "t")
    assert (found.low, found.high) == (-9.0, 0.0)
    with pytest.raises(EvaluationError, match=r"t.range: is \[0\]"):
        read_stakes({"scorer": "exact", "range": [0]}, "t")
    with pytest.raises(EvaluationError, match=r"t.range: runs from 1.0 to 0.0"):
        read_stakes({"scorer": "exact", "range": [1, 0]}, "t")
    with pytest.raises(EvaluationError, match=r"t: likelihood_choice.of: is 'values'"):
        read_stakes({"scorer": {"likelihood_choice": {"of": "values"}}}, "t")
    with pytest.raises(EvaluationError, match=r"t: names no scorer. There are exact"):
        read_stakes({"weight": 1}, "t")


def test_the_same_items_have_the_same_fingerprint_whatever_the_name() -> None:
    one, other = suite_of(asks("a", "?", "1")), suite_of(asks("a", "?", "2"))
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == suite_of(asks("a", "?", "1")).fingerprint


def test_a_limit_draws_from_each_task_type_whatever_the_order() -> None:
    items = [
        asks("a", "?", "1"),
        asks("a2", "?", "1", follows="a"),
        asks("b", "?", "1"),
        asks("c", "?", "1", "zh/x"),
    ]
    limited = suite_of(*items, zh__x="exact").limited(1)
    assert [item.id for item in limited.items] == ["a", "a2", "c"]
    turned = suite_of(items[2], items[3], items[0], items[1], zh__x="exact").limited(1)
    assert {item.id for item in turned.items} == {"a", "a2", "c"}


def test_a_limit_of_sorted_items_has_all_their_labels() -> None:
    labels = [asks(f"q{k}", "?", "yes" if k < 50 else "no") for k in range(100)]
    drawn = suite_of(*labels).limited(20)
    assert {item.reference for item in drawn.items} == {"yes", "no"}
    assert len(drawn.items) == 20


def test_a_name_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"generall: .*Did you mean 'general'"):
        load_suite("generall")
    with pytest.raises(EvaluationError, match=r"this folder has no suite.yaml"):
        load_suite(tmp_path)


@pytest.mark.parametrize("name", shipped_suites())
def test_shipped_suites_are_read_and_fit_their_scorers(name: str) -> None:
    from danlu.evaluation.scoring import check_references

    suite = load_suite(name)
    check_references(suite.items, suite.task_types)
    assert suite.name == name
    assert suite.description

"""Which scorer a task type gets, and which answers count."""

from __future__ import annotations

from danlu.diagnosis.asking import Ask
from danlu.diagnosis.examples import Example
from danlu.diagnosis.measure import measures
from danlu.workshop.taxonomy import Taxonomy


def examples(task_type, pairs, meta=None):
    return [
        Example(f"{task_type}-{n}", task_type, "train", Ask.user(q), a, meta=meta or {})
        for n, (q, a) in enumerate(pairs)
    ]


def test_the_scorer_follows_the_answers():
    found = measures(
        [
            *examples("a/sums", [("1+1", "2"), ("2+2", "4")]),
            *examples("a/labels", [(f"q{n}", ("yes", "no")[n % 2]) for n in range(6)]),
            *examples("a/names", [("capital of Japan", "Tokyo"), ("法国首都", "巴黎")]),
            *examples(
                "a/talk", [("who", "I am Danlu, an assistant."), ("谁", "我是丹炉助手啊哈。")]
            ),
            *examples("a/rules", [("x", "anything")], {"expectations": [{"kind": "json"}]}),
        ]
    )
    assert {name: (m.scorer, m.is_open) for name, m in found.items()} == {
        "a/sums": ("numeric", False),
        "a/labels": ("classification", False),
        "a/names": ("exact", False),
        "a/talk": ("rouge", True),
        "a/rules": ("constraints", False),
    }
    taxonomy = Taxonomy.from_tree({"a": {"names": {"closed_labels": ["Tokyo", "巴黎"]}}}, "")
    pairs = examples("a/names", [("capital of Japan", "Tokyo"), ("法国首都", "巴黎")])
    assert measures(pairs, taxonomy)["a/names"].scorer == "classification"


def test_right_is_what_the_scorer_says():
    [sums] = measures(pairs := examples("a/sums", [("1+1", "2")])).values()
    assert sums.is_right("It is 2.", pairs[0])
    assert not sums.is_right("It is 3.", pairs[0])
    [rules] = measures(
        pairs := examples(
            "a/r", [("x", "{}")], {"expectations": [{"kind": "contains", "value": "炉"}]}
        )
    ).values()
    assert rules.is_right("丹炉", pairs[0])
    assert not rules.is_right("丹", pairs[0])


def test_free_words_must_be_alike_and_hold_the_same_numbers():
    pairs = examples("a/t", [("20 - 5?", "20 minus 5 is 15, as you see.")])
    [free] = measures(pairs).values()
    assert free.is_open
    assert free.is_right("20 minus 5 is 15, I see.", pairs[0])
    assert not free.is_right("20 minus 5 is 2, as you see.", pairs[0])
    assert not free.is_right("Give 5 of these 20 bananas to 15 people.", pairs[0])

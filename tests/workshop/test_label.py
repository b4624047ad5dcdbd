"""Task types are proposed with a confidence, and the doubtful are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from danlu.errors import StoreError
from danlu.records import Record
from danlu.workshop.likeness.neighbours import Index
from danlu.workshop.operations.label import Label
from danlu.workshop.store.store import Store
from danlu.workshop.taxonomy import Taxonomy
from tests.workshop.making import chat, version_of

TAXONOMY = Taxonomy.from_tree(
    {
        "math": {"sums": {"keywords": ["加法", "sum"], "patterns": [r"\d+ ?\+ ?\d+"]}},
        "code": {"c": {"keywords": ["C"]}, "python": {"keywords": ["Python"]}},
        "writing": {"poem": None},
    },
    "test",
)
POEMS = [
    chat("p1", "写一首关于秋天的诗", "x", "writing/poem"),
    chat("p2", "写一首关于铁的诗", "x", "writing/poem"),
    chat("p3", "Write a poem about iron.", "x", "writing/poem"),
    chat("p4", "Write a short poem about fire.", "x", "writing/poem"),
]
SUMS = [
    chat("s1", "计算两个数的差", "x", "math/sums"),
    chat("s2", "What is five times six?", "x", "math/sums"),
]


def labelled(tmp_path: Path, operation: Label, *records: Record) -> dict[str, tuple[str, str, str]]:
    store = Store(tmp_path / "sets")
    made = store.apply(operation, version_of(store, tmp_path, *records))
    types = {record.id: record.task_type for record in made.records()}
    return {entry.id: (types[entry.id], entry.rule, entry.detail) for entry in made.ledger()}


def ask(id_: str, prompt: str) -> Record:
    return chat(id_, prompt, "x", "unlabelled/x")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("加法怎么做", "math/sums"),
        ("The SUM of these", "math/sums"),
        ("Please summarise this", None),
        ("What is 3+4?", "math/sums"),
        ("用C写一个排序", "code/c"),
        ("用Python写", "code/python"),
        ("Can I?", None),
        ("C and Python", None),  # half each: 0.5
    ],
)
def test_rules(tmp_path: Path, prompt: str, expected: str | None) -> None:
    found = labelled(tmp_path, Label(TAXONOMY, ("rules",)), ask("1", prompt))
    assert found["1"][:2] == (
        (expected, "label by rule") if expected else ("unlabelled/x", "label doubtful")
    )


def test_rules_that_contradict_each_other_are_doubtful(tmp_path: Path) -> None:
    found = labelled(tmp_path, Label(TAXONOMY, ("rules",), limit=0.51), ask("1", "C or Python?"))
    assert found["1"] == ("unlabelled/x", "label doubtful", "perhaps code/c")


def test_neighbours(tmp_path: Path) -> None:
    new = [
        ask("1", "请写一首关于冬天的诗"),
        ask("2", "Write a poem about water, please."),
        ask("3", "計算兩個數的差"),  # in traditional characters
        ask("4", "黑洞"),
    ]
    operation = Label(TAXONOMY)
    found = labelled(tmp_path, operation, *POEMS, *SUMS, *new)
    assert found["1"][:2] == ("writing/poem", "label by neighbours")
    assert found["2"][:2] == ("writing/poem", "label by neighbours")
    assert found["3"][:2] == ("math/sums", "label by neighbours")
    assert found["4"] == ("unlabelled/x", "label doubtful", "nothing is like it")
    assert found["p1"] == ("writing/poem", "", "")
    assert operation.trial.records == 6
    assert operation.trial.right >= 3


def test_a_stricter_limit_takes_less(tmp_path: Path) -> None:
    new = ask("1", "请写一首关于冬天的诗")
    strict = labelled(tmp_path, Label(TAXONOMY, limit=0.99), *POEMS, *SUMS, new)
    assert strict["1"] == ("unlabelled/x", "label doubtful", "perhaps writing/poem")


def test_types_that_the_taxonomy_lacks_are_not_proposed(tmp_path: Path) -> None:
    other = [chat("o", "黑洞是什么", "x", "old/type"), *POEMS]
    found = labelled(tmp_path, Label(TAXONOMY), *other, ask("1", "黑洞是什么"))
    assert found["1"][0] == "unlabelled/x"


def test_nothing_to_go_by_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no record is labelled"):
        labelled(tmp_path, Label(None), ask("1", "x"))


@pytest.mark.parametrize("settings", [{"limit": 0.0}, {"limit": 1.5}, {"neighbours": 0}])
def test_settings_out_of_range(settings) -> None:
    with pytest.raises(StoreError, match="must be"):
        Label(**settings)


def test_similarities_are_cosines() -> None:
    texts = ["one two three", "two three four", "写一首诗", ""]
    index = Index(texts)
    own = np.array([index.similarities(text)[k] for k, text in enumerate(texts)])
    np.testing.assert_allclose(own, [1, 1, 1, 0], atol=1e-6)
    assert index.similarities("nothing of it").tolist() == [0, 0, 0, 0]
    one = index.similarities("three")
    assert one[0] == one[1] > 0 == one[2]

"""The taxonomy is strict, and says where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from danlu.errors import StoreError
from danlu.workshop.taxonomy import Skill, Taxonomy

TEXT = """
reasoning:
  arithmetic:
    description: Sums.
    difficulty: easy
    keywords: [sum, 加法]
    patterns: ['\\d+ \\+ \\d+']
  proofs:
客服:
  意图:
    closed_labels: [账单, 物流]
  other: All else.
"""


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "types.yaml"
    path.write_text(TEXT, "utf-8")
    taxonomy = Taxonomy.load(path)
    assert taxonomy.skills == {
        "reasoning/arithmetic": Skill(
            "reasoning/arithmetic", "Sums.", (), "easy", ("sum", "加法"), (r"\d+ \+ \d+",)
        ),
        "reasoning/proofs": Skill("reasoning/proofs"),
        "客服/意图": Skill("客服/意图", closed_labels=("账单", "物流")),
        "客服/other": Skill("客服/other", "All else."),
    }
    assert taxonomy.closed() == {"客服/意图"}
    assert Taxonomy.from_tree(taxonomy.settings(), "again") == taxonomy


@pytest.mark.parametrize(
    ("task_type", "hint"),
    [
        ("reasoning/aritmetic", " Did you mean 'reasoning/arithmetic'?"),
        ("maths/arithmetics", " Did you mean 'reasoning/arithmetic'?"),
        ("x/y", " Allowed: a/b, reasoning/arithmetic."),
    ],
)
def test_hints(task_type: str, hint: str) -> None:
    tree = {"a": {"b": None}, "reasoning": {"arithmetic": None}}
    assert Taxonomy.from_tree(tree, "x").hint(task_type) == hint


@pytest.mark.parametrize(
    ("tree", "where", "reason"),
    [
        ([], "t", "areas, each with its skills"),
        ({"a": []}, "t: a", "an area holds skills"),
        ({"a": {"b": 3}}, "t: a/b", "a description, or keys"),
        ({"a": {"b/c": None}}, "t: a/b/c", "two levels"),
        ({"a": {"b": {"descripton": "x"}}}, "t: a/b", "Did you mean 'description'"),
        ({"a": {"b": {"difficulty": "mean"}}}, "t: a/b", "easy, medium, hard"),
        ({"a": {"b": {"description": 3}}}, "t: a/b", "must be text"),
        ({"a": {"b": {"closed_labels": "x"}}}, "t: a/b", "must be a list of texts"),
        ({"a": {"b": {"closed_labels": ["x", 3]}}}, "t: a/b", "must be a list of texts"),
        ({"a": {"b": {"patterns": ["("]}}}, "t: a/b", "is broken"),
    ],
)
def test_what_is_wrong_is_named(tree: Any, where: str, reason: str) -> None:
    with pytest.raises(StoreError, match=reason) as caught:
        Taxonomy.from_tree(tree, "t")
    assert caught.value.where == where


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such taxonomy"):
        Taxonomy.load(tmp_path / "x.yaml")
    path = tmp_path / "twice.yaml"
    path.write_text("a:\n  b:\na:\n  c:\n")
    with pytest.raises(StoreError) as caught:
        Taxonomy.load(path)
    assert str(path) in str(caught.value.where)

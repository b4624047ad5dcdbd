"""YAML: YAML 1.2's scalars, lines for messages, and nothing set twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.config.strict_yaml import read_value, read_yaml, readable, write_yaml
from danlu.errors import RecipeError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]))
    | st.sampled_from(["no", "null", "~", "2e-4", "012", "1:30", "2024-01-01", "<<", "", "=", ".5"])
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc丹", min_size=1), inner)
)


@given(TREES)
def test_what_is_written_is_read_back(tree: Any) -> None:
    assert read_yaml(write_yaml(tree), "x").value == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-3", -3),
        ("012", 12),
        ("true", True),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("data/*.jsonl", "data/*.jsonl"),
        ("Why: because", "Why: because"),
        ("# not a comment", "# not a comment"),
        ("[a, 1]", ["a", 1]),
        ("{prompt: question}", {"prompt": "question"}),
        ('"2e-4"', "2e-4"),
    ],
)
def test_override_values(text: str, value: Any) -> None:
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


def test_file_scalars_are_those_of_overrides() -> None:
    text = "a: 2e-4\nb: no\nc: 12:30\nd: 012\ne:\n"
    expected = {"a": 2e-4, "b": "no", "c": "12:30", "d": 12, "e": None}
    assert read_yaml(text, "x").value == expected


def test_lines() -> None:
    lines = read_yaml("a:\n  b:\n  - c: 1\n  - 2\n", "x").lines
    assert lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 3,
        ("a", "b", 0, "c"): 3,
        ("a", "b", 1): 4,
    }


def test_key_set_twice() -> None:
    with pytest.raises(RecipeError, match=r"^x:3: a\.b is set twice, first in line 2\."):
        read_yaml("a:\n  b: 1\n  b: 2\n", "x")


@pytest.mark.parametrize(
    "text", ["a: [1\n", "a:\n\tb: 1\n", "- 1\n---\n- 2\n", "a: \x00", "a: *b\n", "? [1]\n: 2\n"]
)
def test_broken_yaml_names_the_file(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^my\.yaml(:\d+)?: This is not YAML"):
        read_yaml(text, "my.yaml")


def test_aliases_and_even_loops_end() -> None:
    assert read_yaml("a: &x [1]\nb: *x\n", "x").value == {"a": [1], "b": [1]}
    assert read_yaml("a: &x [*x]\n", "x").lines == {("a",): 1, ("a", 0): 1}


def test_readable() -> None:
    assert readable(("data", "train", 0, "path")) == "data.train[0].path"

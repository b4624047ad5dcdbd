"""Which rules a tag vetoes."""

from __future__ import annotations

import pytest

from danlu.workshop.store.decision import drop
from danlu.workshop.veto import after_veto
from tests.workshop.making import chat


@pytest.mark.parametrize(
    ("rule", "fate"),
    [
        ("near duplicate", "kept"),
        ("novelty", "kept"),
        ("typo", "kept"),
        ("language", "kept"),
        ("language.stray_script", "kept"),
        ("punctuation.mixed_width", "kept"),
        ("exact duplicate", "dropped"),
        ("structure.empty_turn", "dropped"),
        ("languages", "dropped"),
        ("by hand", "dropped"),
        ("", "dropped"),
    ],
)
def test_robustness(rule: str, fate: str) -> None:
    record = chat("1", "helo", "x", "a/b", "other", "robustness")
    assert after_veto(drop(record, rule, 1, 2), record).entry.fate == fate
    plain = chat("1", "helo", "x", "a/b", "other")
    assert after_veto(drop(plain, rule, 1, 2), plain).entry.fate == "dropped"

"""Tokens per task type are those of the prepared data."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.config.recipe import SequencesSection
from danlu.records import Message, Record, Response
from danlu.sequences import ChatTemplate, explain_rows
from danlu.sequences.prepare import prepare
from danlu.workshop import token_counts as module
from danlu.workshop.token_counts import TypeTokens, token_counts


def talk(id_: str, task_type: str, *said: str) -> Record:
    roles = ("user", "assistant") * len(said)
    messages = tuple(Message(role, text) for role, text in zip(roles, said, strict=False))
    return Record(id_, task_type, messages)


RECORDS = [
    talk("a", "qa/short", "Hi", "Yes"),
    talk("b", "qa/short", "Hi", "No", "Why?", "So."),
    talk("c", "qa/long", "Hi", "word " * 100),
    Record(
        "p", "qa/pairs", (Message("user", "Hi"),), responses=(Response("Yes", 1), Response("No", 2))
    ),
]


@pytest.mark.parametrize("at_a_time", [2, 1000])
def test_counts_are_those_of_the_branches(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    """What turns share counts once; each answer of a pair is trained; what is too long is told."""
    monkeypatch.setattr(module, "RECORDS_AT_A_TIME", at_a_time)
    template = ChatTemplate.load(tiny_tokenizer)
    settings = SequencesSection(max_length=120, overlong="error", weighting="turn")
    found = token_counts(iter(RECORDS), tiny_tokenizer, template, settings)
    rows = []
    for record in RECORDS[:2]:
        one = prepare([record], tiny_tokenizer, template, settings)
        rows += explain_rows(one, [record], tiny_tokenizer, template, settings)
    alone, first, second = (row["input_ids"] for row in rows)
    assert second[: len(first) - 1] == first[:-1]  # the second turn goes on where the first ends
    shared = next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), len(first)
    )
    trained = sum(weight > 0 for row in rows for weight in row["weights"])
    own = found["qa/short"]
    assert own.tokens == len(alone) + len(first) + len(second) - shared
    assert (own.records, own.left_out, own.trained) == (2, 0, trained)
    assert own.loss == pytest.approx(3)  # three turns of weight 1
    assert found["qa/long"] == TypeTokens(left_out=1)
    assert found["qa/pairs"].records == 1
    assert list(found) == ["qa/long", "qa/pairs", "qa/short"]


def test_task_types_that_are_weighed_alike_have_the_same_part(tiny_tokenizer: Any) -> None:
    settings = SequencesSection(weighting="task_type")
    template = ChatTemplate.load(tiny_tokenizer)
    records = [*RECORDS[:3], Record("t", "qa/none", (Message("user", "Hi"),))]
    found = token_counts(records, tiny_tokenizer, template, settings)
    assert {name: one.loss for name, one in found.items()} == {
        "qa/long": 1.0,
        "qa/none": 0.0,
        "qa/short": 1.0,
    }

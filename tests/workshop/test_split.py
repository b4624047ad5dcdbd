"""Parts that share no prompt and no conversation, with each task type's share."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.records import Message, Record
from danlu.workshop.operations.split import draw, groups_of, split
from danlu.workshop.store.store import Store
from tests.workshop.making import chat, version_of


def test_each_task_type_gives_its_share() -> None:
    records = [chat(f"a{n}", f"prompt {n}", "x", "a/a") for n in range(100)]
    records += [chat(f"b{n}", f"question {n}", "x", "b/b") for n in range(10)]
    records += [chat("c1", "alone", "x", "c/c")]
    parts = draw(records, 0.1, 0)
    held = Counter(record.task_type for record in records if parts[record.id] == "eval")
    assert held == {"a/a": 10, "b/b": 1}
    assert draw(records, 0.1, 0) == parts != draw(records, 0.1, 1)
    more = draw([*records, chat("new", "new", "x", "a/a")], 0.1, 0)
    assert sum(more[name] != part for name, part in parts.items()) <= 2


def sides(records: list[Record], share: float = 0.5) -> list[set[str]]:
    """For several seeds, the ids that are held out."""
    drawn = [draw(records, share, seed) for seed in range(20)]
    return [{name for name, part in one.items() if part == "eval"} for one in drawn]


FAR = [chat(f"f{n}", f"something else {n}", "y") for n in range(6)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (chat("1", "What  IS it?"), chat("2", "what is it?", "other")),
        (chat("1", "电脑"), chat("2", "電腦", "other")),
        (
            replace(chat("1", "a"), meta={"conversation_id": 7}),
            replace(chat("2", "b"), meta={"conversation_id": "7"}),
        ),
        (chat("row#1", "a"), chat("row#2", "b")),
        (
            chat("1", "first", "answer"),
            Record(
                "2",
                "a/b",
                (
                    *chat("", "first", "answer").messages,
                    Message("user", "then?"),
                    Message("assistant", "so"),
                ),
            ),
        ),
    ],
    ids=["wording", "traditional", "conversation", "row", "turns"],
)
def test_what_belongs_together_stays_together(one: Record, other: Record) -> None:
    together = [{one.id, other.id} & held for held in sides([one, *FAR, other])]
    assert all(len(held) in (0, 2) for held in together)
    assert any(together)
    assert not all(together)


def test_a_greeting_does_not_make_one_conversation_of_all() -> None:
    first = (Message("user", "Hi"), Message("assistant", "Hello! How can I help?"))
    records = [
        Record(str(n), "a/b", (*first, Message("user", f"{n}?"), Message("assistant", f"{n}!")))
        for n in range(10)
    ]
    assert all(len(held) == 5 for held in sides(records))


def test_near_groups_are_a_seam() -> None:
    records = [chat(str(n), f"prompt {n}") for n in range(10)]

    def by_parity(texts):
        return [int(text.split()[1]) % 2 for text in texts]

    parts = draw(records, 0.5, 0, by_parity)
    assert len({parts[str(n)] for n in range(0, 10, 2)}) == 1
    assert parts["0"] != parts["1"]


def test_nearly_the_same_prompt_stays_on_one_side() -> None:
    """Two texts of about 40 characters that end otherwise share 37 of 39 triples: 0.95."""
    asked = "请把下面这句话翻译成英文，并且保持原来的语气不变：今天天气很好，我们出去走走吧"
    near = [chat(f"n{n}", asked + mark) for n, mark in enumerate("。！？…")]
    far = [chat(f"f{n}", f"{n} {'xyzuvw'[n] * 20} {n}") for n in range(4)]
    for seed in range(6):
        parts = draw([*near, *far], 0.5, seed, groups_of(0.9))
        assert len({parts[record.id] for record in near}) == 1
    apart = [draw([*near, *far], 0.5, seed, groups_of(1)) for seed in range(6)]
    assert any(len({parts[record.id] for record in near}) == 2 for parts in apart)


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from(["a/a", "b/b"])), min_size=1, max_size=40
    ),
    st.floats(0.05, 0.9),
    st.integers(0, 3),
)
def test_no_prompt_is_on_both_sides(pairs: list[tuple[int, str]], share: float, seed: int) -> None:
    records = [chat(str(k), f"p{prompt}", "x", kind) for k, (prompt, kind) in enumerate(pairs)]
    parts = draw(records, share, seed)
    assert list(parts) == [record.id for record in records]
    by_prompt: dict[str, set[str]] = {}
    for record in records:
        by_prompt.setdefault(record.messages[0].content or "", set()).add(parts[record.id])
    assert all(len(found) == 1 for found in by_prompt.values())
    total = Counter(record.task_type for record in records)
    held = Counter(record.task_type for record in records if parts[record.id] == "eval")
    assert all(held[name] <= max(round(share * total[name]), 1) for name in total)


def test_two_versions_of_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "sets")
    version = version_of(store, tmp_path, *[chat(str(n), f"prompt {n}") for n in range(20)])
    train, held = split(store, version, share=0.25, name="mine")
    assert (len(train), len(held)) == (15, 5)
    assert {record.id for record in train.records()}.isdisjoint(r.id for r in held.records())
    assert store.find("mine-train").id == train.id
    assert store.find("mine-eval").id == held.id
    assert Counter(entry.rule for entry in held.ledger()) == {"other part": 15, "": 5}
    again = split(store, version, share=0.25)
    assert (again.train.is_new, again.eval.is_new) == (False, False)

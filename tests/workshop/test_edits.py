"""Edits by hand, and the choice of records that they work on."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.errors import RecordError, StoreError
from danlu.workshop.operations.choice import Choice, drawn
from danlu.workshop.operations.edits import Drop, Retype, Revise, Tag
from danlu.workshop.store.store import Store
from tests.workshop.making import chat, version_of

RECORDS = (
    chat("1", "Hi", "Hello", "math/sums"),
    chat("2", "電腦", "ok", "math/proofs", "draft"),
    chat("3", "longer prompt", "an answer", "code/python", "draft", "seen"),
)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), "123"),
        (Choice(ids=("2", "9")), "2"),
        (Choice(task_types=("math/*",)), "12"),
        (Choice(task_types=("code/python", "math/sums")), "13"),
        (Choice(tags=("draft",)), "23"),
        (Choice(tags=("draft", "seen")), "3"),
        (Choice(text="电脑"), "2"),
        (Choice(text="AN  answer"), "3"),
        (Choice(min_characters=7), "13"),
        (Choice(max_characters=7), "12"),
        (Choice(task_types=("math/*",), text="hello", max_characters=7), "1"),
    ],
)
def test_choice(choice: Choice, expected: str) -> None:
    assert "".join(record.id for record in RECORDS if choice.fits(record)) == expected


def test_a_draw_hardly_changes_with_other_records() -> None:
    records = [chat(str(number)) for number in range(100)]
    first = drawn(records, 10, 0)
    assert [int(one.id) for one in first] == sorted(int(one.id) for one in first)
    again = drawn([*records[50:], chat("more"), *records[:50]], 10, 0)
    assert len({one.id for one in first} & {one.id for one in again}) >= 9
    assert drawn(records, 200, 0) == records
    assert drawn(records, 10, 1) != first


def test_drop_tag_and_retype(tmp_path: Path) -> None:
    store = Store(tmp_path / "sets")
    version = version_of(store, tmp_path, *RECORDS)
    dropped = store.apply(Drop(Choice(ids=("1",)), "greeting"), version)
    assert [record.id for record in dropped.records()] == ["2", "3"]
    entry = next(dropped.ledger())
    assert (entry.fate, entry.rule, entry.detail) == ("dropped", "by hand", "greeting")
    tagged = store.apply(Tag(Choice(tags=("draft",)), ("new",), ("draft",)), version)
    assert [record.tags for record in tagged.records()] == [(), ("new",), ("seen", "new")]
    assert [entry.fate for entry in tagged.ledger()] == ["kept", "edited", "edited"]
    retyped = store.apply(Retype(Choice(task_types=("math/*",)), "math/sums"), version)
    told = [(entry.fate, entry.task_type, entry.value) for entry in retyped.ledger()]
    assert told[:2] == [("kept", "math/sums", None), ("edited", "math/sums", "math/proofs")]


@pytest.mark.parametrize(
    "operation",
    [
        Drop(Choice(task_types=("math",))),
        Tag(Choice(tags=("seen",)), ("seen",)),
        Retype(Choice(ids=("1",)), "math/sums"),
    ],
)
def test_an_edit_that_changes_nothing_is_an_error(operation, tmp_path: Path) -> None:
    store = Store(tmp_path / "sets")
    version = version_of(store, tmp_path, *RECORDS)
    with pytest.raises(StoreError, match="no record is chosen"):
        store.apply(operation, version)
    assert len(store.versions()) == 1


def test_a_task_type_has_two_levels() -> None:
    with pytest.raises(RecordError, match="two levels"):
        Retype(Choice(ids=("1",)), "math")


def test_revise_gives_one_record_other_texts(tmp_path: Path) -> None:
    store = Store(tmp_path / "sets")
    version = version_of(store, tmp_path, *RECORDS)
    revised = store.apply(Revise("2", ((2, "好"),), reason="plain"), version)
    texts = [[message.content for message in record.messages] for record in revised.records()]
    assert texts == [["Hi", "Hello"], ["電腦", "好"], ["longer prompt", "an answer"]]
    fates = [(entry.fate, entry.rule, entry.detail) for entry in revised.ledger()]
    assert fates == [("kept", "", ""), ("edited", "by hand", "plain"), ("kept", "", "")]


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        (Revise("2", ((3, "x"),)), "there are 2 messages, and no number 3"),
        (Revise("2", ((0, "x"),)), "no number 0"),
        (Revise("2", answers=((1, "x"),)), "there are 0 answers"),
        (Revise("2", ((2, "ok"),)), "nothing is changed"),
        (Revise("9", ((2, "x"),)), "nothing is changed"),
    ],
)
def test_a_revision_of_nothing_is_refused(tmp_path: Path, operation: Revise, says: str) -> None:
    store = Store(tmp_path / "sets")
    version = version_of(store, tmp_path, *RECORDS)
    with pytest.raises(StoreError, match=says):
        store.apply(operation, version)
    assert len(store.versions()) == 1

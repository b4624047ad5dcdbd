"""Versions: content-addressed, whole or not there, and told of in a ledger."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.errors import RecordError, StoreError
from danlu.records import Message, Record
from danlu.records.lines import encode_record
from danlu.workshop.store.decision import Decision, Entry, drop, edit, keep, make
from danlu.workshop.store.manifest import FileFormat
from danlu.workshop.store.store import Material, Store
from danlu.workshop.store.watch import OperationFaultError
from tests.records.test_lines import RECORDS
from tests.workshop.making import Doing, chat, version_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "datasets")


def test_records_ledger_and_counts(store: Store, tmp_path: Path) -> None:
    parent = version_of(store, tmp_path, chat("1"), chat("2", "你好", "好"), chat("3"))
    new = chat("4", "Ho", "ho", "a/c")

    def work(records: Iterable[Record]) -> Iterator[Decision]:
        first, second, third = records
        yield keep(first)
        yield drop(second, "exact duplicate", 3, 2, partner="1", detail="again")
        yield edit(replace(third, task_type="c/d"), "retype", "a/b")
        yield make(new, "evolve", partner="1")

    made = store.apply(Doing(work), parent, name="second")
    assert made.is_new
    assert [record.id for record in made.records()] == ["1", "3", "4"]
    assert list(made.records())[2] == new
    assert list(made.ledger()) == [
        Entry("1", "a/b", "kept"),
        Entry("2", "a/b", "dropped", "exact duplicate", 3, 2, "1", "again"),
        Entry("3", "c/d", "edited", "retype", "a/b"),
        Entry("4", "a/c", "made", "evolve", partner="1"),
    ]
    manifest = made.manifest
    assert (manifest.records, manifest.characters, len(made)) == (3, 7 + 7 + 4, 3)
    assert manifest.fates() == {"kept": 1, "dropped": 1, "edited": 1, "made": 1}
    counts = {name: (one.records, one.fates) for name, one in manifest.task_types.items()}
    assert counts == {
        "a/b": (1, {"kept": 1, "dropped": 1}),
        "a/c": (1, {"made": 1}),
        "c/d": (1, {"edited": 1}),
    }
    assert manifest.parents[0].id == parent.id
    assert manifest.bytes == made.records_path.stat().st_size
    assert store.find("second").id == made.id


@settings(max_examples=12)
@given(records=st.lists(RECORDS, max_size=4, unique_by=lambda record: record.id))
@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_any_record_comes_back_as_it_was(
    file_format: FileFormat, records: list[Record], tmp_path_factory: pytest.TempPathFactory
) -> None:
    material = Material(lambda _: iter(records), None, ["x"], file_format=file_format)
    made = Store(tmp_path_factory.mktemp("sets")).make(Doing(keep_all), material)
    assert list(made.records()) == records
    lines = b"".join(encode_record(record) for record in records)
    assert made.manifest.content == hashlib.blake2b(lines, digest_size=16).hexdigest()
    assert made.manifest.characters == sum(
        len(text or "")
        for record in records
        for text in (
            *(message.content for message in record.messages),
            *(response.content for response in record.responses),
        )
    )


def test_the_same_costs_nothing_the_second_time(store: Store, tmp_path: Path) -> None:
    parent = version_of(store, tmp_path, chat("1"))
    calls: list[int] = []

    def work(records: Iterable[Record]) -> Iterator[Decision]:
        calls.append(1)
        yield from map(keep, records)

    first = store.apply(Doing(work), parent)
    again = store.apply(Doing(work), parent, name="again")
    assert (first.is_new, again.is_new, first.id, len(calls)) == (True, False, again.id, 1)
    other = store.apply(Doing(work, setting=2), parent)
    assert other.id != first.id
    assert other.manifest.content == first.manifest.content == parent.manifest.content


def test_what_the_id_depends_on(store: Store, tmp_path: Path) -> None:
    class Newer(Doing):
        revision = 2

    parent = version_of(store, tmp_path, chat("1"))
    other = version_of(store, tmp_path, chat("2"))
    ids = {
        store.apply(operation, one).id
        for one in (parent, other)
        for operation in (Doing(keep_all), Doing(keep_all, 1), Doing(keep_all, "1"))
    }
    ids.add(store.apply(Newer(keep_all), parent).id)
    assert len(ids) == 7
    elsewhere = Store(tmp_path / "elsewhere")
    same = version_of(elsewhere, tmp_path, chat("2"))
    assert same.id == other.id
    assert elsewhere.apply(Doing(keep_all), same).id in ids


def keep_all(records: Iterable[Record]) -> Iterator[Decision]:
    return map(keep, records)


def passes_over(records: Iterable[Record]) -> Iterator[Decision]:
    return map(keep, list(records)[1:])


def twice(records: Iterable[Record]) -> Iterator[Decision]:
    for record in records:
        yield keep(record)
        yield keep(record)


def stops_early(records: Iterable[Record]) -> Iterator[Decision]:
    yield keep(next(iter(records)))


def invents(records: Iterable[Record]) -> Iterator[Decision]:
    yield from map(keep, records)
    yield edit(chat("9"), "x")


def makes_again(records: Iterable[Record]) -> Iterator[Decision]:
    yield from map(keep, records)
    yield make(chat("1"), "x")


def contradicts(records: Iterable[Record]) -> Iterator[Decision]:
    for record in records:
        yield keep(record)._replace(record=replace(record, task_type="z/z"))


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (passes_over, "says nothing of 1 records"),
        (twice, "decides twice about '1'"),
        (stops_early, "stopped reading after 1 records"),
        (invents, "decides twice about '9', or it was never given"),
        (makes_again, "makes '1', which is there already"),
        (contradicts, "says 1"),
    ],
)
def test_a_faulty_operation_leaves_nothing(
    store: Store, tmp_path: Path, work: Any, reason: str
) -> None:
    parent = version_of(store, tmp_path, chat("1"), chat("2"))
    with pytest.raises(OperationFaultError, match=reason):
        store.apply(Doing(work), parent)
    assert [version.id for version in store.versions()] == [parent.id]
    assert os.listdir(store.path / "versions") == [parent.id]


def test_records_may_be_gone_through_twice(store: Store, tmp_path: Path) -> None:
    def work(records: Iterable[Record]) -> Iterator[Decision]:
        peeked = next(iter(records)).id
        longest = max(len(record.messages[0].content or "") for record in records)
        for record in records:
            yield (
                drop(record, peeked)
                if len(record.messages[0].content or "") < longest
                else keep(record)
            )

    parent = version_of(store, tmp_path, chat("1", "a"), chat("2", "abc"), chat("3", "ab"))
    assert [record.id for record in store.apply(Doing(work), parent).records()] == ["2"]


def test_a_tag_vetoes_what_cleans_and_not_what_mends(store: Store, tmp_path: Path) -> None:
    robust = chat("1", "helo", "Hello", "a/b", "robustness")

    def work(records: Iterable[Record]) -> Iterator[Decision]:
        one, two, three, four = records
        yield drop(one, "near duplicate", 0.9, 0.8, partner="2")
        yield drop(two, "exact duplicate", partner="1")
        mended = replace(three, messages=(Message("user", "hello"), three.messages[1]))
        yield edit(mended, "typo", "helo", detail="mended")
        yield drop(four, "near duplicate", 0.9, 0.8, partner="2")

    parent = version_of(
        store, tmp_path, robust, replace(robust, id="2"), replace(robust, id="3"), chat("4", "helo")
    )
    made = store.apply(Doing(work), parent)
    assert list(made.records()) == [robust, replace(robust, id="3")]
    told = [(entry.fate, entry.rule, entry.detail) for entry in made.ledger()]
    assert told == [
        ("kept", "near duplicate", "kept by tag robustness"),
        ("dropped", "exact duplicate", ""),
        ("kept", "typo", "mended; kept by tag robustness"),
        ("dropped", "near duplicate", ""),
    ]


def test_leftovers_of_a_killed_command_are_cleared(store: Store, tmp_path: Path) -> None:
    parent = version_of(store, tmp_path, chat("1"))
    left = store.path / "versions" / ".building-v0123456789abcdef"
    left.mkdir()
    (left / "records.jsonl").write_text("half")
    assert [version.id for version in store.versions()] == [parent.id]
    store.apply(Doing(keep_all), parent)
    assert not left.exists()


def test_what_another_command_is_building_is_left_alone(store: Store, tmp_path: Path) -> None:
    parent = version_of(store, tmp_path, chat("1"))
    left = store.path / "versions" / ".building-v0123456789abcdef"
    left.mkdir()
    with store._lock("v0123456789abcdef"):
        Store(store.path).apply(Doing(keep_all), parent)
        assert left.exists()


def test_damage_is_noticed(store: Store, tmp_path: Path) -> None:
    version = version_of(store, tmp_path, chat("1"), chat("2"))
    lines = version.records_path.read_bytes().splitlines(keepends=True)
    version.records_path.write_bytes(lines[0])
    with pytest.raises(StoreError, match="it has 1 records, not 2"):
        list(version.records())
    version.records_path.write_bytes(lines[0] + b"{}\n")
    with pytest.raises(StoreError, match="changed by hand"):
        list(version.records())
    version.records_path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        list(version.records())
    version.ledger_path.write_text('{"id": 1}\n')
    with pytest.raises(StoreError, match="the ledger is broken"):
        list(version.ledger())


def test_a_manifest_of_another_form_is_told(store: Store, tmp_path: Path) -> None:
    version = version_of(store, tmp_path, chat("1"), name="x")
    path = version.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"more": 1}))
    with pytest.raises(StoreError, match="not a valid manifest: more"):
        _ = store.find("x").manifest


def test_names_point_and_pointed(store: Store, tmp_path: Path) -> None:
    first = version_of(store, tmp_path, chat("1"), name="客服")
    second = version_of(store, tmp_path, chat("1"), chat("2"), name="客服")
    assert store.find("客服").id == store.find("客服@2").id == second.id
    assert store.find("客服@1").id == first.id
    assert store.find(f"客服@{first.id[:6]}").id == first.id
    assert store.find(first.id).id == store.find(first.id[:9]).id == first.id
    assert store.names_of(first) == []
    assert store.names_of(second) == ["客服"]
    store.name(first, "客服")
    assert [row.version for row in store.names.history("客服")] == [first.id, second.id, first.id]
    assert store.name(first, "客服") is False


def test_names_given_at_once_are_all_remembered(store: Store, tmp_path: Path) -> None:
    versions = [version_of(store, tmp_path, chat(str(number))) for number in range(6)]

    def give(number: int) -> bool:
        return Store(store.path).name(versions[number % 6], "busy")

    with ThreadPoolExecutor(6) as pool:
        moved = list(pool.map(give, range(60)))
    history = store.names.history("busy")
    assert len(history) == sum(moved) >= 6
    assert {row.version for row in history} == {version.id for version in versions}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("mime", r"there is no dataset 'mime'. Did you mean 'mine'\?"),
        ("zzzz", "There are: mine."),
        ("mine@3", "'mine' has 1 versions, and no number 3"),
        ("mine@0", "no number 0"),
        ("mine@vabc", "no version that begins with 'vabc'"),
        ("../mine", "there is no dataset"),
        ("v000", "there is no dataset"),
    ],
)
def test_what_is_not_found(store: Store, tmp_path: Path, given: str, reason: str) -> None:
    version_of(store, tmp_path, chat("1"), name="mine")
    with pytest.raises(StoreError, match=reason):
        store.find(given)


@pytest.mark.parametrize("name", ["", "a/b", "@x", ".x", "-x", "v12ab", "v0123456789abcdef"])
def test_names_that_could_be_something_else(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"no name for a dataset|looks like the id"):
        version_of(store, tmp_path, chat("1")) and store.name(store.versions()[0], name)


def test_a_store_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="datasets are kept in a folder"):
        Store(tmp_path / "file")


def test_an_empty_version(store: Store, tmp_path: Path) -> None:
    def drop_all(records: Iterable[Record]) -> Iterator[Decision]:
        return (drop(record, "why") for record in records)

    for file_format in ("jsonl", "parquet"):
        material = Material(lambda _: iter([chat("1")]), 1, [file_format], file_format=file_format)
        made = store.make(Doing(drop_all), material)
        assert (list(made.records()), len(made)) == ([], 0)
        again = store.apply(Doing(keep_all), made)
        assert list(again.ledger()) == []


def test_an_empty_store_says_how_to_begin(store: Store) -> None:
    assert store.versions() == []
    with pytest.raises(StoreError, match="danlu data import"):
        store.find("mine")


def test_settings_that_are_no_data_are_a_fault(store: Store, tmp_path: Path) -> None:
    parent = version_of(store, tmp_path, chat("1"))
    with pytest.raises(TypeError, match=r"the setting setting is a \w*Path"):
        store.apply(Doing(keep_all, tmp_path), parent)


def test_an_operation_cannot_write_a_record_that_is_not_whole(store: Store, tmp_path: Path) -> None:
    def work(records: Iterable[Record]) -> Iterator[Decision]:
        for record in records:
            yield edit(replace(record, messages=()), "x")

    parent = version_of(store, tmp_path, chat("1"))
    with pytest.raises(RecordError, match="there is no message"):
        store.apply(Doing(work), parent)

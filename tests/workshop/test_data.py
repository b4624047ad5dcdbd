"""Data by name, by id or by file; and what a recipe's sources stand for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from danlu.config.data_sections import DataSource
from danlu.errors import RecordError, StoreError
from danlu.records import Message, Record, Response, Source, read_records, write_records
from danlu.workshop.data import as_version, named_version, recipe_sources, records_of
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from tests.workshop.making import chat, version_of


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DANLU_DATASETS", str(tmp_path / "sets"))
    return Store()


def test_names_and_files(store: Store, tmp_path: Path) -> None:
    assert store.path == tmp_path / "sets"
    version = version_of(store, tmp_path, chat("1"), name="mine")
    write_records([chat("2"), chat("3")], "other.jsonl")
    for given in ("mine", "mine@1", "version:mine", version.id, version.id[:8]):
        found = named_version(store, given)
        assert found is not None
        assert found.id == version.id
    for given in ("other.jsonl", "./other.jsonl", "*.jsonl", "hub:a/b"):
        assert named_version(store, given) is None
    assert [record.id for record in records_of(store, ["mine", "other.jsonl"])] == ["1", "2", "3"]
    assert [record.id for record in as_version(store, "other.jsonl").records()] == ["2", "3"]


def test_a_name_that_is_also_a_folder(store: Store, tmp_path: Path) -> None:
    version_of(store, tmp_path, chat("1"), name="mine")
    (tmp_path / "mine").mkdir()
    with pytest.raises(StoreError, match=r"Write version:mine or ./mine"):
        named_version(store, "mine")
    assert named_version(store, "./mine") is None
    assert named_version(store, "version:mine") is not None


def test_what_is_neither(store: Store, tmp_path: Path) -> None:
    version_of(store, tmp_path, chat("1"), name="mine")
    with pytest.raises(StoreError, match="Did you mean 'mine'"):
        named_version(store, "mime")
    with pytest.raises(RecordError, match="no such file"):
        list(records_of(store, "mine.jsonl.bak"))


def test_several_become_one(store: Store, tmp_path: Path) -> None:
    first = version_of(store, tmp_path, chat("1"), chat("2"), name="first")
    second = version_of(store, tmp_path, chat("2"), chat("1", "other"), chat("3"), name="second")
    merged = as_version(store, ["first", "second"])
    renamed = f"1@{second.id[:8]}"
    assert [record.id for record in merged.records()] == ["1", "2", renamed, "3"]
    told = [(entry.id, entry.fate, entry.rule, entry.partner) for entry in merged.ledger()]
    assert told == [
        ("1", "kept", "", None),
        ("2", "kept", "", None),
        (f"2@{second.id[:8]}", "dropped", "same record", "2"),
        (renamed, "edited", "same id", None),
        ("3", "kept", "", None),
    ]
    assert [parent.id for parent in merged.manifest.parents] == [first.id, second.id]
    assert as_version(store, ["first", "second"]).is_new is False
    assert as_version(store, ["second", "first"]).id != merged.id


def test_a_recipes_sources(store: Store, tmp_path: Path) -> None:
    version = version_of(store, tmp_path, chat("1"), chat("2"), name="mine")
    given = [DataSource(path="version:mine@1", limit=1), DataSource(path="mine.jsonl")]
    sources, versions = recipe_sources(given)
    assert [one.id for one in versions] == [version.id]
    assert sources[1].path == "mine.jsonl"
    assert [record.id for record in read_records(sources[0])] == ["1"]
    with pytest.raises(StoreError, match="there is no dataset"):
        recipe_sources([DataSource(path="version:mime")])


def test_a_recipe_reads_parquet_as_it_reads_jsonl(store: Store, tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"b":1, "a": 2}'}}
    records = [
        replace(chat("1"), meta={"x": {"y": [1, None]}}, tags=("t",)),
        Record("2", "a/b", (Message("assistant", None, extra={"tool_calls": [call]}),), source="s"),
        Record("3", "a/b", (Message("user", "p"),), responses=(Response("x", 1),), source="s"),
    ]
    write_records(records, "whole.jsonl")
    given = [Source("whole.jsonl", format="danlu")]
    import_files(store, given, name="mine", file_format="parquet")
    [source], _ = recipe_sources([DataSource(path="version:mine")])
    assert source.path.endswith(".parquet")
    assert list(read_records(source)) == records

"""SQL sees every record as it is."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import StoreError
from danlu.records import Message, Record, Source, write_records
from danlu.workshop.operations.choice import Choice
from danlu.workshop.operations.edits import Drop
from danlu.workshop.operations.importing import import_files
from danlu.workshop.sql import as_objects, query
from danlu.workshop.store.manifest import FileFormat
from danlu.workshop.store.store import Store
from danlu.workshop.store.version import Version
from tests.workshop.making import chat

ARGUMENTS = '{"b":1, "a": 12345678901234567890123, "t": "\\u4f60 \\"q\\""}'


def calling(id_: str, arguments: Any) -> Record:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = (
        Message("user", "时间？"),
        Message("assistant", None, extra={"tool_calls": [call]}),
        Message("tool", "{}"),
    )
    return Record(id_, "工具/调用", messages, meta={"n": 2**70}, source="it's")


@pytest.fixture(params=["jsonl", "parquet"])
def version(request: pytest.FixtureRequest, tmp_path: Path) -> Version:
    file_format: FileFormat = request.param
    records = [chat("1", "Hi", "Hello"), chat("2"), calling("3", ARGUMENTS), calling("4", {"x": 1})]
    path = tmp_path / "a'b.jsonl"
    write_records(records, path)
    store = Store(tmp_path / "it's a store")
    whole = import_files(store, [Source(str(path), format="danlu")], file_format=file_format)
    return store.apply(Drop(Choice(ids=("2",)), "why"), whole)


def test_records(version: Version) -> None:
    found = query(version, "SELECT id, task_type, turns, prompt, answer FROM records ORDER BY id")
    assert found.columns == ["id", "task_type", "turns", "prompt", "answer"]
    assert found.rows == [
        ("1", "a/b", 1, "Hi", "Hello"),
        ("3", "工具/调用", 1, "时间？", None),
        ("4", "工具/调用", 1, "时间？", None),
    ]


def test_tool_arguments_are_theirs_alone(version: Version) -> None:
    path = "$[1].tool_calls[0].function.arguments"
    found = query(version, f"SELECT messages ->> '{path}', meta FROM records WHERE id > '2'")
    assert sorted(row[0] for row in found.rows) == sorted([ARGUMENTS, '{"x":1}'])
    assert {json.loads(row[1])["n"] for row in found.rows} == {2**70}


def test_ledger(version: Version) -> None:
    sql = """SELECT fate, rule, detail, count(*) AS n, any_value("limit") AS l, sum(number) AS s
             FROM ledger GROUP BY ALL ORDER BY n"""
    dropped, kept = as_objects(query(version, sql))
    none = {"l": None, "s": None}
    assert dropped == {"fate": "dropped", "rule": "by hand", "detail": "why", "n": 1, **none}
    assert (kept["fate"], kept["n"]) == ("kept", 3)


@pytest.mark.parametrize(
    "sql", ["SELECT x FROM records", "SELEC", "SELECT CAST(id AS INT) / 0 FROM x"]
)
def test_what_duckdb_refuses_is_told(version: Version, sql: str) -> None:
    with pytest.raises(StoreError, match="Error") as caught:
        query(version, sql)
    assert caught.value.where == "SQL"


def test_a_fault_while_rows_are_fetched(version: Version) -> None:
    with pytest.raises(StoreError, match="Conversion Error"):
        query(version, "SELECT CAST(source AS INT) FROM records")


def test_without_duckdb(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "duckdb":
            raise ImportError
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(StoreError, match=r"pip install 'danlu\[sql\]'"):
        query(version, "SELECT 1")

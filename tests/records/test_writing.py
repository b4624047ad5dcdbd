from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from danlu.errors import RecordError
from danlu.records import Message, Record, Response, Source, read_records, write_records
from danlu.records.formats.messages import TAKEN_NAMES

# A shared machine or a slow disk is no fault: no deadline, and no check of how fast examples come.
patient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

names = st.text(min_size=1, max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
calls = st.builds(
    lambda rest, function: {"type": "function", **rest, "function": function},
    st.sampled_from([{}, {"id": "call_1"}]),
    st.fixed_dictionaries({"name": names, "arguments": st.text()}),
)
extras = st.dictionaries(
    names.filter(lambda name: name not in TAKEN_NAMES | {"tool_calls"}),
    json_values.filter(lambda value: value is not None),
    max_size=2,
)
weights = st.sampled_from([1.0, 1.0, 0.0, 0.5, 3.25])
spoken = st.builds(Message, names, st.text(), weights, extras)
calling = st.builds(
    lambda content, weight, extra, made: Message(
        "assistant", content, weight, {**extra, "tool_calls": made}
    ),
    st.none() | st.text(),
    weights,
    extras,
    st.lists(calls, min_size=1, max_size=2),
)
responses = st.builds(
    Response,
    st.text(),
    st.none() | st.integers(1, 9),
    st.none() | numbers,
    st.none() | st.booleans(),
)
levels = st.text(min_size=1, max_size=5).filter(lambda level: level.strip() and "/" not in level)
tools = st.dictionaries(st.just("type") | names, json_values, min_size=1).map(
    lambda tool: {"type": "function", **tool}
)
records = st.builds(
    Record,
    id=names,
    task_type=st.builds("{}/{}".format, levels, levels),
    messages=st.lists(spoken | calling, min_size=1, max_size=4).map(tuple),
    tools=st.lists(tools, max_size=2).map(tuple),
    responses=st.lists(responses, max_size=3).map(tuple),
    tags=st.lists(st.text(), max_size=2).map(tuple),
    source=st.text(),
    meta=st.dictionaries(st.text(), json_values, max_size=3),
)


@patient
@given(
    given_records=st.lists(records, min_size=1, max_size=4, unique_by=lambda record: record.id),
    name=st.sampled_from(["a.jsonl", "a.jsonl.gz"]),
    named=st.booleans(),
)
def test_what_is_written_reads_back_equal(
    given_records: list[Record], name: str, named: bool
) -> None:
    """Also by content alone: Danlu's own format is recognised as such."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        assert write_records(given_records, path) == len(given_records)
        source = Source(str(path), format="danlu" if named else "auto")
        assert list(read_records(source)) == given_records


RECORD = Record("1", "a/b", (Message("user", "你好"),), source="x.csv")


def test_what_a_file_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    turn = Message("assistant", "好", 0.5, {"name": "n"})
    marked = replace(RECORD, id="2", messages=(turn,), tags=("t",), meta={"k": 1})
    write_records([RECORD, marked], path)
    assert path.read_text("utf-8") == (
        '{"id": "1", "task_type": "a/b", "messages": [{"role": "user", "content": "你好"}], '
        '"source": "x.csv"}\n'
        '{"id": "2", "task_type": "a/b", "messages": [{"role": "assistant", "content": "好", '
        '"name": "n", "weight": 0.5}], "tags": ["t"], "source": "x.csv", "meta": {"k": 1}}\n'
    )


def test_equal_records_give_equal_gzip_files(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_records([RECORD], tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).startswith(b'{"id": "1"')


def test_a_fault_halfway_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old")

    def torn() -> Iterator[Record]:
        yield RECORD
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_records(torn(), path)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"messages": ()}, "there is no message"),
        ({"task_type": "a"}, "two levels"),
        ({"messages": (Message("user", "a", extra={"weight": 1}),)}, "holds 'weight' in extra"),
        ({"meta": {"x": float("nan")}}, "something that JSON has not"),
        ({"meta": {"x": {1}}}, "something that JSON has not"),
        ({"messages": (Message("user", "\ud83d"),)}, "something that JSON has not"),
    ],
)
def test_records_that_cannot_be_written(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RecordError, match=f"record 1: .*{reason}"):
        write_records([replace(RECORD, **changes)], tmp_path / "a.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_only_jsonl_is_written(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"as \.jsonl or \.jsonl\.gz"):
        write_records([RECORD], tmp_path / "a.json")

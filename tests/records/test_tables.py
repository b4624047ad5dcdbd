from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from danlu.errors import RecordError
from danlu.records import Message, Source, read_records
from danlu.records.tables import parse_hub_name, plain


def test_parquet_of_conversations(tmp_path: Path) -> None:
    """Parquet gives every message all the fields that any has; those that are null are none."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    call = {"type": "function", "function": {"name": "now", "arguments": "{ }"}}
    messages = [
        [{"role": "user", "content": "几点？"}, {"role": "assistant", "tool_calls": [call]}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    ]
    path = tmp_path / "talk.parquet"
    days = [date(2024, 2, 3)] * 2
    table = pa.table({"messages": messages, "score": [1.5, float("nan")], "day": days})
    pq.write_table(table, path)
    first, second = read_records(path)
    assert first.messages == (
        Message("user", "几点？"),
        Message("assistant", None, extra={"tool_calls": [call]}),
    )
    assert second.messages == (Message("user", "Hi"), Message("assistant", "Hello"))
    assert first.meta == {"score": 1.5, "day": "2024-02-03"}
    assert second.meta == {"score": None, "day": "2024-02-03"}
    assert first.task_type == "unlabelled/talk"


def test_parquet_rows_are_numbered(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"question": ["a"] * 1500 + [None], "answer": ["b"] * 1501}), path)
    with pytest.raises(RecordError, match=r"a\.parquet:1501: no format is recognised"):
        list(read_records(path))


def test_a_false_parquet_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"question,answer")
    with pytest.raises(RecordError, match="the Parquet file cannot be read"):
        list(read_records(path))


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(RecordError, match=r"pip install 'danlu\[parquet\]'"):
        list(read_records(tmp_path / "a.parquet"))


def test_values_that_json_has_not() -> None:
    row = {
        "when": datetime(2024, 2, 3, 4, 5, tzinfo=UTC),
        "at": time(4, 5),
        "price": Decimal("1.50"),
        "id": UUID(int=5),
        "data": b"\xff\x00",
        "pairs": [("a", 1)],
        "nothing": float("nan"),
        "inner": {"a": None, "b": [{"c": None}]},
    }
    assert plain(row) == {
        "when": "2024-02-03T04:05:00+00:00",
        "at": "04:05:00",
        "price": "1.50",
        "id": "00000000-0000-0000-0000-000000000005",
        "data": "/wA=",
        "pairs": [["a", 1]],
        "nothing": None,
        "inner": {"b": [{}]},
    }
    with pytest.raises(RecordError, match="a complex has no place in a record"):
        plain([1j])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hub:a/b", ("a/b", None, None)),
        ("hub:a/b:c", ("a/b", "c", None)),
        ("hub:a/b@refs/pr/1", ("a/b", None, "refs/pr/1")),
        ("hub:a/b:c@d", ("a/b", "c", "d")),
    ],
)
def test_hub_names(name: str, parts: tuple[str, str | None, str | None]) -> None:
    assert parse_hub_name(name) == parts


class FakeHub(ModuleType):
    """Stands in for ``datasets``, so that no network is needed."""

    def __init__(self) -> None:
        super().__init__("datasets")
        self.asked: list[Any] = []
        self.exceptions = ModuleType("datasets.exceptions")
        self.exceptions.DatasetsError = type("DatasetsError", (Exception,), {})  # type: ignore[attr-defined]

    def load_dataset(self, *names: Any, **settings: Any) -> Iterator[dict[str, Any]]:
        self.asked.append((names, settings))
        if names[0] == "owner/gone":
            raise self.exceptions.DatasetsError("it is not there")
        yield {"question": "1 + 1", "answer": "2", "made": date(2024, 2, 3)}
        yield {"question": "1 + 2", "answer": 1j, "made": None}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setitem(sys.modules, "datasets.exceptions", fake.exceptions)
    return fake


def test_a_hub_dataset_is_streamed(hub: FakeHub) -> None:
    source = Source("hub:owner/sums:easy@v2", split="test", limit=1)
    [record] = read_records(source)
    assert record.messages == (Message("user", "1 + 1"), Message("assistant", "2"))
    assert record.source == "hub:owner/sums:easy@v2"
    assert record.task_type == "unlabelled/sums"
    assert record.meta == {"made": "2024-02-03"}
    settings = {"split": "test", "revision": "v2", "streaming": True}
    assert hub.asked == [(("owner/sums", "easy"), settings)]


@pytest.mark.usefixtures("hub")
def test_broken_rows_of_a_hub_dataset() -> None:
    with pytest.raises(RecordError, match="hub:owner/sums:2: a complex has no place"):
        list(read_records(Source("hub:owner/sums")))


@pytest.mark.usefixtures("hub")
def test_a_hub_dataset_that_is_not_there() -> None:
    with pytest.raises(RecordError, match="hub:owner/gone: the hub dataset cannot be read: it is"):
        list(read_records(Source("hub:owner/gone")))


def test_a_hub_dataset_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RecordError, match=r"pip install 'danlu\[hub\]'"):
        list(read_records(Source("hub:owner/sums")))

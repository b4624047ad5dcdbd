"""Blocks of records: all of them, once, in order, however a file is cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import StoreError
from danlu.records import Message, Record, Source, write_records
from danlu.workshop.data import records_of
from danlu.workshop.execution import blocks
from danlu.workshop.execution.blocks import blocks_of, line_blocks
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from tests.workshop.making import version_of


def texts(*given: str) -> list[Record]:
    return [Record(f"r{n}", "a/b", (Message("text", text),)) for n, text in enumerate(given)]


@given(st.lists(st.text("a炉\n\r\x85\u2028", min_size=1, max_size=60), max_size=12))
def test_lines_are_cut_nowhere_else(
    tmp_path_factory: pytest.TempPathFactory, given: list[str]
) -> None:
    records = texts(*given)
    folder = tmp_path_factory.mktemp("store")
    version = version_of(Store(folder), folder, *records)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks, "BLOCK_BYTES", 97)
        found = [*version.blocks()]
    assert [record for block in found for record in block.records()] == records
    assert len(found) <= max(1, len(records))


def test_blocks_say_where_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 200)
    version = version_of(Store(tmp_path), tmp_path, *texts(*"abcdefg"))
    found = [*line_blocks(version.records_path, 7)]
    assert [(block.first, block.count) for block in found] == [(0, 3), (3, 3), (6, 1)]
    assert found[-1].stop == version.records_path.stat().st_size


def test_parquet_is_read_by_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.workshop.store.parquet.BATCH_ROWS", 3)
    records = texts(*"abcdefgh")
    path = tmp_path / "given.jsonl"
    write_records(records, path)
    source = Source(str(path), format="danlu")
    version = import_files(Store(tmp_path), [source], file_format="parquet")
    found = [[*block.records()] for block in version.blocks()]
    assert [len(block) for block in found] == [3, 3, 2]
    assert [one for block in found for one in block] == records


def test_records_without_blocks_are_held_some_at_a_time() -> None:
    given = iter(texts(*("x" * blocks.BLOCK_RECORDS), "y"))
    first = next(blocks_of(given))
    assert len([*first.records()]) == blocks.BLOCK_RECORDS
    assert [record.messages[0].content for record in given] == ["y"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text + text, "it has 4 records, not 2"),
        (lambda text: text[: text.index(b"\n") + 1], "it has 1 records, not 2"),
        (lambda text: text.replace(b'"id"', b'"idea"', 1), "not a record"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, damage: object, told: str) -> None:
    version = version_of(Store(tmp_path), tmp_path, *texts("one", "two"))
    path = version.records_path
    path.chmod(0o644)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(StoreError, match=told):
        [*(record for block in version.blocks() for record in block.records())]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    version = version_of(Store(tmp_path), tmp_path, *texts("one"))
    version.records_path.unlink()
    with pytest.raises(StoreError, match="missing"):
        [*version.blocks()]


def test_data_of_several_names_are_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "store")
    version = version_of(store, tmp_path, *texts("one", "two"), name="mine")
    (tmp_path / "mine.jsonl").unlink()
    (tmp_path / "more.jsonl").write_text('{"prompt": "炉?", "completion": "火"}\n')
    data = records_of(store, ["mine", "more.jsonl"])
    found = [record for block in data.blocks() for record in block.records()]
    assert found == [*data]
    assert len(found) == 3
    more = (tmp_path / "more.jsonl").stat().st_size
    assert data.size_bytes() == version.manifest.bytes + more

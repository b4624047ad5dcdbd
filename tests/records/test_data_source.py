from __future__ import annotations

from pathlib import Path

import pytest

from danlu.errors import RecordError
from danlu.records import Source
from danlu.records.source import DataFile, check_task_type, expand


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


@pytest.mark.parametrize(
    ("name", "kind", "stem", "is_gzipped"),
    [
        ("a.json", "json", "a", False),
        ("a.JSONL", "jsonl", "a", False),
        ("a.b.ndjson.gz", "jsonl", "a.b", True),
        ("对话.csv.gz", "csv", "对话", True),
        ("a.tsv", "tsv", "a", False),
        ("train-00003-of-00010.parquet", "parquet", "train", False),
        ("a.txt", "lines", "a", False),
        ("README.md", "document", "README", False),
    ],
)
def test_a_file(tmp_path: Path, name: str, kind: str, stem: str, is_gzipped: bool) -> None:
    make(tmp_path, name)
    files, passed_over = expand(Source(str(tmp_path / name)))
    assert files == [DataFile(str(tmp_path / name), kind, stem, is_gzipped)]  # type: ignore[arg-type]
    assert passed_over == []


def test_a_folder_gives_its_data_in_order_and_says_what_else_is_there(tmp_path: Path) -> None:
    make(tmp_path, "b.jsonl", "a/c.csv", "README.md", "LICENSE.txt", "run.py", ".hidden.json")
    make(tmp_path, ".git/x.json", "a/notes.md")
    files, passed_over = expand(Source(str(tmp_path)))
    names = [Path(file.name).relative_to(tmp_path).as_posix() for file in files]
    assert names == ["a/c.csv", "a/notes.md", "b.jsonl"]
    assert [Path(name).name for name in passed_over] == ["LICENSE.txt", "README.md", "run.py"]


def test_globs(tmp_path: Path) -> None:
    make(tmp_path, "b1.jsonl", "b0.jsonl", "c.jsonl", "d/e.jsonl", "b2.log")
    found = expand(Source(str(tmp_path / "b?.jsonl")))[0]
    assert [file.stem for file in found] == ["b0", "b1"]
    found = expand(Source(str(tmp_path / "**/*.jsonl")))[0]
    assert [file.stem for file in found] == ["b0", "b1", "c", "e"]
    with pytest.raises(RecordError, match="the pattern matches no file"):
        expand(Source(str(tmp_path / "z*.jsonl")))
    with pytest.raises(RecordError, match=r"b2\.log: files ending in '\.log' are not read"):
        expand(Source(str(tmp_path / "b*")))


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    make(tmp_path, "a[1].json", "a1.json")
    assert [file.stem for file in expand(Source(str(tmp_path / "a[1].json")))[0]] == ["a[1]"]


def test_hub_datasets() -> None:
    for path in ("hub:owner/name", "hub:owner/name:main@v1.0"):
        assert expand(Source(path)) == ([DataFile(path, "hub", "name")], [])
    for path in ("hub:name", "hub:/name", "hub:a/b/c"):
        with pytest.raises(RecordError, match="hub:OWNER/NAME"):
            expand(Source(path))


def test_what_is_missing_or_unknown(tmp_path: Path) -> None:
    make(tmp_path, "alpaca.json", "empty/x.py", "table.xlsx", "table.parquet.gz")
    with pytest.raises(RecordError, match=r"no such file or folder\. Did you mean '.*alpaca.json'"):
        expand(Source(str(tmp_path / "alpcaa.json")))
    with pytest.raises(RecordError, match="nowhere is not there either"):
        expand(Source(str(tmp_path / "nowhere/alpaca.json")))
    with pytest.raises(RecordError, match="the folder holds no data files"):
        expand(Source(str(tmp_path / "empty")))
    with pytest.raises(RecordError, match=r"'\.xlsx' are not read"):
        expand(Source(str(tmp_path / "table.xlsx")))
    with pytest.raises(RecordError, match="unpack it"):
        expand(Source(str(tmp_path / "table.parquet.gz")))


@pytest.mark.parametrize("value", ["identity", "a/b/c", "/b", "a/", " /b", ""])
def test_task_types_have_two_levels(value: str) -> None:
    with pytest.raises(RecordError, match="two levels"):
        check_task_type(value)
    with pytest.raises(RecordError, match="two levels"):
        Source("a.json", task_type=value)


def test_a_limit_is_at_least_one() -> None:
    with pytest.raises(RecordError, match="limit is 0"):
        Source("a.json", limit=0)

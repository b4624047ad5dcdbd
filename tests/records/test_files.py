"""Files of every kind on the disk, and what can be wrong with them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import RecordError
from danlu.records import Source
from danlu.records.files import rows
from danlu.records.json_rows import RawRow
from danlu.records.source import expand


def read(path: Path) -> list[RawRow]:
    [file] = expand(Source(str(path)))[0]
    return list(rows(file))


def placed(path: Path) -> list[tuple[int, Any]]:
    """Lines and values, of a file without faults."""
    found = read(path)
    assert [row.fault for row in found] == [None] * len(found)
    return [(row.line, row.value) for row in found]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_json_by_content_not_by_suffix(tmp_path: Path, name: str, mark: bytes, end: bytes) -> None:
    """An array may be called .jsonl, and lines of objects .json, as both are in the wild."""
    path = tmp_path / name
    opened: Any = gzip.open if name.endswith(".gz") else open
    for text in ('[\n{"a": "好"},\n{"a": 2}\n]', '\n{"a": "好"}\n{"a": 2}\n'):
        with opened(path, "wb") as out:
            out.write(mark + text.encode().replace(b"\n", end))
        assert placed(path) == [(2, {"a": "好"}), (3, {"a": 2})]


def test_objects_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n "a": 1\n}\n{\n "a": 2\n}\n')
    assert placed(path) == [(1, {"a": 1}), (4, {"a": 2})]


def test_a_first_line_that_is_broken_in_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1\n{"a": 2}\n')
    first, second = read(path)
    assert first.fault is not None
    assert second.value == {"a": 2}


def test_csv_with_line_ends_quotes_and_long_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    long = "很" * 200_000  # The csv module's own limit is 131,072.
    text = f'\ufeffquestion,answer\r\n"a, ""b""\r\nc",{long}\r\n\r\n问,\r\n'
    path.write_bytes(text.encode())
    assert placed(path) == [
        (2, {"question": 'a, "b"\r\nc', "answer": long}),
        (5, {"question": "问", "answer": ""}),
    ]


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t")])
def test_other_delimiters(tmp_path: Path, name: str, mark: str) -> None:
    path = tmp_path / name
    path.write_text(f"question{mark}answer\n1,5{mark}b\n")
    assert placed(path) == [(2, {"question": "1,5", "answer": "b"})]


def test_csv_rows_of_another_length_have_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q,a\n1,2,3\n4\n5,6\n")
    assert [(row.line, row.fault) for row in read(path)] == [
        (2, "the row has 3 fields, the header 2"),
        (3, "the row has 1 fields, the header 2"),
        (4, None),
    ]


@pytest.mark.parametrize(
    ("content", "where", "reason"),
    [
        (b"q,q\n1,2\n", ":1", "names the column 'q' twice"),
        (b'q,a\n1,2\n"3,4\n5,6\n', ":3", "not valid CSV"),
        (b'q,a\n"1"2,3\n', ":2", "not valid CSV"),
        (b"q,a\n1,2\n\xd6\xd0,3\n", ":3", "byte 0xD6 is not UTF-8"),
        ("q,a\n1,2\n".encode("utf-16"), "", "this is UTF-16"),
    ],
)
def test_csv_that_cannot_be_read_on(
    tmp_path: Path, content: bytes, where: str, reason: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=reason) as caught:
        read(path)
    assert caught.value.where == f"{path}{where}"


def test_each_line_of_a_txt_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("第一篇。\r\n\r\n  Second. \n".encode() + b"\xff\nLast")
    found = read(path)
    assert [(row.line, row.value) for row in found] == [
        (1, {"text": "第一篇。"}),
        (3, {"text": "  Second. "}),
        (4, None),
        (5, {"text": "Last"}),
    ]
    assert found[2].fault is not None
    assert "byte 0xFF" in found[2].fault


def test_a_markdown_file_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Title\n\nText.\n")
    assert placed(path) == [(1, {"text": "# Title\n\nText.\n"})]
    path.write_bytes(b"# Title\n\xff\n")
    [row] = read(path)
    assert (row.line, row.value) == (2, None)
    path.write_text("\n")
    assert read(path) == []


def test_conversations_in_a_txt(tmp_path: Path) -> None:
    """Blank lines part conversations only outside of messages."""
    first = "<|im_start|>user\nA\n\nB<|im_end|>\n<|im_start|>assistant\n\n好<|im_end|>\n"
    second = "<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\nD<|im_end|>\n"
    path = tmp_path / "a.txt"
    path.write_bytes(f"\n{first}\n\n{second}<|endoftext|>\n{second}".replace("\n", "\r\n").encode())
    assert placed(path) == [(2, {"text": first}), (11, {"text": second}), (16, {"text": second})]


def test_a_conversation_with_a_byte_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"<|im_start|>user\nA\xff<|im_end|>\n\n<|im_start|>user\nB<|im_end|>\n")
    first, second = read(path)
    assert (first.line, first.value) == (2, None)
    assert second.value is not None


def test_torn_and_false_gzip_files(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(json.dumps({"a": "x" * 1000}).encode())
    path.write_bytes(whole[:-12])
    with pytest.raises(RecordError, match="the gzip file is torn"):
        read(path)
    path.write_bytes(b'{"a": 1}\n')
    with pytest.raises(RecordError, match="not a gzip file"):
        read(path)


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}")
    [file] = expand(Source(str(path)))[0]
    path.unlink()
    with pytest.raises(RecordError, match=r"a\.jsonl: cannot be read: No such file"):
        list(rows(file))

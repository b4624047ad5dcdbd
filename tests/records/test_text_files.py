"""Lists and logs that people keep: marks of editors, odd line ends, a line that was cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.evaluation.voting.labels import read_labels
from danlu.records import Message
from danlu.records.capture import Turn, append_capture, read_capture
from danlu.records.text_files import append_whole_line, text_lines
from danlu.workshop.checks.forbidden import read_patterns
from danlu.workshop.operations.given import Scores

BOM = "\ufeff"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\n", ["a"]),
        (f"{BOM}a\r\n\r\n好\r\n", ["a", "", "好"]),
        ("a\u2028b\x0bc\x85d\n", ["a\u2028b\x0bc\x85d"]),
    ],
)
def test_a_line_ends_at_a_line_end_only(tmp_path: Path, text: str, lines: list[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    assert text_lines(path) == lines


def test_lists_saved_by_other_editors_are_read_as_what_they_say(tmp_path: Path) -> None:
    row = json.dumps({"item": "q\u2028", "usable": True}, ensure_ascii=False)
    (tmp_path / "labels.jsonl").write_text(f"{BOM}{row}\r\n", "utf-8")
    assert read_labels(tmp_path / "labels.jsonl").usable == {("q\u2028", 0): True}
    score = json.dumps({"id": "a\x85", "score": 2}, ensure_ascii=False)
    (tmp_path / "scores.jsonl").write_text(f"{BOM}{score}\r\n", "utf-8")
    assert Scores.load(tmp_path / "scores.jsonl").by_id == {"a\x85": 2.0}
    (tmp_path / "words").write_text(f"{BOM}price: 价格\r\n", "utf-8")
    [(name, pattern)] = read_patterns(tmp_path / "words")
    assert (name, pattern.pattern) == ("price", "价格")


def turn(name: str) -> Turn:
    return Turn(name, (Message("user", "Hi"), Message("assistant", "Hello")))


def test_after_a_line_that_was_cut_off_the_next_one_is_whole(tmp_path: Path) -> None:
    """A full disk, or a kill, may leave half a line; glued to it, the next would be lost too."""
    path = tmp_path / "day.jsonl"
    append_capture(path, turn("a"))
    append_capture(path, turn("b"))
    path.write_bytes(path.read_bytes()[:-20])
    append_capture(path, turn("c"))
    first, torn, last = path.read_bytes().splitlines()
    assert [read_capture(json.loads(line)).id for line in (first, last)] == ["a", "c"]
    with pytest.raises(ValueError, match="Unterminated string"):
        json.loads(torn)


def test_a_file_is_made_with_its_folder_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    append_whole_line(path, b"a\n", 0o600)
    append_whole_line(path, b"b\nc\n")
    assert path.read_bytes() == b"a\nb\nc\n"
    assert path.stat().st_mode & 0o777 == 0o600

"""What a service writes down is what the flywheel reads."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from danlu.errors import RecordError
from danlu.records import Message
from danlu.records.capture import (
    Feedback,
    Turn,
    Vote,
    append_capture,
    encode_capture,
    now,
    read_capture,
)

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"b":1, "a": 2}'}}
TURN = Turn(
    "c1",
    (
        Message("system", "短一点"),
        Message("user", "你好"),
        Message("assistant", None, extra={"tool_calls": [CALL]}),
        Message("tool", "3", extra={"tool_call_id": "1"}),
        Message("assistant", "三"),
    ),
    now(),
    "s-7",
    "danlu-7b",
    "runs/support",
    "v1c0ffee",
    "support/refund",
    ({"type": "function", "function": {"name": "f"}},),
    (Vote("u-3", False, "2026-11-21T22:00:00.000Z", "不对", "四"), Vote(up=True)),
    {"latency_s": 0.2},
)


@pytest.mark.parametrize(
    "entry",
    [
        TURN,
        Turn("bare", (Message("user", "Hi"), Message("assistant", "Hello"))),
        Feedback("c1", Vote(text="no")),
        Feedback("c1", Vote("u", up=True)),
    ],
)
def test_a_line_reads_back(entry: Turn | Feedback) -> None:
    line = encode_capture(entry)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read_capture(json.loads(line)) == entry


def test_times_are_utc_and_sort_as_texts() -> None:
    first, second = now(), now()
    assert first.endswith("Z")
    assert first <= second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": 2}, "layout 2, and this Danlu reads 1"),
        ({"kind": "x"}, "'kind' is 'x'"),
        ({"id": ""}, "'id' is text"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "end with an answer"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "no message of the user"),
        ({"votes": [{"voter": "u"}]}, "says nothing"),
        ({"votes": [{"up": 1}]}, "must be true or false"),
        ({"session": 7}, "'session' is a number"),
    ],
)
def test_broken_lines_say_what_is_wrong(change: dict, message: str) -> None:
    row = {**json.loads(encode_capture(TURN)), **change}
    with pytest.raises(RecordError, match=message):
        read_capture(row)


def test_a_turn_without_an_answer_is_not_written() -> None:
    with pytest.raises(RecordError, match="end with an answer"):
        encode_capture(Turn("c", (Message("user", "Hi"),)))


def _append(path: str, name: str) -> None:
    for number in range(50):
        turn = Turn(f"{name}-{number}", (Message("user", "x" * 5000), Message("assistant", "y")))
        append_capture(Path(path), turn)


def test_processes_append_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "new" / "day.jsonl"
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_append, args=(str(path), name)) for name in "ab"]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    rows = [read_capture(json.loads(line)) for line in path.read_text().splitlines()]
    assert len({row.id for row in rows}) == 100  # type: ignore[union-attr]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_a_kill_has_torn_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    append_capture(path, TURN)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    append_capture(path, TURN)
    assert path.read_bytes() == whole + whole[:50] + b"\n" + whole


def test_a_full_disk_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "day.jsonl", os.write
    append_capture(path, TURN)
    whole = path.read_bytes()
    room = [20]

    def full(file: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: room.pop()])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        append_capture(path, TURN)
    assert path.read_bytes() == whole

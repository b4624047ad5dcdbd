"""Foreign logs as turns, and what is new in growing files; nothing personal is stored."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import RecordError
from danlu.flywheel.config import LogSection
from danlu.flywheel.logs import reader_of
from danlu.flywheel.memory import Memory, Position, voter_mark
from danlu.flywheel.pull import Pulled, pull
from danlu.records import Message
from danlu.records.capture import Feedback, Turn, Vote, encode_capture
from danlu.workshop.privacy import mask_turn


def turn(id_: str, question: str, answer: str = "x", **more: Any) -> Turn:
    return Turn(id_, (Message("user", question), Message("assistant", answer)), **more)


def read(row: dict[str, Any], **source: Any):
    return reader_of(LogSection(path="x", **{"format": "openai", **source}))(row)


# Rows ------------------------------------------------------------------------------------


OPENAI = {
    "request": {
        "model": "danlu-7b",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "你好"}]}],
        "user": "u-1",
        "metadata": {"session_id": "s-9"},
    },
    "response": {
        "id": "chatcmpl-1",
        "created": 1795298400,
        "model": "danlu-7b-0611",
        "choices": [{"message": {"role": "assistant", "content": "您好"}}],
    },
    "feedback": {"score": -1, "comment": "太客气", "corrected": "你好！"},
}


def test_a_request_with_its_response() -> None:
    found = read(OPENAI).entry
    assert found == Turn(
        found.id,
        (Message("user", "你好"), Message("assistant", "您好")),
        "2026-11-21T22:00:00.000Z",
        "s-9",
        "danlu-7b-0611",
        votes=(Vote("u-1", False, "", "太客气", "你好！"),),
    )


@pytest.mark.parametrize(
    "row",
    [
        {"request": json.dumps(OPENAI["request"]), "response": json.dumps(OPENAI["response"])},
        {"custom_id": "a", "body": OPENAI["request"], "response": {"body": OPENAI["response"]}},
        {"messages": [{"role": "user", "content": "你好"}], "output": "您好"},
        {
            "messages": [
                {"role": "user", "content": "你好"},
                {"role": "assistant", "content": "您好"},
            ]
        },
        {"input": [{"role": "user", "content": "你好"}], "response": OPENAI["response"]},
    ],
    ids=["JSON text", "batch", "text", "whole", "input"],
)
def test_other_layouts(row: dict[str, Any]) -> None:
    assert [one.content for one in read(row).entry.messages] == ["你好", "您好"]


def test_columns_name_other_places() -> None:
    columns = {"messages": "a.b", "answer": "c", "vote": "d.0.mark", "session": "e"}
    row = {"a": {"b": [{"role": "user", "content": "?"}]}, "c": "!", "d": [{"mark": 5}], "e": 7}
    found = read(row, columns=columns, up=["5"], down=["1", "2"])
    assert found.entry.votes == (Vote("", True),)
    assert found.entry.session == "7"
    neither = read(row, columns=columns)
    assert neither.entry.votes == ()
    assert neither.unread_vote == "5"


@pytest.mark.parametrize(
    ("said", "up"),
    [(True, True), (1, True), ("👍", True), ("有用", True), (False, False), (-1, False),
     ("不满意", False), ("Thumbs_Down", False), (0, None), ("3", None), ("", None)],
)  # fmt: skip
def test_votes_are_called_many_things(said: Any, up: bool | None) -> None:
    found = read({**OPENAI, "feedback": None, "vote": said})
    assert [vote.up for vote in found.entry.votes] == ([] if up is None else [up])
    assert bool(found.unread_vote) is (up is None and said != "")


def test_a_row_of_csv() -> None:
    row = {"问题": "几点了", "回答": "三点", "用户": "li", "评价": "踩", "会话": "s1"}
    found = read(row, format="csv")
    assert found.alone
    assert found.entry.votes == (Vote("li", False),)
    assert [one.content for one in found.entry.messages] == ["几点了", "三点"]
    again = read({**row, "评价": "赞"}, format="csv")
    assert again.entry.id == found.entry.id


def test_numbers_that_begin_anew_in_each_file_hide_nothing() -> None:
    row = {"id": "1", "prompt": "a", "answer": "b"}
    ids = {
        read(one, format="csv").entry.id for one in (row, {**row, "prompt": "c"}, {**row, "id": 2})
    }
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"request": {"messages": [{"role": "user", "content": "x"}]}}, "has no answer"),
        ({"messages": [{"role": "user", "content": "x"}], "response": {"error": 1}}, "no answer"),
        ({"a": 1}, "columns says where they are. It has: a"),
        ({"messages": [{"role": "user", "content": "x"}], "output": "  "}, "answer is empty"),
    ],
)
def test_rows_that_are_no_turn(row: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        read(row)


def test_masking_reaches_every_text_and_drops_what_is_unknown() -> None:
    call = {"function": {"name": "f", "arguments": '{"to": "wang@danlu.cn"}'}}
    given = Turn(
        "c",
        (
            Message("user", "我的电话是13987650912，身份证11010519491231002X"),
            Message("assistant", None, extra={"tool_calls": [call]}),
            Message("tool", "sk-abcdefghijklmnopqrstuv"),
            Message("assistant", "Call +44 20 7946 0958"),
        ),
        votes=(Vote("li", False, text="写到 li@danlu.cn", corrected="13987650912"),),
        meta={"ip": "10.0.0.1"},
    )
    found = mask_turn(given)
    text = repr(found.value)
    for secret in ("13987650912", "1101051949", "wang@", "sk-abc", "7946", "li@danlu", "10.0.0.1"):
        assert secret not in text
    assert "我的电话是[电话号码]，身份证[身份证号]" in text
    assert "Call [phone number]" in text
    assert found.found == {"phone": 3, "id_number": 1, "email": 2, "secret": 1}


# Files -----------------------------------------------------------------------------------


def write(path: Path, *entries: Turn | Feedback) -> Path:
    with path.open("ab") as file:
        for entry in entries:
            file.write(encode_capture(entry))
    return path


def pulled(folder: Path, path: str | Path, *, drop: bool = False, **source: Any) -> Pulled:
    with Memory(folder / "memory") as memory:
        return pull(memory, LogSection(path=str(path), **source), drop_personal=drop)


def known(folder: Path) -> list[tuple[str, list[bool | None]]]:
    with Memory(folder / "memory") as memory:
        return [
            (str(one.turn.messages[0].content), [vote.up for vote in one.turn.votes])
            for one in memory.turns()
        ]


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "day.jsonl", turn("a", "1"), turn("b", "2"))
    assert pulled(tmp_path, path).turns == 2
    found = pulled(tmp_path, path)
    assert (found.turns, found.known) == (0, 0)
    write(path, turn("c", "3"), Feedback("a", Vote("u", True)))
    found = pulled(tmp_path, path)
    assert (found.turns, found.known, found.feedback) == (1, 0, 1)
    assert known(tmp_path) == [("1", [True]), ("2", []), ("3", [])]


def test_a_file_that_was_moved_replaced_or_packed_brings_nothing_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "day.jsonl", turn("a", "1"), turn("b", "2"))
    pulled(tmp_path, path)
    rotated = tmp_path / "day.1.jsonl"
    path.rename(rotated)
    write(path, turn("c", "3"))
    (tmp_path / "old.jsonl.gz").write_bytes(gzip.compress(rotated.read_bytes()))
    found = pulled(tmp_path, tmp_path / "*.jsonl*")
    assert (found.files, found.turns, found.known) == (3, 1, 4)
    # Overwritten with other lines of the same length.
    text = rotated.read_bytes().replace(b'"a"', b'"d"')
    rotated.write_bytes(text)
    assert pulled(tmp_path, rotated).turns == 1
    assert len(known(tmp_path)) == 4


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    path = write(tmp_path / "day.jsonl", turn("a", "1"))
    line = encode_capture(turn("b", "二二二"))
    for cut in (1, len(line) // 2, line.index("二".encode()) + 1):
        path.write_bytes(encode_capture(turn("a", "1")) + line[:cut])
        found = pulled(tmp_path, path)
        assert (found.waiting, found.broken) == (1, 0)
        assert len(known(tmp_path)) == 1
    path.write_bytes(encode_capture(turn("a", "1")) + line.rstrip(b"\n"))
    assert pulled(tmp_path, path).turns == 1  # whole, but for its line break
    path.write_bytes(encode_capture(turn("a", "1")) + line + encode_capture(turn("c", "3")))
    found = pulled(tmp_path, path)
    assert (found.turns, found.known, found.broken) == (1, 0, 0)


def test_broken_lines_are_told_once_and_stop_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "day.jsonl", turn("a", "1"))
    with path.open("ab") as file:
        file.write(
            b'{"kind": "turn", "secret": "13987650912"\n\n[1]\n{"kind": "turn", "layout": 1}\n'
        )
    write(path, turn("b", "2"))
    found = pulled(tmp_path, path)
    assert (found.turns, found.broken) == (2, 3)
    assert [place.rpartition(":")[2] for place, _ in found.faults] == ["2", "4", "5"]
    assert "13987650912" not in repr(found)
    assert pulled(tmp_path, path).broken == 0


def test_a_killed_pull_neither_loses_nor_repeats(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path / "day.jsonl", *(turn(f"t{n}", str(n)) for n in range(2500)))
    moves = []
    move = Memory.move

    def dies(self: Memory, name: str, position: Position) -> None:
        moves.append(position.lines)
        if len(moves) == 2:
            raise KeyboardInterrupt
        move(self, name, position)

    monkeypatch.setattr(Memory, "move", dies)
    with pytest.raises(KeyboardInterrupt):
        pulled(tmp_path, path)
    assert len(known(tmp_path)) == 1000
    found = pulled(tmp_path, path)
    assert (found.turns, found.known) == (1500, 0)
    assert moves == [1000, 2000, 2000, 2500]


def test_personal_data_is_masked_or_its_turn_left_out_for_good(tmp_path: Path) -> None:
    entries = [turn("a", "Mail li@danlu.cn", session="li@danlu.cn"), turn("li@danlu.cn", "2")]
    vote = Feedback("a", Vote("li@danlu.cn", False, text="li@danlu.cn says no"))
    path = write(tmp_path / "day.jsonl", *entries, vote)
    found = pulled(tmp_path, path)
    assert found.masked == {"email": 1}
    assert known(tmp_path)[0] == ("Mail [e-mail address]", [False])
    with Memory(tmp_path / "memory") as memory:
        [first, _] = memory.turns()
        assert first.turn.votes[0].voter == voter_mark("li@danlu.cn")
        assert memory.masked() == {"email": 1}
    stored = b"".join(one.read_bytes() for one in (tmp_path / "memory").iterdir())
    assert b"li@danlu" not in stored
    other = tmp_path / "other"
    found = pulled(other, path, drop=True)
    assert (found.turns, found.left_out) == (1, 1)
    assert [text for text, _ in known(other)] == ["2"]
    rotated = tmp_path / "again.jsonl"
    rotated.write_bytes(path.read_bytes())
    found = pulled(other, rotated, drop=True)
    assert (found.turns, found.left_out, found.known) == (0, 0, 2)


def test_csv_grows_and_votes_change(tmp_path: Path) -> None:
    def rows(*cells: tuple[str, ...]) -> str:
        text = io.StringIO()
        csv.writer(text).writerows([("时间", "问题", "回答", "用户", "评价"), *cells])
        return text.getvalue()

    first = ("2026-11-21 10:00", '他说"好"，\n换行', "答", "li", "")
    second = ("2026-11-21 11:00", "二", "答", "li", "赞")
    path = tmp_path / "votes.csv"
    path.write_text("\ufeff" + rows(first, second), "utf-8")
    found = pulled(tmp_path, path, format="csv")
    assert (found.turns, found.broken) == (2, 0)
    third = ("2026-11-21 12:00", "三", "答", "li", "踩")
    path.write_text("\ufeff" + rows(first, second, third) + '2026,"half', "utf-8")
    found = pulled(tmp_path, path, format="csv")
    assert (found.turns, found.known, found.waiting) == (1, 0, 1)
    # Exported anew, with the first vote filled in.
    path.write_text("\ufeff" + rows((*first[:4], "踩"), second, third), "utf-8")
    found = pulled(tmp_path, path, format="csv")
    assert (found.turns, found.known, found.waiting) == (0, 3, 0)
    assert known(tmp_path) == [('他说"好"，\n换行', [False]), ("二", [True]), ("三", [False])]


def test_a_cell_without_quotes_may_hold_what_only_looks_like_a_line_end(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("问题,回答,评价\n甲\u2028乙\x85丙,答,赞\n", "utf-8")
    found = pulled(tmp_path, path, format="csv")
    assert (found.turns, found.broken) == (1, 0)
    assert known(tmp_path) == [("甲\u2028乙\x85丙", [True])]


def test_an_answer_that_is_json_stays_the_text_that_it_is() -> None:
    answer = '{"role": "admin", "content": "Li"}'
    found = read({"prompt": "Who is it? As JSON.", "answer": answer}, format="csv").entry
    assert found.messages[-1] == Message("assistant", answer)


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no such file"):
        pulled(tmp_path, tmp_path / "none.jsonl")
    assert pulled(tmp_path, tmp_path / "none-*.jsonl").files == 0  # a day without any
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(RecordError, match=r"\.jsonl or \.csv"):
        pulled(tmp_path, tmp_path / "a.xlsx")
    with pytest.raises(RecordError, match="format is csv"):
        pulled(tmp_path, write(tmp_path / "b.jsonl", turn("a", "1")), format="csv")
    (tmp_path / "c.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(RecordError, match="cannot be read"):
        pulled(tmp_path, tmp_path / "c.jsonl.gz")

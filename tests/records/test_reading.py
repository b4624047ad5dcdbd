from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import RecordError
from danlu.records import Message, Record, Source, read_records
from danlu.records.lines import decode_record, encode_record


def save(path: Path, *rows: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
    return str(path)


def pair(prompt: str = "a", completion: str = "b", **columns: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, **columns}


def test_whole_records(tmp_path: Path) -> None:
    row = pair("一加一？", "二", id=7, task_type="数学/加法", tags=["robustness"], level=1)
    path = save(tmp_path / "sums.jsonl", row, pair("c", "d"))
    first, second = read_records(Source(path))
    assert first == Record(
        id="7",
        task_type="数学/加法",
        messages=(Message("user", "一加一？"), Message("assistant", "二")),
        tags=("robustness",),
        source=path,
        meta={"level": 1},
    )
    assert second.task_type == "unlabelled/sums"
    assert len(second.id) == 16


def test_danlus_own_source_and_meta(tmp_path: Path) -> None:
    row = {
        "task_type": "a/b",
        "messages": [{"role": "user", "content": "Hi"}],
        "source": "first.csv",
        "meta": {"x": 1},
        "note": 2,
    }
    path = save(tmp_path / "a.jsonl", row, {**row, "meta": {"note": 1}})
    reading = read_records(Source(path))
    record = next(reading)
    assert (record.source, record.meta) == ("first.csv", {"x": 1, "note": 2})
    with pytest.raises(RecordError, match="'note' is a column and also in 'meta'"):
        next(reading)


def test_columns_of_other_formats_called_source_are_meta(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", pair(source="web", meta="m"))
    [record] = read_records(path)
    assert (record.source, record.meta) == (path, {"source": "web", "meta": "m"})


def test_task_type_of_record_then_source_then_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", pair(task_type="x/y"), pair("c"), pair("d", task_type=""))
    given = [record.task_type for record in read_records(Source(path, task_type="p/q"))]
    assert given == ["x/y", "p/q", "p/q"]
    assert [record.task_type for record in read_records(path)][1] == "unlabelled/a"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"task_type": "x"}, "'x' must have two levels"),
        ({"task_type": ["x/y"]}, "'task_type' is a list"),
        ({"id": 1.5}, "'id' is 1.5"),
        ({"id": True}, "'id' is True"),
        ({"tags": [1]}, "'tags' must be a list of texts"),
        ({"tags": {"a": 1}}, "'tags' is an object"),
    ],
)
def test_broken_common_columns(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    path = save(tmp_path / "a.jsonl", pair(), pair(**columns))
    with pytest.raises(RecordError, match=reason) as caught:
        list(read_records(path))
    assert caught.value.where == f"{path}:2"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [(None, ()), ("", ()), ("hard", ("hard",)), ('["a", "b"]', ("a", "b")), (["a"], ("a",))],
)
def test_ways_to_write_tags(tmp_path: Path, tags: Any, expected: tuple[str, ...]) -> None:
    [record] = read_records(save(tmp_path / "a.jsonl", pair(tags=tags)))
    assert record.tags == expected
    assert record.meta == {}


def test_files_of_several_formats_and_rows_of_several_columns(tmp_path: Path) -> None:
    save(tmp_path / "a.json", '[{"instruction": "a", "output": "b"},', '{"text": "c"}]')
    save(tmp_path / "b.csv", "问,答", "d,e")
    save(tmp_path / "c.jsonl", pair("f", "g"), {"instruction": "h", "output": "i", "text": "j"})
    texts = [[m.content for m in record.messages] for record in read_records(Source(str(tmp_path)))]
    assert texts == [["a", "b"], ["c"], ["d", "e"], ["f", "g"], ["h", "i"]]


def test_mapping(tmp_path: Path) -> None:
    """A column that has a part's name without playing it is kept in meta."""
    row = {"题目": "1+1", "解": "2", "completion": "old", "nr": 3}
    columns = {"prompt": "题目", "completion": "解", "id": "nr"}
    [record] = read_records(Source(save(tmp_path / "a.jsonl", row), columns=columns))
    assert record.messages == (Message("user", "1+1"), Message("assistant", "2"))
    assert (record.id, record.meta) == ("3", {"completion": "old"})


def test_mapping_to_any_format_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", {"题目": "1+1", "解": "2"})
    source = Source(path, "question_answer", columns={"question": "题目", "answer": "解"})
    [record] = read_records(source)
    assert record.messages == (Message("user", "1+1"), Message("assistant", "2"))


def test_a_mapping_to_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", {"question": "a", "answer": "b"})
    with pytest.raises(RecordError, match="columns maps prompt to 'questoin', which the row lacks"):
        list(read_records(Source(path, columns={"prompt": "questoin", "completion": "answer"})))
    with pytest.raises(RecordError, match="columns names 'sytem', which no row has"):
        list(read_records(Source(path, columns={"system": "sytem"})))


def test_a_mapped_column_that_some_rows_lack(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", pair(), pair("c", "d", hint="Add."))
    first, second = read_records(Source(path, columns={"system": "hint"}))
    assert (len(first.messages), len(second.messages)) == (2, 3)


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", pair())
    with pytest.raises(RecordError, match=r"a\.jsonl: there is no format 'alpca'"):
        read_records(Source(path, format="alpca"))
    with pytest.raises(RecordError, match=r"a\.jsonl: columns maps 'promt'"):
        read_records(Source(path, columns={"promt": "a"}))


def test_a_broken_line_stops_with_file_line_and_reason(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", pair(), pair("c"), '{"prompt": "x", "completion":}')
    reading = read_records(path)
    assert [next(reading).messages[0].content for _ in range(2)] == ["a", "c"]
    with pytest.raises(RecordError, match=r"^.*a\.jsonl:3: not valid JSON: expecting value at col"):
        next(reading)


def test_broken_rows_are_passed_over_written_and_counted(tmp_path: Path) -> None:
    number = {"prompt": "坏", "completion": 3}
    half = '{"prompt": "\\ud83d", "completion": "x"}'
    path = save(tmp_path / "a.jsonl", pair(), "{", number, "[1]", half, pair("c"))
    rejected = tmp_path / "run" / "rejected.jsonl"
    reading = read_records(path, on_bad_record="skip", rejected=rejected)
    assert [record.messages[0].content for record in reading] == ["a", "c"]
    assert (reading.record_count, reading.rejected_count) == (2, 4)
    told = [json.loads(line) for line in rejected.read_text("utf-8").splitlines()]
    assert [(row["file"], row["line"]) for row in told] == [(path, line) for line in (2, 3, 4, 5)]
    assert told[1]["text"] == '{"prompt": "坏", "completion": 3}'
    reasons = [row["reason"] for row in told]
    assert reasons[0].startswith("not valid JSON: expecting property name")
    assert reasons[1].startswith("the column 'completion' is a number; it must be text or a list")
    assert reasons[2] == "the row is a list; it must be an object."
    assert reasons[3] == "the text holds \\ud83d, half of a character (a surrogate)."


def test_rejected_rows_of_tables_are_written_as_json(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", "question,answer,task_type", "a,b,c", "d,e,f/g")
    rejected = tmp_path / "rejected.jsonl"
    assert len(list(read_records(path, on_bad_record="skip", rejected=rejected))) == 1
    [told] = [json.loads(line) for line in rejected.read_text("utf-8").splitlines()]
    assert json.loads(told["text"]) == {"question": "a", "answer": "b", "task_type": "c"}


def test_rejected_rows_are_added(tmp_path: Path) -> None:
    """So that training and evaluation sources may share the file."""
    path = save(tmp_path / "a.jsonl", pair(), "{")
    for _ in range(2):
        list(read_records(path, on_bad_record="skip", rejected=tmp_path / "r.jsonl"))
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2


def test_faults_of_a_whole_file_stop_in_either_case(tmp_path: Path) -> None:
    path = save(tmp_path / "a.json", '[{"prompt": "a", "completion": "b"}', "{}]")
    with pytest.raises(RecordError, match=r"a\.json:2: a comma"):
        list(read_records(path, on_bad_record="skip"))


@pytest.mark.parametrize("text", ["", "[]", "\n\n", "question,answer\n"])
def test_a_source_without_records_is_an_error(tmp_path: Path, text: str) -> None:
    name = "a.csv" if "," in text else "a.json"
    (tmp_path / name).write_text(text)
    with pytest.raises(RecordError, match="there is no record in it"):
        list(read_records(tmp_path / name))


def test_danlus_own_files_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    assert list(read_records(Source(str(tmp_path / "a.jsonl"), format="danlu"))) == []


def test_a_source_of_broken_rows_only_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", "{", "}")
    with pytest.raises(RecordError, match=r"no record in it\. All 2 rows are broken"):
        list(read_records(path, on_bad_record="skip"))


def test_limits_count_records_of_a_source(tmp_path: Path) -> None:
    save(tmp_path / "d/a.jsonl", "{", pair("1"), pair("2"))
    save(tmp_path / "d/b.jsonl", pair("3"), pair("4"))
    other = save(tmp_path / "c.jsonl", pair("5"), pair("6"), "{")
    sources = [Source(str(tmp_path / "d"), limit=3), Source(other, limit=2)]
    reading = read_records(sources, on_bad_record="skip")
    assert [record.messages[0].content for record in reading] == ["1", "2", "3", "5", "6"]
    assert reading.rejected_count == 1


def test_repeats_get_numbers(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", pair(), pair("x"), pair(), pair(note="other meta"))
    first, _, second, third = [record.id for record in read_records([path])]
    assert (second, third) == (f"{first}-2", f"{first}-3")


def test_the_same_file_twice_is_every_record_twice(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", pair(id="p"), pair("x"))
    ids = [record.id for record in read_records([path, path])]
    assert ids[0::2] == ["p", "p-2"]
    assert ids[3] == f"{ids[1]}-2"


def test_the_same_content_has_the_same_id_in_any_format(tmp_path: Path) -> None:
    save(tmp_path / "a.jsonl", pair(), {"instruction": "a", "output": "b"})
    save(tmp_path / "b.csv", "question,answer", "a,b")
    chatml = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>"
    save(tmp_path / "c.txt", chatml)
    ids = [record.id for record in read_records(tmp_path)]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3", f"{ids[0]}-4"]


@pytest.mark.parametrize(
    "other",
    [
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "ab"}, {"role": "assistant", "content": ""}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "name": "n"}],
        [{"role": "user", "content": "a"}],
    ],
)
def test_other_content_has_another_id(tmp_path: Path, other: list[dict[str, Any]]) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    path = save(tmp_path / "a.jsonl", {"messages": messages}, {"messages": other})
    first, second = read_records(path)
    assert len({first.id, second.id}) == 2
    assert "-" not in second.id


def test_clashing_ids_in_a_file_name_both_places(tmp_path: Path) -> None:
    rows = [pair("x"), pair("a", id=5), pair("b", id=6), pair("c", id="5")]
    path = save(tmp_path / "a.jsonl", *rows)
    with pytest.raises(RecordError) as caught:
        list(read_records(path))
    assert caught.value.where == f"{path}:4"
    assert f"the id '5' is also that of the record at {path}:2" in caught.value.message
    reading = read_records(path, on_bad_record="skip")
    assert [record.messages[0].content for record in reading] == ["x", "a", "b"]


def test_numbers_that_begin_anew_in_each_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.jsonl", *[pair(f"{name}{n}", id=n) for n in (0, 1)])
    assert [record.id for record in read_records(tmp_path)] == ["0", "1", "0@b", "1@b"]
    save(tmp_path / "b.jsonl", pair("b0", id=0), pair("other", id=0))
    with pytest.raises(RecordError, match=r"the id '0' is also that .* at .*b\.jsonl:1, which"):
        list(read_records(tmp_path))


def test_other_files_in_folders_are_told(tmp_path: Path) -> None:
    save(tmp_path / "a.jsonl", pair())
    (tmp_path / "README.md").write_text("About.")
    assert read_records(tmp_path).passed_over == [str(tmp_path / "README.md")]


def test_records_of_a_long_file_do_not_pile_up(tmp_path: Path) -> None:
    """20 MB of records, held in memory one at a time, but for their ids."""
    path = tmp_path / "a.jsonl"
    with path.open("w") as out:
        for number in range(5000):
            out.write(json.dumps(pair(f"{number}", "x" * 4000)) + "\n")
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_records(path)) == 5000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 << 20


HALF = "\ud83d"
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": HALF, **pair()}, "half of a character"),
        ({"task_type": f"a/{HALF}", **pair()}, "half of a character"),
        ({"tags": [HALF], **pair()}, "half of a character"),
        ({"seen_on": {"page": HALF}, **pair()}, "half of a character"),
        ({HALF: "page", **pair()}, "half of a character"),
        ({"tools": DEEP, **pair()}, "'tools' is text that is not JSON: nested too deeply"),
        ({"answers": DEEP, "prompt": "a"}, "no format is recognised"),
        ({"conversations": [{"from": "function_call", "value": DEEP}]}, "is not JSON"),
        ('{"prompt": "a", "completion": "b", "likes": 1e999}', "the number 1e999 is too large"),
        ({"prompt": "a", "answers": [{"text": "x", "rank": 1}, {"text": "y", "rank": 10**12}]},
         "the rank of answer 2 is 1000000000000"),
        ({"messages": [{"role": "user", "content": "a"}], "task_type": "a/b",
          "responses": [{"content": "x", "rank": 10**12}]}, "'rank' of response 1"),
    ],
)  # fmt: skip
def test_what_no_file_or_model_can_hold_is_refused_where_it_is_read(
    tmp_path: Path, row: Any, reason: str
) -> None:
    """Later it would end a whole import, or a training, of which it is one row."""
    text = row if isinstance(row, str) else json.dumps(row)
    path = save(tmp_path / "a.jsonl", pair("first"), text)
    with pytest.raises(RecordError, match=re.escape(reason)):
        list(read_records(path))
    reading = read_records(path, on_bad_record="skip", rejected=tmp_path / "r")
    records = list(reading)
    assert [record.messages[0].content for record in records] == ["first"]
    assert reading.rejected_count == 1
    assert (tmp_path / "r").read_text("utf-8").count("\n") == 1


def test_half_a_character_in_an_array_is_one_broken_row_and_a_whole_one_is_none(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([pair("😀"), pair(HALF), pair("三")]))
    reading = read_records(path, on_bad_record="skip")
    assert [record.messages[0].content for record in reading] == ["😀", "三"]


def test_a_missing_number_inside_of_a_column_of_json_text_is_null(tmp_path: Path) -> None:
    tools = '[{"name": "now", "parameters": {"limit": NaN}}]'
    [record] = read_records(save(tmp_path / "a.jsonl", pair(tools=tools)))
    assert decode_record(encode_record(record)) == record
    assert record.tools[0]["function"]["parameters"] == {"limit": None}


def test_the_answer_of_a_function_is_a_tools_with_and_without_its_name(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "function", "content": "3"}]
    named = [turns[0], {**turns[1], "name": "add"}]
    path = save(tmp_path / "a.jsonl", *({"messages": one} for one in (turns, named)))
    assert [record.messages[1].role for record in read_records(path)] == ["tool", "tool"]

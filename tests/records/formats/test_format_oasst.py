"""oasst: a tree of messages is several records, one for each message with ranked answers."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import RecordError
from danlu.records import Message, Record, Response, Source, read_records, write_records
from danlu.records.formats import recognise
from danlu.records.formats.oasst import OASST


def node(name: str, role: str, text: str, *replies: Any, **columns: Any) -> dict[str, Any]:
    return {"message_id": name, "role": role, "text": text, "replies": list(replies), **columns}


def tree() -> dict[str, Any]:
    """Two ranked messages: the root, and the question that follows its second best answer."""
    deeper = node(
        "m4",
        "prompter",
        "And then?",
        node("m5", "assistant", "Wait.", rank=1),
        node("m6", "assistant", "Stir.", rank=0),
        lang="de",
    )
    return {
        "message_tree_id": "m1",
        "tree_state": "ready_for_export",
        "prompt": node(
            "m1",
            "prompter",
            "How do I make tea?",
            node("m2", "assistant", "Boil water.", rank=0, labels={"quality": 0.9}),
            node("m3", "assistant", "Take a pot.", deeper, rank=1),
            node("m7", "assistant", "No idea.", rank=2),
            node("m8", "assistant", "Nobody looked at this one.", rank=None),
            lang="en",
        ),
    }


def save(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


FIRST = (Message("user", "How do I make tea?"),)
SECOND = (*FIRST, Message("assistant", "Take a pot."), Message("user", "And then?"))
OF_FIRST = (Response("Boil water.", 1), Response("Take a pot.", 2), Response("No idea.", 3))
OF_SECOND = (Response("Stir.", 1), Response("Wait.", 2))


def test_a_tree_is_a_record_for_each_ranked_message() -> None:
    row = tree()
    assert recognise(row) is OASST
    first = OASST.parse(row)
    [second] = first.more
    assert (first.messages, first.responses) == (FIRST, OF_FIRST)
    assert (second.messages, second.responses, second.more) == (SECOND, OF_SECOND, ())
    assert [(parts.id, parts.meta) for parts in (first, second)] == [
        ("m1", {"lang": "en"}),
        ("m4", {"lang": "de"}),
    ]
    assert row == {"message_tree_id": "m1", "tree_state": "ready_for_export"}


def test_records_come_in_the_order_of_the_tree_parents_first() -> None:
    def asked(name: str, *deeper: Any) -> dict[str, Any]:
        """A question with two ranked answers, the first of which people have replied to."""
        first = node(f"{name}-a", "assistant", "a", *deeper, rank=0)
        return node(name, "prompter", name, first, node(f"{name}-b", "assistant", "b", rank=1))

    root = asked("1", asked("1.1", asked("1.1.1")), asked("1.2"))
    root["replies"][1]["replies"] = [asked("2.1")]
    first = OASST.parse({"prompt": root})
    found = [parts.id for parts in (first, *first.more)]
    assert found == ["1", "1.1", "1.1.1", "1.2", "2.1"]


def test_records_of_a_tree_in_a_compressed_file(tmp_path: Path) -> None:
    """As OpenAssistant publishes them: ``<date>_oasst_ready.trees.jsonl.gz``."""
    path = tmp_path / "2023_oasst_ready.trees.jsonl.gz"
    other = tree()
    other["prompt"].update(message_id="n1", text="Other tea?")
    other["prompt"]["replies"][1]["replies"][0]["message_id"] = "n4"
    with gzip.open(path, "wt", encoding="utf-8") as out:
        out.write(f"{json.dumps(tree())}\n{json.dumps(other)}\n")
    reading = read_records(path)
    records = list(reading)
    assert [record.id for record in records] == ["m1", "m4", "n1", "n4"]
    assert reading.record_count == 4
    assert records[1] == Record(
        id="m4",
        task_type="unlabelled/2023_oasst_ready.trees",
        messages=SECOND,
        responses=OF_SECOND,
        source=str(path),
        meta={"lang": "de", "message_tree_id": "m1", "tree_state": "ready_for_export"},
    )


def test_what_is_read_is_written_and_read_back(tmp_path: Path) -> None:
    records = list(read_records(save(tmp_path / "a.jsonl", tree())))
    assert write_records(records, tmp_path / "b.jsonl") == 2
    assert list(read_records(tmp_path / "b.jsonl")) == records


def test_a_rows_own_columns_are_those_of_all_its_records(tmp_path: Path) -> None:
    row = {"id": "tea", "task_type": "cooking/tea", "tags": ["robustness"], **tree()}
    records = list(read_records(save(tmp_path / "a.jsonl", row)))
    assert [record.id for record in records] == ["tea#1", "tea#2"]
    assert {(record.task_type, record.tags) for record in records} == {
        ("cooking/tea", ("robustness",))
    }


def test_a_row_with_an_id_and_one_record_keeps_it(tmp_path: Path) -> None:
    row = {"id": "tea", **tree()}
    row["prompt"]["replies"][1]["replies"] = []
    assert [record.id for record in read_records(save(tmp_path / "a.jsonl", row))] == ["tea"]


def test_messages_without_ids_are_named_by_their_content(tmp_path: Path) -> None:
    row = tree()
    del row["prompt"]["message_id"]
    first, second = read_records(save(tmp_path / "a.jsonl", row))
    assert len(first.id) == 16
    assert second.id == "m4"


def test_the_same_tree_twice_is_every_record_twice(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", tree(), tree())
    assert [record.id for record in read_records(path)] == ["m1", "m4", "m1-2", "m4-2"]


def test_two_messages_of_one_id_clash(tmp_path: Path) -> None:
    row = tree()
    row["prompt"]["replies"][1]["replies"][0]["message_id"] = "m1"
    path = save(tmp_path / "a.jsonl", row)
    with pytest.raises(RecordError, match="the id 'm1' is also that of the record") as caught:
        list(read_records(path))
    assert caught.value.where == f"{path}:1"


def test_limits_count_records_not_trees(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", tree(), tree())
    assert [record.id for record in read_records(Source(str(path), limit=3))] == [
        "m1",
        "m4",
        "m1-2",
    ]


def test_a_broken_tree_is_passed_over_as_a_whole(tmp_path: Path) -> None:
    """A fault in its last message, which nothing before it shows."""
    broken = tree()
    broken["prompt"]["replies"][1]["replies"][0]["replies"][0]["text"] = None
    good = tree()
    path = save(tmp_path / "a.jsonl", broken, good)
    reading = read_records(path, on_bad_record="skip", rejected=tmp_path / "r.jsonl")
    assert [record.id for record in reading] == ["m1", "m4"]
    assert (reading.record_count, reading.rejected_count) == (2, 1)
    [told] = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert (told["line"], told["reason"]) == (1, "message 'm5' has no 'text'.")


def test_answers_are_sorted_by_rank_and_ties_keep_their_order() -> None:
    answers = [
        node("b", "assistant", "b", rank=2),
        node("c", "assistant", "c", rank=2),
        node("a", "assistant", "a", rank=0.0),  # as tables write a whole number
    ]
    parts = OASST.parse({"prompt": node("q", "prompter", "q", *answers)})
    assert parts.responses == (Response("a", 1), Response("b", 3), Response("c", 3))


def test_ranks_of_a_persons_messages_are_not_asked_for() -> None:
    """People's follow-up questions are ranked too; nobody learns to answer with one."""
    questions = [node(name, "prompter", name, rank=k) for k, name in enumerate("xy")]
    answers = [node("a", "assistant", "a", *questions, rank=0), node("b", "assistant", "b", rank=1)]
    parts = OASST.parse({"prompt": node("q", "prompter", "q", *answers)})
    assert [response.content for response in parts.responses] == ["a", "b"]
    assert parts.more == ()


def test_a_tree_that_an_assistant_begins() -> None:
    answers = [node(name, "assistant", name, rank=k) for k, name in enumerate("ab")]
    asked = node("q", "prompter", "q", *answers)
    parts = OASST.parse({"prompt": node("hello", "assistant", "Ask me.", asked)})
    assert parts.messages == (Message("assistant", "Ask me."), Message("user", "q"))
    assert parts.id == "q"


def test_a_deep_tree() -> None:
    """Deeper than Python's own stack."""
    bottom = node("end", "prompter", "end")
    bottom["replies"] = [node(name, "assistant", name, rank=k) for k, name in enumerate("ab")]
    for depth in range(1500):
        bottom = node(f"q{depth}", "prompter", "q", node(f"a{depth}", "assistant", "a", bottom))
    parts = OASST.parse({"prompt": bottom})
    assert len(parts.messages) == 3001
    assert parts.id == "end"


@pytest.mark.parametrize(
    ("row", "known"),
    [
        ({"prompt": "Hi", "completion": "Hello"}, "prompt_completion"),
        # One message in place of a list of them.
        (
            {"prompt": {"role": "assistant", "content": "Hi"}, "completion": "a"},
            "prompt_completion",
        ),
        ({"prompt": {"role": ["prompter"], "text": "Hi"}, "completion": "a"}, "prompt_completion"),
        ({"text": "Hi", "role": "prompter"}, "text"),
        ({"text": "Hi", "role": ["prompter"], "message_id": "m"}, "text"),
        ({"text": "Hi", "role": "user", "message_id": "m"}, "text"),
    ],
)
def test_what_is_no_tree(row: dict[str, Any], known: str) -> None:
    assert not OASST.recognise(row)
    assert recognise(row).name == known


def test_the_flat_export_is_refused_with_the_way_out(tmp_path: Path) -> None:
    row = {"message_id": "m1", "parent_id": None, "text": "Hi", "role": "prompter", "rank": None}
    assert recognise(row) is OASST
    path = save(tmp_path / "a.jsonl", row)
    with pytest.raises(RecordError) as caught:
        list(read_records(path))
    assert str(caught.value) == (
        f"{path}:1: the row is one message of OpenAssistant's flat export, and its conversation "
        "lies in other rows. Take the export of trees instead: the file that ends in "
        ".trees.jsonl.gz."
    )


def reply(**changes: Any) -> dict[str, Any]:
    """A tree of one question, whose first answer is changed."""
    first = {**node("a", "assistant", "a", rank=0), **changes}
    second = node("b", "assistant", "b", rank=1)
    return {"prompt": {**node("q", "prompter", "q"), "replies": [first, second]}}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"essay": "x"}, "there is no tree below 'prompt'; the row has columns 'essay'."),
        ({"prompt": "Hi"}, "there is no tree below 'prompt'; the row has no other columns."),
        ({"prompt": {"role": "prompter"}}, "a message of the tree has no 'text'."),
        (
            {"prompt": {"text": "Hi", "role": "user", "message_id": "q"}},
            "the role of message 'q' is 'user'; it must be prompter or assistant.",
        ),
        (
            {"prompt": {"text": "Hi", "role": []}},
            "the role of a message of the tree is []; it must be prompter or assistant.",
        ),
        (reply(text=3), "message 'a' has no 'text'."),
        (reply(replies={}), "'replies' of message 'a' is an object; it must be a list."),
        (reply(replies=["b"]), "a node of the tree is text; it must be an object."),
        (reply(rank="0"), "the rank of message 'a' is '0'; it must be 0, 1, 2 ..."),
        (reply(rank=-1), "the rank of message 'a' is -1; it must be 0, 1, 2 ..."),
        (reply(rank=0.5), "the rank of message 'a' is 0.5; it must be 0, 1, 2 ..."),
        (reply(rank=True), "the rank of message 'a' is True; it must be 0, 1, 2 ..."),
        (
            reply(rank=None),
            "no message of the tree has two or more ranked answers. Pass such trees over with "
            "data.on_bad_record: skip.",
        ),
        (
            reply(role="prompter"),
            "no message of the tree has two or more ranked answers. Pass such trees over with "
            "data.on_bad_record: skip.",
        ),
        (
            {"prompt": {"text": "Hi", "role": "prompter", "replies": None}},
            "no message of the tree has two or more ranked answers. Pass such trees over with "
            "data.on_bad_record: skip.",
        ),
    ],
)
def test_broken_trees(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        OASST.parse(copy.deepcopy(row))
    assert str(caught.value) == reason

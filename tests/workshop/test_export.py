"""What is exported reads back as it was; what a format cannot hold is never lost unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.errors import StoreError
from danlu.records import Message, Record, Response, Source, read_records
from danlu.workshop.exporting import EXPORTS, UnfitError
from danlu.workshop.exporting.sharegpt import row as sharegpt_row
from danlu.workshop.operations.export import export, export_hub
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from tests.workshop.making import chat, version_of

ARGUMENTS = (
    '{"b":1, "a": 12345678901234567890123}',
    ' {"x": 1}',
    "no JSON",
    '{"t":"\\u4f60"}',
    "[1]",
)


def calling(arguments: Any, **call: Any) -> Message:
    function = {"name": "f", "arguments": arguments}
    return Message(
        "assistant",
        None,
        extra={"tool_calls": [{"type": "function", "function": function, **call}]},
    )


CHATS = (
    chat("1", "你好", "好"),
    replace(chat("2"), tags=("x",), meta={"level": 3, "big": 2**70}),
    replace(chat("3"), messages=(Message("system", "Be kind."), *chat("").messages * 2)),
)
TOOLS = replace(
    chat("4"),
    messages=(
        Message("user", "?"),
        *(calling(arguments, id=str(k)) for k, arguments in enumerate(ARGUMENTS)),
        Message("tool", '{"ok": 1}', extra={"tool_call_id": "0"}),
        Message("assistant", "Done.", weight=0.0),
    ),
    tools=({"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}},),
)
RANKED = Record(
    "5",
    "a/b",
    (Message("user", "p"),),
    responses=(Response("x", 1), Response("y", 2, 0.5)),
    source="s",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "sets")


def back(path: Path, format: str) -> list[Record]:
    return [
        replace(record, source="s") for record in read_records(Source(str(path), format=format))
    ]


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize(
    ("format", "records"),
    [
        ("danlu", (*CHATS, TOOLS, RANKED)),
        ("alpaca", CHATS),
        ("sharegpt", (*CHATS, TOOLS)),
    ],
)
def test_what_comes_back(
    store: Store, tmp_path: Path, format: str, records: tuple[Record, ...], suffix: str
) -> None:
    version = version_of(store, tmp_path, *records)
    done = export(version, tmp_path / f"out.{suffix}", format)
    assert done.records == {"a/b": len(records)}
    assert back(done.path, format) == list(records)
    text = done.path.read_text("utf-8")
    rows = (
        json.loads(text) if suffix == "json" else [json.loads(line) for line in text.splitlines()]
    )
    assert len(rows) == len(records)


def test_openai_has_messages_and_tools_only(store: Store, tmp_path: Path) -> None:
    version = version_of(store, tmp_path, *CHATS, TOOLS)
    done = export(version, tmp_path / "out.jsonl", "openai")
    rows = [json.loads(line) for line in done.path.read_text("utf-8").splitlines()]
    assert {key for row in rows for key in row} == {"messages", "tools"}
    assert "id" in done.leaves_out
    for record, known in zip(back(done.path, "openai"), (*CHATS, TOOLS), strict=True):
        assert (record.messages, record.tools) == (known.messages, known.tools)
    made = EXPORTS["openai"].row(replace(TOOLS, messages=(calling({"b": 1, "a": "你"}),)))
    [call] = made["messages"][0]["tool_calls"]
    assert call["function"]["arguments"] == '{"b": 1, "a": "你"}'


@pytest.mark.parametrize("parquet", [True, False])
def test_the_hubs_layout(store: Store, tmp_path: Path, parquet: bool) -> None:
    records = (*CHATS, TOOLS, RANKED)
    train = version_of(store, tmp_path, *records, name="train")
    held = version_of(store, tmp_path, chat("9"), name="eval")
    done = export_hub({"train": train, "eval": held}, tmp_path / "hub", parquet=parquet)
    assert done.records == {"a/b": 6}
    suffix = "parquet" if parquet else "jsonl"
    names = sorted(path.name for path in (tmp_path / "hub" / "data").iterdir())
    assert names == [f"{name}-00000-of-00001.{suffix}" for name in ("eval", "train")]
    assert back(tmp_path / "hub", "danlu") == [chat("9"), *records]
    assert import_files(store, [Source(str(tmp_path / "hub"))]).manifest.records == 6
    card = (tmp_path / "hub" / "README.md").read_text("utf-8")
    assert card.startswith("---\npretty_name: hub\n")
    assert "| a/b | 5 | 1 |  |" in card
    assert train.id in card
    with pytest.raises(StoreError, match="--overwrite replaces it"):
        export_hub({"train": held}, tmp_path / "hub", parquet=parquet)
    (tmp_path / "hub" / "mine.txt").write_text("stays")
    export_hub({"train": held}, tmp_path / "hub", parquet=parquet, overwrite=True)
    assert back(tmp_path / "hub" / "data", "danlu") == [chat("9")]
    assert (tmp_path / "hub" / "mine.txt").exists()


CALL = calling("{}")
UNFIT = [
    ("alpaca", TOOLS, "tools"),
    ("alpaca", RANKED, "answers to compare"),
    ("alpaca", Record("1", "a/b", (Message("text", "x"),)), "turns that are not rounds"),
    (
        "alpaca",
        Record("1", "a/b", (*chat("").messages, Message("user", "x"))),
        "turns that are not",
    ),
    ("alpaca", Record("1", "a/b", (Message("system", "x"),)), "turns that are not"),
    ("alpaca", Record("1", "a/b", (Message("system", ""), *chat("").messages)), "an empty system"),
    ("alpaca", Record("1", "a/b", (Message("user", "x"), CALL)), "tool calls, names or reasoning"),
    (
        "alpaca",
        Record("1", "a/b", (Message("user", "x"), Message("assistant", "", 0.5))),
        "a weight",
    ),
    ("alpaca", replace(chat("1"), meta={"input": 1}), "'input' in meta"),
    ("sharegpt", RANKED, "answers to compare"),
    ("sharegpt", Record("1", "a/b", (Message("gpt", "x"),)), "the role 'gpt'"),
    ("sharegpt", Record("1", "a/b", (replace(CALL, content="x"),)), "text and tool calls"),
    ("sharegpt", Record("1", "a/b", (calling("{}", index=0),)), "a tool call with more"),
    ("sharegpt", Record("1", "a/b", (Message("user", "x", extra={"from": 1}),)), "'from' of a"),
    ("openai", RANKED, "answers to compare"),
    ("openai", Record("1", "a/b", (Message("narrator", "x"),)), "the role 'narrator'"),
    ("openai", Record("1", "a/b", (Message("assistant", "x", 0.5),)), "a weight that is not 0"),
    (
        "openai",
        Record("1", "a/b", (Message("user", "x", extra={"mood": 1}),)),
        "'mood' of a message",
    ),
]


@pytest.mark.parametrize(("format", "record", "reason"), UNFIT)
def test_what_does_not_fit_is_named(format: str, record: Record, reason: str) -> None:
    with pytest.raises(UnfitError, match=reason):
        EXPORTS[format].row(record)


def test_unfit_records_stop_or_are_counted_and_named(store: Store, tmp_path: Path) -> None:
    version = version_of(store, tmp_path, chat("1"), TOOLS, RANKED)
    path = tmp_path / "out.json"
    with pytest.raises(StoreError, match=r"alpaca cannot hold tools.*--on-unfit drop") as caught:
        export(version, path, "alpaca")
    assert caught.value.where == "record 4"
    assert not path.exists()
    done = export(version, path, "alpaca", on_unfit="drop")
    assert done.unfit == {"tools": 1, "answers to compare": 1}
    named = [json.loads(line) for line in Path(f"{path}.unfit.jsonl").read_text().splitlines()]
    assert named == [
        {"id": "4", "task_type": "a/b", "reason": "tools"},
        {"id": "5", "task_type": "a/b", "reason": "answers to compare"},
    ]
    with pytest.raises(StoreError, match="is there already"):
        export(version, path, "alpaca", on_unfit="drop")
    export(version, path, "danlu", overwrite=True)
    assert not Path(f"{path}.unfit.jsonl").exists()
    assert sorted(one.name for one in tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("name", "format", "reason"),
    [("x.jsonl", "alpca", "Did you mean 'alpaca'"), ("x.csv", "alpaca", ".json or .jsonl")],
)
def test_what_cannot_be_written(
    store: Store, tmp_path: Path, name: str, format: str, reason: str
) -> None:
    with pytest.raises(StoreError, match=reason):
        export(version_of(store, tmp_path, chat("1")), tmp_path / name, format)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(TEXT, min_size=1, max_size=3), st.booleans())
def test_sharegpt_keeps_any_arguments(texts: list[str], is_bare: bool) -> None:
    from danlu.records.formats.sharegpt import parse

    calls = [calling(text).extra["tool_calls"][0] for text in texts]
    record = Record("1", "a/b", (Message("assistant", None, extra={"tool_calls": calls}),))
    row = sharegpt_row(record)
    row = row if is_bare else json.loads(json.dumps(row))
    assert parse(dict(row)).messages == record.messages

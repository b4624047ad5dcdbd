"""Many conversations out of a few thousand: what the benchmark of import and checks goes through.

Every conversation is one of the files' own with about a tenth of its words exchanged for others of
the same file. A third of those without tools go on with a second one, so that there are later
turns. What is JSON, calls and their results stay as they are. They are written as a folder of three
formats, as data come: Alpaca, ShareGPT, and OpenAI with preferences in Danlu's own columns.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.batches import BUNDLED
from bench.cases import SEED
from bench.varied import SHARED
from danlu.records import Record, read_records, to_row
from danlu.workshop.likeness.text import has_han

FILES = (
    *("alpaca_en_demo.json", "alpaca_zh_demo.json", "identity.json", "gsm8k_test.jsonl"),
    *("glaive_toolcall_en_demo.json", "glaive_toolcall_zh_demo.json"),
    *("dpo_en_demo.json", "dpo_zh_demo.json", "kto_en_demo.json"),
)
EXCHANGED = 0.1
GOES_ON = 1 / 3


def originals(folder: Path = SHARED) -> tuple[str, list[Record]]:
    """Return where the conversations are from, and all of them; else the bundled ones."""
    files = [folder / name for name in FILES]
    if not all(file.is_file() for file in files):
        return BUNDLED.name, list(read_records(BUNDLED))
    found = []
    for file in files:
        task_type = f"bench/{file.stem}"
        found += [replace(record, task_type=task_type) for record in read_records(file)]
    return ", ".join(FILES), found


def varied_conversations(count: int, seed: int = SEED, folder: Path = SHARED) -> Iterator[Record]:
    """Make so many conversations; the same ones for the same seed."""
    draw = random.Random(seed)
    by_type: dict[str, list[Record]] = {}
    for record in originals(folder)[1]:
        by_type.setdefault(record.task_type, []).append(record)
    words = {task_type: _words(records) for task_type, records in by_type.items()}
    every = [record for records in by_type.values() for record in records]
    for number in range(count):
        record = draw.choice(every)
        messages = record.messages
        is_plain = not record.tools and not record.responses
        if is_plain and draw.random() < GOES_ON:
            more = draw.choice(by_type[record.task_type]).messages
            messages += tuple(one for one in more if one.role != "system")
        own = words[record.task_type]
        yield replace(
            record,
            id=f"c{number}",
            messages=tuple(
                replace(one, content=_exchanged(one.content, own, draw)) for one in messages
            ),
            responses=tuple(
                replace(one, content=_exchanged(one.content, own, draw) or one.content)
                for one in record.responses
            ),
            source="",
            meta={},
        )


def write_conversations(folder: Path, records: Iterator[Record]) -> int:
    """Write conversations as a folder of three formats; return its size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "alpaca.jsonl").open("w", encoding="utf-8") as alpaca,
        (folder / "sharegpt.jsonl").open("w", encoding="utf-8") as sharegpt,
        (folder / "openai.jsonl").open("w", encoding="utf-8") as openai,
    ):
        for record in records:
            roles = [message.role for message in record.messages]
            if record.tools or record.responses or set(roles) - {"user", "assistant"}:
                openai.write(_line(to_row(record)))
            elif roles == ["user", "assistant"]:
                asked, answer = record.messages
                own = {"instruction": asked.content, "input": "", "output": answer.content}
                alpaca.write(_line({**own, "id": record.id, "task_type": record.task_type}))
            else:
                turns = [
                    {"from": "human" if one.role == "user" else "gpt", "value": one.content}
                    for one in record.messages
                ]
                own = {"conversations": turns, "id": record.id, "task_type": record.task_type}
                sharegpt.write(_line(own))
    return sum(file.stat().st_size for file in folder.iterdir())


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _words(records: Sequence[Record]) -> dict[bool, list[str]]:
    """Return all words of some records, by whether they are Chinese characters."""
    words: dict[bool, list[str]] = {True: [], False: []}
    for record in records:
        texts = [one.content or "" for one in (*record.messages, *record.responses)]
        for text in texts:
            is_han = has_han(text)
            words[is_han] += list(text) if is_han else text.split(" ")
    return words


def _exchanged(text: str | None, words: dict[bool, list[str]], draw: random.Random) -> str | None:
    if not text or text.lstrip()[:1] in ("{", "["):
        return text
    is_han = has_han(text)
    pieces = list(text) if is_han else text.split(" ")
    for _ in range(round(EXCHANGED * len(pieces))):
        pieces[draw.randrange(len(pieces))] = draw.choice(words[is_han])
    made = ("" if is_han else " ").join(pieces)
    return made if made.strip() else text

"""Files become a version: of any format, streaming, whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import RecordError, StoreError
from danlu.records import Source
from danlu.workshop.operations.importing import Import, import_files
from danlu.workshop.store.manifest import FileFormat
from danlu.workshop.store.store import Store
from danlu.workshop.taxonomy import Taxonomy

ROOT = Path(__file__).parents[2]
RANKED = [{"answer": "x", "rank": 1}, {"answer": "y", "rank": 2}]
TAXONOMY = Taxonomy.from_tree({"math": {"sums": None, "proofs": None}}, "test")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "datasets")


def save(path: Path, *rows: Any) -> Source:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return Source(str(path))


def pair(prompt: str = "a", **columns: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completion": "b", **columns}


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_mixed_formats(store: Store, tmp_path: Path, file_format: FileFormat) -> None:
    arguments = '{"b":1, "a": 12345678901234567890123, "t": "\\u4f60"}'
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    sources = [
        save(tmp_path / "alpaca.jsonl", {"instruction": "译", "input": "猫", "output": "cat"}),
        save(
            tmp_path / "openai.jsonl",
            {
                "messages": [
                    {"role": "user", "content": "?"},
                    {"role": "assistant", "content": None, "tool_calls": [call]},
                ],
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "n": {"x": 2**65},
            },
        ),
        save(
            tmp_path / "sharegpt.jsonl",
            {
                "conversations": [
                    {"from": "human", "value": "time?"},
                    {
                        "from": "function_call",
                        "value": '{"name": "now", "arguments": {"z":1,"a":2.0}}',
                    },
                ],
                "tags": ["tool"],
            },
        ),
        save(tmp_path / "ranked.jsonl", {"prompt": "p", "answers": RANKED}),
    ]
    version = import_files(store, sources, Import(tags=("new",)), file_format=file_format)
    alpaca, openai, sharegpt, ranked = version.records()
    assert alpaca.messages[0].content == "译\n猫"
    assert alpaca.tags == ("new",)
    assert openai.messages[1].extra["tool_calls"] == [call]
    assert openai.meta == {"n": {"x": 2**65}}
    assert sharegpt.tags == ("tool", "new")
    [made] = sharegpt.messages[1].extra["tool_calls"]
    assert made["function"]["arguments"] == '{"z":1,"a":2.0}'
    assert ranked.responses[0].rank == 1
    assert version.manifest.file_format == file_format
    assert [file.name for file in version.manifest.files] == [source.path for source in sources]
    assert {entry.fate for entry in version.ledger()} == {"kept"}


def test_jsonl_and_parquet_have_one_content(store: Store, tmp_path: Path) -> None:
    source = save(tmp_path / "a.jsonl", pair(x=1), pair("你", tags=["t"]))
    first = import_files(store, [source])
    second = import_files(Store(tmp_path / "other"), [source], file_format="parquet")
    assert first.id == second.id
    assert first.manifest.content == second.manifest.content
    assert list(first.records()) == list(second.records())


def test_another_content_name_or_reading_is_another_version(store: Store, tmp_path: Path) -> None:
    source = save(tmp_path / "a.jsonl", pair(), pair("c"))
    ids = {import_files(store, [source]).id, import_files(store, [source]).id}
    assert len(ids) == 1
    ids.add(import_files(store, [save(tmp_path / "b.jsonl", pair(), pair("c"))]).id)
    ids.add(import_files(store, [Source(source.path, limit=1)]).id)
    ids.add(import_files(store, [Source(source.path, task_type="x/y")]).id)
    ids.add(import_files(store, [source], Import(tags=("t",))).id)
    save(tmp_path / "a.jsonl", pair(), pair("d"))
    ids.add(import_files(store, [source]).id)
    assert len(ids) == 6


def test_broken_rows_stop_or_are_kept_aside(store: Store, tmp_path: Path) -> None:
    source = save(tmp_path / "a.jsonl", pair(), '{"prompt": 1}', pair("c"))
    with pytest.raises(RecordError, match="no format is recognised") as caught:
        import_files(store, [source])
    assert caught.value.where == f"{source.path}:2"
    assert store.versions() == []
    version = import_files(store, [source], Import(on_bad_record="skip"))
    assert (len(version), version.manifest.rejected) == (2, 1)
    [row] = version.rejected_path.read_text("utf-8").splitlines()
    assert (json.loads(row)["line"], json.loads(row)["text"]) == (2, '{"prompt": 1}')


def test_task_types_are_checked(store: Store, tmp_path: Path) -> None:
    rows = [pair(task_type="math/sums"), pair("b", task_type="math/sum"), pair("c")]
    source = save(tmp_path / "a.jsonl", *rows)
    with pytest.raises(RecordError, match=r"'math/sum' is not in the taxonomy. Did you mean 'math"):
        import_files(store, [source], Import(taxonomy=TAXONOMY))
    kept = import_files(store, [source], Import(taxonomy=TAXONOMY, unknown="keep"))
    types = [record.task_type for record in kept.records()]
    assert types == ["math/sums", "math/sum", "unlabelled/a"]
    assert kept.taxonomy == TAXONOMY
    left = import_files(store, [source], Import(taxonomy=TAXONOMY, unknown="unlabelled"))
    assert [record.task_type for record in left.records()][1] == "unlabelled/sum"
    entry = list(left.ledger())[1]
    assert (entry.fate, entry.rule, entry.value) == ("edited", "unknown task type", "math/sum")


def test_a_file_that_changes_while_it_is_read(store: Store, tmp_path: Path) -> None:
    source = save(tmp_path / "a.jsonl", *[pair(str(number)) for number in range(2500)])

    def touch(stage: str, done: int, total: int | None) -> None:
        os.utime(source.path, ns=(1, done))

    with pytest.raises(StoreError, match="the file changed while it was read"):
        import_files(store, [source], progress=touch)
    assert store.versions() == []


def test_memory_does_not_grow_with_the_text(store: Store, tmp_path: Path) -> None:
    """Twenty megabytes of text; the ids of 2,000 records are some 300 kB."""
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for number in range(2000):
            file.write(json.dumps(pair(f"{number} " + "x" * 10_000)) + "\n")
    tracemalloc.start()
    version = import_files(store, [Source(str(path))])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(version) == 2000
    assert peak < 8_000_000


PROGRAM = """
import sys
from danlu.records import Source
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
version = import_files(Store(sys.argv[2]), [Source(sys.argv[1])], name="mine")
print(version.id, version.is_new, len(version))
"""


def importing(path: Path, store: Store) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), str(store.path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def many(path: Path, count: int) -> Path:
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps(pair(f"{number} " + "x" * 100)) + "\n")
    return path


def test_killed_in_the_middle_and_begun_again(store: Store, tmp_path: Path) -> None:
    path = many(tmp_path / "a.jsonl", 60_000)
    process = importing(path, store)
    deadline = time.monotonic() + 60
    while not any(
        file.stat().st_size > 2_000_000
        for file in store.path.glob("versions/.building-*/records.jsonl")
    ):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()
    assert store.versions() == []
    assert store.names.all() == {}
    assert len(os.listdir(store.path / "versions")) == 1  # what was left
    version = import_files(store, [Source(str(path))], name="mine")
    assert version.is_new
    assert os.listdir(store.path / "versions") == [version.id]
    assert len(list(version.records())) == len(list(version.ledger())) == 60_000
    assert store.find("mine").id == version.id


def test_two_processes_make_it_once(store: Store, tmp_path: Path) -> None:
    path = many(tmp_path / "a.jsonl", 20_000)
    processes = [importing(path, store) for _ in range(2)]
    told = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        told.append(out.split())
    assert {words[0] for words in told} == {store.find("mine").id}
    assert sorted(words[1] for words in told) == ["False", "True"]
    assert [words[2] for words in told] == ["20000", "20000"]
    assert len(store.names.history("mine")) == 1

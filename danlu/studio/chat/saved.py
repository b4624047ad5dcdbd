"""Conversations as training records: appended to a file, or a new version of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from danlu.errors import DanluError, RecordError, StoreError
from danlu.records import Source
from danlu.records.lines import encode_record
from danlu.records.record import Message
from danlu.records.source import check_task_type
from danlu.serving.chat_commands import conversation_record
from danlu.studio.workspace import Workspace
from danlu.workshop.operations.importing import import_files
from danlu.workshop.operations.merge import merge
from danlu.workshop.store.store import Store

SOURCE = "danlu studio chat"


def save(
    workspace: Workspace, store: Store, messages: Sequence[Message], task_type: str, into: str
) -> str:
    """Keep a conversation as a record; return where.

    Args:
        workspace: Whose.
        store: Its datasets.
        messages: The conversation.
        task_type: Of the record.
        into: A file of the workspace that ends in ``.jsonl``, to which it is appended; else the
            name of a dataset, which points to a new version from then on: the version before and
            the record, merged.

    Raises:
        DanluError: If the task type is none, or unknown to the dataset's taxonomy; if the file
            cannot be written or has the record already; if the name is none.
    """
    check_task_type(task_type)
    record = conversation_record(messages, task_type, SOURCE)
    line = encode_record(record)
    if into.endswith(".jsonl"):
        path = workspace.inside(into)
        _append(path, line, into)
        return into
    if "/" in into or not into:
        raise DanluError(
            "is neither a file of records (.jsonl) nor a name of a dataset.", where=into or "into"
        )
    folder = workspace.own / "chat"
    folder.mkdir(exist_ok=True)
    file = folder / f"{record.id}.jsonl"
    file.write_bytes(line)
    old = store.find(into) if store.has(into) else None
    if old is not None and old.taxonomy and task_type not in old.taxonomy.skills:
        hint = old.taxonomy.hint(task_type)
        raise StoreError(f"the task type {task_type!r} is not in the taxonomy.{hint}", where=into)
    source = Source(str(file), format="danlu")
    if old is None:
        version = import_files(store, [source], name=into)
    else:
        version = merge(store, [old, import_files(store, [source])], name=into)
    return f"{into} ({version.id[:9]})"


def _append(path: Path, line: bytes, shown: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            there = file.read()
            if line in there:
                raise RecordError("has this very record already.", where=shown)
            ends = not there or there.endswith(b"\n")
            file.write(line if ends else b"\n" + line)
    except OSError as error:
        raise RecordError(f"cannot be written: {error.strerror}.", where=shown) from error

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from danlu.errors import RecordError
from danlu.records import Source, fingerprint


def test_content_names_settings_and_order_count_but_not_the_place(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_text('{"text": "一"}')
        (tmp_path / folder / "b.jsonl").write_text('{"text": "一"}')
    first = Source(str(tmp_path / "x" / "a.jsonl"))
    assert fingerprint([first]) == fingerprint([Source(str(tmp_path / "y" / "a.jsonl"))])
    assert len(fingerprint([first])) == 32
    second = Source(str(tmp_path / "x" / "b.jsonl"))
    different = {
        fingerprint([]),
        fingerprint([first]),
        fingerprint([second]),
        fingerprint([first, second]),
        fingerprint([second, first]),
        fingerprint([Source(str(tmp_path / "x"))]),
        fingerprint([Source(first.path, format="text")]),
        fingerprint([Source(first.path, task_type="a/b")]),
        fingerprint([Source(first.path, columns={"text": "body"})]),
        fingerprint([Source(first.path, limit=5)]),
    }
    assert len(different) == 10
    before = fingerprint([first])
    Path(first.path).write_text('{"text": "二"}')
    assert fingerprint([first]) != before


def test_a_missing_file() -> None:
    with pytest.raises(RecordError, match="no such file"):
        fingerprint([Source("nowhere.json")])


def test_hub_datasets_are_known_by_their_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    revisions = {"owner/a": "111"}

    def dataset_info(name: str) -> SimpleNamespace:
        if name not in revisions:
            raise OSError("no network")
        return SimpleNamespace(sha=revisions[name])

    hub = ModuleType("huggingface_hub")
    hub.HfApi = lambda: SimpleNamespace(dataset_info=dataset_info)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    asked = fingerprint([Source("hub:owner/a")])
    assert asked == fingerprint([Source("hub:owner/a")])
    assert asked != fingerprint([Source("hub:owner/a", split="test")])
    revisions["owner/a"] = "222"
    assert asked != fingerprint([Source("hub:owner/a")])
    with pytest.raises(RecordError, match="Name one, as in hub:owner/b@main"):
        fingerprint([Source("hub:owner/b")])
    assert len({fingerprint([Source(f"hub:owner/b@{tag}")]) for tag in ("v1", "v2")}) == 2

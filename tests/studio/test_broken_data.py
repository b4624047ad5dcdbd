"""Versions whose files are broken or gone: told on their pages, and no other is hidden."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from danlu.errors import StoreError
from danlu.records import Message, Record, write_records
from danlu.records.source import Source
from danlu.workshop.operations.choice import Choice
from danlu.workshop.operations.edits import Tag
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from tests.studio.client import entered


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    turns = (Message("user", "一加一？"), Message("assistant", "二"))
    write_records([Record("a", "math/sums", turns)], tmp_path / "in.jsonl")
    source = Source(str(tmp_path / "in.jsonl"), format="danlu")
    import_files(Store(tmp_path / "datasets"), [source], name="客服")
    return tmp_path


@pytest.fixture
def client(root: Path) -> Iterator[TestClient]:
    client, shared = entered(root)
    yield client
    shared.close()


@pytest.mark.parametrize("file", ["records_path", "ledger_path"])
def test_a_file_of_a_version_that_is_gone_is_told(
    client: TestClient, root: Path, file: str
) -> None:
    """Before its index was made, and after."""
    store = Store(root / "datasets")
    for at, look_first in enumerate((False, True)):
        version = store.apply(Tag(Choice(ids=("a",)), (f"x{file}{at}",)), store.find("客服"))
        address = f"/data/record/{version.id}?id=a"
        if look_first:
            assert client.get(address).status_code == 200
        getattr(version, file).unlink()
        answer = client.get(address)
        assert answer.status_code == 400
        assert "No such file" in answer.text
        assert getattr(version, file).name in answer.text


def test_a_version_that_cannot_be_read_is_told_and_hides_no_other(
    client: TestClient, root: Path
) -> None:
    store = Store(root / "datasets")
    broken = store.apply(Tag(Choice(ids=("a",)), ("x",)), store.find("客服"), name="odd")
    (broken.path / "manifest.json").write_text("{")
    text = client.get("/data").text
    assert "not a valid manifest" in text
    assert "客服" in text
    with pytest.raises(StoreError, match="not a valid manifest"):
        store.versions()
    answer = client.get("/data/version/odd")
    assert answer.status_code == 400
    assert "not a valid manifest" in answer.text

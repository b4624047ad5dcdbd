"""Checks of a version: a job of the command, verdicts, and the way from a finding to its record."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.errors import StoreError
from danlu.records import Message, Record, write_records
from danlu.records.source import Source
from danlu.studio import check_index
from danlu.workshop.operations.choice import Choice
from danlu.workshop.operations.edits import Tag
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from tests.studio.client import entered

BAIT = "<script>alert(1)</script>"


def talk(id_: str, task_type: str, said: str) -> Record:
    return Record(id_, task_type, (Message("user", f"{id_}?"), Message("assistant", said)))


RECORDS = [
    talk("fine", "qa/a", "Yes."),
    talk("空", "qa/a", " "),
    talk("odd", "qa/b", f"Gar\ufffd\ufffd\ufffd {BAIT}"),
    talk("void", "qa/b", ""),
]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A workspace with a version, and the folder of a job that has checked it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DANLU_DATASETS", raising=False)
        root = tmp_path_factory.mktemp("workspace")
        write_records(RECORDS, root / "in.jsonl")
        store = Store(root / "datasets")
        import_files(store, [Source(str(root / "in.jsonl"), format="danlu")], name="客服")
        job = root / "20260101-job"
        job.mkdir()
        client, shared = entered(root)
        given: list[Any] = []

        def start(kind: str, arguments: Any, *, leads_to: str) -> None:
            given.append((kind, arguments(str(job)), leads_to))

        patch.setattr(shared.jobs, "start", start)
        answer = client.post("/data/check", data={"version": "客服"})
        assert answer.headers["hx-redirect"] == "/data/checks/%E5%AE%A2%E6%9C%8D"
        ((kind, arguments, _),) = given
        assert kind == "check"
        with pytest.MonkeyPatch.context() as here:
            here.chdir(root)
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                assert run(arguments) == 0
        (job / "stdout.txt").write_text(printed.getvalue(), "utf-8")
        shared.close()
    return root, job


def opened(checked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, state: str = "done") -> Any:
    root, folder = checked
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    client, shared = entered(root)
    version = shared.datasets.store.find("客服")
    job = SimpleNamespace(id="j1", arguments=("data", "check", version.id), kind="check", run=None)
    view = SimpleNamespace(job=job, state=state, folder=folder)
    monkeypatch.setattr(shared.jobs, "all", lambda count: [view])
    return client


def ids(text: str) -> list[str]:
    found = re.findall(r'<a class="mono" href="/data/record/[^"]*">([^<]*)</a>', text)
    return [html.unescape(one) for one in found]


def test_a_check_that_runs_is_waited_for_and_one_that_failed_is_told(
    checked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = opened(checked, monkeypatch, "running")
    text = client.get("/data/checks/客服").text
    assert 'hx-trigger="load delay:1s"' in text
    assert "has not been checked" not in text
    client = opened(checked, monkeypatch, "failed")
    assert "did not end well" in client.get("/data/checks/客服").text


def test_a_finding_leads_to_its_records(
    checked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = opened(checked, monkeypatch)
    text = client.get("/data/checks/客服").text
    links = [
        html.unescape(one) for one in re.findall(r'href="(/data/version/[^"]*finding[^"]*)"', text)
    ]
    assert any("empty" in one and "qa%2Fa" in one for one in links)
    found = {}
    for link in links:
        part = client.get(link, headers={"hx-target": "records"}).text
        assert BAIT not in part
        found[link] = ids(part)
    assert all(found.values())
    empty = {tuple(own) for link, own in found.items() if "empty" in link}
    assert empty == {("空",), ("void",)}
    (strange,) = {tuple(own) for link, own in found.items() if "mojibake" in link}
    assert strange == ("odd",)
    record = client.get("/data/record/客服?id=odd").text
    assert "mojibake." in record
    assert "mojibake." not in client.get("/data/record/客服?id=fine").text
    none = client.get("/data/version/客服?finding=no.such", headers={"hx-target": "records"}).text
    assert ids(none) == []
    part = client.get("/data/checks/客服?task_type=qa/b", headers={"hx-target": "checks"}).text
    assert "<html" not in part
    assert '<th scope="row">qa/a</th>' not in part


def test_findings_stay_when_a_record_is_edited_by_hand(
    checked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = opened(checked, monkeypatch)
    client.get("/data/checks/客服")
    store = Store(checked[0] / "datasets")
    edited = store.apply(Tag(Choice(ids=("fine",)), ("seen",)), store.find("客服"))
    assert "edited by hand since" in client.get(f"/data/checks/{edited.id}").text
    query = {"finding": "mojibake.replacement", "task_type": "qa/b"}
    text = client.get(f"/data/version/{edited.id}", params=query).text
    assert "mojibake" in text


def test_what_was_found_is_read_once_and_a_broken_file_is_told(
    checked: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "checks-v1-1-a"
    check_index.build(folder, checked[1])
    index = check_index.CheckIndex(folder)
    rows = [json.loads(line) for line in (checked[1] / "findings.jsonl").read_text().splitlines()]
    assert len(index) == len(rows) == sum(index.counts().values())
    for row in rows:
        assert row in index.of(row["record_id"], f"{row['check']}.{row['rule']}")
    assert index.of("fine") == [row for row in rows if row["record_id"] == "fine"]
    later = tmp_path / "checks-v1-1-b"
    check_index.build(later, checked[1])
    assert not folder.exists()
    broken = tmp_path / "job"
    broken.mkdir()
    (broken / "stdout.txt").write_text("{}")
    with pytest.raises(StoreError, match="cannot be read"):
        check_index.build(tmp_path / "checks-v1-1-c", broken)
    assert [one.name for one in tmp_path.glob("*checks*")] == ["checks-v1-1-b"]

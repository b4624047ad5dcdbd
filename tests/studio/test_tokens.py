"""A record as tokens: what is trained of it, its losses, and that no request waits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.errors import DanluError, StoreError
from danlu.records import Message, Record, write_records
from danlu.records.lines import encode_record
from danlu.records.source import Source
from danlu.studio.token_worker import Desk
from danlu.studio.tokens import Shown, Tokens, whose
from danlu.studio.workspace import Workspace
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from tests.runs.synthetic_run import make_run
from tests.studio.client import entered
from tests.tiny_models import tiny_llama

BAIT = "<script>alert(1)</script>"
RECORD = Record("r", "qa/short", (Message("user", "丹？"), Message("assistant", f"炉 {BAIT}")))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A workspace with a run that has a model, and a version of one record."""
    folder = tmp_path_factory.mktemp("workspace")
    run = make_run(folder / "runs" / "a", steps=3).path
    tiny_llama(seed=3).save_pretrained(run / "model")
    tiny_tokenizer.save_pretrained(run / "model")
    write_records([RECORD], folder / "in.jsonl")
    source = Source(str(folder / "in.jsonl"), format="danlu")
    import_files(Store(folder / "datasets"), [source], name="one")
    return folder


@pytest.fixture(scope="module")
def found(root: Path) -> dict[str, Any]:
    """What the process answers, made here."""
    told: list[str] = []
    desk = Desk(lambda **what: told.append(what["stage"]))
    asked = {
        "model": str(root / "runs" / "a"),
        "is_run": True,
        "stamp": "1",
        "record": json.loads(encode_record(RECORD)),
        "losses": False,
    }
    plain = desk.answer(asked)
    assert told == ["tokenizer"]
    hard = desk.answer({**asked, "losses": True})
    assert desk.answer({**asked, "losses": True}) == hard
    assert told == ["tokenizer", "model", "losses", "losses"]
    assert "loss" not in plain["branches"][0]["pieces"][3]
    with pytest.raises(DanluError, match="nowhere"):
        desk.answer({**asked, "model": str(root / "nowhere"), "is_run": False})
    return hard


def test_pieces_are_the_branch_and_only_the_answer_is_trained(found: dict[str, Any]) -> None:
    (branch,) = found["branches"]
    text = "".join(one["text"] for one in branch["pieces"])
    assert f"炉 {BAIT}" in text
    trained = "".join(one["text"] for one in branch["pieces"] if one["weight"])
    assert trained.startswith("炉")
    assert "丹" not in trained
    assert branch["tokens"] == sum(one["tokens"] for one in branch["pieces"])
    losses = [one["loss"] for one in branch["pieces"] if one["weight"]]
    assert branch["loss"] == pytest.approx(sum(losses) / branch["trained"], rel=1e-5)
    assert any("instead" in one for one in branch["pieces"])


def test_the_page_colours_and_escapes(
    root: Path, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, shared = entered(root)
    asked: list[tuple[str, bool]] = []

    def of(_: Tokens, whose: Any, record: Record, *, losses: bool) -> Shown:
        asked.append((whose.name, losses))
        return Shown(found)

    monkeypatch.setattr(Tokens, "of", of)
    assert ">runs/a</option>" in client.get("/data/record/one?id=r").text
    assert asked == []
    query = {"id": "r", "tokens": "runs/a"}
    by_weight = client.get("/data/record/one", params=query).text
    by_loss = client.get(
        "/data/record/one", params={**query, "colour": "loss"}, headers={"hx-target": "tokens"}
    ).text
    assert asked == [("runs/a", False), ("runs/a", True)]
    for text in (by_weight, by_loss):
        assert BAIT not in text
    assert 'class="token w4"' in by_weight
    assert "<html" not in by_loss
    assert 'class="token l5"' in by_loss
    assert "The hardest trained tokens" in by_loss
    assert client.get("/data/record/one", params={"id": "r", "tokens": "../x"}).status_code == 404
    shared.close()


def test_no_request_waits_and_a_fault_is_told_once(
    root: Path, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokens(Workspace(root))
    given = whose(tokens.workspace, "runs/a")
    steps = iter([Shown(fault="no model"), Shown(found), Shown(found)])
    asked: list[dict[str, Any]] = []

    def work(self: Tokens) -> None:
        while self._waiting:
            asked.append(self._waiting.popleft())
            self._set(asked[-1]["key"], next(steps))
        self._is_at_work = False

    monkeypatch.setattr(Tokens, "_work", work)
    seen = []
    for _ in range(5000):
        seen.append(tokens.of(given, RECORD, losses=True))
        if seen[-1].found:
            break
        time.sleep(0.002)
    assert seen[0].found is None
    assert [one.fault for one in seen if one.fault] == ["no model"]
    assert seen[-1].found == found
    assert len(asked) == 2
    changed = Record("r", "qa/short", (*RECORD.messages[:1], Message("assistant", "x")))
    assert tokens.of(given, changed, losses=True).found is None


class Process:
    """What the worker would say, and how it ends."""

    def __init__(self, lines: list[str]) -> None:
        self.stdin, self.stdout = _Sink(), _Lines(line.encode() for line in lines)
        self.returncode = 1

    def poll(self) -> None:
        return None

    def wait(self) -> int:
        return 1


class _Sink:
    def write(self, data: bytes) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class _Lines:
    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[bytes]:
        return self._lines

    def close(self) -> None: ...


def test_the_stages_are_told_and_a_process_that_dies_says_why(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokens(Workspace(root))
    told: list[Any] = []
    monkeypatch.setattr(Tokens, "_set", lambda self, key, shown: told.append(shown.stage))
    lines = ['{"key": "k", "stage": "model"}\n']
    answer = '{"key": "k", "found": {"branches": [], "notes": []}}\n'
    monkeypatch.setattr(Tokens, "_running", lambda self, key: Process([*lines, answer]))
    assert tokens._asked({"key": "k"}).found == {"branches": [], "notes": []}
    assert told == ["model"]
    monkeypatch.setattr(Tokens, "_running", lambda self, key: Process(lines))
    (tokens.workspace.own / "tokens.log").write_text("Traceback\nKilled: no memory\n")
    assert tokens._asked({"key": "k"}).fault == "Killed: no memory"


def test_tokens_are_counted_by_a_job_and_shown_in_the_tree(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job's own arguments are handed to the command line here."""
    client, shared = entered(root)
    text = client.get("/data/version/one").text
    assert "Of the loss, by characters" in text
    started: list[Any] = []
    monkeypatch.setattr(shared.jobs, "start", lambda kind, given, leads_to: started.append(given))
    answer = client.post("/data/count", data={"version": "one", "model": "runs/a"})
    assert answer.headers["hx-redirect"] == "/data/version/one"
    monkeypatch.chdir(root)
    assert run(started[0]) == 0
    printed = capsys.readouterr().out
    tokens = json.loads(printed)["tokens"]["qa/short"]
    job = SimpleNamespace(id="j1", arguments=tuple(started[0]), kind="count", run=None)
    view = SimpleNamespace(job=job, state="running", file=lambda name: printed)
    monkeypatch.setattr(shared.jobs, "all", lambda count: [view])
    assert "Counting tokens" in client.get("/data/version/one").text
    view.state = "done"
    text = client.get("/data/version/one").text
    assert "Tokens and shares of the loss as runs/a has them." in text
    assert f'<td class="number">{tokens["tokens"]}</td>' in text
    assert f'<td class="number">{tokens["trained"]}</td>' in text
    assert tokens["trained"] < tokens["tokens"]
    version = shared.datasets.store.find("one")
    shared.datasets.take_counts(version, "other", "j0", "an older job's")
    assert shared.datasets.counted(version).model == "runs/a"
    with pytest.raises(StoreError, match="cannot be read"):
        shared.datasets.take_counts(version, "other", "j2", "Killed")
    assert client.post("/data/count", data={"version": "one", "model": "../x"}).status_code == 404
    shared.close()

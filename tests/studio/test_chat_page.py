"""The page of conversations: answers as they come, stop, thumbs and corrections in the capture."""

from __future__ import annotations

import html
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from danlu.errors import DanluError, ModelError
from danlu.generation.interface import Sampling
from danlu.records import Message, Source, read_records
from danlu.records.capture import Feedback, Turn, read_capture
from danlu.serving.speakers import Speaker
from danlu.studio.chat import pool
from danlu.studio.chat.pool import Models
from danlu.studio.chat.talk import Talk, TalkSettings
from danlu.studio.chat.worker import Worker
from danlu.workshop.store.store import Store
from tests.studio.client import entered
from tests.tiny_models import tiny_llama

BAIT = "<img src=x onerror=alert(1)>"


class Echo:
    """Answers with what was said; ``fail`` fails, ``wait`` comes when it is let, in two pieces."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.asked: list[tuple[list[Message], Sampling]] = []

    def stream(self, conversation: Any, sampling: Sampling) -> Iterator[str]:
        said = conversation[-1].content
        self.asked.append((list(conversation), sampling))
        if said == "fail":
            raise ModelError("the context is full")
        if said.startswith("wait"):
            yield "so far"
            self.let.wait(20)
        if said == "block":
            self.let.wait(20)
        yield f"{said}{BAIT}"


def make(root: Path, count: int = 2) -> tuple[Talk, list[Echo]]:
    echoes = [Echo() for _ in range(count)]
    names = ["echo", "回声"][:count]
    speakers = [
        Speaker(name, echo, f"runs/{name}", "v1") for name, echo in zip(names, echoes, strict=True)
    ]
    return Talk(speakers, [f"runs/{name}" for name in names], root), echoes


def held(root: Path, talk: Talk) -> httpx2.Client:
    """A browser, in a studio that has this conversation."""
    client, own = entered(root)
    own.talks.keep(talk)
    client.headers["hx-target"] = "talk"
    return client


def post(client: httpx2.Client, talk: Talk, what: str, **fields: str) -> Any:
    settings = {
        "system": "",
        "temperature": "0.7",
        "top_p": "0.95",
        "max_new_tokens": "32",
        "seed": "0",
        "capture": "captured",
    }
    answer = client.post(f"/chat/{what}", data={"talk": talk.id, **settings, **fields})
    if what in ("say", "retry") and fields.get("leave") != "yes":
        talk.wait(20)
    return answer


def texts(talk: Talk) -> list[list[str]]:
    return [[one.text for one in exchange.answers] for exchange in talk.exchanges]


def until(reached: Callable[[], bool]) -> None:
    wait = threading.Event()
    for _ in range(2000):
        if reached():
            return
        wait.wait(0.01)
    raise AssertionError("it never came")


def captured(root: Path) -> list[Turn | Feedback]:
    texts = [file.read_text("utf-8") for file in (root / "captured").glob("*.jsonl")]
    return [read_capture(json.loads(line)) for text in texts for line in text.splitlines()]


def test_two_answer_side_by_side_with_the_settings_of_the_form(tmp_path: Path) -> None:
    talk, echoes = make(tmp_path)
    client = held(tmp_path, talk)
    part = post(client, talk, "say", text=f"你好\r\n{BAIT}", system="Be brief.", seed="5")
    assert part.headers["hx-trigger"] == "seats"
    assert texts(talk) == [[f"你好\n{BAIT}{BAIT}"] * 2]
    for echo in echoes:
        [(messages, sampling)] = echo.asked
        assert [(one.role, one.content) for one in messages] == [
            ("system", "Be brief."),
            ("user", f"你好\n{BAIT}"),
        ]
        assert sampling == Sampling(32, False, 0.7, 0.95, 5)
    text = client.get(f"/chat/talk/{talk.id}").text
    assert BAIT not in text
    assert text.count(html.escape(f"你好\n{BAIT}{BAIT}")) >= 2
    assert "Be brief." in text
    assert "回声" in text
    listed = client.get("/chat").text
    assert f"/chat/talk/{talk.id}" in listed
    assert BAIT not in listed


def test_the_stream_says_all_that_is_there_and_then_what_comes(tmp_path: Path) -> None:
    talk, echoes = make(tmp_path)
    client = held(tmp_path, talk)
    post(client, talk, "say", text="wait 炉火", leave="yes")
    until(lambda: texts(talk) == [["so far", "so far"]])
    for echo in echoes:
        echo.let.set()
    talk.wait(20)
    lines = client.get(f"/chat/live/{talk.id}").text.splitlines()
    rows = [json.loads(line[6:]) for line in lines if line.startswith('data: {"seat')]
    assert rows == [{"seat": k, "at": 0, "text": f"so farwait 炉火{BAIT}"} for k in (0, 1)]
    assert lines[-3:-1] == ["event: end", "data: {}"]


def test_a_stopped_answer_stays_as_far_as_it_came_and_the_talk_goes_on(tmp_path: Path) -> None:
    talk, echoes = make(tmp_path)
    client = held(tmp_path, talk)
    post(client, talk, "say", text="wait", leave="yes")
    until(lambda: texts(talk) == [["so far", "so far"]])
    busy = post(client, talk, "undo")
    assert busy.status_code == 400
    assert "under way" in busy.text
    part = client.post("/chat/stop", data={"talk": talk.id}).text
    assert part.count("Stopped here.") == 2
    assert "data-going" not in part
    post(client, talk, "say", text="on")
    for echo in echoes:
        history = [(one.role, one.content) for one in echo.asked[-1][0]]
        assert history == [("user", "wait"), ("assistant", "so far"), ("user", "on")]
        echo.let.set()
    assert texts(talk)[0] == ["so far", "so far"]


def test_what_was_stopped_before_its_first_word_is_not_in_the_conversation(tmp_path: Path) -> None:
    talk, echoes = make(tmp_path, 1)
    talk.say("block", TalkSettings())
    until(lambda: bool(echoes[0].asked))
    talk.stop()
    talk.wait(20)
    assert talk.exchanges[0].answers[0].state == "stopped"
    echoes[0].let.set()
    talk.say("on", TalkSettings())
    talk.wait(20)
    assert [one.content for one in echoes[0].asked[-1][0]] == ["on"]


def test_who_fails_says_why_and_can_be_asked_again(tmp_path: Path) -> None:
    talk, echoes = make(tmp_path)
    client = held(tmp_path, talk)
    post(client, talk, "say", text="first")
    stream = echoes[1].stream
    echoes[1].stream = lambda *_: stream([Message("user", "fail")], Sampling())  # type: ignore[method-assign]
    post(client, talk, "say", text="second")
    part = client.get(f"/chat/part/{talk.id}").text
    assert "the context is full" in part
    assert "Left is better" not in part  # of one answer
    assert post(client, talk, "vote", seat="0", up="yes").is_success
    assert post(client, talk, "vote", seat="1", up="yes").status_code == 400
    echoes[1].stream = stream  # type: ignore[method-assign]
    post(client, talk, "retry")
    assert texts(talk) == [[f"first{BAIT}"] * 2, [f"second{BAIT}"] * 2]
    for echo in echoes:
        assert [one.content for one in echo.asked[-1][0]] == ["first", f"first{BAIT}", "second"]
    assert echoes[0].asked[-1][1].seed == 2  # another draw
    post(client, talk, "undo")
    assert texts(talk) == [[f"first{BAIT}"] * 2]
    assert [len(seat.chat.history) for seat in talk.session.seats] == [2, 2]
    post(client, talk, "reset")
    assert talk.exchanges == []
    assert post(client, talk, "retry").status_code == 400


def test_thumbs_corrections_and_which_is_better_land_in_the_capture(tmp_path: Path) -> None:
    talk, _ = make(tmp_path)
    client = held(tmp_path, talk)
    client.post("/vote/voter", data={"voter": "安"}).raise_for_status()
    post(client, talk, "say", text="one")
    turns = captured(tmp_path)
    assert [type(one) for one in turns] == [Turn, Turn]
    part = post(client, talk, "vote", seat="0", up="yes").text
    assert part.count('aria-pressed="true"') == 1
    part = post(client, talk, "vote", seat="1", up="no", corrected="1\r\n一", why="wrong").text
    assert "Corrected" in part
    post(client, talk, "better", seat="1")
    up, down, *better = [one for one in captured(tmp_path) if isinstance(one, Feedback)]
    assert (up.vote.up, up.turn) == (True, turns[0].id)  # type: ignore[union-attr]
    assert (down.vote.up, down.vote.corrected, down.vote.text) == (False, "1\n一", "wrong")
    assert [(one.turn, one.vote.up) for one in better] == [
        (turns[0].id, False),  # type: ignore[union-attr]
        (turns[1].id, True),  # type: ignore[union-attr]
    ]
    assert len({one.vote.voter for one in (up, down, *better)}) == 1
    assert "安" not in up.vote.voter
    assert turns[1].adapter == "runs/回声"  # type: ignore[union-attr]


def test_nothing_is_written_where_no_folder_is_named(tmp_path: Path) -> None:
    talk, _ = make(tmp_path, 1)
    client = held(tmp_path, talk)
    post(client, talk, "say", text="one", capture="")
    refused = post(client, talk, "vote", seat="0", up="yes")
    assert refused.status_code == 400
    assert "name a folder" in refused.text
    assert [one.name for one in tmp_path.iterdir()] == [".danlu"]
    assert post(client, talk, "say", text="x", capture="../out").status_code == 404
    assert not (tmp_path.parent / "out").exists()
    (tmp_path / "file").write_text("")
    assert "cannot be written" in post(client, talk, "say", text="x", capture="file").text
    assert len(talk.exchanges) == 1


def test_a_conversation_becomes_a_record_with_its_corrections(tmp_path: Path) -> None:
    talk, _ = make(tmp_path, 1)
    client = held(tmp_path, talk)
    post(client, talk, "say", text="一", system="S")
    post(client, talk, "vote", seat="0", up="no", corrected="1")
    post(client, talk, "say", text="二", system="S")
    saving = {"seat": "0", "task_type": "numbers/zh", "into": "chat.jsonl"}
    assert "Saved in chat.jsonl." in post(client, talk, "save", **saving).text
    assert "already" in post(client, talk, "save", **saving).text
    (record,) = read_records([Source(str(tmp_path / "chat.jsonl"), format="danlu")])
    assert [one.content for one in record.messages] == ["S", "一", "1", "二", f"二{BAIT}"]
    assert record.task_type == "numbers/zh"
    # Into a dataset: its name points to a version that has the record too.
    post(client, talk, "save", **{**saving, "into": "对话"})
    post(client, talk, "say", text="三")
    post(client, talk, "save", **{**saving, "into": "对话", "task_type": "numbers/other"})
    version = Store(tmp_path / "datasets").find("对话")
    assert [one.task_type for one in version.records()] == ["numbers/zh", "numbers/other"]
    assert version.manifest.operation.name == "merge"
    shown = client.get(f"/chat/part/{talk.id}").text
    assert 'value="numbers/other"' in shown  # offered for the next one
    assert '<option value="numbers/zh">' in shown
    assert '<option value="对话">' in shown
    for wrong in (
        {"task_type": "numbers"},
        {"into": "../chat.jsonl"},
        {"into": "a/b"},
        {"into": ""},
    ):
        assert not post(client, talk, "save", **{**saving, **wrong}).is_success
    assert not (tmp_path.parent / "chat.jsonl").exists()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"text": "  "}, "nothing to say"),
        ({"text": "a", "temperature": "warm"}, "warm is no number"),
        ({"text": "a", "temperature": "0"}, "must be above 0"),
        ({"text": "a", "top_p": "2"}, "at most 1"),
    ],
)
def test_a_wrong_setting_is_said_and_nothing_is_asked(
    tmp_path: Path, fields: dict[str, str], says: str
) -> None:
    talk, echoes = make(tmp_path, 1)
    answer = post(held(tmp_path, talk), talk, "say", **fields)
    assert answer.status_code == 400
    assert says in answer.text
    assert not echoes[0].asked


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ([], "choose one model, or two"),
        (["a", "b", "c"], "choose one model, or two"),
        (["none"], "is no run, model folder"),
        (["/etc"], "is not in the workspace"),
        (["../x"], "is not in the workspace"),
        (["builtin:none"], "no such built-in model"),
        (["empty"], "holds no model"),
        (["http://127.0.0.1:9/v1"], "cannot be asked"),
    ],
)
def test_who_is_not_there_is_said_and_no_process_is_started(
    tmp_path: Path, models: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ModelProcess", None)
    (tmp_path / "empty").mkdir()
    client, _ = entered(tmp_path)
    answer = client.post("/chat/begin", data={"model": models})
    assert answer.status_code in (400, 404)
    assert says in answer.text
    assert client.get("/chat/talk/none").status_code == 404


def test_the_page_is_in_chinese_too(tmp_path: Path) -> None:
    client, _ = entered(tmp_path, **{"accept-language": "zh"})
    assert "与一个模型对话" in client.get("/chat").text


# Processes ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("one", 1), ("two", 2)):
        tiny_llama(seed=seed).save_pretrained(folder / name)
        tiny_tokenizer.save_pretrained(folder / name)
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def models(root: Path) -> Iterator[Models]:
    own = Models(root)
    yield own
    own.close()


def test_models_answer_in_a_process_as_they_do_in_this_one(root: Path, models: Models) -> None:
    from danlu.serving.chat import load

    models.wake(["one", "two"])
    assert models.state("one").stage in ("starting", "loading")
    sampling, asked = Sampling(12, seed=3), [Message("user", "你好")]
    for name in ("one", "two"):
        expected = load(root / name, sampling=sampling).chat("你好")
        assert "".join(models.stream(name, ("one", "two"), asked, sampling)) == expected
    state = models.state("two")
    assert (state.stage, state.together) == ("ready", ("one", "two"))
    assert state.bytes > 50_000_000
    # An answer that nobody wants any more ends; the next one comes.
    stream = models.stream("one", ("one", "two"), asked, Sampling(200, seed=3))
    assert next(stream)
    stream.close()
    long = [Message("user", "x " * 400)]
    with pytest.raises(ModelError, match="tokens"):
        list(models.stream("two", ("one", "two"), long, sampling))


def test_what_is_freed_ends(models: Models) -> None:
    models.wake(["one", "two"])
    process = models._processes[0]
    stream = models.stream("one", ("one", "two"), "hi", Sampling(230))
    next(stream)
    models.free("two")
    assert models.state("one").stage == "absent"
    assert process._process.returncode == -9
    with pytest.raises(DanluError, match="killed"):
        list(stream)


def test_what_cannot_be_loaded_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    read, write = os.pipe()
    worker = Worker(write)
    assert worker.load(["broken"]) is None
    worker._out.close()
    rows = [json.loads(line) for line in os.read(read, 1 << 16).splitlines()]
    os.close(read)
    assert rows[0] == {"stage": "loading"}
    assert "broken" in rows[1]["fault"]
    assert "hub" not in rows[1]["fault"]


@pytest.mark.parametrize(
    ("script", "stage", "says"),
    [
        ('echo \'{"fault": "no such model"}\'; exit 1', "failed", "no such model"),
        ("exit 3", "failed", "exit code 3"),
        ("kill -9 $$", "failed", "want of memory"),
        ('echo \'{"stage": "ready"}\'; read line; exit 4', "absent", "exit code 4"),
    ],
)
def test_a_process_that_ends_says_why(
    tmp_path: Path, script: str, stage: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "python"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setattr(pool.sys, "executable", str(command))
    own = Models(tmp_path)
    with pytest.raises(ModelError, match=says):
        list(own.stream("a", ("a",), "hi", Sampling(8)))
    until(lambda: own.state("a").stage == stage)
    assert (says in own.state("a").fault) == (stage == "failed")
    own.close()


def test_few_are_kept_and_the_one_used_least_recently_goes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fake:
        alive, busy, used, fault, stage = True, False, 0.0, "", "ready"

        def __init__(self, _: Path, names: Any) -> None:
            self.names = tuple(names)

        def close(self) -> None:
            self.alive = False

    monkeypatch.setattr(pool, "ModelProcess", Fake)
    own = Models(root)
    for number, names in enumerate((["a", "b"], ["c"])):
        own.wake(names)
        own._processes[-1].used = float(number)
    own._processes[0].used = 5.0
    own.wake(["d"])
    assert [one.names for one in own._processes] == [("a", "b"), ("d",)]
    own.wake(["b", "e"])  # b stays, and d makes room
    assert [one.names for one in own._processes] == [("a", "b"), ("e",)]
    for one in own._processes:
        one.busy = True  # type: ignore[misc]
    with pytest.raises(ModelError, match="at most 2 are kept in memory"):
        own.wake(["f"])
    own.close()
    assert own._processes == []
    with pytest.raises(ModelError, match="ending"):
        own.wake(["a"])

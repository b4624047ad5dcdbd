"""One run after another, against a scripted model: what comes out, and what is asked how often."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from danlu.cli.main import run
from danlu.config.strict_yaml import write_yaml
from danlu.errors import RecipeError
from danlu.flywheel.chains import chains
from danlu.flywheel.choose import choose
from danlu.flywheel.config import EXAMPLE, load_config
from danlu.flywheel.memory import Memory
from danlu.flywheel.pull import pull
from danlu.flywheel.run import folder_of, last_report, run_flywheel
from danlu.records import Message
from danlu.records.capture import Turn
from danlu.workshop.store.store import Store
from tests.flywheel.talking import down, session, up, write_log
from tests.workshop.produce.endpoint_server import Does, Server, said, serving

TALK = [
    *session("zh", "Java有多大", "Java是语言", "不对，我问的是爪哇岛", "抱歉", system="你是助手"),
    *session("en", "Capital of Peru?", "Quito"),
    *session("sum", "2+2?", "5"),
    *session(
        "long", *(f"{who} {n}" for n in range(4) for who in ("ask", "tell")), "thanks!", "OK!"
    ),
    *session("fine", "Hello", "Hi"),
]
VOTES = [down("en-0"), down("sum-0", corrected="4")]
BETTER = {"Java有多大": "爪哇岛约13万平方公里", "Capital of Peru?": "Lima"}


def is_judging(body: dict[str, Any]) -> bool:
    return "You compare answers" in str(body["messages"][0]) or "比较几个回答" in str(
        body["messages"][0]
    )


def judged(body: dict[str, Any]) -> Does:
    """Prefer the answers of ``BETTER``, wherever they stand."""
    text = said(body)
    places = {text.find(one): one for one in BETTER.values() if one in text}
    old = next(text.find(one) for one in ("Java是语言", "Quito", "bad answer") if one in text)
    return Does("1" if min(places, default=10**9) < old else "2")


def script(body: dict[str, Any], time_: int) -> Does:
    if is_judging(body):
        return judged(body)
    return Does(BETTER.get(said(body), "No idea"))


def write_config(folder: Path, url: str, **more: Any) -> Path:
    tree: dict[str, Any] = {
        "name": "support",
        "store": str(folder / "sets"),
        "sources": [{"path": str(folder / "logs" / "*.jsonl"), "name": "web"}],
        "task_type": "support/chat",
        "answer": {"model": "strong", "url": url, "concurrency": 2, "attempts": 1},
    }
    tree["answer"] |= more.pop("answer", {})
    path = folder / "flywheel.yaml"
    path.write_text(write_yaml({**tree, **more}), "utf-8")
    return path


@pytest.fixture
def spin(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Append to the log, and run the flywheel once."""

    def once(server: Server, *entries: Any, **config: Any) -> dict[str, Any]:
        if entries:
            write_log(tmp_path / "logs" / "day.jsonl", *entries)
        return run_flywheel(load_config(write_config(tmp_path, server.url, **config)))

    return once


def records(folder: Path, name: str) -> list[Any]:
    return list(Store(folder / "sets").find(name).records())


def ledger(folder: Path, name: str) -> Counter[tuple[str, str]]:
    """Rules of the ledger of the version that the checks were given."""
    store = Store(folder / "sets")
    parent = store.find(store.find(name).manifest.parents[0].id)
    return Counter((entry.fate, entry.rule) for entry in parent.ledger())


def test_from_logs_to_data(spin, tmp_path: Path) -> None:
    with serving(script) as server:
        report = spin(server, *TALK, *VOTES)
    assert report["found"]["rules"] == {
        "corrected": 1,
        "thumbs down": 1,
        "follow-up": 1,
        "fruitful session": 1,
    }
    sft = {one.messages[-1].content: one for one in records(tmp_path, "support-sft")}
    assert set(sft) == {*BETTER.values(), "4", "OK!"}
    assert len(sft["OK!"].messages) == 10
    java = sft["爪哇岛约13万平方公里"]
    assert [(one.role, one.content) for one in java.messages[:-1]] == [
        ("system", "你是助手"),
        ("user", "Java有多大"),
    ]
    assert java.task_type == "support/chat"
    assert java.source == "web"
    assert java.meta["flywheel"]["place"].endswith("day.jsonl:1")
    assert java.meta["made"] == {
        "by": "flywheel",
        "rule": "follow-up",
        "answered_by": "model",
        "model": "strong",
        "verified": True,
    }
    pairs = {one.messages[-1].content: one for one in records(tmp_path, "support-pairs")}
    ranked = {
        asked: [(one.rank, one.content) for one in pair.responses] for asked, pair in pairs.items()
    }
    assert ranked == {
        "Java有多大": [(1, "爪哇岛约13万平方公里"), (2, "Java是语言")],
        "Capital of Peru?": [(1, "Lima"), (2, "Quito")],
        "2+2?": [(1, "4"), (2, "5")],
    }
    assert pairs["Java有多大"].messages == java.messages[:-1]
    assert ledger(tmp_path, "support-pairs") == {
        ("dropped", "used"): 3,
        ("dropped", "good as it is"): 1,
        ("made", "flywheel-answer"): 3,
    }
    found = Store(tmp_path / "sets").find(report["found"]["version"])
    rows = {entry.rule: entry for entry in found.ledger()}
    assert rows["nothing speaks for it"].fate == "dropped"
    assert rows["thumbs down"].detail.startswith("1 down, 0 up (")
    assert found.manifest.records == 4


def test_what_the_model_is_told(spin) -> None:
    with serving(script) as server:
        spin(server, *TALK, *VOTES)
    asked = {said(body): body["messages"] for body in server.bodies if not is_judging(body)}
    assert set(asked) == set(BETTER)
    system = asked["Java有多大"][0]["content"]
    assert system.startswith("你是助手\n\n")
    assert "Java是语言" in system
    assert "不对，我问的是爪哇岛" in system
    assert [one["role"] for one in asked["Java有多大"]] == ["system", "user"]
    assert "Quito" not in asked["Capital of Peru?"][0]["content"]
    judging = [said(body) for body in server.bodies if is_judging(body)]
    assert len(judging) == 4
    assert sum("（后来用户说） 不对，我问的是爪哇岛" in one for one in judging) == 2


def test_another_run_asks_nothing_and_changes_nothing(spin, tmp_path: Path) -> None:
    with serving(script) as server:
        first = spin(server, *TALK, *VOTES)
        asked = len(server.bodies)
        again = spin(server)
        assert len(server.bodies) == asked
    assert [one["version"] for one in again["datasets"]] == [
        one["version"] for one in first["datasets"]
    ]
    assert [one["is_new"] for one in again["datasets"]] == [False, False]
    assert again["spent"]["tokens"] == 0
    assert [one["turns"] for one in again["pulled"]] == [0]
    assert len(Store(tmp_path / "sets").names.history("support-sft")) == 1


def test_the_next_day_adds_and_keeps_the_names_of_records(spin, tmp_path: Path) -> None:
    with serving(script) as server:
        spin(server, *TALK, *VOTES)
        asked = len(server.bodies)
        before = {one.id for one in records(tmp_path, "support-sft")}
        # A turn of yesterday is complained about today, and the log was rotated meanwhile.
        (tmp_path / "logs" / "day.jsonl").rename(tmp_path / "logs" / "yesterday.jsonl")
        report = spin(server, down("fine-0", corrected="Hello! How can I help?"), up("sum-0", "w"))
        assert len(server.bodies) == asked
    sft, pairs = report["datasets"]
    assert (sft["added"], sft["removed"], sft["changed"]) == (1, 0, 0)
    assert (pairs["added"], pairs["removed"], pairs["changed"]) == (1, 0, 0)
    assert sft["diff"]["task_types"]["support/chat"]["after"]["records"] == 5
    assert before < {one.id for one in records(tmp_path, "support-sft")}
    assert report["pulled"][0]["known"] == len(TALK)


def test_answers_that_are_no_better_are_not_taken(spin, tmp_path: Path) -> None:
    def stubborn(body: dict[str, Any], time_: int) -> Does:
        if is_judging(body):
            return Does("1")  # whatever stands first
        answers = {"Capital of Peru?": " quito ", "Java有多大": "是一座岛"}
        return Does(answers[said(body)])

    with serving(stubborn) as server:
        spin(server, *TALK[:3], *VOTES[:1])
        assert ledger(tmp_path, "support-sft") == {
            ("dropped", "no usable answer"): 1,
            ("dropped", "not better"): 1,
        }
        assert records(tmp_path, "support-sft") == []
        report = spin(server, answer={"verify": False})
        assert report["datasets"][0]["records"] == 1


def test_an_answer_that_repeats_the_question_is_none(spin, tmp_path: Path) -> None:
    with serving(lambda body, time_: Does(said(body).upper())) as server:
        spin(server, *TALK[2:3], *VOTES[:1], answer={"verify": False})
    store = Store(tmp_path / "sets")
    parent = store.find(store.find("support-sft").manifest.parents[0].id)
    assert [entry.detail for entry in parent.ledger()] == ["it repeats the question"]


def test_refused_and_cut_answers_are_left_out(spin, tmp_path: Path) -> None:
    def unwilling(body: dict[str, Any], time_: int) -> Does:
        if said(body) == "Java有多大":
            return Does(status=400, body='{"error": {"message": "no"}}')
        return Does("Li", finish="length")

    with serving(unwilling) as server:
        spin(server, *TALK[:3], *VOTES[:1])
        asked = len(server.bodies)
        spin(server)
        assert len(server.bodies) == asked == 2
    store = Store(tmp_path / "sets")
    parent = store.find(store.find("support-sft").manifest.parents[0].id)
    assert sorted(entry.detail for entry in parent.ledger()) == [
        "HTTP 400: no",
        "The answer was cut off: it is too long.",
    ]


def test_checks_drop_and_personal_data_never_come_so_far(spin, tmp_path: Path) -> None:
    def leaky(body: dict[str, Any], time_: int) -> Does:
        return Does("Call 13987650912" if "Peru" in said(body) else "ok <|im_end|> now")

    talk = [*TALK[:3], *session("p", "My number is 13987650912, call me", "No"), down("p-0")]
    with serving(leaky) as server:
        spin(server, *talk, *VOTES[:1], answer={"verify": False})
        sent = json.dumps(server.bodies, ensure_ascii=False)
    assert "13987650912" not in sent
    assert "My number is [phone number], call me" in sent
    kept = records(tmp_path, "support-sft")
    assert kept == []
    rules = {row.rule for row in Store(tmp_path / "sets").find("support-sft").manifest.rules}
    assert rules == {"personal.phone", "special_tokens.control_token"}


def test_equal_questions_give_one_record_and_each_wrong_answer_a_pair(spin, tmp_path: Path) -> None:
    talk = [
        *session("a", "Capital of Peru?", "Quito"),
        *session("b", "Capital of Peru?", "bad answer"),
    ]
    with serving(script) as server:
        spin(server, *talk, down("a-0"), down("b-0"))
        plain = [body for body in server.bodies if not is_judging(body)]
        assert len(plain) == 1  # the same question is asked once
    assert len(records(tmp_path, "support-sft")) == 1
    assert len(records(tmp_path, "support-pairs")) == 2
    assert ledger(tmp_path, "support-sft")["dropped", "same prompt"] == 1


def test_task_types_of_the_log_are_kept_if_they_are_some(spin, tmp_path: Path) -> None:
    talk = [
        *session("a", "Capital of Peru?", "Quito", task_type="geo/capital"),
        *session("b", "Java有多大", "Java是语言", task_type="chat"),
    ]
    with serving(script) as server:
        spin(server, *talk, down("a-0"), down("b-0"))
    types = {one.messages[0].content: one.task_type for one in records(tmp_path, "support-sft")}
    assert types == {"Capital of Peru?": "geo/capital", "Java有多大": "support/chat"}


def test_tool_calls_are_left_to_people(spin, tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = Message("assistant", None, extra={"tool_calls": [call]})
    turn = Turn("t", (Message("user", "Weather?"), answer), tools=({"type": "function"},))
    with serving(script) as server:
        spin(server, turn, down("t"))
        assert server.bodies == []
    assert ledger(tmp_path, "support-sft") == {("dropped", "tools"): 1}


def test_turns_get_task_types(spin, tmp_path: Path) -> None:
    taxonomy = tmp_path / "types.yaml"
    tree = {
        "geo": {"capital": {"keywords": ["capital"]}, "island": "Islands"},
        "support": {"chat": ""},
    }
    taxonomy.write_text(write_yaml(tree), "utf-8")

    def labels(body: dict[str, Any], time_: int) -> Does:
        if "kind" in body["messages"][0]["content"] or "种类" in body["messages"][0]["content"]:
            return Does("geo/island")
        return script(body, time_)

    settings = {"taxonomy": str(taxonomy), "task_type": "unlabelled/chat", "label_by_model": True}
    with serving(labels) as server:
        spin(server, *TALK[:3], *VOTES[:1], **settings)
    types = {one.messages[-2].content: one.task_type for one in records(tmp_path, "support-sft")}
    assert types == {"Java有多大": "geo/island", "Capital of Peru?": "geo/capital"}
    assert {one.task_type for one in records(tmp_path, "support-pairs")} == set(types.values())


# Faults ----------------------------------------------------------------------------------


def test_a_killed_run_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    count = 6
    talk = [one for n in range(count) for one in session(f"s{n}", f"question {n}", "bad answer")]
    write_log(tmp_path / "logs" / "day.jsonl", *talk, *(down(f"s{n}-0") for n in range(count)))
    held, go_on = threading.Semaphore(0), threading.Event()

    def half(body: dict[str, Any], time_: int) -> Does:
        if is_judging(body):
            return Does("1" if said(body).index("Lima") < said(body).index("bad answer") else "2")
        if int(said(body).split()[1]) >= count // 2 and not go_on.is_set():
            held.release()
            go_on.wait(30)
        return Does(f"Lima {said(body)}")

    with serving(half) as server:
        config = write_config(tmp_path, server.url)
        command = [sys.executable, "-m", "danlu", "flywheel", "run", str(config), "--json"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        for _ in range(2):
            assert held.acquire(timeout=60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not Store(tmp_path / "sets").has("support-sft")
        go_on.set()
        report = run_flywheel(load_config(config))
        plain = Counter(said(body) for body in server.bodies if not is_judging(body))
    assert {asked for asked, times in plain.items() if times == 2} == {"question 3", "question 4"}
    assert plain.total() == count + 2
    assert [one["records"] for one in report["datasets"]] == [count, count]
    assert report["pulled"][0]["turns"] == 0  # read before the kill
    assert not list((tmp_path / "sets" / "versions").glob(".building-*"))


def test_a_second_run_at_a_time_is_refused(tmp_path: Path, capsys) -> None:
    config = write_config(tmp_path, "http://127.0.0.1:9/v1")
    write_log(tmp_path / "logs" / "day.jsonl", *TALK, *VOTES)
    folder = folder_of(load_config(config))
    folder.mkdir(parents=True)
    with FileLock(folder / "run.lock"):
        assert run(["flywheel", "run", str(config)]) == 3
    assert "another run of this flywheel is at work" in capsys.readouterr().err
    assert not (folder / "memory.sqlite").exists()


def test_a_broken_endpoint_and_an_empty_purse_end_with_1_and_the_next_run_goes_on(
    tmp_path: Path, capsys
) -> None:
    write_log(tmp_path / "logs" / "day.jsonl", *TALK, *VOTES)
    broken = True

    def moody(body: dict[str, Any], time_: int) -> Does:
        return Does(status=500, body="oops") if broken else script(body, time_)

    with serving(moody) as server:
        config = str(write_config(tmp_path, server.url))
        assert run(["flywheel", "run", config]) == 1
        assert "2 of 2 requests failed" in capsys.readouterr().err
        assert run(["flywheel", "show", config]) == 2
        assert "has finished no run yet" in capsys.readouterr().err
        broken = False
        poor = str(write_config(tmp_path, server.url, answer={"budget_tokens": 10}))
        assert run(["flywheel", "run", poor]) == 1
        assert "the budget is spent" in capsys.readouterr().err
        assert run(["flywheel", "run", str(write_config(tmp_path, server.url))]) == 0
    assert "support-sft" in capsys.readouterr().out


# The commands ----------------------------------------------------------------------------


def test_the_report_for_people_and_programs(tmp_path: Path, capsys) -> None:
    write_log(tmp_path / "logs" / "day.jsonl", *TALK, *VOTES)
    with (tmp_path / "logs" / "day.jsonl").open("a") as file:
        file.write("{broken\n")
    with serving(script) as server:
        config = str(write_config(tmp_path, server.url, answer={"price_completion": 1000.0}))
        assert run(["flywheel", "run", config]) == 0
        out, err = capsys.readouterr()
        assert "10 turns in memory; worth it: 1 corrected, 1 thumbs down, 1 follow-up" in out
        assert "voters: 1 too few; 2 votes count, 0 do not" in out
        assert "support-sft support/chat: 0 → 4" in out
        assert "day.jsonl:13: the line is not JSON" in err
        assert "spent: 90 tokens, 0.0300 in money" in err
        assert run(["flywheel", "run", config, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report == last_report(load_config(Path(config)))
        assert report["pulled"][0]["broken"] == 0
        assert run(["flywheel", "show", config]) == 0
        out, err = capsys.readouterr()
        assert "support-pairs: nothing new" in out
        assert "support-pairs: without a record: 1 good as it is" in err


def test_init_writes_an_example_that_loads(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["flywheel", "init", "conf/fly.yaml"]) == 0
    config = load_config(Path("conf/fly.yaml"))
    assert config.name == "support"
    assert "danlu flywheel run fly.yaml" in Path("conf/fly.yaml").read_text()
    assert run(["flywheel", "init", "conf/fly.yaml"]) == 2
    assert "is there already" in capsys.readouterr().err
    lines = EXAMPLE.read_text("utf-8").splitlines()
    whole = [
        line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line for line in lines
    ]
    whole = [line for line in whole if not line.startswith(("A flywheel", "Everything"))]
    Path("whole.yaml").write_text("\n".join(whole), "utf-8")
    (tmp_path / "task-types.yaml").write_text("a: {b: c}", "utf-8")
    full = load_config(Path("whole.yaml"))
    assert [one.format for one in full.sources] == ["danlu", "openai", "csv"]
    assert full.answer.budget_money == 2.0


def test_the_example_of_the_docs_finds_what_they_say(tmp_path: Path, monkeypatch) -> None:
    docs = Path(__file__).parents[2] / "docs"
    monkeypatch.chdir(docs / "flywheel")
    config = load_config(Path("flywheel.yaml"))
    with Memory(tmp_path) as memory:
        turns = sum(pull(memory, source).turns for source in config.sources)
        found = choose(chains(memory.turns()), config.keep, config.voters)
    rules = ", ".join(f"{count} {rule}" for rule, count in found.counts().items())
    page = (docs / "flywheel.md").read_text("utf-8")
    assert f"{turns} turns in memory; worth it: {rules}\n" in page
    for one in found.voters.values():
        if one.state in ("inverted", "constant"):
            assert f"  {one.voter} {one.state}: {one.words}\n" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keeps": {}}, "Did you mean 'keep'"),
        ({"sources": []}, "sources"),
        ({"sources": None}, "sources"),
        ({"sources": [{"path": "x", "columns": {"votes": "y"}}]}, "Did you mean 'vote'"),
        ({"check": ["structur"]}, "Did you mean"),
        ({"keep": {"patterns": ["("]}}, "is broken"),
        ({"task_type": "chat"}, "two levels"),
        ({"label_by_model": True}, "needs a taxonomy"),
        ({"answer": {"url": "localhost"}}, "no URL of an endpoint"),
        ({"answer": {"url": "http://u:secret@h/v1"}}, "environment variable"),
        ({"answer": {"budget_money": 1.0}}, "needs price_prompt"),
        ({"name": "a/b"}, "no name for a dataset"),
        ({"voters": {"min_votes": 2}}, "min_votes"),
    ],
)
def test_a_config_is_strict(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_config(tmp_path, "http://localhost:1/v1", **change)
    with pytest.raises(RecipeError, match=message) as caught:
        load_config(path)
    assert "flywheel.yaml" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_paths_are_found_beside_the_config(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "types.yaml").write_text("a: {b: c}", "utf-8")
    write_log(tmp_path / "logs" / "day.jsonl", *TALK)
    path = write_config(
        tmp_path, "http://h/v1", sources=[{"path": "logs/*.jsonl"}], taxonomy="types.yaml"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config(path)
    assert config.sources[0].path == str(tmp_path / "logs" / "*.jsonl")
    assert config.taxonomy == str(tmp_path / "types.yaml")

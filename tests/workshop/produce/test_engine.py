"""The engine against a real server with every fault: nothing lost, nothing asked twice."""

import io
import json
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message
from danlu.workshop.produce.bar import spending_bar
from danlu.workshop.produce.budget import Budget, Prices
from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.produce.endpoint import Endpoint
from danlu.workshop.produce.engine import Engine, Status
from danlu.workshop.produce.faults import (
    BudgetError,
    CacheError,
    EndpointError,
    UnansweredError,
)
from danlu.workshop.produce.pace import Pace, Pacing
from danlu.workshop.produce.request import Reply, Request, Unanswered
from tests.workshop.produce.endpoint_server import Does, Server, echo, said, serving

SAMPLING = Sampling(max_new_tokens=32)
QUICK = Pacing(concurrency=4, attempts=4, first_wait_s=0.01, longest_wait_s=0.05)


def asks(*texts: str, sampling: Sampling = SAMPLING) -> list[Request]:
    return [Request((Message("user", text),), sampling) for text in texts]


def numbered(count: int) -> list[str]:
    return [f"question {number}" for number in range(count)]


@pytest.fixture
def cache(tmp_path):
    with RequestCache(tmp_path / "requests.sqlite") as opened:
        yield opened


def engine(server: Server, cache: RequestCache, **settings) -> Engine:
    timeout_s = settings.pop("timeout_s", 30.0)
    settings.setdefault("pacing", QUICK)
    return Engine(Endpoint(server.url, "m", timeout_s=timeout_s), cache, **settings)


def texts(outcomes) -> list[str]:
    return [one.text for one in outcomes]


def test_answers_come_in_the_order_of_the_questions_whatever_their_time(cache):
    def late_first(body, time_):
        return Does(said(body), after_s=0.2 if said(body) == "question 0" else 0.0)

    with serving(late_first) as server, engine(server, cache) as asking:
        assert texts(asking.ask(asks(*numbered(20)))) == numbered(20)
        assert 1 < server.most_under_way <= 4


def test_what_is_known_is_not_asked_again_whatever_the_settings(cache):
    with serving(echo) as server:
        with engine(server, cache) as first:
            before = first.ask(asks("a", "b", "a"))
            assert first.purse.tokens == 30
        other = Pacing(concurrency=1, attempts=1)
        with engine(server, cache, pacing=other, timeout_s=3) as second:
            assert second.ask(asks("a", "b", "a")) == before
            assert second.purse.tokens == 0
        assert server.asked == {"a": 1, "b": 1}


def test_another_model_sampling_sample_or_conversation_is_another_question(cache):
    base = Request((Message("user", "a"),), SAMPLING)
    others = [
        Request((Message("user", "a"),), Sampling(max_new_tokens=33)),
        Request((Message("user", "a"),), Sampling(max_new_tokens=32, temperature=1.0)),
        Request((Message("user", "a"),), SAMPLING, sample=1),
        Request((Message("system", "s"), Message("user", "a")), SAMPLING),
        Request((Message("user", "a", extra={"name": "n"}),), SAMPLING),
    ]
    with serving(echo) as server:
        with engine(server, cache) as asking:
            asking.ask([base, *others, base])
        with Engine(Endpoint(server.url, "other"), cache) as asking:
            asking.ask([base])
        with Engine(Endpoint(server.url, "m", extra={"reasoning_effort": "low"}), cache) as asking:
            asking.ask([base])
        assert len(server.bodies) == 8
        plain = {
            "model": "m",
            "messages": [{"role": "user", "content": "a"}],
            "max_tokens": 32,
            "temperature": 0.7,
            "top_p": 0.95,
            "seed": 0,
        }
        assert server.bodies.count(plain) == 1


def test_samples_differ_where_the_endpoint_takes_no_seed(cache):
    with serving(echo) as server:
        model = Endpoint(server.url, "m", leave_out=("seed",), max_tokens_name="longest")
        with Engine(model, cache) as asking:
            asking.ask([Request(asks("a")[0].messages, SAMPLING, sample) for sample in range(3)])
    assert len(server.bodies) == 3
    assert all("seed" not in body and body["longest"] == 32 for body in server.bodies)


FAULTS = {
    "time-out": Does("late", after_s=1.5),
    "429": Does(status=429, body='{"error": {"message": "slow down"}}'),
    "500": Does(status=500, body="oops"),
    "503 in HTML": Does(status=503, body="<html>busy</html>"),
    "broken JSON": Does(body='{"choices": [{"mess'),
    "no choices": Does(body='{"choices": []}'),
    "error with 200": Does(body='{"error": {"message": "upstream"}}'),
    "not an object": Does(body="[]"),
    "truncated body": Does("half of this is lost", cut=True),
    "connection lost": Does(drop=True),
    "bad encoding": Does("x", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_every_passing_fault_is_asked_again_and_only_that(fault, cache):
    def twice(body, time_):
        return fault if said(body) == "question 1" and time_ <= 2 else echo(body, time_)

    timeout_s = 0.5 if fault.after_s else 30.0
    with serving(twice) as server, engine(server, cache, timeout_s=timeout_s) as asking:
        outcomes = asking.ask(asks(*numbered(4)))
        assert texts(outcomes) == [f"You said: {text}" for text in numbered(4)]
        assert asking.retries == 2
    assert server.asked == {text: 3 if text == "question 1" else 1 for text in numbered(4)}
    assert cache.counts() == {"answered": 4}


def test_retry_after_holds_every_request(cache):
    def limited(body, time_):
        if said(body) == "first" and time_ == 1:
            return Does(status=429, body="{}", headers={"Retry-After": "1"})
        return echo(body, time_)

    pacing = Pacing(concurrency=1, first_wait_s=0.01)
    with serving(limited) as server, engine(server, cache, pacing=pacing) as asking:
        asking.ask(asks("first", "second"))
    assert server.asked == {"first": 2, "second": 1}
    assert server.times[1] - server.times[0] >= 1.0


def test_an_endpoint_that_asks_for_too_much_patience_has_failed(cache):
    def busy(body, time_):
        return Does(status=429, body="{}", headers={"Retry-After": "90000"})

    with serving(busy) as server, engine(server, cache) as asking:
        with pytest.raises(UnansweredError, match="it asks to wait 90,000 s"):
            asking.ask(asks("a"))
        assert server.asked == {"a": 1}


def test_a_failure_keeps_its_reason_and_is_asked_again_next_time(cache):
    broken = True

    def script(body, time_):
        if broken and said(body) == "question 1":
            return Does(status=500, body='{"error": "disk full"}')
        return echo(body, time_)

    with serving(script) as server:
        with engine(server, cache) as asking:
            with pytest.raises(UnansweredError, match="1 of 3 requests failed, each 4 times"):
                asking.ask(asks(*numbered(3)))
            assert cache.counts() == {"answered": 2, "failed": 1}
        with engine(server, cache, on_failure="drop") as asking:
            assert asking.ask(asks(*numbered(3)))[1] == Unanswered(
                "HTTP 500: disk full", refused=False
            )
        broken = False
        with engine(server, cache) as asking:
            assert len(asking.ask(asks(*numbered(3)))) == 3
        assert server.asked == {"question 0": 1, "question 1": 9, "question 2": 1}
        assert cache.counts() == {"answered": 3}


def test_a_refused_request_is_told_and_not_asked_again_unless_wanted(cache):
    def script(body, time_):
        if said(body) == "bad":
            return Does(status=400, body='{"error": {"message": "too long"}}')
        if said(body) == "hidden":
            return Does("", finish="content_filter")
        return echo(body, time_)

    with serving(script) as server:
        for _ in range(2):
            with engine(server, cache) as asking:
                bad, good, hidden = asking.ask(asks("bad", "good", "hidden"))
                assert bad == Unanswered("HTTP 400: too long", refused=True)
                assert hidden.reason == "withheld by the endpoint's content filter"
                assert good.text == "You said: good"
        assert server.asked == {"bad": 1, "good": 1, "hidden": 1}
        with engine(server, cache, ask_refused_again=True) as asking:
            asking.ask(asks("bad"))
        assert server.asked["bad"] == 2


def test_an_endpoint_that_refuses_everything_is_asked_ten_times(cache):
    def script(body, time_):
        return Does(status=422, body='{"error": {"message": "no such parameter"}}')

    with serving(script) as server, engine(server, cache, pacing=Pacing(1)) as asking:
        with pytest.raises(EndpointError, match="refuses every request: HTTP 422: no such param"):
            asking.ask(asks(*numbered(40)))
        assert len(server.bodies) == 10


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (Does(status=401, body='{"error": {"message": "no"}}'), r"\$DANLU_TEST_KEY, which is set"),
        (Does(status=404, body='{"error": {"message": "no such model"}}'), "model's name .'m'"),
        (Does(status=308, body="", headers={"Location": "https://x"}), "HTTP 308"),
        (Does(status=429, body='{"error": {"code": "insufficient_quota"}}'), "lets nobody in"),
    ],
)
def test_what_no_repeat_would_mend_stops_at_once(does, told, cache, monkeypatch):
    monkeypatch.setenv("DANLU_TEST_KEY", "sk-abc")
    with serving(lambda body, time_: does) as server:
        model = Endpoint(server.url, "m", key_variable="DANLU_TEST_KEY")
        with Engine(model, cache, pacing=Pacing(1)) as asking:
            with pytest.raises(EndpointError, match=told):
                asking.ask(asks(*numbered(5)))
            assert len(server.bodies) == 1


def test_an_endpoint_that_is_down_stops_the_work_and_up_again_it_goes_on(cache):
    with serving(echo) as server:
        with engine(server, cache) as asking:
            asking.ask(asks("a", "b"))
        port = server.port
    pacing = Pacing(concurrency=2, attempts=2, first_wait_s=0.01)
    with engine(server, cache, pacing=pacing) as asking:
        started = time.monotonic()
        with pytest.raises(EndpointError, match=r"seems to be down: 3 requests failed .* ConnectE"):
            asking.ask(asks("a", "b", *numbered(50)))
        assert time.monotonic() - started < 5
    with serving(echo, port) as again, engine(again, cache) as asking:
        assert len(asking.ask(asks("a", "b", *numbered(50)))) == 52
        assert again.asked == dict.fromkeys(numbered(50), 1)


def test_an_endpoint_that_comes_back_within_the_waits_is_not_noticed(cache):
    with serving(echo) as server:
        port = server.port
    up: list[Server] = []
    timer = threading.Timer(0.3, lambda: up.append(Server(echo, port)))
    timer.start()
    pacing = Pacing(concurrency=3, attempts=20, first_wait_s=0.05, longest_wait_s=0.2)
    with engine(server, cache, pacing=pacing) as asking:
        assert texts(asking.ask(asks("a", "b"))) == ["You said: a", "You said: b"]
        assert asking.retries > 0
    timer.join()
    assert up[0].asked == {"a": 1, "b": 1}
    up[0].close()


KILLED = """
    import sys
    from danlu.generation.interface import Sampling
    from danlu.records import Message
    from danlu.workshop.produce.cache import RequestCache
    from danlu.workshop.produce.endpoint import Endpoint
    from danlu.workshop.produce.engine import Engine
    from danlu.workshop.produce.pace import Pace, Pacing
    from danlu.workshop.produce.request import Request
    url, path = sys.argv[1:]
    requests = [Request((Message("user", f"question {n}"),), Sampling(32)) for n in range(20)]
    with RequestCache(path) as cache, Engine(
        Endpoint(url, "m"), cache, pacing=Pacing(concurrency=4)
    ) as engine:
        print(len(engine.ask(requests)))
"""


def test_a_killed_process_loses_nothing_and_asks_nothing_twice(tmp_path):
    held, go_on = threading.Semaphore(0), threading.Event()

    def ten_then_silence(body, time_):
        if int(said(body).split()[1]) >= 10 and not go_on.is_set():
            held.release()
            go_on.wait(30)
        return echo(body, time_)

    path = tmp_path / "requests.sqlite"
    with serving(ten_then_silence) as server:
        command = [sys.executable, "-c", textwrap.dedent(KILLED), server.url, str(path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(command, env=environment)
        for _ in range(4):  # All four under way are questions whose answers will not come.
            assert held.acquire(timeout=30)
        process.send_signal(signal.SIGKILL)
        process.wait()
        go_on.set()
        done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
        assert done.stdout == "20\n"
        answered = {f"question {number}": 1 for number in range(10)}
        assert {text: server.asked[text] for text in answered} == answered
        under_way = [text for text, count in server.asked.items() if count == 2]
        assert sorted(under_way) == [f"question {number}" for number in range(10, 14)]
    with RequestCache(path) as cache:
        assert cache.counts() == {"answered": 20}


def test_a_half_written_answer_is_passed_over(tmp_path):
    path = tmp_path / "requests.sqlite"
    code = f"""
        import os, signal
        from danlu.workshop.produce.cache import RequestCache
        cache = RequestCache({str(path)!r})
        for number in range(3):
            cache.keep_answer(f"key{{number}}", "{{}}", {{"text": "x" * 5000, "n": number}})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, check=False)
    log = tmp_path / "requests.sqlite-wal"
    os.truncate(log, log.stat().st_size - 100)
    with RequestCache(path) as cache:
        assert [cache.get(f"key{number}") is None for number in range(3)] == [False, False, True]
        cache.keep_answer("key2", "{}", {"n": 2})
    with RequestCache(path) as cache:
        assert cache.counts() == {"answered": 3}


def test_a_later_failure_does_not_undo_an_answer(cache):
    cache.keep_failure("k", "{}", "busy", refused=False)
    assert cache.get("k").state == "failed"
    cache.keep_answer("k", "{}", {"n": "嗨\ud800"})
    cache.keep_failure("k", "{}", "busy", refused=True)
    assert cache.get("k").body == {"n": "嗨?"}


def test_two_commands_share_a_cache(cache):
    with RequestCache(cache.path) as other:
        cache.keep_answer("a", "{}", 1)
        assert other.get("a").body == 1


def test_what_is_no_cache_is_told(tmp_path):
    path = tmp_path / "x.sqlite"
    path.write_text("not a database, but long enough to be looked at\n" * 50)
    with pytest.raises(CacheError, match="not a request cache"):
        RequestCache(path)
    later = tmp_path / "later.sqlite"
    with sqlite3.connect(later) as file:
        file.execute("PRAGMA user_version = 7")
    file.close()
    with pytest.raises(CacheError, match="layout 7"):
        RequestCache(later)


def test_the_budget_stops_cleanly_and_says_how_to_go_on(cache):
    # A question of 14 tokens at most (10 by the endpoint) and an answer of 32 at most (5).
    with serving(echo) as server:
        with engine(server, cache, budget=Budget(tokens=100)) as asking:
            with pytest.raises(BudgetError) as told:
                asking.ask(asks(*numbered(30)))
            spent = asking.purse.tokens
        assert 54 < spent <= 100
        assert f"{spent} tokens of 100" in str(told.value)
        assert "Run the same command again with a new budget: only what is missing" in str(
            told.value
        )
        # What was under way has been waited for, and is there.
        assert cache.counts() == {"answered": spent // 15}
        assert sum(server.asked.values()) == spent // 15
        with engine(server, cache) as asking:
            assert len(asking.ask(asks(*numbered(30)))) == 30
            assert asking.purse.tokens == 30 * 15 - spent
        assert set(server.asked.values()) == {1}


def test_a_budget_in_money(cache):
    prices = Prices(prompt=1000.0, completion=2000.0)  # An answer costs 0.01 + 0.01.
    given = {"prices": prices, "budget": Budget(money=0.3)}
    with serving(echo) as server, engine(server, cache, **given) as asking:
        with pytest.raises(BudgetError, match=r"0\.\d+ of 0\.3 in money"):
            asking.ask(asks(*numbered(40)))
        assert 0.2 < asking.purse.money <= 0.3
    with pytest.raises(DanluError, match="needs the prices"):
        engine(server, cache, budget=Budget(money=1.0))


def test_usage_that_is_not_told_is_guessed_from_above(cache):
    untold = Does("a longer answer", usage=None)
    with serving(lambda body, time_: untold) as server, engine(server, cache) as asking:
        asking.ask(asks("question"))
        # 8 characters by 3, and 8 for the message; 15 characters by 3.
        assert (asking.purse.prompt_tokens, asking.purse.completion_tokens) == (11, 5)


def test_requests_a_minute(cache):
    pacing = Pacing(concurrency=8, requests_per_minute=600)
    with serving(echo) as server, engine(server, cache, pacing=pacing) as asking:
        asking.ask(asks("warm"))
        asking.ask(asks(*numbered(5)))
    # Starts are 0.1 s apart; one may be late by what the machine was busy with.
    assert server.times[-1] - server.times[1] >= 0.3


def test_starts_are_spread_by_requests_and_by_tokens():
    by_requests = Pace(Pacing(requests_per_minute=60))
    assert [by_requests.book(5.0, 1000) for _ in range(3)] == [5.0, 6.0, 7.0]
    assert by_requests.book(30.0, 1000) == 30.0
    by_tokens = Pace(Pacing(tokens_per_minute=600))  # A token takes 0.1 s.
    assert [by_tokens.book(0.0, 50) for _ in range(2)] == [0.0, 5.0]
    by_tokens.correct(-20)
    assert by_tokens.book(0.0, 50) == 8.0
    by_tokens.hold(20.0)
    assert by_tokens.book(0.0, 50) == 20.0
    assert by_tokens.held(19.0) == 20.0
    assert by_tokens.held(21.0) == 21.0


def test_the_key_is_written_nowhere(cache, monkeypatch, caplog, capsys, tmp_path):
    secret = "sk-very-secret-1234567890"
    monkeypatch.setenv("OPENAI_API_KEY", secret)

    def echoes_the_key(body, time_):
        text = said(body)
        if text == "refused":
            return Does(status=400, body=json.dumps({"error": {"message": f"bad {secret}"}}))
        if text == "failed":
            return Does(status=500, body=f"stack trace: {secret}")
        if text == "broken":
            return Does(body=f"{secret} is no JSON")
        return Does(f"your key is {secret}")

    caplog.set_level(logging.DEBUG)
    with serving(echoes_the_key) as server, engine(server, cache, on_failure="drop") as asking:
        outcomes = asking.ask(asks("refused", "failed", "broken", "answered"))
        assert server.headers[0]["Authorization"] == f"Bearer {secret}"
        assert outcomes[3].text == "your key is ***"
        assert outcomes[0].reason == "HTTP 400: bad ***"
        assert repr(outcomes).count(secret) == 0
        assert secret not in json.dumps(asking.settings())
    no_entry = Does(status=401, body=f"no such key: {secret}")
    with (
        serving(lambda body, time_: no_entry) as server,
        engine(server, cache) as asking,
        pytest.raises(EndpointError) as told,
    ):
        asking.ask(asks("again"))
    assert "no such key: ***" in str(told.value)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"your key is ***" in written
    assert secret.encode() not in written
    assert caplog.records
    assert secret not in caplog.text
    assert secret not in "".join(capsys.readouterr())


def test_a_key_that_cannot_be_sent_is_not_told(cache, monkeypatch):
    with serving(echo) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-123456\n")
        with engine(server, cache) as asking:
            asking.ask(asks("a"))
        assert server.headers[0]["Authorization"] == "Bearer sk-secret-123456"
        for broken in ("sk-secret 123456", "sk-secret\n123456", "sk-geheim-ü"):
            monkeypatch.setenv("OPENAI_API_KEY", broken)
            with engine(server, cache) as asking, pytest.raises(EndpointError) as told:
                asking.ask(asks("b"))
            assert "$OPENAI_API_KEY has a space" in str(told.value)
            assert "sk-" not in str(told.value)
    assert cache.counts() == {"answered": 1}


def test_the_bar_shows_the_cost(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    prices, drawn = Prices(0.5, 2.0), io.StringIO()
    with spending_bar("asking", prices, file=drawn) as tell:
        tell(Status(9, 10, 4, 1, 0, 1200, 300, 0.0012))
    assert "9/10" in drawn.getvalue()
    assert "0.0012 in money" in drawn.getvalue()
    plain = io.StringIO()
    monkeypatch.delenv("FORCE_COLOR")
    with spending_bar("asking", prices, file=plain) as tell:
        tell(Status(9, 10))
    assert plain.getvalue() == ""


@pytest.mark.parametrize("url", ["https://u:p@x.org/v1", "https://x.org/v1?api-key=abc"])
def test_a_url_with_a_secret_is_refused_and_not_repeated(url):
    with pytest.raises(EndpointError, match="OPENAI_API_KEY") as told:
        Endpoint(url, "m")
    assert "abc" not in str(told.value)
    assert "u:p" not in str(told.value)


def test_urls():
    assert Endpoint("http://h:1/v1/", "m").url == "http://h:1/v1/chat/completions"
    assert Endpoint("http://h/v1/chat/completions", "m").url == "http://h/v1/chat/completions"
    assert Endpoint("http://h/v1?api-version=3", "m").url == (
        "http://h/v1/chat/completions?api-version=3"
    )
    with pytest.raises(EndpointError, match="no URL"):
        Endpoint("h:1/v1", "m")
    with pytest.raises(EndpointError, match="Did you mean 'seed'"):
        Endpoint("http://h/v1", "m", leave_out=("sed",))


def test_reasoning_is_kept_apart(cache):
    def thinks(body, time_):
        if said(body) == "field":
            return Does("4", message={"reasoning_content": "two twos"})
        return Does("<think>two twos</think>\n\n4", finish="length")

    with serving(thinks) as server, engine(server, cache) as asking:
        field, inside = asking.ask(asks("field", "inside"))
    assert field == Reply("4", "two twos", True, 10, 5)
    assert inside == Reply("4", "two twos", False, 10, 5)


def test_progress_is_told(cache):
    heard = []
    with serving(echo) as server:
        with engine(server, cache) as asking:
            asking.ask(asks("a"))
        with engine(server, cache, tell=heard.append, pacing=Pacing(1)) as asking:
            asking.ask(asks("a", "b", "c"))
    assert [(one.done, one.total, one.cached) for one in heard] == [
        (1, 3, 1),
        (2, 3, 1),
        (3, 3, 1),
    ]
    assert heard[-1].prompt_tokens == 20


def test_waits_double_between_half_and_whole():
    pacing = Pacing(first_wait_s=1, longest_wait_s=10)
    chance = random.Random(0)
    for attempt, limit in enumerate((1, 2, 4, 8, 10, 10), start=1):
        waits = [pacing.wait_s(attempt, chance) for _ in range(200)]
        assert limit / 2 <= min(waits) < limit * 0.6
        assert limit * 0.9 < max(waits) <= limit

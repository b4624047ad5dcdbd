"""The latency card: a scripted server with known k and b, on a clock that jumps."""

import asyncio
import json
import random
import selectors

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.cli.main import run
from danlu.errors import DanluError
from danlu.serving.latency import fit, show
from danlu.serving.latency.asking import RefusedError
from danlu.serving.latency.card import CardSettings, FirstToken, LatencyCard, Target, read_card
from danlu.serving.latency.make import write_card
from danlu.serving.latency.measure import Measured, Measuring, requests_of
from danlu.serving.latency.target import Named, PeakMemory, listening_process
from tests.serving.server import serving, tiny_served

FLAT_S, KNEE, PER_PROMPT_TOKEN_S = 0.2, 150, 0.002
PER_TOKEN_S = 0.03


class Jumping(selectors.DefaultSelector):
    """Waits for nothing: what is waited for has then been."""

    now = 0.0

    def select(self, timeout=None):
        self.now += timeout or 0.0
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose seconds take no time."""

    def __init__(self):
        self.jumping = Jumping()
        super().__init__(self.jumping)

    def time(self):
        return self.jumping.now


class Scripted:
    """A server with a hinge for the prompt and a line for the answer, each with some noise.

    ``k`` grows with how many are answered at a time, as it does where they share a machine.
    """

    def __init__(self, *, fails=lambda number: False, usage=True, noise=0.05):
        self.rng = random.Random(7)
        self.noise, self.fails, self.usage = noise, fails, usage
        self.number = self.running = 0

    def jitter(self):
        return 1 + self.rng.uniform(-self.noise, self.noise)

    async def stream(self, body):
        self.number += 1
        if self.fails(self.number):
            raise RefusedError("status 500")
        content = body["messages"][0]["content"]
        prompt = len(content.split())
        self.running += 1
        try:
            beyond = max(0, prompt - KNEE)
            await asyncio.sleep((FLAT_S + PER_PROMPT_TOKEN_S * beyond) * self.jitter())
            for number in range(body["max_tokens"]):
                if number:
                    await asyncio.sleep(PER_TOKEN_S * (1 + self.running / 10) * self.jitter())
                yield event({"choices": [{"index": 0, "delta": {"content": "四字"}}]})
            if self.usage:
                counts = {"prompt_tokens": prompt, "completion_tokens": body["max_tokens"]}
                yield event({"choices": [], "usage": counts})
            yield b"data: [DONE]\n\n"
        finally:
            self.running -= 1


def event(body):
    return b"data: %s\n\n" % json.dumps(body).encode()


def measured(server, **changes) -> Measured:
    wanted = CardSettings(**{"prompt_tokens": (50, 100, 200, 400, 800), "repeats": 8, **changes})
    loop = Loop()
    try:
        return loop.run_until_complete(Measuring(server, "m", wanted).all())
    finally:
        loop.close()


@pytest.fixture(scope="module")
def found():
    return measured(Scripted())


def test_the_hinge_is_found_within_its_intervals(found):
    line = found.first_token_fit
    assert FLAT_S in line.flat_s
    assert KNEE in line.knee_tokens
    assert PER_PROMPT_TOKEN_S in line.per_token_s
    assert line.flat_s.high - line.flat_s.low < 0.1 * FLAT_S
    assert line.seconds(400) == pytest.approx(FLAT_S + PER_PROMPT_TOKEN_S * 250, rel=0.1)


def test_the_time_per_token_is_found_for_each_number_of_users(found):
    """While all of a level are answered, the script's k is known; b is its first token."""
    for level in found.levels:
        # At the end of a level fewer are left, so k is a little below the full level's.
        full = PER_TOKEN_S * (1 + level.concurrency / 10)
        assert level.per_token_s.value == pytest.approx(full, rel=0.04)
        assert level.per_token_s.low < level.per_token_s.value < level.per_token_s.high
        assert level.failed == 0
    alone = found.levels[0]
    assert PER_TOKEN_S * 1.1 in alone.per_token_s
    assert FLAT_S in alone.first_s or alone.first_s.value == pytest.approx(FLAT_S, rel=0.05)
    seconds = 2 * (FLAT_S + 63 * PER_TOKEN_S * 1.1)
    assert alone.tokens_per_second == pytest.approx(128 / seconds, rel=0.05)
    assert alone.characters_per_second == pytest.approx(2 * alone.tokens_per_second)


def test_requests_come_by_chance_and_do_not_wait_for_each_other(found):
    [one] = found.arrivals
    best = max((level.requests - level.failed) / level.seconds for level in found.levels)
    assert one.rate == pytest.approx(best / 2, abs=0.001)
    assert one.requests == 30
    assert one.most_at_once > 2
    assert one.first_s.p50 == pytest.approx(FLAT_S, rel=0.06)
    assert one.whole_s.p50 <= one.whole_s.p90 <= one.whole_s.p99
    # Thirty arrivals at this rate take about thirty gaps, and an answer.
    assert 0.4 * 30 / one.rate < one.seconds < 2.5 * 30 / one.rate
    busy = measured(Scripted(), rates=(0.05, 5.0)).arrivals
    assert busy[0].most_at_once < 4 < busy[1].most_at_once
    assert busy[1].whole_s.p50 > busy[0].whole_s.p50


def test_the_same_seed_measures_the_same(found):
    assert measured(Scripted()) == found


def test_failed_requests_are_counted_and_left_out(found):
    every_fourth = measured(Scripted(fails=lambda number: number > 1 and number % 4 == 0))
    failed = sum(level.failed for level in every_fourth.levels)
    assert failed == pytest.approx(sum(one.requests for one in every_fourth.levels) / 4, abs=4)
    assert every_fourth.failures == {"status 500": failed + _failed_elsewhere(every_fourth)}
    assert FLAT_S in every_fourth.first_token_fit.flat_s
    with pytest.raises(DanluError, match="the first request was not answered"):
        measured(Scripted(fails=lambda _: True))


def _failed_elsewhere(found):
    first = 5 * 8 - len(found.first_tokens)
    return first + sum(one.failed for one in found.arrivals)


def test_without_the_servers_counts_pieces_are_counted():
    found = measured(Scripted(usage=False), arrivals=2)
    assert not found.counted
    assert found.levels[0].per_token_s.value == pytest.approx(PER_TOKEN_S * 1.1, rel=0.02)


def test_what_takes_too_long_has_failed():
    slow = measured(Scripted(noise=0), seconds=1.0, concurrency=(1,))
    assert slow.levels[0].failed == slow.levels[0].requests == 2
    assert slow.levels[0].per_token_s is None
    # 800 tokens of prompt take more than a second, so four lengths are left.
    assert len({one.prompt_tokens for one in slow.first_tokens}) == 4
    assert slow.failures == {"longer than 1 s": 10}
    assert slow.arrivals == []  # at what rate should they come?


@settings(max_examples=15)
@given(
    flat=st.floats(0.01, 2.0),
    knee=st.sampled_from([64, 128, 256]),
    slope=st.floats(1e-5, 1e-2),
)
def test_without_noise_the_hinge_is_exact(flat, knee, slope):
    lengths = (16, 64, 128, 256, 512, 1024)
    rows = [FirstToken(prompt_tokens=n, seconds=flat + slope * max(0, n - knee)) for n in lengths]
    found = fit.hinge_fit(rows, 0)
    assert found.knee_tokens.value == pytest.approx(knee)
    assert found.flat_s.value == pytest.approx(flat)
    assert found.per_token_s.value == pytest.approx(slope)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of 200 samples of a known mean, the 95 % interval has it in about 95 of 100."""
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        times = rng.normal(2.0, 0.5, size=40)
        hits += 0.1 in fit.ratio(times.tolist(), [20.0] * 40, seed)
    assert 180 <= hits <= 199


def test_few_lengths_make_no_line():
    rows = [FirstToken(prompt_tokens=n, seconds=1.0) for n in (1, 2)]
    with pytest.raises(DanluError, match="three"):
        fit.hinge_fit(rows, 0)
    assert measured(Scripted(), prompt_tokens=(50, 100)).first_token_fit is None


def test_the_number_of_requests_is_known_beforehand():
    server = Scripted()
    measured(server)
    wanted = CardSettings(prompt_tokens=(50, 100, 200, 400, 800), repeats=8)
    assert server.number == requests_of(wanted)


def test_the_card_is_written_and_read_back(found, tmp_path):
    target = Target(
        name="炉 <b>",
        address="http://x",
        model="m",
        counted="usage",
        warm_up=3,
        **{key: value for key, value in vars(found).items() if key != "counted"},
        peak_memory_bytes=123_000_000,
    )
    bare = target.model_copy(
        update={"name": "none", "first_token_fit": None, "first_tokens": [], "arrivals": []}
    )
    card = LatencyCard(
        made="2026-11-22T00:00:00Z", settings=CardSettings(), machine="x", targets=[target, bare]
    )
    write_card(card, tmp_path / "card")
    assert read_card(tmp_path / "card") == card
    assert (tmp_path / "card" / "card.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "card" / "card.html").read_text("utf-8")
    assert "炉 &lt;b&gt;" in page
    assert "<script" not in page
    assert show.first_rows(card)[0][-1] == "123"
    assert "an answer of x tokens takes" in show.formula(target)
    with pytest.raises(DanluError, match="no latency card"):
        read_card(tmp_path)


def test_names_on_the_card():
    assert Named.of("http://a:1/v1?x=2") == Named("a:1", "http://a:1/v1?x=2")
    assert Named.of("fast=http://a:1").name == "fast"
    assert Named.of("builtin:smollm2").name == "smollm2"


def test_a_real_server_is_measured(tiny_tokenizer, tmp_path, capsys):
    with serving(tiny_served(tiny_tokenizer)) as address:
        process = listening_process(address)
        with PeakMemory(process) as memory:
            pass
        arguments = ["--to", str(tmp_path / "card"), "--answer-tokens", "6", "--arrivals", "3"]
        for tokens in (8, 16, 32):
            arguments += ["--prompt-tokens", str(tokens)]
        arguments += ["--concurrency", "1", "--concurrency", "3", "--rounds", "1"]
        assert run(["bench-serve", f"炉={address}", *arguments, "--rate", "50"]) == 0
        assert run(["bench-serve", address, "--model", "tny"]) == 2
        assert run(["bench-serve", f"a={address}", f"a={address}"]) == 2
    out, err = capsys.readouterr()
    assert "炉: an answer of x tokens takes" in out
    assert "0 of 3" in out
    assert "Did you mean 'tiny'" in err
    assert "two have this name" in err
    [target] = read_card(tmp_path / "card").targets
    assert (target.name, target.model, target.counted) == ("炉", "tiny", "usage")
    assert target.failures == {}
    assert target.peak_memory_bytes > 50e6
    assert memory.peak_bytes > 50e6
    # ignore_eos: every answer is as long as asked for.
    assert [level.requests for level in target.levels] == [1, 3]
    assert run(["bench-serve", "http://127.0.0.1:1"]) == 2
    assert "cannot be asked" in capsys.readouterr().err

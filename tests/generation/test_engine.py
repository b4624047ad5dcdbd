"""The engine: each answer is the one that its request gets alone, whoever else is there."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch

from danlu.errors import DanluError
from danlu.generation.engine import BusyError, Engine, EngineLimits
from danlu.generation.interface import Sampling
from danlu.generation.requests import Piece, Request
from danlu.generation.rows import OneByOne, SideBySide, use_rows_attention
from tests.tiny_models import tiny_llama

WAIT_S = 30


def words(token_ids: Sequence[int]) -> str:
    return "".join(f"<{token_id}>" for token_id in token_ids)


class Asked:
    """A request and what came back."""

    def __init__(self, prompt: Sequence[int], sampling: Sampling, **more: object) -> None:
        self.pieces: list[Piece] = []
        self.over = threading.Event()
        self.request = Request(prompt, sampling, self._take, **more)

    def _take(self, piece: Piece) -> None:
        self.pieces.append(piece)
        if piece.finish:
            self.over.set()

    def wait(self) -> Asked:
        assert self.over.wait(WAIT_S)
        assert [piece.finish is not None for piece in self.pieces].count(True) == 1
        return self

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def finish(self) -> str | None:
        return self.pieces[-1].finish


@pytest.fixture(scope="module")
def model():
    made = tiny_llama().eval()
    assert use_rows_attention(made) is None
    return made


@pytest.fixture
def make(model):
    engines = []

    def make(**limits: int) -> Engine:
        engines.append(Engine(SideBySide(model), words, limits=EngineLimits(**limits)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def alone(model, prompt: Sequence[int], count: int) -> str:
    """Greedy tokens by the model's own attention, everything computed anew each time."""
    plain = tiny_llama().eval()
    plain.load_state_dict(model.state_dict())
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            ids.append(int(plain(torch.tensor([ids])).logits[0, -1].argmax()))
    return words(ids[len(prompt) :])


def prompts(count: int, longest: int = 40) -> list[list[int]]:
    random = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, longest, (count,), generator=random).tolist()
    return [torch.randint(3, 300, (n,), generator=random).tolist() for n in lengths]


@pytest.mark.parametrize("limits", [{}, {"rows": 3, "prompt_tokens": 5}])
def test_answers_side_by_side_are_those_that_each_gets_alone(model, make, limits):
    engine = make(**limits)
    asked = [
        Asked(prompt, Sampling(greedy=True, max_new_tokens=4 + k % 5))
        for k, prompt in enumerate(prompts(12))
    ]
    for one in asked:
        engine.submit(one.request)
    for one in asked:
        count = one.request.sampling.max_new_tokens
        assert one.wait().text == alone(model, one.request.prompt, count)
        assert one.finish == "length"
        assert sum(piece.tokens for piece in one.pieces) == count
    assert engine.counts.requests == 12
    assert engine.counts.finished == {"length": 12}
    assert engine.counts.answer_tokens == sum(a.request.sampling.max_new_tokens for a in asked)


def test_sampled_answers_depend_on_their_seed_only(make):
    prompt = prompts(1)[0]

    def answers(seeds: Sequence[int], **limits: int) -> dict[int, str]:
        engine = make(**limits)
        asked = {s: Asked(prompt, Sampling(seed=s, max_new_tokens=8, top_p=0.9)) for s in seeds}
        for one in asked.values():
            engine.submit(one.request)
        return {seed: one.wait().text for seed, one in asked.items()}

    together = answers([1, 2, 3, 4])
    assert len(set(together.values())) == 4
    assert answers([4, 2], rows=1) == {seed: together[seed] for seed in (2, 4)}


def test_a_beginning_that_was_read_before_is_not_computed_again(model, make):
    engine = make()
    first = prompts(1, 41)[0][:1] * 30
    one = Asked(first, Sampling(greedy=True, max_new_tokens=6))
    engine.submit(one.request)
    said = [int(token) for token in one.wait().text[1:-1].split("><")]
    later = Asked([*first, *said, 7, 8], Sampling(greedy=True, max_new_tokens=6))
    engine.submit(later.request)
    assert later.wait().text == alone(model, later.request.prompt, 6)
    assert engine.counts.shared_tokens == 30 + 5  # the last token drawn was never computed
    other = Asked([*first[:10], 9], Sampling(greedy=True, max_new_tokens=6))
    engine.submit(other.request)
    assert other.wait().text == alone(model, other.request.prompt, 6)
    assert engine.counts.shared_tokens == 35  # too short to be worth copying


def test_what_is_kept_stays_within_its_limit(make):
    engine = make(kept_bytes=20_000)
    for prompt in prompts(6):
        one = Asked(prompt * 3, Sampling(greedy=True, max_new_tokens=2))
        engine.submit(one.request)
        one.wait()
    assert sum(keys.nbytes for keys in engine._kept.values()) <= 20_000


def test_an_answer_ends_at_stop_tokens_and_before_stop_texts(model, make):
    prompt = prompts(1)[0]
    whole = alone(model, prompt, 8)
    tokens = [int(token) for token in whole[1:-1].split("><")]
    third = tokens[2]
    until = tokens.index(third)
    engine = make()
    sampling = Sampling(greedy=True, max_new_tokens=8, logprobs=True)
    by_token = Asked(prompt, sampling, stop_ids=frozenset([third]))
    by_text = Asked(prompt, sampling, stop=(f"{tokens[2]}>",))
    for one in (by_token, by_text):
        engine.submit(one.request)
    assert by_token.wait().text == words(tokens[:until])
    assert by_text.wait().text == words(tokens[:until]) + "<"
    assert (by_token.finish, by_text.finish) == ("stop", "stop")
    assert len([s for piece in by_token.pieces for s in piece.scores]) == until


def test_scores_are_the_models_own(model, make):
    prompt = prompts(1)[0]
    engine = make()
    one = Asked(prompt, Sampling(seed=2, max_new_tokens=3, logprobs=True), top_logprobs=4)
    engine.submit(one.request)
    scores = [score for piece in one.wait().pieces for score in piece.scores]
    plain = tiny_llama().eval()
    plain.load_state_dict(model.state_dict())
    ids = list(prompt)
    for score in scores:
        with torch.inference_mode():
            logprobs = plain(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert score.logprob == pytest.approx(float(logprobs[score.token_id]), abs=1e-4)
        assert [token for token, _ in score.top] == logprobs.topk(4).indices.tolist()
        ids.append(score.token_id)


def test_bias_and_penalties_change_what_is_drawn(model, make):
    prompt = prompts(1)[0]
    engine = make()
    sampling = Sampling(greedy=True, max_new_tokens=4)
    forced = Asked(prompt, sampling, bias={17: 100.0})
    varied = Asked(prompt, sampling, bias={17: 100.0}, presence=150.0)
    for one in (forced, varied):
        engine.submit(one.request)
    assert forced.wait().text == words([17] * 4)
    assert varied.wait().text.count("<17>") == 1


def test_a_cancelled_answer_ends_and_the_others_go_on(make):
    engine = make(rows=2)
    endless = Sampling(greedy=True, max_new_tokens=100_000)
    started = threading.Event()
    gone = Asked(prompts(1)[0], endless)
    gone.request = Request(
        gone.request.prompt, endless, lambda piece: (started.set(), gone._take(piece))
    )
    ticket = engine.submit(gone.request)
    assert started.wait(WAIT_S)
    ticket.cancel()
    other = Asked(prompts(2)[1], Sampling(greedy=True, max_new_tokens=3))
    engine.submit(other.request)
    assert gone.wait().finish == "cancelled"
    assert other.wait().finish == "length"


def test_whoever_asks_wrongly_or_too_much_harms_nobody_else(model, make, monkeypatch):
    """A step that fails gives up the answer that asked most; a broken listener only itself."""
    engine = make(prompt_tokens=1000)

    def small_memory(parts):
        if max(len(part.token_ids) for part in parts) > 100:
            raise MemoryError("no room")
        return SideBySide(model).logits(parts)

    monkeypatch.setattr(engine._backend, "logits", small_memory)
    sampling = Sampling(greedy=True, max_new_tokens=6)
    good, huge = Asked(prompts(1)[0], sampling), Asked([5] * 101, sampling)

    def broken(piece: Piece) -> None:
        raise RuntimeError("the connection is closed")

    for request in (good.request, huge.request, Request([5, 6], sampling, broken)):
        engine.submit(request)
    assert huge.wait().finish == "error"
    assert huge.pieces[-1].error == "MemoryError: no room"
    assert good.wait().text == alone(model, good.request.prompt, 6)
    after = Asked(prompts(1)[0], sampling)
    engine.submit(after.request)
    assert after.wait().finish == "length"
    assert engine.counts.finished["cancelled"] == 1


def test_too_many_waiting_are_refused_and_a_closed_engine_takes_nothing(make):
    engine = make(rows=1, waiting=1)
    endless = Sampling(greedy=True, max_new_tokens=100_000)
    asked = [Asked(prompts(1)[0], endless) for _ in range(3)]
    begun = threading.Event()
    first = Request(asked[0].request.prompt, endless, lambda piece: begun.set())
    engine.submit(first)
    assert begun.wait(WAIT_S)
    engine.submit(asked[1].request)
    with pytest.raises(BusyError, match="1 requests wait already"):
        engine.submit(asked[2].request)
    engine.close()
    assert asked[1].wait().finish == "cancelled"
    with pytest.raises(DanluError, match="closed"):
        engine.submit(asked[2].request)


def test_closing_gives_answers_under_way_time_to_end(make):
    engine = make()
    one = Asked(prompts(1)[0], Sampling(greedy=True, max_new_tokens=30))
    engine.submit(one.request)
    engine.close(drain_s=WAIT_S)
    assert one.wait().finish == "length"


def test_adapters_are_chosen_for_their_own_answers(model):
    chosen: list[str | None] = []
    engine = Engine(SideBySide(model), words, choose_adapter=chosen.append)
    sampling = Sampling(greedy=True, max_new_tokens=3)
    asked = [Asked([5, 6, 7], sampling, adapter=name) for name in ("a", "b", "a", None)]
    for one in asked:
        engine.submit(one.request)
    for one in asked:
        one.wait()
    engine.close()
    assert set(chosen) == {"a", "b", None}


def test_models_that_cannot_are_told_and_left_as_they_are():
    dropping = tiny_llama(attention_dropout=0.1)
    own = dropping.config._attn_implementation
    assert "dropout" in (use_rows_attention(dropping.eval()) or "")
    assert dropping.config._attn_implementation == own


def test_other_models_answer_one_by_one(model):
    """With transformers' own cache: slower, and the same answers."""
    plain = tiny_llama().eval()
    plain.load_state_dict(model.state_dict())
    engine = Engine(OneByOne(plain), words, limits=EngineLimits(prompt_tokens=7))
    asked = [Asked(prompt, Sampling(greedy=True, max_new_tokens=5)) for prompt in prompts(4)]
    for one in asked:
        engine.submit(one.request)
    for one in asked:
        assert one.wait().text == alone(model, one.request.prompt, 5)
    engine.close()
    assert engine.counts.shared_tokens == 0


def test_a_request_without_prompt_or_with_an_empty_stop_text_is_refused():
    with pytest.raises(DanluError, match="no tokens"):
        Request([], Sampling(), print)
    with pytest.raises(DanluError, match="stop text is empty"):
        Request([1], Sampling(), print, stop=("",))

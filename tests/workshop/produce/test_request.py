"""What a request is drawn with: each item and each sample of it with a seed of its own."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from danlu.generation.interface import Sampling
from danlu.records import Message
from danlu.workshop.produce.answer import Answers
from danlu.workshop.produce.request import Request, identity_of
from tests.workshop.produce.asking import asks, decided, speaking

BRIEF = Sampling(max_new_tokens=16)


@given(st.integers(0, 2**31), st.integers(0, 50), st.text(min_size=1))
def test_a_seed_depends_on_the_run_the_sample_and_the_item_and_on_nothing_else(
    seed: int, sample: int, item: str
) -> None:
    one = Request((Message("user", "a"),), Sampling(seed=seed), sample, item)
    assert one.seed == replace(one, messages=(Message("user", "b"),)).seed
    assert 0 <= one.seed < 2**31  # what endpoints take
    greedy = replace(one, sampling=Sampling(seed=seed, greedy=True))
    assert greedy.seed == replace(greedy, item="").seed == seed + sample


def test_no_two_items_or_samples_share_a_seed() -> None:
    # With the seed and the sample added up, sample 1 of run 0 was sample 0 of run 1.
    drawn = {
        Request((), Sampling(seed=seed), sample, f"record {item}").seed
        for seed in range(4)
        for sample in range(8)
        for item in range(50)
    }
    assert len(drawn) == 4 * 8 * 50


def test_two_items_are_two_questions_where_an_answer_is_drawn_and_one_where_it_is_not() -> None:
    def known_by(sampling: Sampling, item: str) -> str:
        request = Request((Message("user", "a"),), sampling, 0, item)
        return identity_of(request, "m", {})  # the parameters of an endpoint without seeds

    assert known_by(BRIEF, "1") != known_by(BRIEF, "2")
    greedy = replace(BRIEF, greedy=True)
    assert known_by(greedy, "1") == known_by(greedy, "2") == known_by(greedy, "")


def test_records_with_one_prompt_have_answers_of_their_own_also_when_resumed(tmp_path) -> None:
    records = [asks(str(number), "name a river") for number in range(3)]

    def says(text, body):
        return f"river {body['seed']}"

    with speaking(says, tmp_path / "a") as (engine, server):
        whole = decided(Answers(engine, BRIEF, samples=2), *records)
        seeds = {body["seed"] for body in server.bodies}
        assert len(seeds) == 6
    with speaking(says, tmp_path / "b") as (engine, _):
        decided(Answers(engine, BRIEF, samples=2), records[1])  # as far as a killed run came
    with speaking(says, tmp_path / "b") as (engine, server):
        resumed = decided(Answers(engine, BRIEF, samples=2), *records)
        assert len(server.bodies) == 4
    assert resumed == whole
    assert len({one.record.messages[-1].content for one in whole}) == 3

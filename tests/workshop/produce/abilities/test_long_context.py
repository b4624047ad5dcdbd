"""``long-context``: lengths are kept, depths swept, and what is hidden is there once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.errors import DanluError
from danlu.records import Message, Record
from danlu.workshop.produce.abilities.long_context import LongContext, _shipped
from danlu.workshop.produce.common import answer_of, prompt_of
from danlu.workshop.produce.expectation import expectation_of
from tests.workshop.produce.asking import decided, fates, made


class Words:
    unit = "tokens"

    def count(self, text):
        return len(text.split())

    def settings(self):
        return "words"


def test_a_sweep_keeps_lengths_and_depths():
    work = LongContext(lengths=(600, 3000), depths=(0, 0.5, 1), each=1, kinds=("passkey",))
    found = made(decided(work))
    assert len(found) == 2 * 3 * 2  # lengths, depths, languages
    longest = max(len(one) for language in ("zh", "en") for one in _shipped(language)) + 1
    for record in found:
        how, prompt = record.meta["made"], prompt_of(record)
        [expected] = [expectation_of(row) for row in record.meta["expectations"]]
        [_key] = expected.value
        assert how["length"] == len(prompt)
        assert how["wanted"] - longest <= len(prompt) <= how["wanted"]
        assert record.task_type == "long_context/passkey"
        assert expected.problem(answer_of(record)) is None
        assert expected.problem(prompt) is None
        assert expected.problem("12345 or so") is not None
    depths = [
        record.meta["made"]["depth"] for record in found if record.meta["made"]["wanted"] > 600
    ]
    assert [depth for depth in depths if depth == 0] == [0, 0]
    assert [depth for depth in depths if depth == 1] == [1, 1]
    assert all(abs(depth - 0.5) < 0.05 for depth in depths if depth not in (0, 1))
    assert made(decided(work)) == found
    assert made(decided(LongContext(seed=1, lengths=(600,), each=1))) != made(
        decided(LongContext(lengths=(600,), each=1))
    )


def test_facts_are_spread_and_others_stand_beside_them():
    work = LongContext(lengths=(2000,), each=4, kinds=("facts",), facts=3)
    for record in made(decided(work)):
        [expected] = [expectation_of(row) for row in record.meta["expectations"]]
        prompt, depths = prompt_of(record), record.meta["made"]["depth"]
        assert len(expected.value) == 3
        assert len(depths) == 6
        assert max(depths) > 0.6
        assert min(depths) < 0.4
        assert expected.problem(answer_of(record)) is None
        assert all(prompt.count(number) == 1 for number in expected.value)
        assert expected.problem("\n".join(expected.value[:2])) is not None


def test_documents_are_the_filler_and_their_years_are_not():
    text = "The mill stands by the river. It was built in 1765. Its wheel turns slowly."
    document = Record("d", "a/b", (Message("text", text),))
    work = LongContext(lengths=(60,), depths=(0.5,), each=1, kinds=("passkey",), measure=Words())
    decisions = decided(work, document)
    assert fates(decisions)[0] == ("dropped", "document used")
    [record] = made(decisions)
    prompt = prompt_of(record)
    assert "Its wheel turns slowly. The mill stands by the river." in prompt
    assert "1765" not in prompt
    assert record.meta["made"]["unit"] == "tokens"
    assert 50 < len(prompt.split()) == record.meta["made"]["length"] <= 60


@settings(deadline=None, max_examples=30)
@given(st.integers(45, 400), st.floats(0, 1))
def test_a_length_is_never_passed_whatever_the_measure(length, depth):
    class Odd(Words):
        def count(self, text):  # Longer in sum than in parts, as joined tokens may be.
            return len(text.split()) + len(text) // 50

    work = LongContext(
        (length,), (depth,), each=1, kinds=("passkey",), languages=("en",), measure=Odd()
    )
    [record] = made(decided(work))
    assert Odd().count(prompt_of(record)) <= length


def test_mistakes_are_told():
    with pytest.raises(DanluError, match="no room: question and what is hidden take"):
        decided(LongContext(lengths=(40,)))
    with pytest.raises(DanluError, match=r"a depth is 1\.5"):
        LongContext(depths=(1.5,))
    with pytest.raises(DanluError, match="facts is 9; it is from 1 to 8"):
        LongContext(facts=9)
    with pytest.raises(DanluError, match="there is no document"):
        decided(LongContext(), Record("1", "a/b", (Message("user", "Hi"),)))
    with pytest.raises(DanluError, match="no sentence in zh"):
        decided(
            LongContext(languages=("zh",)), Record("1", "a/b", (Message("text", "Only this."),))
        )

"""Pieces of text that join to the whole and never break a character."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.generation.text import REPLACEMENT, TextStream

TEXTS = ["你好，我叫丹炉。", "a 🏮 and a 👩‍🔬!", "naïve café", "plain words, two  spaces\n\nend"]


def streamed(decode, ids):
    stream = TextStream(decode)
    pieces = [stream.push(token_id) for token_id in ids]
    return [*pieces, stream.finish()]


@pytest.fixture(scope="module")
def decode(tiny_tokenizer):
    return lambda ids: tiny_tokenizer.decode(list(ids), skip_special_tokens=True)


@pytest.mark.parametrize("text", TEXTS)
def test_a_character_comes_with_its_last_token(tiny_tokenizer, decode, text):
    ids = tiny_tokenizer(text)["input_ids"]
    assert len(ids) > len(text) or text.isascii()  # characters of several tokens are among them
    pieces = streamed(decode, ids)
    assert "".join(pieces) == text
    assert not any(REPLACEMENT in piece for piece in pieces)


def test_special_tokens_do_not_show(tiny_tokenizer, decode):
    ids = tiny_tokenizer("one<|im_start|> two<|im_end|>")["input_ids"]
    assert "".join(streamed(decode, ids)) == "one two"


def test_an_answer_cut_within_a_character_ends_with_a_mark(tiny_tokenizer, decode):
    ids = tiny_tokenizer("a炼")["input_ids"][:-1]
    pieces = streamed(decode, ids)
    assert pieces[:-1] == ["a", *[""] * (len(ids) - 1)]
    assert set(pieces[-1]) == {REPLACEMENT}


def test_a_space_that_a_tokenizer_drops_at_the_beginning_is_kept_within():
    """SentencePiece's habit: the first piece of a text loses its leading space."""
    pieces = [" Who", " are", " you", "?"]

    def decode(ids):
        return "".join(pieces[one] for one in ids).removeprefix(" ")

    assert streamed(decode, range(4)) == ["Who", " are", " you", "?", ""]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 359), max_size=40))
def test_any_tokens_join_to_their_text(tiny_tokenizer, decode, ids):
    assert "".join(streamed(decode, ids)) == decode(ids)

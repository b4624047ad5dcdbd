"""Documents: their ends, their windows, and that they never see each other."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from danlu.config.recipe import SequencesSection
from danlu.errors import RecordError, TemplateError
from danlu.records.record import TEXT_ROLE, Message, Record
from danlu.sequences import chunks
from danlu.sequences.documents import Ends, cut_documents, document_ends
from danlu.sequences.forest import Pack, build_packs
from danlu.sequences.prepare import preparation_key, prepare
from danlu.sequences.prepared import PreparedData
from danlu.sequences.split import hold_out
from danlu.sequences.template import ChatTemplate

BOS, EOS = 1, 2
EOS_TEXT = "<|im_end|>"


def document(number: int, text: str, task_type: str = "wiki/page", weight: float = 1.0) -> Record:
    return Record(f"d{number}", task_type, (Message(TEXT_ROLE, text, weight),))


def conversation(number: int, task_type: str = "chat/all") -> Record:
    messages = [Message("user", "a question"), Message("assistant", "an answer")] * 2
    return Record(f"c{number}", task_type, tuple(messages))


@pytest.fixture(scope="module")
def chatml(tiny_tokenizer) -> ChatTemplate:
    return ChatTemplate.load(tiny_tokenizer)


@pytest.fixture(scope="module")
def bos_tokenizer(tokenizer_maker) -> Any:
    """The tiny tokenizer, beginning plain text with a BOS token, as Llama's does."""
    tokenizer = tokenizer_maker(None, bos_token="<|im_start|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", BOS)]
    )
    return tokenizer


def documents_of(records: list[Record], tokenizer: Any, **settings: Any) -> PreparedData:
    return prepare(records, tokenizer, None, SequencesSection(**settings), documents=True)


def windows_of(prepared: PreparedData, r: int) -> list[list[int]]:
    return [branch.input_ids.tolist() for branch in prepared.record(r)]


def cut(texts: list[list[int]], ends: Ends, max_length: int, documents: list[bool] | None = None):
    """Call ``cut_documents``; returns its windows as lists, and all of it."""
    lengths = [len(text) for text in texts]
    windows = cut_documents(
        np.array([token for text in texts for token in text], np.int32),
        np.cumsum([0, *lengths]),
        np.array([min(length, 3) for length in lengths], np.int64),
        np.array([True] * len(texts) if documents is None else documents, np.bool_),
        ends,
        max_length,
    )
    ids = [windows.input_ids[a:b].tolist() for a, b in pairwise(windows.offsets.tolist())]
    return ids, windows


def test_windows_by_hand():
    """The picture in the module: a b c d | d e f g | g h, where h is the EOS token."""
    a, b, c, d, e, f, g, h = range(10, 18)
    ids, windows = cut([[a, b, c, d, e, f, g]], Ends(None, h), 4)
    assert ids == [[a, b, c, d], [d, e, f, g], [g, h]]
    assert windows.prompt_tokens.tolist() == [0, 1, 1]
    assert windows.text.tolist() == [0, 0, 0]
    assert windows.window.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("tokens", "max_length", "expected"),
    [
        ([], 4, [[9]]),
        ([5], 4, [[5, 9]]),
        ([5, 6, 7], 4, [[5, 6, 7, 9]]),  # just fits
        ([5, 6, 7, 8], 4, [[5, 6, 7, 8], [8, 9]]),  # one too many
        ([5, 6], 2, [[5, 6], [6, 9]]),  # the shortest windows
        ([9], 4, [[9]]),
        ([5, 9], 4, [[5, 9]]),  # an end that is there is not doubled
        ([9, 5], 4, [[9, 5, 9]]),
    ],
)
def test_lengths_at_the_border(tokens, max_length, expected):
    assert cut([tokens], Ends(None, 9), max_length)[0] == expected


@pytest.mark.parametrize(
    ("tokens", "expected", "prompts"),
    [
        ([], [[8, 9]], [1]),
        ([5, 6], [[8, 5, 6], [6, 9]], [1, 1]),
        ([8, 5], [[8, 5, 9]], [1]),
        ([8, 8], [[8, 8, 9]], [1]),
        ([5, 8, 9], [[8, 5, 8], [8, 9]], [1, 1]),
    ],
)
def test_a_beginning_that_is_there_is_not_doubled(tokens, expected, prompts):
    ids, windows = cut([tokens], Ends(8, 9), 3)
    assert ids == expected
    assert windows.prompt_tokens.tolist() == prompts


texts = st.lists(st.lists(st.integers(5, 9), max_size=20), max_size=6)


@given(
    texts=texts,
    ends=st.sampled_from([Ends(None, 9), Ends(8, 9), Ends(9, 9)]),
    max_length=st.integers(2, 12),
    data=st.data(),
)
def test_every_token_but_the_first_is_predicted_exactly_once(texts, ends, max_length, data):
    kinds = data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    ids, windows = cut(texts, ends, max_length, kinds)
    assert len(ids) == len(windows.text) == len(windows.window) == len(windows.prompt_tokens)
    assert windows.text.tolist() == sorted(windows.text.tolist())
    for number, (text, is_document) in enumerate(zip(texts, kinds, strict=True)):
        mine = [b for b in range(len(ids)) if windows.text[b] == number]
        own, prompts = [ids[b] for b in mine], windows.prompt_tokens[mine].tolist()
        assert windows.window[mine].tolist() == list(range(len(own)))
        if not is_document:
            assert (own, prompts) == ([text], [min(len(text), 3)])
            continue
        whole = text
        if ends.bos is not None and text[:1] != [ends.bos]:
            whole = [ends.bos, *whole]
        if text[-1:] != [ends.eos]:
            whole = [*whole, ends.eos]
        predicted = [token for window in own for token in window[1:]]
        assert [own[0][0], *predicted] == whole
        assert all(a[-1] == b[0] for a, b in pairwise(own))
        assert all(len(window) == max_length for window in own[:-1])
        assert len(own[-1]) <= max_length
        assert len(own) == 1 or len(own[-1]) > 1
        assert prompts == [int(ends.bos == whole[0]), *[1] * (len(own) - 1)]


LONG = "The furnace is hot and the iron is red. What is the name of the furnace? 丹炉是炼丹的炉子。"


@given(
    bodies=st.lists(st.sampled_from(["one", " two", "\n", "丹炉", "é", " a question", "🐉"])).map(
        "".join
    ),
    max_length=st.integers(2, 9),
)
def test_prepared_documents_are_the_tokenizers_own_ids(tiny_tokenizer, bodies, max_length):
    text = bodies + "."
    prepared = documents_of([document(0, text)], tiny_tokenizer, max_length=max_length)
    whole = [*tiny_tokenizer(text)["input_ids"], EOS]
    branches = prepared.record(0)
    assert [branch.branch for branch in branches] == list(range(len(branches)))
    learned = [
        token
        for branch in branches
        for token, weight in zip(branch.input_ids.tolist(), branch.weights.tolist(), strict=True)
        if weight == 1.0
    ]
    assert [whole[0], *learned] == whole
    assert prepared.weights.sum() == len(whole) - 1
    assert {branch.weights[0] for branch in branches} == {0.0}
    assert max(len(branch.input_ids) for branch in branches) <= max_length
    assert not prepared.drops


def test_a_tokenizer_that_begins_plain_text_with_bos(bos_tokenizer):
    assert document_ends(bos_tokenizer) == Ends(BOS, EOS)
    prepared = documents_of([document(0, LONG)], bos_tokenizer)
    [branch] = prepared.record(0)
    assert branch.input_ids.tolist() == [*bos_tokenizer(LONG)["input_ids"], EOS]
    assert (branch.input_ids[0], branch.prompt_tokens) == (BOS, 1)
    assert branch.weights.tolist() == [0.0] + [1.0] * (len(branch.input_ids) - 1)


def test_a_bos_token_that_plain_text_does_not_begin_with(tokenizer_maker):
    """As GPT-2's and Qwen's: the tokenizer has one, and never writes it."""
    tokenizer = tokenizer_maker(None, bos_token="<|im_start|>")
    assert document_ends(tokenizer) == Ends(None, EOS)
    assert windows_of(documents_of([document(0, "one")], tokenizer), 0) == [
        [*tokenizer("one")["input_ids"], EOS]
    ]


def test_ends_that_the_text_brings_are_not_doubled(bos_tokenizer):
    plain = documents_of([document(0, LONG)], bos_tokenizer)
    for text in (f"{LONG}{EOS_TEXT}", f"<|im_start|>{LONG}", f"<|im_start|>{LONG}{EOS_TEXT}"):
        marked = documents_of([document(0, text)], bos_tokenizer)
        assert windows_of(marked, 0) == windows_of(plain, 0)
        np.testing.assert_array_equal(marked.weights, plain.weights)


def test_a_tokenizer_that_puts_a_space_before_every_text():
    """SentencePiece's habit: a document begins as the tokenizer begins any text."""
    letters = ["<unk>", "</s>", "▁", "\n", ".", "1", *"abcdefgh"]
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    prepared = documents_of([document(0, "ab cd"), document(1, "ef")], tokenizer)
    expected = [[*tokenizer(text)["input_ids"], 1] for text in ("ab cd", "ef")]
    assert [windows_of(prepared, r) for r in (0, 1)] == [[ids] for ids in expected]
    assert expected[1] == [*tokenizer.convert_tokens_to_ids(["▁", "e", "f"]), 1]


def test_a_tokenizer_without_an_end_is_refused(tokenizer_maker):
    tokenizer = tokenizer_maker(None, eos_token=None)
    with pytest.raises(TemplateError) as caught:
        documents_of([document(0, "one")], tokenizer)
    assert str(caught.value) == (
        "model.path: The tokenizer has no end-of-sequence token, so a document could not end. Set "
        "eos_token in tokenizer_config.json."
    )
    with pytest.raises(TemplateError, match="a document could not end"):
        preparation_key("data", tokenizer, None, SequencesSection(), documents=True)


def test_documents_between_conversations(tiny_tokenizer, chatml):
    """Conversations are what they are without documents, and documents what they are alone."""
    talks = [conversation(0), conversation(1, "chat/more")]
    pages = [document(0, LONG), document(1, "丹炉"), document(2, LONG * 4, "wiki/long")]
    mixed = [pages[0], talks[0], pages[1], pages[2], talks[1]]
    settings = SequencesSection(max_length=64)
    prepared = prepare(mixed, tiny_tokenizer, chatml, settings, documents=True)
    alone = prepare(talks, tiny_tokenizer, chatml, settings)
    apart = documents_of(pages, tiny_tokenizer, max_length=64)
    assert tuple(prepared.record_ids) == ("d0", "c0", "d1", "d2", "c1")
    assert prepared.record_position.tolist() == [0, 1, 2, 3, 4]
    assert prepared.channels == ("chat/all", "chat/more", "wiki/long", "wiki/page")
    assert [prepared.channels[c] for c in prepared.record_channel] == [
        "wiki/page",
        "chat/all",
        "wiki/page",
        "wiki/long",
        "chat/more",
    ]
    assert prepared.records_read == 5
    assert not prepared.drops
    sources = [(apart, 0), (alone, 0), (apart, 1), (apart, 2), (alone, 1)]
    for r, (other, theirs) in enumerate(sources):
        mine, expected = prepared.record(r), other.record(theirs)
        assert len(mine) == len(expected)
        for branch, one in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(branch.input_ids, one.input_ids)
            np.testing.assert_array_equal(branch.weights, one.weights)
            assert (branch.branch, branch.prompt_tokens) == (one.branch, one.prompt_tokens)
            assert branch.record == r
    assert len(prepared.record(3)) > 2
    assert prepared.notes == chatml.notes


@given(st.lists(st.sampled_from(["page", "long page", "talk"]), max_size=9), st.integers(1, 3))
def test_chunks_change_nothing(tiny_tokenizer, chatml, kinds, chunk_records):
    makers = {"page": lambda n: document(n, "one two"), "talk": conversation}
    makers["long page"] = lambda n: document(n, LONG)
    records = [makers[kind](number) for number, kind in enumerate(kinds)]
    settings = SequencesSection(max_length=40)
    whole = prepare(records, tiny_tokenizer, chatml, settings, documents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_RECORDS", chunk_records)
        prepared = prepare(records, tiny_tokenizer, chatml, settings, documents=True)
    assert_same(prepared, whole)


def assert_same(one: PreparedData, other: PreparedData) -> None:
    assert one.fingerprint == other.fingerprint
    assert list(one.record_ids) == list(other.record_ids)
    for field in dataclasses.fields(PreparedData):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, strict=True)


def test_mapped_from_a_directory(tiny_tokenizer, tmp_path):
    records = [document(0, LONG), document(1, " "), document(2, "丹炉")]
    memory = documents_of(records, tiny_tokenizer, max_length=9)
    settings = SequencesSection(max_length=9)
    place = tmp_path / "train"
    mapped = prepare(records, tiny_tokenizer, None, settings, documents=True, directory=place)
    assert_same(memory, mapped)
    assert mapped.drops == memory.drops
    assert mapped.notes == ()


def test_held_out_documents_keep_all_their_windows(tiny_tokenizer):
    records = [document(number, f"{number} {LONG}") for number in range(10)]
    prepared = documents_of(records, tiny_tokenizer, max_length=9)
    parts = hold_out(prepared, 0.3, seed=0)
    assert [len(part) for part in parts] == [7, 3]
    whole = {prepared.record_ids[r]: windows_of(prepared, r) for r in range(10)}
    seen = {part.record_ids[r]: windows_of(part, r) for part in parts for r in range(len(part))}
    assert seen == whole


def test_plain_text_is_refused_unless_asked_for(tiny_tokenizer, chatml):
    with pytest.raises(RecordError, match=r"record d0: .*plain text"):
        prepare([document(0, "one")], tiny_tokenizer, chatml, SequencesSection())


def test_a_conversation_needs_a_template(tiny_tokenizer):
    with pytest.raises(TemplateError) as caught:
        documents_of([document(0, "one"), conversation(1)], tiny_tokenizer)
    assert str(caught.value) == (
        "record c1: This is a conversation, and there is no chat template to render it with. Set "
        "model.template, or take the conversations out of the data."
    )


def test_what_is_left_out_is_told_with_its_reason(tiny_tokenizer):
    records = [
        document(0, ""),
        document(1, " \n\t　"),
        document(2, "one", weight=0.0),
        document(3, EOS_TEXT, "wiki/marks"),
        document(4, "one"),
    ]
    prepared = documents_of(records, tiny_tokenizer)
    assert prepared.drop_counts() == {
        "wiki/marks": {"nothing to learn": 1},
        "wiki/page": {"empty document": 2, "nothing to learn": 1},
    }
    told = [(drop.record_id, drop.branch, drop.detail, drop.kept) for drop in prepared.drops]
    assert told == [
        ("d0", None, "there is no text", False),
        ("d1", None, "there is no text", False),
        ("d2", None, "the document has weight 0", False),
        ("d3", 0, "its only trained token has no token before it to be predicted from", False),
    ]
    assert tuple(prepared.record_ids) == ("d4",)
    assert prepared.record_position.tolist() == [4]
    assert (prepared.records_read, prepared.channels) == (5, ("wiki/page",))


def test_nothing_but_empty_documents(tiny_tokenizer):
    prepared = documents_of([document(0, "")], tiny_tokenizer)
    assert (len(prepared), prepared.branches, prepared.records_read) == (0, 0, 1)


@pytest.mark.parametrize("overlong", ["drop", "truncate_prompt_left", "error"])
def test_a_long_document_is_never_overlong(tiny_tokenizer, overlong):
    prepared = documents_of([document(0, LONG)], tiny_tokenizer, max_length=5, overlong=overlong)
    assert not prepared.drops
    assert prepared.weights.sum() == len(tiny_tokenizer(LONG)["input_ids"])


def test_weights(tiny_tokenizer):
    """A document of weight 0.5 beside one of weight 1, in all four ways to count equally."""
    records = [document(0, LONG, "a/half", weight=0.5), document(1, "one two", "b/one")]
    trained = [len(tiny_tokenizer(text)["input_ids"]) for text in (LONG, "one two")]

    def totals(weighting: str) -> list[float]:
        prepared = documents_of(records, tiny_tokenizer, max_length=9, weighting=weighting)
        return [float(sum(b.weights.sum() for b in prepared.record(r))) for r in (0, 1)]

    windows = -(-trained[0] // 8)
    assert windows > 2
    assert totals("token") == pytest.approx([0.5 * trained[0], trained[1]])
    assert totals("record") == pytest.approx([0.5, 1.0])
    assert totals("turn") == pytest.approx([0.5 * windows, 1.0])
    assert totals("task_type") == pytest.approx([sum(trained) / 2] * 2)


def test_training_prompts_adds_nothing(bos_tokenizer):
    """The token that a window begins with was predicted in the window before."""
    records = [document(0, LONG), document(1, f"{LONG} more")]
    plain = documents_of(records, bos_tokenizer, max_length=7)
    asked = documents_of(records, bos_tokenizer, max_length=7, train_on_prompt=True)
    np.testing.assert_array_equal(plain.weights, asked.weights)


def seen(pack: Pack, query: int) -> list[int]:
    """What a token sees, by the definition of ``visible_until``."""
    return [key for key in range(query + 1) if query < pack.visible_until[key]]


bodies = st.lists(st.sampled_from(["one", " two", " three", "\n"]), min_size=1, max_size=12)


@given(
    bodies=st.lists(bodies.map("".join), min_size=1, max_size=5),
    max_length=st.integers(2, 6),
    pack_tokens=st.integers(1, 60),
)
def test_documents_never_see_each_other(tiny_tokenizer, bodies, max_length, pack_tokens):
    """In a forest each prediction is made from its own window up to there, and nothing else."""
    records = [document(number, f"x{body}") for number, body in enumerate(bodies)]
    prepared = documents_of(records, tiny_tokenizer, max_length=max_length)
    branches = [prepared.branch(b) for b in range(prepared.branches)]
    made = []
    for pack in build_packs(branches, pack_tokens):
        for number in range(len(pack.predictor)):
            keys = seen(pack, int(pack.predictor[number]))
            b = int(pack.members[pack.branch[number]])
            window = branches[b].input_ids.tolist()
            assert pack.input_ids[keys].tolist() == window[: len(keys)]
            assert pack.position_ids[keys].tolist() == list(range(len(keys)))
            assert pack.target[number] == window[len(keys)]
            made.append((b, len(keys)))
    expected = [(b, t) for b, one in enumerate(branches) for t in range(1, len(one.input_ids))]
    assert sorted(made) == expected


def test_documents_that_begin_alike_share_no_more_than_that(tiny_tokenizer):
    first, second = "one two three", "one two four"
    prepared = documents_of([document(0, first), document(1, second)], tiny_tokenizer)
    a, b = (prepared.branch(k).input_ids.tolist() for k in (0, 1))
    common = next(k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    assert common > 0
    [pack] = build_packs([prepared.branch(0), prepared.branch(1)], 1000)
    assert pack.tokens == len(a) + len(b) - common
    own = [set(seen(pack, query)) for query in range(pack.tokens)]
    parted = [query for query in range(pack.tokens) if pack.position_ids[query] >= common]
    ends = [query for query in parted if pack.input_ids[query] == EOS]
    assert len(ends) == 2
    assert own[ends[0]] & own[ends[1]] == set(range(common))


def test_the_key_tells_documents_and_their_ends_apart(tiny_tokenizer, tokenizer_maker, chatml):
    plain = SequencesSection()
    other_end = tokenizer_maker(eos_token="<|endoftext|>")
    keys = [
        preparation_key("data", tiny_tokenizer, None, plain),
        preparation_key("data", tiny_tokenizer, None, plain, documents=True),
        preparation_key("data", other_end, None, plain, documents=True),
        preparation_key("data", tiny_tokenizer, chatml, plain, documents=True),
        preparation_key(
            "data", tiny_tokenizer, None, SequencesSection(max_length=9), documents=True
        ),
    ]
    assert len(set(keys)) == len(keys)
    again = preparation_key("data", tokenizer_maker(), None, plain, documents=True)
    assert again == keys[1]
    # Without documents no end is written, so which token would be it makes no difference.
    assert preparation_key("data", other_end, None, plain) == keys[0]


def test_the_fingerprint_is_that_of_the_windows(tiny_tokenizer):
    prints = {
        documents_of([document(0, text, weight=weight)], tiny_tokenizer, max_length=n).fingerprint
        for text, weight, n in (
            (LONG, 1.0, 9),
            (LONG, 1.0, 10),
            (LONG, 0.5, 9),
            (f"{LONG}.", 1.0, 9),
            (f"{LONG}{EOS_TEXT}", 1.0, 9),  # which changes nothing: the end is not doubled
        )
    }
    assert len(prints) == 4


@pytest.mark.npm
def test_a_document_as_llamas_own_tokenizer_begins_it(npm_tokenizer):
    tokenizer = npm_tokenizer("llama3_1")
    ends = document_ends(tokenizer)
    assert ends.bos == tokenizer.bos_token_id is not None
    prepared = documents_of([document(0, LONG)], tokenizer, max_length=8)
    windows = windows_of(prepared, 0)
    whole = [windows[0][0], *(token for window in windows for token in window[1:])]
    assert whole == [*tokenizer(LONG)["input_ids"], tokenizer.eos_token_id]

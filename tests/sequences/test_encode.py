"""Encoding many texts by pieces gives what encoding each alone gives."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from danlu.sequences.encode import Encoder, encode_completion, encode_prompt

END = "<|im_end|>"

fragments = st.one_of(
    st.sampled_from([END, "<|im_start|>", "<|im_", "end|>", "\n", " ", "user\n", "é", "丹", "🐉"]),
    st.text(max_size=5),
)
texts = st.lists(fragments, max_size=8).map("".join)


def alone(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def split(encoder: Encoder, batch: list[str], continues: list[bool] | None = None):
    ids, offsets = encoder.encode(batch, continues)
    assert ids.dtype.name == "int32"
    return [ids[a:b].tolist() for a, b in pairwise(offsets)]


@given(batch=st.lists(texts, max_size=6))
def test_pieces_equal_the_whole(tiny_tokenizer, batch):
    encoder = Encoder(tiny_tokenizer, boundary=END)
    assert encoder.boundary == END
    assert split(encoder, batch) == [alone(tiny_tokenizer, text) for text in batch]


def test_one_way_for_training_and_asking(tiny_tokenizer):
    prompt = "<|im_start|>user\n丹炉<|im_end|>\n<|im_start|>assistant\n"
    assert encode_prompt(tiny_tokenizer, prompt) == alone(tiny_tokenizer, prompt)
    assert encode_completion(tiny_tokenizer, "A" + END) == alone(tiny_tokenizer, "A" + END)
    assert encode_prompt(tiny_tokenizer, "") == []


def test_truncation_in_the_tokenizer_file_cuts_nothing(tokenizer_maker):
    tokenizer = tokenizer_maker()
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    assert len(encode_prompt(tokenizer, "a " * 20)) == 21


def test_no_bos_is_added(tokenizer_maker):
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizer_maker()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    assert encode_prompt(tokenizer, "a")[0] != 1


@pytest.mark.parametrize(
    ("token", "others"),
    [
        (AddedToken("<end>", special=True, rstrip=True, normalized=False), ()),
        (AddedToken("<end>", special=True, lstrip=True, normalized=False), ()),
        (AddedToken("<end>", normalized=True), ()),
        (AddedToken("<end>", special=True, single_word=True, normalized=False), ()),
        (AddedToken("<end>", special=True, normalized=False), ("<end><more>",)),
        (AddedToken("<end>", special=True, normalized=False), ("a<e",)),
    ],
)
def test_tokens_at_which_texts_may_not_be_cut(tokenizer_maker, token, others):
    """Each could take something of its neighbours along, or be taken along by another token."""
    tokenizer = tokenizer_maker()
    tokenizer.add_tokens([token, *others])
    encoder = Encoder(tokenizer, boundary="<end>")
    assert encoder.boundary is None
    batch = ["a <end> b", "a<end><more>", "<end>", "xa<end>"]
    assert split(encoder, batch) == [alone(tokenizer, text) for text in batch]


def test_an_ordinary_text_is_no_boundary(tiny_tokenizer):
    assert Encoder(tiny_tokenizer, boundary="user").boundary is None


def spaced_tokenizer(**options: Any) -> Any:
    """A tokenizer with SentencePiece's habit of putting a space before every text."""
    letters = ["<unk>", "</s>", "▁", "\n", ".", "1", *"abcdefgh"]
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, [], unk_token="<unk>"))
    if "prepend_scheme" in options:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(**options)
    else:
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize(
    "tokenizer",
    [
        spaced_tokenizer(),
        spaced_tokenizer(prepend_scheme="always"),
        spaced_tokenizer(prepend_scheme="first"),
    ],
)
def test_no_space_is_put_before_a_completion(tokenizer):
    """Prompt and completion together are what the tokenizer makes of the whole text."""
    assert encode_prompt(tokenizer, "ab") == alone(tokenizer, "ab")  # ▁ a b
    assert encode_completion(tokenizer, "cd") == tokenizer.convert_tokens_to_ids(["c", "d"])
    assert encode_completion(tokenizer, " cd") == tokenizer.convert_tokens_to_ids(["▁", "c", "d"])
    whole = alone(tokenizer, "ab: cd")
    assert encode_prompt(tokenizer, "ab:") + encode_completion(tokenizer, " cd") == whole
    encoder = Encoder(tokenizer, boundary="</s>")
    assert encoder.boundary is None
    batch = ["ab", "cd</s>", "", "ef</s>"]
    assert split(encoder, batch, [False, True, False, True]) == [
        alone(tokenizer, "ab"),
        tokenizer.convert_tokens_to_ids(["c", "d", "</s>"]),
        alone(tokenizer, ""),
        tokenizer.convert_tokens_to_ids(["e", "f", "</s>"]),
    ]


def test_a_tokenizer_without_a_rust_backend(tiny_tokenizer):
    class Slow:
        """As much of the interface of Python tokenizers as is used."""

        backend_tokenizer = None
        added_tokens_decoder = tiny_tokenizer.added_tokens_decoder

        def __call__(self, texts, *, add_special_tokens):
            assert not add_special_tokens
            return {"input_ids": [alone(tiny_tokenizer, text) for text in texts]}

    batch = ["a<|im_end|>b", "", "丹炉"]
    assert split(Encoder(Slow(), boundary=END), batch) == [
        alone(tiny_tokenizer, text) for text in batch
    ]

"""New special tokens: in the tokenizer, and as mean rows of the model."""

import pytest
import torch

from danlu.errors import RecipeError
from danlu.models.tokens import add_tokens, embedding_names, grow_embeddings, is_tied, token_indices
from tests.tiny_models import tiny_llama

NEW = ["<think>", "</think>"]


def test_new_tokens_are_kept_whole_and_special(tokenizer_maker):
    tokenizer = tokenizer_maker()
    ids = add_tokens(tokenizer, NEW)
    assert ids == (360, 361)
    assert tokenizer("<think>one</think>")["input_ids"][0] == 360
    assert tokenizer.decode([360, 361], skip_special_tokens=True) == ""
    assert tokenizer.eos_token == "<|im_end|>"
    assert add_tokens(tokenizer, []) == ()


@pytest.mark.parametrize(
    ("tokens", "hint"),
    [
        (["<|im_end|>"], "already in the vocabulary, with id 2"),
        (["<a>", "<a>"], "given twice"),
        ([" "], "empty"),
    ],
)
def test_tokens_that_are_not_new_are_refused(tokenizer_maker, tokens, hint):
    with pytest.raises(RecipeError, match=hint):
        add_tokens(tokenizer_maker(), tokens)


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_the_mean_and_old_rows_stay(tied):
    model, before = tiny_llama(tie_word_embeddings=tied), tiny_llama(tie_word_embeddings=tied)
    grow_embeddings(model, (360, 361))
    for get in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(before, get)().weight, getattr(model, get)().weight
        assert new.shape == (362, 32)
        assert torch.equal(new[:360], old)
        assert torch.allclose(new[360:], old.mean(0).expand(2, -1), atol=1e-7)
        assert torch.equal(new[360], new[361])
    assert is_tied(model) is tied
    assert model.config.vocab_size == 362


def test_spare_rows_are_used_before_the_matrix_grows():
    model = tiny_llama(400)
    mean = model.get_input_embeddings().weight[:360].mean(0)
    grow_embeddings(model, (360,))
    weight = model.get_input_embeddings().weight
    assert weight.shape[0] == 400
    assert torch.allclose(weight[360], mean, atol=1e-7)


def test_peft_is_told_both_matrices_unless_they_are_one():
    untied = tiny_llama(tie_word_embeddings=False)
    assert token_indices(tiny_llama(), (360,)) == [360]
    assert token_indices(untied, (360,)) == {"embed_tokens": [360], "lm_head": [360]}
    assert token_indices(untied, ()) is None
    assert embedding_names(untied) == ["embed_tokens", "lm_head"]

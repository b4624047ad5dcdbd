"""Encoders: told from decoders, loaded without their unused parts, computed as padded rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from danlu.errors import ModelError
from danlu.models.encoders import context_tokens, encoder_options, encoder_states, is_encoder
from danlu.models.forest_support import use_forest_attention
from danlu.models.load import load_model
from danlu.models.readout import Readout, ReadoutInfo, pooled
from danlu.sequences.branch import Branch
from danlu.sequences.forest import build_packs, build_rows, empty_pack
from tests.tiny_encoder import CONTEXT, WORDS, save_tiny_bert, tiny_bert, word_tokenizer


@pytest.mark.parametrize("kind", [BertConfig, DistilBertConfig, ModernBertConfig, XLMRobertaConfig])
def test_encoders_are_told_by_their_config(kind):
    assert is_encoder(kind())


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(),
        GPT2Config(),
        BertConfig(is_decoder=True),
        RobertaConfig(architectures=["RobertaForCausalLM"]),
    ],
)
def test_decoders_are_none(config):
    assert not is_encoder(config)


def test_both_at_once_is_refused():
    with pytest.raises(ModelError, match=r"with encoder and decoder \(bart\)"):
        is_encoder(BartConfig())


def test_a_pooler_is_left_out_where_there_is_one():
    assert encoder_options(BertConfig()) == {"add_pooling_layer": False}
    assert encoder_options(DistilBertConfig()) == {}


def test_context_is_the_least_that_anything_says():
    tokenizer = word_tokenizer()
    assert context_tokens(BertConfig(max_position_embeddings=16), tokenizer) == 16
    assert context_tokens(BertConfig(), tokenizer) == CONTEXT
    tokenizer.model_max_length = 10**30
    assert context_tokens(XLMRobertaConfig(max_position_embeddings=514), tokenizer) == 512


def branch(ids, first=None):
    ids = np.array(ids, np.int32)
    return Branch(ids, np.zeros(len(ids), np.float32), 0, 0, 0, first or len(ids))


@torch.no_grad()
def test_rows_of_any_length_and_pairs_are_what_transformers_computes():
    model = tiny_bert()
    tokenizer = word_tokenizer()
    texts = [("the fire is red", None), ("iron", "the iron is hot"), ("gold", None)]
    branches, expected = [], []
    for one, two in texts:
        encoded = tokenizer(one, two, return_tensors="pt", return_token_type_ids=True)
        expected.append(model(**encoded).last_hidden_state[0])
        first = int((encoded["token_type_ids"] == 0).sum())
        branches.append(branch(encoded["input_ids"][0].tolist(), first))
    [pack] = build_rows(branches, 1000)
    states = encoder_states(model, pack)
    ends = {
        pooling: pooled(states, pack, pooling)[np.argsort(pack.members)]
        for pooling in ("first", "last", "mean")
    }
    for place, own in enumerate(expected):
        torch.testing.assert_close(ends["first"][place], own[0])
        torch.testing.assert_close(ends["last"][place], own[-1])
        torch.testing.assert_close(ends["mean"][place], own.mean(0))


@torch.no_grad()
def test_a_process_without_a_share_computes_nothing_that_counts():
    model = tiny_bert()
    for pooling in ("first", "mean", "last"):
        states = encoder_states(model, empty_pack())
        assert pooled(states, empty_pack(), pooling).shape == (0, 32)


def test_no_forest_of_an_encoder():
    model = tiny_bert()
    assert "whose tokens also see those after them" in str(use_forest_attention(model))
    [pack] = build_packs([branch([4, 5, 6]), branch([4, 5, 7])], 100)
    with pytest.raises(ValueError, match="cannot be computed as a forest"):
        encoder_states(model, pack)
    with pytest.raises(ValueError, match="pooling mean needs rows"):
        pooled(torch.zeros(4, 32), pack, "mean")


def test_a_loaded_encoder_computes_what_was_saved(tmp_path):
    folder = save_tiny_bert(tmp_path / "bert")
    loaded = load_model(folder)
    assert type(loaded).__name__ == "BertModel"
    ids = torch.tensor([[2, 5, len(WORDS) - 1, 3]])
    with torch.no_grad():
        expected = tiny_bert(seed=3)(input_ids=ids).last_hidden_state
        torch.testing.assert_close(loaded(input_ids=ids).last_hidden_state, expected)


def test_a_head_keeps_what_it_is(tmp_path):
    info = ReadoutInfo("classes", 4, ("是", "否"), pooling="mean", multi_label=True, threshold=0.3)
    head = Readout(info)
    head.save(tmp_path)
    again = Readout.load(tmp_path)
    assert again.info == info
    assert torch.equal(again.linear.weight, head.linear.weight)


def test_a_head_of_an_earlier_version_is_read(tmp_path):
    Readout(ReadoutInfo("reward", 4, ("reward",))).save(tmp_path)
    (tmp_path / "readout.json").write_text('{"kind": "reward", "width": 4, "names": ["reward"]}')
    assert Readout.load(tmp_path).info.pooling == "last"

"""Encoders: told from decoders, loaded without their unused parts, computed as padded rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError
from danlu.models.adapters import unwrapped
from danlu.models.encoders import context_tokens, encoder_options, encoder_states, is_encoder
from danlu.models.forest_support import use_forest_attention
from danlu.models.fused import fuse_layers
from danlu.models.load import load_for_tuning, load_model
from danlu.models.readout import Readout, ReadoutInfo, pooled
from danlu.models.tuning import apply_tuning
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


SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
}
FAMILIES = {
    "roberta": RobertaConfig(**SMALL, type_vocab_size=1),
    "distilbert": DistilBertConfig(
        vocab_size=40, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=32
    ),
    "modernbert": ModernBertConfig(
        **SMALL, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3
    ),
    "deberta": DebertaV2Config(**SMALL),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_families_are_loaded_tuned_and_computed_in_rows(family, method, tmp_path):
    """A published encoder is one that fills gaps; what it fills them with is left behind."""
    AutoModelForMaskedLM.from_config(FAMILIES[family]).save_pretrained(tmp_path)
    tuning = TuningSection(method=method)
    tuned = apply_tuning(load_for_tuning(tmp_path, tuning), tuning)
    fuse_layers(tuned)
    base = unwrapped(tuned).eval()
    assert "whose tokens also see" in str(use_forest_attention(base))
    branches = [branch([4, 5, 6, 7]), branch([8, 9]), branch([5])]
    [pack] = build_rows(branches, 1000)
    states = encoder_states(base, pack).view(3, 4, 32)
    for row, member in enumerate(pack.members.tolist()):
        ids = branches[member].input_ids.tolist()
        own = base(input_ids=torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(states[row, : len(ids)], own, atol=1e-4, rtol=1e-4)
    states.sum().backward()
    assert any(part.grad is not None for part in tuned.parameters())


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

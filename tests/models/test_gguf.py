"""GGUF files, written here with gguf's own writer as llama.cpp writes them."""

import json

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from danlu.errors import ModelError
from danlu.models.gguf import (
    _LLAMA_LAYER,
    _LLAMA_WHOLE,
    convert_gguf,
    float32_bytes,
    llama_settings,
    rotary_halves,
)
from tests.tiny_models import logits_of, tiny_llama


def interleaved(weight, heads):
    """llama.cpp's order of rows: the two halves of each head's rows, interleaved."""
    rows, hidden = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, hidden)
    return halves.swapaxes(1, 2).reshape(rows, hidden)


def write_gguf(path, model, tokenizer, *, architecture="llama", quantised=False, extra=()):
    """Write a tiny Llama as a GGUF file."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    for key, value in extra:
        writer.add_float32(key, value)
    backend = tokenizer.backend_tokenizer
    merges = [" ".join(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(merges)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(tokenizer.chat_template)
    names = {f"{ours}.weight": f"{theirs}.weight" for theirs, ours in _LLAMA_WHOLE.items()}
    for layer in range(config.num_hidden_layers):
        for theirs, ours in _LLAMA_LAYER.items():
            names[f"model.layers.{layer}.{ours}.weight"] = f"blk.{layer}.{theirs}.weight"
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        if (part := name.split(".")[-2]) in heads:
            values = interleaved(values, heads[part])
        values = np.ascontiguousarray(values)
        if quantised and values.ndim == 2 and values.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(names[name], gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(names[name], values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("tied", [True, False])
def test_a_float_file_comes_back_to_the_bit(tmp_path, folder, tiny_tokenizer, tied):
    model = tiny_llama(tie_word_embeddings=tied)
    shares = []
    convert_gguf(write_gguf(tmp_path / "m.gguf", model, tiny_tokenizer), folder, shares.append)
    back = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(logits_of(back), logits_of(model))
    assert back.config.tie_word_embeddings is tied
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "<|im_start|>user\nThe furnace 丹炉<|im_end|>"
    assert tokenizer(text)["input_ids"] == tiny_tokenizer(text)["input_ids"]
    assert tokenizer.chat_template == tiny_tokenizer.chat_template
    assert tokenizer.eos_token == "<|im_end|>"


def test_quantised_weights_equal_transformers_own_reading(tmp_path, folder, tiny_tokenizer):
    """The direct route and transformers' own must agree to the bit."""
    file = write_gguf(tmp_path / "m.gguf", tiny_llama(), tiny_tokenizer, quantised=True)
    convert_gguf(file, folder)
    ours = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="m.gguf", dtype=torch.float32
    ).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_not_a_plain_llama_goes_through_transformers(
    tmp_path, folder, tiny_tokenizer, monkeypatch
):
    """A file with a key that the direct route does not know is not read by it."""
    key = ("llama.rope.scaling.factor", 1.0)
    file = write_gguf(tmp_path / "m.gguf", tiny_llama(), tiny_tokenizer, extra=[key])
    monkeypatch.setattr("danlu.models.gguf._convert_llama", None)
    convert_gguf(file, folder)
    assert torch.equal(
        logits_of(AutoModelForCausalLM.from_pretrained(folder)), logits_of(tiny_llama())
    )
    assert "quantization_config" not in (folder / "config.json").read_text()


def test_only_plain_llama_tensors_are_read_directly():
    plain = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.attention.head_count": 4,
        "tokenizer.ggml.tokens": 360,
    }
    settings = llama_settings(plain, ("blk.0.attn_q.weight", "output.weight"))
    assert settings is not None
    assert settings["num_key_value_heads"] == 4
    assert settings["vocab_size"] == 360
    assert settings["tie_word_embeddings"] is False
    assert llama_settings(plain, ("blk.0.ffn_gate_exps.weight",)) is None
    assert llama_settings({**plain, "general.architecture": "qwen2"}, ()) is None


def test_rows_of_heads_go_back_to_halves():
    weight = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
    assert np.array_equal(rotary_halves(interleaved(weight, heads=3), heads=3), weight)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_a_file_cut_short_is_told(tmp_path, folder, tiny_tokenizer, share):
    file = write_gguf(tmp_path / "m.gguf", tiny_llama(), tiny_tokenizer)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match="cannot be read"):
        convert_gguf(file, folder)


def test_size_in_float32(tmp_path, tiny_tokenizer):
    model = tiny_llama()
    file = write_gguf(tmp_path / "m.gguf", model, tiny_tokenizer, quantised=True)
    assert float32_bytes(file) == 4 * sum(part.numel() for part in model.parameters())

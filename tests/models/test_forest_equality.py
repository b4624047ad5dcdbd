"""Loss and gradients of a forest equal those of separate rows.

The reference is the model's own code path: each branch alone, transformers' attention and labels,
torch's cross-entropy. Tolerances are the issue's: 1e-9 in float64, 1e-5 relative in float32.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from danlu.models.attention import FOREST_ATTENTION, ForestLayout, forest_attention
from danlu.models.forest_support import ordinary_attention, use_forest_attention
from danlu.objectives import Nll
from danlu.sequences.branch import Branch
from danlu.sequences.forest import build_packs, build_rows, empty_pack
from danlu.training.scoring import ScoringModel

VOCABULARY = 61
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def tiny(kind="llama", dtype=torch.float64, tie=True):
    torch.manual_seed(0)
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tie))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8, tie_word_embeddings=tie))
    # transformers' norms compute in float32 whatever the model's dtype, so they round gradients
    # to 1e-7: after summing over branches in a forest, before it in rows. torch's do not.
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                norm = torch.nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon)
                setattr(parent, name, norm)
    return model.to(dtype)


def branch(ids, prompt, record=0, channel=0, weight=1.0):
    weights = np.array([0.0] * prompt + [weight] * (len(ids) - prompt), np.float32)
    weights[0] = 0.0
    return Branch(np.array(ids, np.int32), weights, record, 0, channel, prompt)


def chains(rng):
    return [
        branch(rng.integers(0, VOCABULARY, n).tolist(), n // 3, i) for i, n in enumerate((5, 9, 17))
    ]


def shared_prompt(rng):
    prompt = rng.integers(0, VOCABULARY, 20).tolist()
    return [
        branch(prompt + rng.integers(0, VOCABULARY, n).tolist(), 20, i, i % 2, 0.5 + i)
        for i, n in enumerate((3, 1, 7, 4))
    ]


def pairs(rng):
    return [b for _ in range(3) for b in shared_prompt(rng)[:2]]


def deep_conversation(rng):
    """Each turn extends the one before, except one whose history was rendered anew."""
    ids, found = [], []
    for turn in range(5):
        ids = ids + rng.integers(0, VOCABULARY, 6).tolist()
        found.append(branch(ids, len(ids) - 3, 0, turn % 2))
        if turn == 2:
            ids = ids[:-3] + rng.integers(0, VOCABULARY, 2).tolist()
    return found


SHAPES = {f.__name__: f for f in (chains, shared_prompt, pairs, deep_conversation)}


def rows_reference(model, branches):
    """Weighted nll sum and its gradients, every branch alone on transformers' own attention."""
    model.zero_grad()
    total = 0.0
    with ordinary_attention(model):
        for b in branches:
            ids = torch.from_numpy(b.input_ids.astype(np.int64))[None]
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
            nll = functional.cross_entropy(logits, ids[0, 1:], reduction="none")
            loss = (nll * torch.from_numpy(b.weights[1:]).to(nll.dtype)).sum()
            loss.backward()
            total += loss.item()
    return total, {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


def packs_result(model, branches, packs, channels=2):
    model.zero_grad()
    scoring = ScoringModel(model, Nll(), channels)
    total, by_channel = 0.0, np.zeros(channels)
    for pack in packs:
        sums = scoring(pack, branches)
        sums.loss.backward()
        total += sums.loss.item()
        by_channel += sums.totals["nats"].numpy()
    assert by_channel.sum() == pytest.approx(total, rel=1e-5)
    return total, {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


def assert_same(found, expected, tolerance):
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert found[1].keys() == expected[1].keys()
    scale = max(gradient.abs().max().item() for gradient in expected[1].values())
    for name, gradient in expected[1].items():
        assert (found[1][name] - gradient).abs().max().item() <= tolerance * scale, name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_forest_equals_rows(kind, dtype, tolerance, shape):
    model = tiny(kind, dtype)
    assert use_forest_attention(model) is None
    branches = SHAPES[shape](np.random.default_rng(1))
    expected = rows_reference(model, branches)
    for pack_tokens in (1, 30, 1000):
        assert_same(
            packs_result(model, branches, build_packs(branches, pack_tokens)), expected, tolerance
        )


def test_padded_rows_equal_rows():
    model = tiny()
    branches = SHAPES["pairs"](np.random.default_rng(1))
    expected = rows_reference(model, branches)
    assert_same(packs_result(model, branches, build_rows(branches, 60)), expected, 1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=9), min_size=1, max_size=7),
    st.integers(1, 30),
    st.sampled_from(["llama", "qwen3"]),
)
def test_any_forest_equals_rows(paths, pack_tokens, kind):
    model = tiny(kind)
    assert use_forest_attention(model) is None
    branches = [branch(path, 1, i, i % 2, 1.0 + i) for i, path in enumerate(paths)]
    assert_same(
        packs_result(model, branches, build_packs(branches, pack_tokens)),
        rows_reference(model, branches),
        1e-9,
    )


def test_untied_head_and_frozen_parts():
    model = tiny(tie=False)
    assert use_forest_attention(model) is None
    branches = SHAPES["shared_prompt"](np.random.default_rng(2))
    for frozen in ("lm_head", "model.embed_tokens", "model.layers.0"):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(frozen))
        assert_same(
            packs_result(model, branches, build_packs(branches, 30)),
            rows_reference(model, branches),
            1e-9,
        )


def test_gradient_checkpointing_changes_nothing():
    model = tiny()
    assert use_forest_attention(model) is None
    branches = SHAPES["deep_conversation"](np.random.default_rng(3))
    expected = rows_reference(model, branches)
    model.train()
    model.activation_checkpointing_enable({"use_reentrant": False})
    assert_same(packs_result(model, branches, build_packs(branches, 1000)), expected, 1e-9)


def test_empty_pack_gives_zero_and_a_gradient_for_every_parameter():
    model = tiny()
    assert use_forest_attention(model) is None
    loss, gradients = packs_result(model, [], [empty_pack()])
    assert loss == 0.0
    assert gradients.keys() == dict(model.named_parameters()).keys()
    assert all(not gradient.any() for gradient in gradients.values())


def test_a_planted_leak_is_seen():
    """The equality above can fail: a forest in which one branch sees another differs."""
    model = tiny()
    assert use_forest_attention(model) is None
    branches = SHAPES["shared_prompt"](np.random.default_rng(1))
    [pack] = build_packs(branches, 1000)
    pack.visible_until[:] = len(pack.visible_until)
    leaking = packs_result(model, branches, [pack])
    assert leaking[0] != pytest.approx(rows_reference(model, branches)[0], rel=1e-5)


def test_attention_by_its_definition():
    """Against the visibility rule written out as a dense mask."""
    rng = np.random.default_rng(5)
    [pack] = build_packs(SHAPES["pairs"](rng) + SHAPES["deep_conversation"](rng), 1000)
    size = pack.tokens
    until = torch.from_numpy(pack.visible_until)
    k, q = torch.arange(size)[None], torch.arange(size)[:, None]
    mask = (k <= q) & (q < until[None])
    torch.manual_seed(0)
    query = torch.randn(1, 4, size, 8, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(1, 2, size, 8, dtype=torch.float64, requires_grad=True) for _ in "kv")
    expected = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, enable_gqa=True
    ).transpose(1, 2)
    found, _ = forest_attention(
        torch.nn.Module(), query, key, value, forest=ForestLayout(until, torch.device("cpu"))
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    upstream = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(found, (query, key, value), upstream),
        torch.autograd.grad(expected, (query, key, value), upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forest": None}, "forest="),
        ({"dropout": 0.1}, "dropout"),
        ({"softcap": 30.0}, "softcap"),
        ({"sliding_window": 8}, "sliding_window"),
        ({"attention_mask": torch.ones(1)}, "forest="),
    ],
)
def test_options_that_would_be_ignored_are_refused(options, message):
    q = torch.zeros(1, 2, 3, 4)
    given = {"forest": ForestLayout(torch.full((3,), 3), torch.device("cpu")), **options}
    with pytest.raises(ValueError, match=message):
        forest_attention(torch.nn.Module(), q, q, q, **given)


def test_models_that_cannot_take_a_forest_say_why():
    from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM

    window = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4))
    assert "sliding" in use_forest_attention(window)
    mamba = MambaForCausalLM(MambaConfig(vocab_size=61, hidden_size=16, num_hidden_layers=1))
    assert "attention" in use_forest_attention(mamba)
    assert mamba.config._attn_implementation != FOREST_ATTENTION


def test_the_probe_notices_a_model_that_ignores_positions(monkeypatch):
    """A planted fault: rotary embeddings that count from the row, not from the given positions."""
    model = tiny()
    rotary = model.model.rotary_emb
    own = rotary.forward

    def counted(x, position_ids):
        return own(x, torch.arange(position_ids.shape[1])[None])

    monkeypatch.setattr(rotary, "forward", counted)
    reason = use_forest_attention(model)
    assert "differ" in reason
    assert model.config._attn_implementation != FOREST_ATTENTION

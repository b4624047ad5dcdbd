"""Fused parts compute what the modules themselves do, and step aside where they cannot."""

import copy

import pytest
import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from danlu.config.recipe import TuningSection
from danlu.models import products
from danlu.models.attention import ForestLayout
from danlu.models.forest_support import use_forest_attention
from danlu.models.fused import fuse_layers
from danlu.models.fused.attention import rotated
from danlu.models.products import product
from danlu.models.tuning import apply_tuning
from tests.tiny_models import SIZES, tiny_llama

IDS = torch.arange(3, 3 + 40)[None]
UNTIL = torch.tensor([40] * 12 + [30] * 18 + [40] * 10)
"""A prefix of 12 tokens and two branches below it."""
POSITIONS = torch.tensor([[*range(30), *range(12, 22)]])
LAYER_PARTS = {"FusedMlp": 2, "FusedAttention": 2}


@pytest.fixture(params=["large", "all"])
def onednn_takes(request, monkeypatch):
    """Which float32 products are oneDNN's: as always, none of these small ones; or all."""
    if request.param == "all":
        monkeypatch.setattr(products, "LEAST_SIZE", 0)


def tiny_qwen3():
    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=360, head_dim=8, initializer_range=0.3, **SIZES)
    return Qwen3ForCausalLM(config).eval()


def tuned(model=None, **options):
    model = model or tiny_llama()
    assert use_forest_attention(model) is None
    model = apply_tuning(model, TuningSection(method="lora", lora_rank=4, **options))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # starts at zero, which would hide a fault
            nn.init.normal_(parameter, std=0.1)
        if "norm" in name:  # starts at one, likewise
            nn.init.normal_(parameter, mean=1.0, std=0.3)
    return model.train()


def loss_and_gradients(model):
    model.zero_grad()
    torch.manual_seed(2)
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    inputs = base.get_input_embeddings()(IDS).detach().requires_grad_()
    states = base.get_decoder()(
        inputs_embeds=inputs,
        position_ids=POSITIONS,
        use_cache=False,
        forest=ForestLayout(UNTIL, inputs.device),
    ).last_hidden_state
    loss = states.square().mul(torch.linspace(0.5, 1.5, states.shape[-1])).mean()
    loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return loss.item(), {"inputs": inputs.grad, **found}


def assert_same(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        scale = gradient.abs().max().item()
        assert scale > 0, name
        assert (found[1][name] - gradient).abs().max().item() <= 1e-4 * scale, name


@pytest.mark.usefixtures("onednn_takes")
@pytest.mark.parametrize("make", [tiny_llama, tiny_qwen3])
@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({}, LAYER_PARTS),
        ({"lora_alpha": 7}, LAYER_PARTS),
        ({"lora_options": {"use_rslora": True}}, LAYER_PARTS),
        ({"lora_dropout": 0.3}, {"FusedAttention": 2}),
        ({"lora_options": {"use_dora": True}}, {"FusedAttention": 2}),
    ],
)
def test_lora_loss_and_gradients_are_pefts(make, options, parts):
    model = tuned(make(), **options)
    expected = loss_and_gradients(model)
    counts = fuse_layers(model)
    assert {name: counts.get(name) for name in parts} == parts
    assert ("FusedMlp" in counts) == ("FusedMlp" in parts)
    assert_same(loss_and_gradients(model), expected)


@pytest.mark.usefixtures("onednn_takes")
@pytest.mark.parametrize("make", [tiny_llama, tiny_qwen3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_tuning_keeps_loss_and_gradients(make, dtype):
    model = make().to(dtype).train()
    assert use_forest_attention(model) is None
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, mean=1.0, std=0.3)
    expected = loss_and_gradients(model)
    counts = fuse_layers(model)
    norms = sum("norm" in name for name, _ in model.named_parameters())
    assert counts == {
        **LAYER_PARTS,
        "FusedNorm": norms,
        "FusedEmbedding": 1,
        "FusedProjection": counts["FusedProjection"],
    }
    assert_same(loss_and_gradients(model), expected)


def distances(found, exact):
    """How far gradients are from exact ones, as a share of their length."""
    assert found[1].keys() == exact[1].keys()
    return {
        name: ((found[1][name] - of).norm() / of.norm()).item() for name, of in exact[1].items()
    }


@pytest.mark.parametrize("make", [tiny_llama, tiny_qwen3])
def test_lora_in_mixed_precision_is_no_less_exact_than_pefts(make):
    """Weights in bfloat16, adapters in float32, as on a GPU; no part may call PEFT's layers."""
    model = tuned(make().to(torch.bfloat16))
    exact = loss_and_gradients(copy.deepcopy(model).float())
    with torch.autocast("cpu", torch.bfloat16):
        pefts = loss_and_gradients(model)
        fuse_layers(model)
        for name, module in model.named_modules():
            if name.endswith(("_proj", "mlp")):
                module.forward.own = pytest.fail
        found = loss_and_gradients(model)
    assert found[0] == pytest.approx(exact[0], rel=1e-2)
    theirs = distances(pefts, exact)
    for name, distance in distances(found, exact).items():
        assert distance < max(0.1, 1.2 * theirs[name]), name
        assert found[1][name].dtype == pefts[1][name].dtype


@pytest.mark.parametrize("make", [tiny_llama, tiny_qwen3])
@pytest.mark.parametrize("fused", [False, True])
def test_full_tuning_in_mixed_precision(make, fused):
    """Weights in float32: angles and norms widen queries and keys, and values stay narrow."""
    model = make().train()
    assert use_forest_attention(model) is None
    exact = loss_and_gradients(model)
    if fused:
        fuse_layers(model)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss_and_gradients(model)
    assert found[0] == pytest.approx(exact[0], rel=1e-2)
    assert found[0] != exact[0]
    assert max(distances(found, exact).values()) < 0.1


def test_less_is_kept_for_the_backward_pass():
    """Of the inner width, gate and up are kept; of autograd's own: their silu and product too."""

    def kept_floats(model):
        kept = {}

        def keep(tensor):
            if tensor.dtype == torch.float32 and not isinstance(tensor, nn.Parameter):
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss_and_gradients(model)
        return sum(kept.values())

    model = tuned()
    before = kept_floats(model)
    fuse_layers(model)
    after = kept_floats(model)
    per_token = SIZES["num_hidden_layers"] * (
        2 * SIZES["intermediate_size"] + 2 * SIZES["hidden_size"]
    )
    assert before - after >= per_token * IDS.numel()


@pytest.mark.parametrize("change", ["gemma", "gelu", "scaled mlp", "other rotation"])
def test_a_module_that_computes_something_else_is_left_alone(change, monkeypatch):
    model = tiny_llama(**({"hidden_act": "gelu"} if change == "gelu" else {}))
    assert use_forest_attention(model) is None
    from transformers.models.llama import modeling_llama as llama

    absent = {"gemma": "FusedNorm", "other rotation": "FusedAttention"}.get(change, "FusedMlp")
    if change == "gemma":  # y = (1 + w) n

        def forward(self, x):
            return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + self.weight)

        monkeypatch.setattr(llama.LlamaRMSNorm, "forward", forward)
    elif change == "scaled mlp":
        own = llama.LlamaMLP.forward
        monkeypatch.setattr(llama.LlamaMLP, "forward", lambda self, x: 0.5 * own(self, x))
    elif change == "other rotation":
        own = llama.apply_rotary_pos_emb
        monkeypatch.setattr(
            llama, "apply_rotary_pos_emb", lambda q, k, cos, sin: own(q, k, cos, -sin)
        )
    model.train()
    expected = loss_and_gradients(model)
    assert absent not in fuse_layers(model)
    assert_same(loss_and_gradients(model), expected)


def test_switching_the_adapter_off_and_merging_still_work():
    plain = tiny_llama()
    model = tuned()
    plain.load_state_dict(
        {
            n.replace(".base_layer", ""): p
            for n, p in model.get_base_model().state_dict().items()
            if "lora" not in n
        }
    )
    model = model.eval()
    model.get_base_model().set_attn_implementation("sdpa")
    fuse_layers(model)
    with torch.no_grad():
        adapted = model(input_ids=IDS).logits
        with model.disable_adapter():
            torch.testing.assert_close(model(input_ids=IDS).logits, plain(input_ids=IDS).logits)
        assert not torch.allclose(adapted, plain(input_ids=IDS).logits, atol=1e-3)
        merged = model.merge_and_unload()
        torch.testing.assert_close(merged(input_ids=IDS).logits, adapted, atol=1e-4, rtol=1e-4)


def test_a_fused_model_generates_with_its_cache_as_before():
    model = tiny_llama()
    assert use_forest_attention(model) is None
    own = copy.deepcopy(model)
    fuse_layers(model)
    for one in (model, own):
        one.set_attn_implementation("sdpa")
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    assert model.generate(IDS, **options).tolist() == own.generate(IDS, **options).tolist()


def test_rotation_turns_each_plane_by_its_angle():
    """At (1, 0) in plane 0 and (0, 2) in plane 1: (cos a, sin a) and (-2 sin b, 2 cos b)."""
    x = torch.tensor([1.0, 0.0, 0.0, 2.0]).view(1, 1, 1, 4)
    angle = torch.tensor([0.3, 0.7, 0.3, 0.7]).view(1, 1, 1, 4)
    (a, b), found = (angle.flatten()[:2]), rotated(x, angle.cos(), angle.sin()).flatten()
    expected = torch.stack([a.cos(), -2 * b.sin(), a.sin(), 2 * b.cos()])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rows", [1, 31, 32, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_product_is_the_matrix_product(rows, dtype):
    torch.manual_seed(0)
    x, weight = torch.randn(rows, 48, dtype=dtype), torch.randn(20, 48, dtype=dtype)
    expected = x.double() @ weight.double().T
    torch.testing.assert_close(product(x, weight).double(), expected, atol=2e-5, rtol=1e-5)
    g = torch.randn(rows, 20, dtype=dtype)
    expected = g.double() @ weight.double()
    torch.testing.assert_close(product(g, weight.T).double(), expected, atol=2e-5, rtol=1e-5)
    expected = g.double().T @ x.double()
    torch.testing.assert_close(product(g.T, x.T).double(), expected, atol=5e-5, rtol=1e-5)


def test_product_takes_any_strides():
    torch.manual_seed(0)
    x, wide = torch.randn(300, 48), torch.randn(20, 96)
    expected = x.double() @ wide[:, ::2].double().T
    torch.testing.assert_close(product(x, wide[:, ::2]).double(), expected, atol=2e-5, rtol=1e-5)


def kept_bytes(run):
    """What autograd keeps for the backward pass of what ``run`` returns."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def test_what_a_norm_made_is_not_kept_but_made_anew(monkeypatch):
    """Also when it is asked for a second time, or not by all that read it."""
    monkeypatch.setattr(products, "LEAST_SIZE", 0)
    rows, width = 50, 32
    torch.manual_seed(0)
    model = nn.ModuleDict({"norm": LlamaRMSNorm(width), "one": nn.Linear(width, 8)})
    model["other"] = nn.Linear(width, 8)
    nn.init.normal_(model["norm"].weight)
    x = torch.randn(rows, width, requires_grad=True)

    def run():
        normed = model["norm"](x)
        return model["one"](normed), model["other"](normed).square()

    expected = torch.autograd.grad([part.sum() for part in run()], [x, *model.parameters()])
    before = kept_bytes(run)
    assert fuse_layers(model) == {"FusedNorm": 1, "FusedProjection": 2}
    assert before - kept_bytes(run) >= rows * width * 4
    one, other = run()
    total = one.sum() + other.sum()
    torch.autograd.grad(one.sum(), [model["one"].weight], retain_graph=True)
    for _ in range(2):
        found = torch.autograd.grad(total, [x, *model.parameters()], retain_graph=True)
        for value, right in zip(found, expected, strict=True):
            torch.testing.assert_close(value, right, rtol=1e-4, atol=1e-4)

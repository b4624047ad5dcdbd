"""LoRA's variants: those that begin from the weights, and LoRA+."""

import json

import pytest
import torch
from peft import PeftModel

from danlu.config.recipe import TrainingSection, TuningSection
from danlu.errors import RecipeError
from danlu.models.adapters import without_adapter
from danlu.models.load import load_for_tuning, load_tokenizer
from danlu.models.quiet import quiet
from danlu.models.save import save_model
from danlu.models.tokens import add_tokens, grow_embeddings
from danlu.models.tuning import apply_tuning, learning_rate_factors, trainable_parameters
from danlu.sequences.template import ChatTemplate
from danlu.training.optimizer import build_optimizer
from tests.tiny_models import logits_of, tiny_llama


def from_weights(init, **options):
    options = {"init_lora_weights": init, **options}
    return TuningSection(lora_rank=4, lora_alpha=6, lora_options=options)


def push(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


IDS = (5, 360, 42, 360, 8)
PATTERNS = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3, "up_proj": 5}}


@pytest.mark.parametrize(
    ("init", "options"),
    [
        ("pissa", {}),
        ("pissa_niter_4", PATTERNS),
        ("pissa", {"use_rslora": True}),
        ("olora", {"use_rslora": True, **PATTERNS}),
    ],
    ids=["pissa", "pissa-niter-patterns", "pissa-rslora", "olora-rslora-patterns"],
)
def test_what_begins_from_the_weights_is_saved_for_the_base_as_everybody_has_it(
    tmp_path, tiny_tokenizer, init, options
):
    """PEFT, on the untouched base, computes what was trained; and it has twice the rank."""
    base = tmp_path / "base"
    tiny_llama().save_pretrained(base)
    tiny_tokenizer.save_pretrained(base)
    tuning = from_weights(init, **options)
    tokenizer = load_tokenizer(base)
    new = add_tokens(tokenizer, ["<think>"])
    model = apply_tuning(load_for_tuning(base, tuning), tuning, new_token_ids=new)
    original = logits_of(model, IDS)
    plain = logits_of(tiny_llama(), IDS[::2])
    found = logits_of(model, IDS[::2])[..., :360]
    torch.testing.assert_close(found, plain, atol=2e-5, rtol=1e-5)
    taken_from = model.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight
    assert not torch.equal(taken_from, tiny_llama().model.layers[0].self_attn.q_proj.weight)
    push(model)
    expected = logits_of(model, IDS)
    with without_adapter(model):
        assert torch.equal(logits_of(model, IDS), original)
    assert torch.equal(logits_of(model, IDS), expected)

    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), tmp_path / "run")
    assert torch.equal(logits_of(model, IDS), expected)  # saving leaves the model as it is
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["init_lora_weights"]) == (8, True)
    grown = tiny_llama()
    grow_embeddings(grown, new)
    with quiet():
        theirs = PeftModel.from_pretrained(grown, str(folder)).eval()
    torch.testing.assert_close(logits_of(theirs, IDS), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("init", ["eva", "corda", "loftq", "lora_ga"])
def test_what_needs_a_pass_over_data_is_refused(init):
    with pytest.raises(RecipeError, match="looks at data") as caught:
        apply_tuning(tiny_llama(), from_weights(init))
    assert caught.value.where == "tuning.lora_options.init_lora_weights"


@pytest.mark.parametrize("option", [{"use_dora": True}, {"bias": "all"}, {"lora_bias": True}])
def test_what_could_not_be_saved_as_an_ordinary_adapter_is_refused(option):
    with pytest.raises(RecipeError, match="Remove one of them"):
        apply_tuning(tiny_llama(), from_weights("pissa", **option))


def test_lora_plus_gives_the_b_matrices_a_rate_of_their_own():
    tuning = TuningSection(lora_rank=4, lora_plus_ratio=16)
    model = apply_tuning(tiny_llama(), tuning, new_token_ids=(360,))
    parameters = trainable_parameters(model)
    factors = learning_rate_factors(parameters, tuning)
    assert set(factors) == {name for name in parameters if "lora_B" in name}
    settings = TrainingSection(learning_rate=1e-3, weight_decay=0.1)
    optimizer = build_optimizer(parameters, settings, factors)
    names = {id(part): name for name, part in parameters.items()}
    for group in optimizer.param_groups:
        is_b = {("lora_B" in names[id(part)]) for part in group["params"]}
        assert is_b == {group["lr_factor"] == 16}
        assert group["lr"] == 1e-3 * group["lr_factor"]
        assert group["weight_decay"] == 0.1
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(parameters)


def test_lora_plus_moves_b_so_much_further():
    """AdamW's first step is the learning rate times the sign of the gradient."""
    steps = {}
    for ratio in (None, 16):
        tuning = TuningSection(lora_rank=4, lora_plus_ratio=ratio)
        torch.manual_seed(0)
        model = apply_tuning(tiny_llama(), tuning)
        parameters = trainable_parameters(model)
        factors = learning_rate_factors(parameters, tuning)
        optimizer = build_optimizer(parameters, TrainingSection(learning_rate=1e-3), factors)
        ids = torch.tensor([[5, 17, 42, 300]])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        steps[ratio] = parameters
    for name, part in steps[16].items():
        other = steps[None][name]
        torch.testing.assert_close(part, 16 * other if "lora_B" in name else other)


def test_the_factors_of_ia3_do_not_decay():
    model = apply_tuning(tiny_llama(), TuningSection(method="ia3"))
    parameters = trainable_parameters(model)
    optimizer = build_optimizer(parameters, TrainingSection(weight_decay=0.1))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]

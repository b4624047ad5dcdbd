"""Going on with an adapter, and what is said when that cannot be."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PromptEncoderConfig, get_peft_model

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError, RecipeError
from danlu.models.load import load_for_tuning, load_model, load_tokenizer
from danlu.models.quiet import quiet
from danlu.models.save import save_model
from danlu.models.tokens import add_tokens
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.models.tuning_continue import adapter_settings, continued
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import logits_of, tiny_llama


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_tokenizer):
    folder = tmp_path_factory.mktemp("continue") / "base"
    tiny_llama().save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def saved(base, run, settings, new=()):
    """Save a run with a tuned adapter; return the run."""
    shutil.rmtree(run, ignore_errors=True)
    tuning = TuningSection(**settings)
    tokenizer = load_tokenizer(base)
    ids = add_tokens(tokenizer, new)
    model = apply_tuning(load_for_tuning(base, tuning), tuning, new_token_ids=ids)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter += 0.1 * torch.randn_like(parameter)
    save_model(model, tokenizer, ChatTemplate.load(tokenizer), run)
    (run / "recipe.yaml").write_text("name: run")
    return run


SETTINGS = [
    {
        "method": "lora",
        "lora_rank": 4,
        "lora_alpha": 6.0,
        "lora_dropout": 0.1,
        "lora_targets": ["down_proj", "q_proj"],
        "lora_options": {"use_rslora": True},
        "layers": [1],
    },
    {"method": "prompt", "virtual_tokens": 3},
    {"method": "prefix", "virtual_tokens": 3, "encoder": "none"},
    {"method": "prefix", "virtual_tokens": 3, "encoder": "mlp", "encoder_size": 8},
    {"method": "ptuning", "virtual_tokens": 3, "encoder": "lstm", "encoder_size": 8},
    {
        "method": "adapter",
        "adapter_form": "parallel",
        "adapter_parts": ["attention", "mlp"],
        "adapter_size": 5,
        "adapter_activation": "gelu",
        "adapter_scale": 4.0,
        "layers": [0],
    },
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_settings_are_those_that_it_was_made_with(base, tmp_path, settings):
    run = saved(base, tmp_path / "run", settings)
    assert adapter_settings(run / "adapter") == settings
    method = {"method": settings["method"], "start": "continue"}
    expected = TuningSection(**settings, start="continue")
    for given in (method, {**settings, **method}):
        assert continued(TuningSection(**given), run) == expected


def test_ia3_goes_on_with_the_layers_it_has(base, tmp_path):
    run = saved(base, tmp_path / "run", {"method": "ia3", "layers": [-1]})
    own = adapter_settings(run / "adapter")
    names = {f"model.layers.1.{name}" for name in ("self_attn.k_proj", "self_attn.v_proj")}
    assert set(own.pop("ia3_targets")) == names | {"model.layers.1.mlp.down_proj"}
    assert own == {"method": "ia3"}
    for given in ({}, {"layers": [1]}):
        tuning = continued(TuningSection(method="ia3", start="continue", **given), run)
        model = apply_tuning(load_for_tuning(run, tuning), tuning)
        assert sum(part.numel() for part in trainable_parameters(model).values()) == 16 + 16 + 48


def test_the_method_need_not_be_named(base, tmp_path):
    run = saved(base, tmp_path / "run", {"method": "prompt", "virtual_tokens": 3})
    assert continued(TuningSection(start="continue"), run).method == "prompt"


def test_new_is_left_as_it_is(tmp_path):
    tuning = TuningSection(lora_rank=3)
    assert continued(tuning, tmp_path / "nowhere") is tuning


LORA = {"lora_rank": 4, "lora_targets": ["q_proj", "v_proj"]}
LORA |= {"layers": [1], "lora_options": {"use_rslora": True}}


@pytest.mark.parametrize(
    ("made", "given", "where", "hint"),
    [
        (LORA, {"lora_rank": 8}, "tuning.lora_rank", "is 8, .* made with 4"),
        (LORA, {"lora_alpha": 8}, "tuning.lora_alpha", "made with 4"),
        (LORA, {"lora_dropout": 0.1}, "tuning.lora_dropout", r"made with 0\.0"),
        (LORA, {"lora_options": {"use_rslora": False}}, "tuning.lora_options.use_rslora", "True"),
        (LORA, {"lora_options": {"use_dora": True}}, "tuning.lora_options.use_dora", "None"),
        (LORA, {"method": "ia3"}, "tuning.method", "is ia3, .* made with lora"),
        (LORA, {"method": "qlora"}, "tuning.method", "is qlora"),
        ({"method": "prompt"}, {"method": "prompt", "virtual_tokens": 4}, None, "made with 20"),
        (
            {"method": "prompt"},
            {"method": "prompt", "init_text": "so"},
            "tuning.init_text",
            "numbers already",
        ),
        ({"method": "adapter"}, {"method": "adapter", "adapter_size": 5}, None, "made with 64"),
        (
            {"method": "adapter"},
            {"method": "adapter", "adapter_parts": ["attention"]},
            "tuning.adapter_parts",
            "made with",
        ),
    ],
)
def test_a_setting_that_contradicts_the_adapter_is_an_error(
    base, tmp_path, made, given, where, hint
):
    run = saved(base, tmp_path / "run", made)
    with pytest.raises(RecipeError, match=hint) as caught:
        continued(TuningSection(start="continue", **given), run)
    assert where is None or caught.value.where == where


@pytest.mark.parametrize(
    ("made", "given"),
    [
        (LORA, {"layers": [0]}),
        (LORA, {"lora_targets": "all-linear"}),
        (LORA, {"lora_targets": ["q_proj"]}),
        ({"method": "ia3"}, {"method": "ia3", "layers": [0]}),
        ({"method": "ia3"}, {"method": "ia3", "ia3_targets": ["q_proj"]}),
        ({"method": "adapter"}, {"method": "adapter", "layers": [0]}),
    ],
)
def test_settings_that_mean_other_layers_are_an_error(base, tmp_path, made, given):
    run = saved(base, tmp_path / "run", made)
    tuning = continued(TuningSection(start="continue", **given), run)
    with pytest.raises(RecipeError, match="mean other layers"):
        apply_tuning(load_for_tuning(run, tuning), tuning)


@pytest.mark.parametrize(
    ("made", "given"),
    [
        (LORA, {"layers": [-1], "lora_targets": ["v_proj", "q_proj"], "lora_alpha": None}),
        ({"lora_rank": 4}, {"lora_targets": "all-linear", "layers": [0, -1]}),
        ({"method": "ia3"}, {"method": "ia3", "ia3_targets": ["v_proj", "k_proj", "down_proj"]}),
        ({"method": "adapter"}, {"method": "adapter", "layers": [-1, -2]}),
        (LORA, {"lora_plus_ratio": 16}),
    ],
)
def test_settings_that_say_the_same_in_other_words_are_none(base, tmp_path, made, given):
    run = saved(base, tmp_path / "run", made)
    tuning = continued(TuningSection(start="continue", **given), run)
    model = apply_tuning(load_for_tuning(run, tuning), tuning)
    assert trainable_parameters(model)
    assert tuning.lora_plus_ratio == given.get("lora_plus_ratio")


def test_a_whole_model_cannot_be_continued(base):
    with pytest.raises(RecipeError, match="whole model") as caught:
        continued(TuningSection(start="continue"), base)
    assert caught.value.where == "tuning.start"
    with pytest.raises(RecipeError, match="has none"):
        apply_tuning(load_model(base), TuningSection(start="continue"))


def test_another_kind_of_peft_is_told(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "VERA"}))
    with pytest.raises(ModelError, match="type VERA"):
        continued(TuningSection(start="continue"), tmp_path)


@pytest.mark.parametrize("method", ["prompt", "prefix", "ptuning", "adapter"])
def test_nothing_new_can_be_put_on_what_cannot_be_merged(base, tmp_path, method):
    run = saved(base, tmp_path / "run", {"method": method})
    for tuning in (TuningSection(), TuningSection(method="full"), TuningSection(method=method)):
        with pytest.raises(RecipeError, match="start: continue") as caught:
            apply_tuning(load_for_tuning(run, tuning), tuning)
        assert caught.value.where == "tuning.start"


@pytest.mark.parametrize("method", ["prompt", "adapter", "ia3"])
def test_more_new_tokens_join_an_adapter_that_goes_on(base, tmp_path, method):
    run = saved(base, tmp_path / "run", {"method": method}, ["<one>"])
    before = logits_of(load_model(run), (5, 360, 42))
    tokenizer = load_tokenizer(run)
    ids = add_tokens(tokenizer, ["<two>"])
    tuning = continued(TuningSection(start="continue", method=method), run)
    model = apply_tuning(load_for_tuning(run, tuning), tuning, new_token_ids=ids)
    torch.testing.assert_close(
        logits_of(model, (5, 360, 42))[..., :361], before, atol=1e-5, rtol=1e-5
    )
    rows = [part for name, part in trainable_parameters(model).items() if name.endswith(".rows")]
    assert [tuple(part.shape) for part in rows] == [(2, 32)]
    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), tmp_path / "again")
    expected = logits_of(model, (5, 360, 361))
    torch.testing.assert_close(
        logits_of(load_model(folder), (5, 360, 361)), expected, atol=1e-5, rtol=1e-5
    )


def test_new_tokens_cannot_join_a_lora_adapter_that_goes_on(base, tmp_path):
    run = saved(base, tmp_path / "run", {"lora_rank": 4})
    tuning = continued(TuningSection(start="continue"), run)
    with pytest.raises(RecipeError, match="start: new") as caught:
        apply_tuning(load_for_tuning(run, tuning), tuning, new_token_ids=(360,))
    assert caught.value.where == "model.new_tokens"


def test_pefts_own_ptuning_can_be_talked_to_and_not_go_on(base, tmp_path):
    """PEFT saves what its encoder makes, and not the encoder."""
    config = PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=8)
    with quiet():
        theirs = get_peft_model(load_model(base), config).eval()
        theirs.save_pretrained(tmp_path / "adapter")
    ids = torch.tensor([[5, 17, 42]])
    expected = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, 3:]
    found = logits_of(load_model(tmp_path / "adapter"), (5, 17, 42))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    tuning = continued(TuningSection(start="continue"), tmp_path / "adapter")
    with pytest.raises(RecipeError, match="without the encoder"):
        apply_tuning(load_for_tuning(tmp_path / "adapter", tuning), tuning)


def test_pefts_own_lora_goes_on(base, tmp_path):
    with quiet():
        theirs = get_peft_model(
            load_model(base), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=r".*\.q_proj")
        )
        theirs.save_pretrained(tmp_path / "adapter")
    tuning = continued(TuningSection(start="continue"), tmp_path / "adapter")
    model = apply_tuning(load_for_tuning(tmp_path / "adapter", tuning), tuning)
    assert sum(part.numel() for part in trainable_parameters(model).values()) == 2 * 2 * (32 + 32)


def test_new_merges_what_can_be_merged_and_begins_again(base, tmp_path):
    run = saved(base, tmp_path / "run", {"method": "ia3"})
    tuning = TuningSection(method="prompt", virtual_tokens=3)
    model = apply_tuning(load_for_tuning(run, tuning), tuning)
    tokenizer = load_tokenizer(run)
    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), tmp_path / "second")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(run / "adapter")
    torch.testing.assert_close(logits_of(load_model(folder)), logits_of(model))

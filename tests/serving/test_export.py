"""Export: merged or copied, with all that other programs need; or refused, with the reason."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError
from danlu.models.load import load_for_tuning, load_model, load_tokenizer
from danlu.models.readout import Readout, ReadoutInfo
from danlu.models.save import save_model
from danlu.models.tokens import add_tokens, is_tied
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.sequences.template import ChatTemplate
from danlu.serving.export import export
from tests.tiny_models import logits_of, tiny_llama

NEW = ["<think>", "</think>"]
MERGES = {
    "lora": {"lora_rank": 4},
    "dora": {"lora_rank": 4, "lora_options": {"use_dora": True}},
    "pissa": {"lora_rank": 4, "lora_options": {"init_lora_weights": "pissa"}},
    "ia3": {"method": "ia3"},
}


def run_of(folder, tokenizer, settings, new=(), dtype=torch.float32, tied=True):
    """Save a run with a tuned model over a base in a number format."""
    tiny_llama(eos_token_id=0, tie_word_embeddings=tied).to(dtype).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    tuning = TuningSection(**settings)
    tokenizer = load_tokenizer(folder / "base")
    ids = add_tokens(tokenizer, new)
    model = apply_tuning(load_for_tuning(folder / "base", tuning), tuning, new_token_ids=ids)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter += 0.1 * torch.randn_like(parameter)
    run = folder / "run"
    save_model(model.eval(), tokenizer, ChatTemplate.load(tokenizer, "vicuna"), run)
    (run / "recipe.yaml").write_text("name: run")
    return run, model


@pytest.mark.parametrize("name", MERGES)
@pytest.mark.parametrize("tied", [True, False])
def test_merged_it_is_a_plain_folder_that_transformers_reads(tmp_path, tiny_tokenizer, name, tied):
    run, model = run_of(tmp_path, tiny_tokenizer, MERGES[name], NEW, tied=tied)
    written = export(run, tmp_path / "out", merge=True)
    assert (written.path, written.kind, written.dtype) == (tmp_path / "out", "model", "float32")
    (tmp_path / "base").rename(tmp_path / "gone")
    shutil.rmtree(run)  # it stands alone
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = (5, 360, 42, 361, 8)
    torch.testing.assert_close(logits_of(theirs, ids), logits_of(model, ids), atol=2e-5, rtol=1e-5)
    assert is_tied(theirs) is tied
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.convert_tokens_to_ids(NEW) == [360, 361]
    template = ChatTemplate.load(tokenizer)
    assert template.source == ChatTemplate.load(tiny_tokenizer, "vicuna").source
    assert theirs.generation_config.eos_token_id == list(template.stop_ids)
    assert not (tmp_path / "out" / "adapter_config.json").exists()


@pytest.mark.parametrize(
    ("stored", "precision", "expected"),
    [
        (torch.bfloat16, "auto", torch.bfloat16),
        (torch.bfloat16, "float32", torch.float32),
        (torch.float32, "float16", torch.float16),
    ],
)
def test_it_is_merged_in_float32_and_written_as_asked(
    tmp_path, tiny_tokenizer, stored, precision, expected
):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4}, dtype=stored)
    written = export(run, tmp_path / "out", merge=True, precision=precision)
    assert written.dtype == str(expected).removeprefix("torch.")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    exact = load_model(run, dtype=torch.float32)
    assert model.dtype == expected
    for found, wide in zip(model.parameters(), exact.parameters(), strict=True):
        assert torch.equal(found, wide.to(expected))


@pytest.mark.parametrize("method", ["lora", "ia3", "adapter", "prompt", "prefix", "ptuning"])
def test_not_merged_the_adapter_is_copied_with_its_tokenizer(tmp_path, tiny_tokenizer, method):
    run, model = run_of(tmp_path, tiny_tokenizer, {"method": method}, NEW)
    Readout(ReadoutInfo("reward", 32, ("reward",))).save(run / "adapter")
    written = export(run / "adapter", tmp_path / "out")
    assert (written.kind, written.base) == ("adapter", str(tmp_path / "base"))
    names = {path.name for path in (run / "adapter").iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    ids = (5, 360, 42, 361, 8)
    torch.testing.assert_close(
        logits_of(load_model(tmp_path / "out"), ids), logits_of(model, ids), atol=2e-5, rtol=1e-5
    )


def test_an_adapter_without_a_tokenizer_gets_that_of_its_base(tmp_path, tiny_tokenizer):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    for file in (run / "adapter").glob("token*"):
        file.unlink()
    export(run, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("adapter", "nonlinear function"),
        ("prompt", "virtual tokens"),
        ("prefix", "virtual tokens"),
        ("ptuning", "virtual tokens"),
    ],
)
def test_what_cannot_be_merged_is_refused_with_the_reason(tmp_path, tiny_tokenizer, method, reason):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"method": method})
    with pytest.raises(ModelError, match=reason):
        export(run, tmp_path / "out", merge=True)
    assert not (tmp_path / "out").exists()


def test_a_reward_models_head_goes_with_the_merged_weights(tmp_path, tiny_tokenizer):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    head = Readout(ReadoutInfo("reward", 32, ("reward",)))
    head.save(run / "adapter")
    export(run, tmp_path / "out", merge=True)
    assert torch.equal(Readout.load(tmp_path / "out").linear.weight, head.linear.weight)


@pytest.mark.parametrize("merge", [True, False])
def test_a_run_that_tuned_the_weights_is_copied(tmp_path, tiny_tokenizer, merge):
    run, model = run_of(tmp_path, tiny_tokenizer, {"method": "full"})
    written = export(run, tmp_path / "out", merge=merge)
    assert (written.kind, written.dtype) == ("model", None)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits_of(loaded), logits_of(model))


def test_a_folder_that_holds_something_is_left_alone(tmp_path, tiny_tokenizer):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("")
    with pytest.raises(ModelError, match="something here already"):
        export(run, tmp_path / "out")
    (tmp_path / "out" / "precious").unlink()
    export(run, tmp_path / "out")
    with pytest.raises(ModelError, match="lies in what is to be exported"):
        export(run, run / "adapter" / "out")
    with pytest.raises(ModelError, match="'bfloat16'"):
        export(run, tmp_path / "third", merge=True, precision="bfloat")


def test_a_plain_model_is_nothing_to_export(tmp_path, tiny_tokenizer):
    run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    with pytest.raises(ModelError, match="no run and no adapter"):
        export(tmp_path / "base", tmp_path / "out", merge=True)


def test_the_folder_names_no_place_of_this_machine(tmp_path, tiny_tokenizer):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    export(run, tmp_path / "out", merge=True)
    for file in (tmp_path / "out").glob("*.json"):
        if file.name != "tokenizer.json":
            assert str(tmp_path) not in json.dumps(json.loads(file.read_text()))

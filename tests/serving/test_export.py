"""Export: merged or copied, with all that other programs need; or refused, with the reason."""

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError, TemplateError
from danlu.models.load import load_for_tuning, load_model, load_tokenizer
from danlu.models.readout import Readout, ReadoutInfo
from danlu.models.save import save_model
from danlu.models.tokens import add_tokens, is_tied
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.sequences.template import ChatTemplate
from danlu.serving import export as module
from danlu.serving.export import export
from danlu.serving.proof import LIMITS
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
    tmp_path, tiny_tokenizer, stored, precision, expected, monkeypatch
):
    for name in LIMITS:  # so small a model with such weights is chaotic
        monkeypatch.setitem(LIMITS, name, 3.0)
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
    names = {"README.md", *(path.name for path in (run / "adapter").iterdir())}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    ids = (5, 360, 42, 361, 8)
    torch.testing.assert_close(
        logits_of(load_model(tmp_path / "out"), ids), logits_of(model, ids), atol=2e-5, rtol=1e-5
    )


def test_an_adapter_without_a_tokenizer_gets_that_of_its_base(tmp_path, tiny_tokenizer):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    for file in (run / "adapter").glob("token*"):
        file.unlink()
    (run / "adapter" / "golden.json").unlink()  # as of another program
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


def shrink(run):
    """Narrow an adapter, so that its number format is no matter of chance."""
    from safetensors.torch import load_file, save_file

    file = run / "adapter" / "adapter_model.safetensors"
    save_file({name: 0.1 * one for name, one in load_file(file).items()}, file)


def test_in_shards_it_says_the_same_and_that_is_proven(tmp_path, tiny_tokenizer):
    run, model = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4}, NEW)
    written = export(run, tmp_path / "out", merge=True, shard_size="20KB")
    files = sorted(tmp_path.glob("out/*.safetensors"))
    assert written.files == len(files) > 3
    assert max(file.stat().st_size for file in files) < 60_000  # a tensor is not cut
    assert (tmp_path / "out" / "model.safetensors.index.json").is_file()
    ids = (5, 360, 42, 361, 8)
    found = logits_of(AutoModelForCausalLM.from_pretrained(tmp_path / "out"), ids)
    torch.testing.assert_close(found, logits_of(model, ids), atol=2e-5, rtol=1e-5)
    proof = written.proof
    assert (proof.prompts, proof.same) == (4, proof.tokens)  # the template renders four
    assert proof.written_difference == 0
    assert proof.max_difference < 1e-4
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| float32 | {sum(f.stat().st_size for f in files) / 1e6:.1f} |" in card


def test_a_run_that_tuned_the_weights_is_written_anew_where_asked(
    tmp_path, tiny_tokenizer, monkeypatch
):
    monkeypatch.setitem(LIMITS, "float16", 1.0)  # so small a model with such weights is chaotic
    run, model = run_of(tmp_path, tiny_tokenizer, {"method": "full"})
    written = export(run, tmp_path / "out", shard_size="30KB")
    assert written.files > 1
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(logits_of(again), logits_of(model))
    half = export(run, tmp_path / "half", precision="float16")
    assert half.after.perplexity == pytest.approx(half.figures.perplexity, rel=0.2)
    assert f"{half.after.perplexity:.3f} (" in (tmp_path / "half" / "README.md").read_text()


def test_a_folder_that_says_something_else_is_not_kept(tmp_path, tiny_tokenizer, monkeypatch):
    """Planted: a tensor is spoilt on its way to the disk, and a merge goes wrong."""
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    real = module.save_weights

    def spoilt(model, folder, **options):
        real(model, folder, **options)
        other = tiny_llama(seed=5, eos_token_id=0)
        other.save_pretrained(folder)

    monkeypatch.setattr(module, "save_weights", spoilt)
    with pytest.raises(ModelError, match="is another model: logits differ"):
        export(run, tmp_path / "out", merge=True)
    monkeypatch.setattr(module, "save_weights", real)
    other = tiny_llama(seed=5)
    monkeypatch.setattr(module, "_as_trained", lambda _, asked, __: module.outputs(other, asked))
    with pytest.raises(ModelError, match="differs too much from the run"):
        export(run, tmp_path / "out", merge=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("merge", [True, False])
def test_a_model_that_would_be_asked_otherwise_is_not_exported(tmp_path, tiny_tokenizer, merge):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    file = run / "adapter" / "chat_template.jinja"
    file.write_text(file.read_text().replace("ASSISTANT", "Assistant"))
    with pytest.raises(TemplateError, match=r"differs from character \d+ on"):
        export(run, tmp_path / "out", merge=merge)
    file.write_text(file.read_text().replace("Assistant", "ASSISTANT"))
    golden = json.loads((run / "adapter" / "golden.json").read_text())
    golden["prompts"][1]["token_ids"][3] += 1
    (run / "adapter" / "golden.json").write_text(json.dumps(golden))
    with pytest.raises(TemplateError, match="differs from token 3 on: it was"):
        export(run, tmp_path / "out", merge=merge)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shard_size", ["2", "2 GB", "large"])
def test_sizes_and_formats_are_checked_first(tmp_path, tiny_tokenizer, shard_size):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    with pytest.raises(ModelError, match="write 500MB or 2GB"):
        export(run, tmp_path / "out", merge=True, shard_size=shard_size)
    with pytest.raises(ModelError, match="go with --merge"):
        export(run, tmp_path / "out", precision="float32")
    with pytest.raises(ModelError, match="Did you mean 'int8'"):
        export(run, tmp_path / "out", quantise="int4")


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs the extra qlora")
@pytest.mark.parametrize(("name", "most"), [("int8", 0.05), ("nf4", 0.5)])
def test_in_8_and_4_bits_it_is_loaded_again_and_compared(
    tmp_path, tiny_tokenizer, monkeypatch, name, most
):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    with torch.no_grad():
        base = tiny_llama(eos_token_id=0)
        for weight in base.parameters():
            if weight.dim() == 2:
                weight *= 0.2  # a model of this width is chaotic otherwise
        base.save_pretrained(tmp_path / "base")
    shrink(run)
    scores = iter([0.5, 0.25])
    written = export(
        run, tmp_path / "out", quantise=name, suite="tiny", score=lambda *_: next(scores)
    )
    assert 0 < written.proof.mean_difference < most
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| {name} |" in card
    assert "score on tiny" in card
    assert "0.250 (-0.250)" in card
    assert not [one for one in (tmp_path / "out").iterdir() if one.is_dir()]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "bitsandbytes"
    again = load_model(tmp_path / "out")
    assert torch.isfinite(logits_of(again)).all()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert ChatTemplate.load(tokenizer).stop_ids == tuple(again.generation_config.eos_token_id)


def test_an_adapters_card_says_what_it_belongs_to(tmp_path, tiny_tokenizer):
    run, _ = run_of(tmp_path, tiny_tokenizer, {"lora_rank": 4})
    export(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: peft" in card
    assert "Base model: base." in card
    assert str(tmp_path) not in card

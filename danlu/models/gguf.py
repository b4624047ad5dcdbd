"""GGUF files as ordinary model folders: config, tokenizer, chat template, float32 safetensors.

transformers reads GGUF files of many architectures, but parses the header several times and looks
every tensor up in a table built anew for each module: 19 s for 135M parameters on one core. The
plain Llama architecture is therefore read here, tensor by tensor, to the same bits in 3 s; any
other goes through transformers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.errors import ModelError

OnProgress = Callable[[float], None]
"""Called with the share of the work done so far, 0 to 1."""

# What transformers' LlamaConfig calls each GGUF key. A file with any other llama.* key (rope
# scaling, experts) is left to transformers.
_LLAMA_CONFIG = {
    "llama.block_count": "num_hidden_layers",
    "llama.context_length": "max_position_embeddings",
    "llama.embedding_length": "hidden_size",
    "llama.feed_forward_length": "intermediate_size",
    "llama.attention.head_count": "num_attention_heads",
    "llama.attention.head_count_kv": "num_key_value_heads",
    "llama.attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "llama.rope.dimension_count": "head_dim",
    "llama.rope.freq_base": "rope_theta",
    "llama.vocab_size": "vocab_size",
}
_TOKEN_IDS = {
    "tokenizer.ggml.bos_token_id": "bos_token_id",
    "tokenizer.ggml.eos_token_id": "eos_token_id",
    "tokenizer.ggml.padding_token_id": "pad_token_id",
}
_LLAMA_WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LLAMA_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert_gguf(file: Path, folder: Path, on_progress: OnProgress = lambda share: None) -> None:
    """Write a GGUF file into ``folder`` as an ordinary model, dequantised to float32.

    Args:
        file: The GGUF file.
        folder: An existing, empty folder.
        on_progress: Told the share of the work done so far.

    Raises:
        ModelError: If the file cannot be read, or transformers does not know its architecture.
    """
    from transformers.integrations.gguf.reader import read_gguf_metadata

    with _readable(file):
        settings = llama_settings(*read_gguf_metadata(str(file)))
        if settings is not None:
            _convert_llama(file, folder, settings, on_progress)
        else:
            _convert_any(file, folder)
    on_progress(1.0)


def float32_bytes(file: Path) -> int:
    """Return the size of a GGUF file's weights once they are float32.

    Raises:
        ModelError: If the file cannot be read.
    """
    from transformers.integrations.gguf.reader import GgufHeader

    with _readable(file):
        return sum(4 * prod(tensor.shape) for tensor in GgufHeader.from_file(str(file)).tensors)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn what a broken or unknown GGUF file raises into a ModelError."""
    try:
        yield
    # struct.error and IndexError: cut short; KeyError: a key that must be there is not.
    except (ValueError, KeyError, IndexError, NotImplementedError, OSError, struct.error) as error:
        raise ModelError(
            f"this GGUF file cannot be read ({error}). Check that it is complete, or give the "
            "model as a folder with safetensors weights.",
            where=str(file),
        ) from error


def llama_name(name: str) -> str | None:
    """Return the transformers name of a plain Llama tensor, or None for any other.

    Example:
        >>> llama_name("blk.3.attn_q.weight")
        'model.layers.3.self_attn.q_proj.weight'
        >>> llama_name("blk.3.attn_q.bias") is None
        True
    """
    match name.split("."):
        case ["blk", layer, part, "weight"] if part in _LLAMA_LAYER:
            return f"model.layers.{layer}.{_LLAMA_LAYER[part]}.weight"
        case [part, "weight"] if part in _LLAMA_WHOLE:
            return f"{_LLAMA_WHOLE[part]}.weight"
    return None


def llama_settings(metadata: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the fields of a LlamaConfig for a plain Llama file, or None if it is not one.

    Args:
        metadata: The file's keys and values.
        names: Its tensors' names.
    """
    if metadata["general.architecture"] != "llama":
        return None
    own = {key: value for key, value in metadata.items() if key.startswith("llama.")}
    if not own.keys() <= _LLAMA_CONFIG.keys() or any(llama_name(name) is None for name in names):
        return None
    settings: dict[str, Any] = {
        ours: metadata[key] for key, ours in (_LLAMA_CONFIG | _TOKEN_IDS).items() if key in metadata
    }
    settings.setdefault("num_key_value_heads", settings["num_attention_heads"])
    # read_gguf_metadata gives a list of strings as its length.
    settings.setdefault("vocab_size", metadata["tokenizer.ggml.tokens"])
    rope_theta = settings.pop("rope_theta", 10_000.0)
    settings["rope_parameters"] = {"rope_type": "default", "rope_theta": rope_theta}
    settings["tie_word_embeddings"] = "output.weight" not in names
    return settings


def rotary_halves(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Put the rows of a query or key projection back into the order of transformers.

    llama.cpp rotates neighbouring pairs of a head's rows ``(0, 1), (2, 3) ...``; transformers
    rotates row ``i`` with row ``i + width / 2``.

    Args:
        weight: ``(heads * width, hidden)``.
        heads: Query heads, or key/value heads.

    Example:
        >>> rotary_halves(np.arange(4, dtype=np.float32)[:, None], heads=1)[:, 0]
        array([0., 2., 1., 3.], dtype=float32)
    """
    rows, hidden = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, hidden)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, hidden))


def _convert_llama(
    file: Path, folder: Path, settings: dict[str, Any], on_progress: OnProgress
) -> None:
    """Read a plain Llama file directly: the tokenizer once, each tensor once."""
    from safetensors.numpy import save_file
    from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

    config = LlamaConfig(**settings, architectures=["LlamaForCausalLM"], dtype="float32")
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(file.parent), gguf_file=file.name)
    tokenizer.save_pretrained(folder)
    on_progress(0.1)
    weights = _llama_weights(file, settings, lambda share: on_progress(0.1 + 0.6 * share))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _llama_weights(
    file: Path, settings: dict[str, Any], on_progress: OnProgress
) -> dict[str, NDArray[np.float32]]:
    """Dequantise every tensor, under the names and in the row order of transformers."""
    from gguf import GGMLQuantizationType, dequantize
    from transformers.integrations.gguf.reader import GgufHeader

    header = GgufHeader.from_file(str(file))
    data = np.memmap(file, mode="r", dtype=np.uint8)
    heads = {
        "attn_q": settings["num_attention_heads"],
        "attn_k": settings["num_key_value_heads"],
    }
    weights: dict[str, NDArray[np.float32]] = {}
    for done, tensor in enumerate(header.tensors):
        start = header.data_start + tensor.offset
        raw = data[start : start + tensor.nbytes]
        if raw.size != tensor.nbytes:
            raise ValueError(f"it ends within the tensor {tensor.name}.")
        rows = raw.reshape(tensor.shape[0] if len(tensor.shape) > 1 else 1, -1)
        values = dequantize(rows, GGMLQuantizationType(tensor.ggml_type)).reshape(tensor.shape)
        part = tensor.name.split(".")[-2]
        if part in heads:
            values = rotary_halves(values, heads[part])
        weights[str(llama_name(tensor.name))] = values
        on_progress((done + 1) / len(header.tensors))
    return weights


def _convert_any(file: Path, folder: Path) -> None:
    """Let transformers read the file; slower, but it knows some thirty architectures."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    AutoTokenizer.from_pretrained(**place).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    # The weights are plain now; with the quantisation's marks left on, saving is refused.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized = False  # type: ignore[assignment]
    model.hf_quantizer = None  # type: ignore[assignment]
    model.save_pretrained(folder)

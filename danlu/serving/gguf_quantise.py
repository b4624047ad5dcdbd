"""Q4_K_M: a GGUF file of 16 bits written again with 4- to 8-bit blocks, by llama.cpp's own code.

``ggml_quantize_chunk`` is part of ggml's C interface (ggml.h) and comes with the package xllamacpp;
which tensor gets how many bits is the published rule of ``llama-quantize``, without an importance
matrix: more bits for half of the attention values and down projections, and for the output.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from gguf import (
    GGML_QUANT_SIZES,
    GGML_QUANT_VERSION,
    GGMLQuantizationType,
    GGUFReader,
    GGUFWriter,
    LlamaFileType,
)
from gguf.constants import GGUFValueType
from gguf.quants import dequantize
from numpy.typing import NDArray

from danlu.errors import ModelError

Kind: TypeAlias = GGMLQuantizationType
OnProgress = Callable[[float], None]

_WIDE = (Kind.F16, Kind.BF16)  # what the converter thinks fit for fewer bits; norms stay float32
_COARSER = {Kind.Q4_K: Kind.Q5_0, Kind.Q5_K: Kind.Q5_1, Kind.Q6_K: Kind.Q8_0}


def rewrite(
    file: Path,
    to: Path,
    *,
    q4_k_m: bool = False,
    keys: Mapping[str, int] | None = None,
    on_progress: OnProgress = lambda share: None,
) -> dict[str, int]:
    """Write a GGUF file again, with fewer bits or other token ids.

    Args:
        file: As the converter wrote it.
        to: The new file.
        q4_k_m: Quantise what has 16 bits; what has more or fewer stays.
        keys: Unsigned numbers to set, such as ``tokenizer.ggml.eot_token_id``.
        on_progress: Told the share of the work done so far.

    Returns:
        How many tensors are stored in each format, by its name.

    Raises:
        ModelError: If this build of xllamacpp has no quantisation.
    """
    reader = GGUFReader(file)
    shapes = {one.name: tuple(int(size) for size in one.shape) for one in reader.tensors}
    wide = [one.name for one in reader.tensors if one.tensor_type in _WIDE]
    kinds = q4_k_m_kinds({name: shapes[name] for name in wide}) if q4_k_m else {}
    writer = _with_metadata(reader, to, q4_k_m, keys or {})
    counts: dict[str, int] = {}
    for one in reader.tensors:
        kind = kinds.get(one.name, one.tensor_type)
        counts[kind.name] = counts.get(kind.name, 0) + 1
        if kind == one.tensor_type:
            writer.add_tensor_info(
                one.name, one.data.shape, one.data.dtype, one.data.nbytes, one.tensor_type
            )
        else:
            shape = (*reversed(shapes[one.name][1:]), _row_bytes(kind, shapes[one.name][0]))
            size = int(np.prod(shape))
            writer.add_tensor_info(one.name, shape, np.dtype(np.uint8), size, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, one in enumerate(reader.tensors, 1):
        kind = kinds.get(one.name, one.tensor_type)
        if kind == one.tensor_type:
            writer.write_tensor_data(one.data)
        else:
            writer.write_tensor_data(quantise(dequantize(one.data, one.tensor_type), kind))
        on_progress(done / len(reader.tensors))
    writer.close()
    return counts


def q4_k_m_kinds(shapes: Mapping[str, Sequence[int]]) -> dict[str, Kind]:
    """Return the format of each tensor in a Q4_K_M file.

    Args:
        shapes: Of the tensors to quantise, by name, the length of a row first as GGUF has it.

    Returns:
        Q4_K for most, Q6_K for the output and for some values and down projections, Q5_K for
        queries, keys and values in one. A row that is no multiple of 256 long falls to blocks of
        32 with more bits; one that is no multiple of 32 is left out.

    Example:
        >>> [kind.name for kind in q4_k_m_kinds({"output.weight": (256, 9)}).values()]
        ['Q6_K']
    """
    head = "output.weight" if "output.weight" in shapes else "token_embd.weight"
    found = {}
    for name, shape in shapes.items():
        kind = Kind.Q4_K
        if name == head:
            kind = Kind.Q6_K
        elif "attn_qkv.weight" in name:
            kind = Kind.Q5_K
        elif (part := re.search(r"\.(attn_v|ffn_down\w*)\.weight$", name)) is not None:
            peers = sorted((other for other in shapes if other.endswith(part.group(0))), key=_layer)
            kind = Kind.Q6_K if _gets_more(peers.index(name), len(peers)) else Kind.Q4_K
        if shape[0] % 256:
            kind = _COARSER[kind]
        if len(shape) >= 2 and shape[0] % 32 == 0:
            found[name] = kind
    return found


def quantise(rows: NDArray[np.float32], kind: Kind) -> NDArray[np.uint8]:
    """Quantise float32 values row by row.

    Args:
        rows: ``(..., N)``; N a multiple of the format's block.
        kind: The format.

    Returns:
        ``(..., bytes of a row)``.
    """
    flat = np.ascontiguousarray(rows, np.float32).reshape(-1, rows.shape[-1])
    out = np.empty((len(flat), _row_bytes(kind, flat.shape[1])), np.uint8)
    written = _ggml_quantize_chunk()(
        int(kind), flat.ctypes.data, out.ctypes.data, 0, len(flat), flat.shape[1], None
    )
    assert written == out.nbytes
    return out.reshape(*rows.shape[:-1], -1)


@cache
def _ggml_quantize_chunk() -> Any:
    """Return ggml's function; see ggml.h for its arguments."""
    import xllamacpp.xllamacpp as compiled

    try:
        function = ctypes.CDLL(compiled.__file__).ggml_quantize_chunk
    except AttributeError as error:
        raise ModelError(
            "this build of xllamacpp has no ggml_quantize_chunk, so it cannot write Q4_K_M: "
            "install the version that constraints.txt names, or write q8_0."
        ) from error
    function.restype = ctypes.c_size_t
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    return function


def _with_metadata(reader: Any, to: Path, q4_k_m: bool, keys: Mapping[str, int]) -> Any:
    """Begin a file with another's metadata."""
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(to, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or name in keys:
            continue
        if name == "general.file_type" and q4_k_m:
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    if q4_k_m:
        writer.add_file_type(LlamaFileType.MOSTLY_Q4_K_M)
        if "general.quantization_version" not in reader.fields:
            writer.add_quantization_version(GGML_QUANT_VERSION)
    for name, value in keys.items():
        writer.add_uint32(name, value)
    return writer


def _row_bytes(kind: Kind, length: int) -> int:
    block, size = GGML_QUANT_SIZES[kind]
    return int(length // block * size)


def _layer(name: str) -> int:
    number = re.search(r"blk\.(\d+)\.", name)
    return int(number.group(1)) if number else 0


def _gets_more(index: int, of: int) -> bool:
    """Whether a layer is among the first or last eighth, or a third one between."""
    return index < of // 8 or index >= 7 * of // 8 or (index - of // 8) % 3 == 2

"""QLoRA: LoRA over a frozen model whose matrices are kept in 4 or 8 bits.

Dettmers et al. 2023, arXiv:2305.14314: NF4, whose sixteen values are quantiles of a normal
distribution, with the blocks' constants quantised too (section 3). int8 is LLM.int8(), Dettmers et
al. 2022, arXiv:2208.07339. Both are bitsandbytes' and transformers' work; matrices are quantised as
they are read. Embeddings and the head stay as they are.

What was trained is ``dequantised(W) + s B A``, and that is what a merge gives: for NF4 the same
function to rounding; for int8 without the rounding of activations that its fast product makes.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from danlu.config.recipe import TuningSection
from danlu.errors import ModelError, RecipeError
from danlu.models.quiet import quiet
from danlu.models.tuning_lora import tune_lora


def tune_qlora(model: Any, tuning: TuningSection, new_token_ids: Sequence[int]) -> Any:
    """Put LoRA adapters beside the quantised layers; only they, and new tokens' rows, move.

    Args:
        model: A model that was read with ``load_for_tuning``; changed in place.
        tuning: Its ``lora_*`` settings and ``layers``.
        new_token_ids: Tokens whose embedding rows move too, in both matrices.

    Returns:
        A PEFT model around it.

    Raises:
        RecipeError: As ``tune_lora``; or if the model is not quantised.
    """
    if not getattr(model, "is_quantized", False):
        raise RecipeError(
            "qlora tunes a quantised model, and this one is not: read it with load_for_tuning.",
            where="tuning.method",
        )
    return tune_lora(model, tuning, new_token_ids)


def quantisation_options(kind: str, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Return what ``from_pretrained`` needs to quantise a model as it reads it.

    Args:
        kind: ``nf4`` or ``int8``.
        dtype: Of the computation.
        device: Where the model goes; a quantised one is not moved later.

    Raises:
        ModelError: If bitsandbytes is not installed, or does not know the device.
    """
    _need_bitsandbytes(device)
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=kind,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return {"quantization_config": config, "device_map": {"": device}}


def keep_differentiable(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights for inference on the CPU, in place.

    On a CPU with AVX512-BF16 it does so at the first forward in evaluation mode, and computes
    with the new form from then on: in 16 bits and without gradients, in training mode too.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def dequantised(model: Any) -> Any:
    """Turn a quantised model into a plain one with the same weights, as good as they are."""
    with quiet():
        return model.dequantize(dtype=model.dtype)


def note_quantisation(kind: str, folder: Path) -> None:
    """Write the format of an adapter's base beside it; ``source.adapter_quantisation`` reads it."""
    (folder / "quantisation.json").write_text(json.dumps({"quantisation": kind}), "utf-8")


def hush_bitsandbytes() -> None:
    """Hold back what it says at every forward, that inputs are rounded, and of other packages."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _need_bitsandbytes(device: torch.device) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "quantised models need the package bitsandbytes, which is not installed: "
            "pip install 'danlu[qlora]', or use method lora.",
            where="tuning.method",
        )
    hush_bitsandbytes()
    try:
        import bitsandbytes
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise ModelError(
            f"the installed bitsandbytes cannot run here ({error}): install another version, or "
            "use method lora.",
            where="tuning.method",
        ) from error
    known: set[str] = getattr(bitsandbytes, "supported_torch_devices", set())
    if device.type not in known:
        raise ModelError(
            f"the installed bitsandbytes cannot compute on {device.type}; it can on: "
            f"{', '.join(sorted(known)) or 'nothing'}. Use another device, or method lora.",
            where="tuning.method",
        )

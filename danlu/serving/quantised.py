"""Export in 8 or 4 bits for transformers: bitsandbytes' formats, written and read back on the CPU.

``int8`` is LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339), ``nf4`` the 4-bit format of QLoRA
(arXiv:2305.14314) with its constants quantised too. Matrices of the layers are quantised;
embeddings and the head stay in the number format of the base.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import ModelError, did_you_mean
from danlu.serving.needs import must_have

if TYPE_CHECKING:
    import torch

FORMATS = ("int8", "nf4")


def check_format(name: str) -> None:
    """Check that a format can be written here.

    Raises:
        DanluError: If it is not known, or bitsandbytes is not installed.
    """
    if name not in FORMATS:
        hint = did_you_mean(name, FORMATS)
        raise ModelError(f"there is no quantised format {name!r} here.{hint}")
    must_have("bitsandbytes", extra="qlora")


def quantise_folder(whole: Path, folder: Path, name: str, dtype: torch.dtype) -> None:
    """Write a plain transformers folder again with fewer bits.

    Args:
        whole: The plain model.
        folder: Where the quantised weights and config go.
        name: Of ``FORMATS``.
        dtype: Of what is not quantised.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from danlu.models.quiet import quiet
    from danlu.models.tuning_qlora import quantisation_options

    options = quantisation_options(name, torch.float32, torch.device("cpu"))
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(whole, dtype=dtype, **options)
        model.save_pretrained(folder)

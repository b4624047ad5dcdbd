"""Random models in the shape of Llama's, and records of token ids for them: nothing is fetched."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from bench.cuda_cases import PROMPT_SHARE, LlamaShape
from danlu.sequences.prepared import PreparedData

TASK_TYPE = "random/tokens"


def random_llama(shape: LlamaShape, dtype: torch.dtype, device: str, seed: int) -> Any:
    """Make a Llama where it is to be trained; the same numbers for the same seed and device.

    Returns:
        A ``LlamaForCausalLM`` in evaluation mode, on torch's own attention.
    """
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        **asdict(shape),
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        max_position_embeddings=131_072,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        use_cache=False,
    )
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    return model.eval()


def token_records(shape: LlamaShape, length: int, records: int, seed: int) -> PreparedData:
    """Make records of random tokens, prompt first.

    No two begin with the same token, so nothing is shared. Low token ids are the likeliest, so that
    there is something to learn and the loss falls.

    Args:
        shape: Whose vocabulary; at least as large as ``records``.
        length: Tokens of each record.
        records: How many.
        seed: The same records for the same seed.

    Example:
        >>> from bench.cuda_cases import LLAMA_1B
        >>> data = token_records(LLAMA_1B, length=8, records=3, seed=0)
        >>> data.branch(2).weights.tolist()
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    """
    rng = np.random.default_rng([seed, length])
    ids = (shape.vocab_size * rng.random((records, length)) ** 3).astype(np.int32)
    ids[:, 0] = rng.permutation(shape.vocab_size)[:records]
    prompt = max(1, round(PROMPT_SHARE * length))
    weights = np.zeros((records, length), np.float32)
    weights[:, prompt:] = 1.0
    zeros, ones = np.zeros(records, np.int32), np.ones(records, np.int32)
    return PreparedData(
        input_ids=ids.reshape(-1),
        weights=weights.reshape(-1),
        offsets=np.arange(records + 1, dtype=np.int64) * length,
        branch_record=np.arange(records, dtype=np.int32),
        branch_channel=zeros,
        branch_index=zeros,
        prompt_tokens=prompt * ones,
        branch_rank=zeros,
        branch_score=np.full(records, np.nan, np.float32),
        branch_label=zeros.astype(np.int8),
        record_offsets=np.arange(records + 1, dtype=np.int64),
        record_ids=[f"{length}-{number}" for number in range(records)],
        record_channel=zeros,
        record_position=np.arange(records, dtype=np.int64),
        channels=(TASK_TYPE,),
        drops=(),
        records_read=records,
        weighting="token",
        fingerprint=f"random-{shape.vocab_size}-{length}-{records}-{seed}",
    )

"""Benchmarks of training on a CUDA device: random Llamas, what is trained, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LENGTHS = (512, 1024, 2048, 4096)
"""Tokens of a record; all records of a step are of one length, so that nobody pads."""
STEP_TOKENS = 16_384
PASS_TOKENS = 8_192
"""Tokens computed at a time: Danlu's pack on a GPU, and the peer's micro-batch."""
PROMPT_SHARE = 0.5
"""Of each record; the other half is supervised."""
WARMUP_STEPS, STEPS = 2, 4
"""For each length: steps before the measured ones, and the measured ones."""
CONTENDER_SECONDS = 180.0
"""After which a contender is stopped; what it has measured by then stays."""

LOSS_TOLERANCE = 1e-2
"""Largest difference of a step's loss between the contenders, in nats: in bfloat16 logits of about
12 are rounded to 1/32."""
NORM_TOLERANCE = 5e-2
"""Largest relative difference of a step's gradient norm."""


@dataclass(frozen=True)
class LlamaShape:
    """A Llama's sizes, by the names of transformers' config."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool

    @property
    def parameters(self) -> int:
        """Weights of such a model.

        Example:
            >>> LLAMA_1B.parameters, LLAMA_8B.parameters
            (1235814400, 8030261248)
        """
        width = self.hidden_size
        heads = 2 * self.num_attention_heads + 2 * self.num_key_value_heads
        layer = width * (heads * self.head_dim + 3 * self.intermediate_size + 2)
        matrices = 1 if self.tie_word_embeddings else 2
        return matrices * self.vocab_size * width + self.num_hidden_layers * layer + width


LLAMA_1B = LlamaShape(2048, 8192, 16, 32, 8, 64, 128_256, tie_word_embeddings=True)
"""Llama 3.2 1B's."""
LLAMA_8B = LlamaShape(4096, 14_336, 32, 32, 8, 128, 128_256, tie_word_embeddings=False)
"""Llama 3.1 8B's."""


@dataclass(frozen=True)
class CudaCase:
    """A benchmark on a CUDA device.

    Attributes:
        name: Also the name of its results file.
        shape: Of the random model.
        method: What moves.
        learning_rate: The same for both, and constant.
        checkpointing: Whether both compute activations again in the backward pass.
        lengths: Tokens of a record.
        step_tokens: Of an optimizer step.
        pass_tokens: Computed at a time.
        device: Where; ``cuda``, but for tests.
        precision: Of the computation. Weights that move are float32, others of this format.
    """

    name: str
    shape: LlamaShape
    method: Literal["full", "lora"]
    learning_rate: float
    checkpointing: bool
    lengths: tuple[int, ...] = LENGTHS
    step_tokens: int = STEP_TOKENS
    pass_tokens: int = PASS_TOKENS
    device: Literal["cuda", "cpu"] = "cuda"
    precision: Literal["bfloat16", "float32"] = "bfloat16"


# 32 layers of 8,192 tokens do not fit beside an 8B model in 80 GB, 16 narrow ones do.
CUDA_CASES = (
    CudaCase("cuda-llama-1b-lora", LLAMA_1B, "lora", 2e-4, checkpointing=False),
    CudaCase("cuda-llama-1b-full", LLAMA_1B, "full", 2e-5, checkpointing=False),
    CudaCase("cuda-llama-8b-lora", LLAMA_8B, "lora", 2e-4, checkpointing=True),
    CudaCase("cuda-llama-8b-full", LLAMA_8B, "full", 2e-5, checkpointing=True),
)

"""Proof that what was written is what was meant: loaded again, and compared on golden prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import ModelError
from danlu.sequences.golden import check_golden, read_golden
from danlu.serving.perplexity import shipped_text

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

LIMITS = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.2, "int8": 0.2, "nf4": 1.0}
"""Largest mean difference, in nats, of the likeliest tokens' log-probabilities, by format.

A wrong merge or a lost tensor is off by several nats. What a right one costs is far less: see the
figures in docs/exporting.md.
"""
EQUAL = 1e-4
"""Largest difference of logits that are to be equal, as a share of the largest logit."""
PLAIN_TOKENS = 64


@dataclass(frozen=True)
class Proof:
    """A model that was written and loaded again, against what the run is.

    Attributes:
        prompts: How many were asked.
        tokens: At how many places the next token was compared.
        same: At how many of them the likeliest token is the same.
        mean_difference: Of its log-probability, absolute, in nats.
        max_difference: The same, the largest.
        written_difference: Largest difference of a logit between the weights in memory and those
            loaded again; None where the format does not hold them as they were.
    """

    prompts: int
    tokens: int
    same: int
    mean_difference: float
    max_difference: float
    written_difference: float | None = None


def golden_prompts(
    folder: Path | None, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[list[int]], Any]:
    """Replay the golden prompts of a saved model.

    Returns:
        Token ids of the prompts, or of plain text where there are none; and the chat template, None
        without golden prompts.

    Raises:
        TemplateError: If one would be asked otherwise than in training, saying which token differs.
    """
    golden = read_golden(folder)[0] if folder is not None else []
    if not golden or folder is None:
        ids = tokenizer(shipped_text(), verbose=False)["input_ids"]
        return [list(ids[:PLAIN_TOKENS])], None
    from danlu.sequences.template import ChatTemplate

    template = ChatTemplate.load(tokenizer)
    check_golden(folder, tokenizer, template)
    return [one.token_ids for one in golden], template


def outputs(model: Any, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return what a model says to prompts, ``(T, V)`` each: logits, of encoders the last states."""
    import torch

    found = []
    with torch.no_grad():
        for prompt in prompts:
            said = model(input_ids=torch.tensor([list(prompt)]))
            logits = getattr(said, "logits", None)
            found.append((said[0] if logits is None else logits)[0].float())
    return found


def must_be_equal(meant: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Check that weights loaded again say the same, and return the largest difference.

    Raises:
        ModelError: If they do not.
    """
    largest = max(float((a - b).abs().max()) for a, b in zip(meant, found, strict=True))
    scale = max(float(one.abs().max()) for one in meant)
    if not largest <= EQUAL * max(scale, 1.0):
        raise ModelError(
            f"what was written, loaded again, is another model: logits differ by up to "
            f"{largest:.3g}. Nothing is kept; please report this."
        )
    return largest


def compared(
    meant: Sequence[Tensor],
    found: Sequence[Tensor],
    form: str,
    written_difference: float | None = None,
) -> Proof:
    """Compare next tokens' probabilities.

    Args:
        meant: ``outputs`` of the run itself, in float32.
        found: Those of what was written.
        form: A key of ``LIMITS``.
        written_difference: To be told too.

    Raises:
        ModelError: If they differ more than the format explains.
    """
    import torch

    own, other = torch.cat(list(meant)).log_softmax(-1), torch.cat(list(found)).log_softmax(-1)
    likeliest = own.argmax(-1, keepdim=True)
    gaps = (own.gather(1, likeliest) - other.gather(1, likeliest)).abs()
    same = int((other.argmax(-1, keepdim=True) == likeliest).sum())
    mean = float(gaps.mean())
    if not mean <= LIMITS[form]:
        raise ModelError(
            f"what was written differs too much from the run: {mean:.3f} nats a token on the mean "
            f"over {len(gaps)} tokens, where {LIMITS[form]} are allowed for {form}. Nothing is "
            "kept."
        )
    return Proof(len(meant), len(gaps), same, mean, float(gaps.max()), written_difference)

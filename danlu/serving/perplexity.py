"""Perplexity of plain text, before and after a model is stored with fewer bits."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN_TEXT = "evaluation/suites/shipped/plain-text/items.jsonl"
"""The one plain text that ships: the suite ``plain-text``, which the gate asks too."""
PER_LANGUAGE = 8
"""Documents of it that are read here, where a large model may be computed on the CPU."""


def shipped_text() -> str:
    """Return the first documents of the suite ``plain-text``, English and Chinese, as one text."""
    lines = (resources.files("danlu") / PLAIN_TEXT).read_text("utf-8").splitlines()
    found: dict[str, list[str]] = {}
    for item in map(json.loads, lines):
        found.setdefault(item["task_type"], []).append(item["text"])
    return "\n\n".join(text for texts in found.values() for text in texts[:PER_LANGUAGE])


def text_perplexity(model: Any, tokenizer: PreTrainedTokenizerBase, text: str) -> float:
    """Return e to the power of the mean loss per token over plain text.

    The text is cut into windows of at most 512 tokens, or as many as the model has positions; the
    first token of a window is given, not predicted.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer; adds what it adds to plain text.
        text: Two tokens at least.

    Raises:
        ModelError: If the text is too short.
    """
    import torch

    ids = tokenizer(text, verbose=False)["input_ids"]
    if len(ids) < 2:
        raise ModelError("perplexity needs text of two tokens at least: give a longer one.")
    window = min(512, getattr(model.config, "max_position_embeddings", None) or 512)
    nats, count = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(ids), window):
            piece = torch.tensor([ids[start : start + window]])
            if piece.shape[1] < 2:
                continue
            logits = model(input_ids=piece).logits[0, :-1].float()
            nats += float(torch.nn.functional.cross_entropy(logits, piece[0, 1:], reduction="sum"))
            count += piece.shape[1] - 1
    return math.exp(nats / count)


@contextmanager
def gguf_weights(file: Path) -> Iterator[Any]:
    """Read the weights of a GGUF file back, and yield a model that computes with them in float32.

    What llama.cpp rounds while it computes is not in it.

    Args:
        file: The GGUF file, of an architecture that transformers reads.

    Raises:
        ModelError: If transformers cannot read such a file.
    """
    import io
    from contextlib import redirect_stderr

    import torch
    from transformers import AutoModelForCausalLM

    from danlu.models.gguf import convert_gguf
    from danlu.models.quiet import quiet

    with tempfile.TemporaryDirectory(dir=file.parent) as folder, quiet():
        with redirect_stderr(io.StringIO()):  # transformers draws a bar of its own
            convert_gguf(file, Path(folder))
        yield AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def gguf_perplexity(file: Path, tokenizer: PreTrainedTokenizerBase, text: str) -> float:
    """Return the perplexity of a GGUF file's weights; arguments as above."""
    with gguf_weights(file) as model:
        return text_perplexity(model, tokenizer, text)

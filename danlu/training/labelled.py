"""What classification adds to a run: labelled data, the head, and what a model must be for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from danlu.config.recipe import Recipe
from danlu.errors import ModelError, RecipeError
from danlu.models.adapters import unwrapped
from danlu.models.encoders import context_tokens, is_encoder
from danlu.models.load import load_config
from danlu.models.readout import Readout, ReadoutInfo
from danlu.models.tokens import is_tied
from danlu.objectives import Objective
from danlu.objectives.classification import Classification
from danlu.objectives.classify import Classify
from danlu.records import Record
from danlu.sequences.labels import LabelReader, Labels
from danlu.sequences.prepared import PreparedData
from danlu.sequences.template import ChatTemplate
from danlu.sequences.texts import TextEncoder, prepare_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLASSES_TOLD = 12
"""Classes that a note counts one by one."""

ENCODER_METHODS = ("full", "lora")
"""Tuning methods that encoders are tried with."""


def chat_template(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate | None:
    """Load the chat template; None where there are only texts, and the model has none.

    Raises:
        TemplateError: If there is none and there has to be, or it cannot be used.
        RecipeError: If a classifier is asked for answers.
    """
    model = recipe.model
    if recipe.objective.name == "classify" and recipe.samples.prompts:
        raise RecipeError(
            "does nothing with objective classify, which answers nothing: remove it.",
            where="samples.prompts",
        )
    only_texts = recipe.objective.name == "classify" or recipe.sequences.documents
    asked = bool(recipe.samples.prompts)
    if only_texts and not asked and model.template is None and not tokenizer.chat_template:
        return None
    return ChatTemplate.load(tokenizer, model.template, model.template_options)


class LabelledData:
    """Prepares labelled data, the training part first: the evaluation has the same classes.

    Args:
        recipe: Objective, model and ``sequences``.
        tokenizer: The model's.
        template: Its chat template, if it has one.
        directory: Where classes are kept for a resumed run; None keeps them in memory.

    Raises:
        RecipeError: If an encoder is given a chat template.
    """

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatTemplate | None,
        directory: Path | None,
    ) -> None:
        model = recipe.model
        config = load_config(model.path, trust_remote_code=model.trust_remote_code)
        context = None
        if is_encoder(config):
            context = context_tokens(config, tokenizer)
            if template is not None:
                raise RecipeError(
                    "an encoder reads plain text, without a chat template: take it out.",
                    where="model.template",
                )
        self._encoder = TextEncoder(tokenizer, template, recipe.sequences, context)
        self._settings = Classify(**recipe.objective.given())
        self._directory = directory
        self._found: dict[str, Labels] = {}

    def prepare(
        self,
        name: str,
        records: Iterable[Record],
        directory: Path | None,
        on_progress: Callable[[int], None] | None,
    ) -> PreparedData:
        """Encode the records of ``train`` or ``eval`` and take their classes.

        Raises:
            RecordError: As ``prepare_texts``; of ``eval``, if a class is not one of ``train``.
        """
        settings, known = self._settings, self._settings.classes
        if known is None and "train" in self._found:
            known = self._found["train"].names
        reader = LabelReader(
            known, multi_label=settings.multi_label, separator=settings.label_separator
        )
        prepared = prepare_texts(
            records, self._encoder, reader, directory=directory, on_progress=on_progress
        )
        self._found[name] = reader.finish()
        if self._directory is not None:
            self._found[name].save(_file(self._directory, name))
        return prepared

    def labels(self, name: str) -> Labels:
        """Return the classes of ``train`` or ``eval``; held-out records are of ``train``."""
        return self._found.get(name, self._found["train"])


def kept_labels(directory: Path, name: str) -> Labels:
    """Return the classes that ``LabelledData`` has kept, of ``train`` or ``eval``.

    Raises:
        RunError: If they cannot be read.
    """
    own = _file(directory, name)
    return Labels.load(own if own.is_file() else _file(directory, "train"))


def _file(directory: Path, name: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"labels-{name}.npz"


def fitted(objective: Objective, train: PreparedData) -> Objective:
    """Return the objective for the classes of the training data; others as they are."""
    if not isinstance(objective, Classification):
        return objective
    labels = train.labels
    assert labels is not None
    counts = labels.counts(train.record_position.tolist())
    return objective.fitted(labels.names, counts, len(train))


def describe_classes(train: PreparedData) -> list[str]:
    """Say which classes there are, and how many training records each has.

    Returns:
        A line; none where no classes are learned.
    """
    if train.labels is None:
        return []
    counts = train.labels.counts(train.record_position.tolist()).tolist()
    told = [f"{name} {count:,}" for name, count in zip(train.labels.names, counts, strict=True)]
    more = len(told) - CLASSES_TOLD
    listed = ", ".join(told[:CLASSES_TOLD]) + (f" and {more:,} more" if more > 0 else "")
    return [f"{len(told):,} classes: {listed}"]


def check_model(model: Any, recipe: Recipe) -> None:
    """Refuse an encoder where tokens are to be predicted, or tuned by a method for decoders.

    Raises:
        ModelError: If it is an encoder, and the objective is another than classify.
        RecipeError: If the tuning method is not for encoders.
    """
    if not is_encoder(unwrapped(model).config):
        return
    if recipe.objective.name != "classify":
        raise ModelError(
            f"{type(unwrapped(model)).__name__} is an encoder and predicts no next token, which "
            f"objective {recipe.objective.name} learns. It can be a classifier: objective.name "
            "classify.",
            where="model.path",
        )
    if recipe.tuning.method not in ENCODER_METHODS:
        raise RecipeError(
            f"{recipe.tuning.method} is not for encoders; take {' or '.join(ENCODER_METHODS)}.",
            where="tuning.method",
        )


def make_readout(objective: Objective, model: Any) -> Readout | None:
    """Make the head that the objective reads, on the model's device; None if it reads none.

    That of a classifier begins at 0, so its first loss is that of guessing: the last hidden states
    of a trained model are large, and random weights would begin far above it.

    The head of tokens is frozen where it is a matrix of its own: nothing reads it, so it would get
    no gradient, which data-parallel engines take for a fault.

    Raises:
        RecipeError: If a decoder is to be read elsewhere than at its last token.
    """
    if not objective.readout:
        return None
    base = unwrapped(model)
    info = _info(objective, base)
    output = base.get_output_embeddings()
    if output is not None and not is_tied(base):
        output.requires_grad_(False)
    head = Readout(info)
    if info.kind == "classes":
        torch.nn.init.zeros_(head.linear.weight)
    return head.to(base.device, torch.promote_types(base.dtype, torch.float32))


def _info(objective: Objective, base: Any) -> ReadoutInfo:
    reads_first = is_encoder(base.config)
    output = None if reads_first else base.get_output_embeddings()
    width = base.config.hidden_size if output is None else output.weight.shape[1]
    if not isinstance(objective, Classification):
        return ReadoutInfo("reward", width, ("reward",))
    settings = objective.classify
    pooling = settings.pooling
    if pooling == "auto":
        pooling = "first" if reads_first else "last"
    if pooling != "last" and not reads_first:
        raise RecipeError(
            f"is {pooling}; a decoder's tokens see only those before them, so it is read at its "
            "last. Leave it out.",
            where="objective.pooling",
        )
    return ReadoutInfo(
        "classes",
        width,
        objective.classes,
        pooling=pooling,
        multi_label=settings.multi_label,
        threshold=settings.threshold,
    )

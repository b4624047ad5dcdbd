"""``Classifier``: what a run of objective classify has made, to say the classes of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import ModelError
from danlu.records.record import TEXT_ROLE, Message, Record, content_id

if TYPE_CHECKING:
    from danlu.models.readout import Readout
    from danlu.sequences.texts import EncodedText, TextEncoder
    from danlu.training.scoring import Packing

AT_ONCE = 256
"""Texts that are read, sorted and classified at a time."""

NO_LIMIT = 2**31 - 1
"""Longest text where the model names no limit."""


@dataclass(frozen=True)
class Classified:
    """What a classifier says of a text.

    Attributes:
        id: The record's id; of a plain text, a hash of it.
        classes: What it is said to be: one class or, of a multi-label classifier, any number.
        probabilities: Of each class, the likeliest first; they sum to 1 but for multi-label.

    Example:
        >>> Classified("1", ("no",), {"no": 0.9, "yes": 0.1}).as_dict()
        {'id': '1', 'class': 'no', 'probabilities': {'no': 0.9, 'yes': 0.1}}
    """

    id: str
    classes: tuple[str, ...]
    probabilities: dict[str, float]
    multi_label: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data; a multi-label classifier says ``classes``, a list."""
        said: dict[str, Any] = {"class": self.classes[0]} if not self.multi_label else {}
        if self.multi_label:
            said = {"classes": list(self.classes)}
        return {"id": self.id, **said, "probabilities": self.probabilities}


def text_record(text: str, pair: str | None = None) -> Record:
    """Return a text, or two, as a record that waits for its class."""
    meta = {} if pair is None else {"text_pair": pair}
    return Record(
        content_id([text, pair]), "unlabelled/text", (Message(TEXT_ROLE, text),), meta=meta
    )


def load_classifier(
    run_or_model: str | Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    trust_remote_code: bool = False,
    progress: bool = True,
) -> Classifier:
    """Load what a run of objective classify has made.

    Args:
        run_or_model: A run directory, or the folder with a model or an adapter that it has saved.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        trust_remote_code: Run Python code that comes with the model.
        progress: Show a bar on stderr while a model is converted for the first time.

    Raises:
        ModelError: If it is not there, cannot be read, or is no classifier.

    Example:
        ``danlu.load_classifier("runs/router").classify("Who won yesterday?").classes``
    """
    from danlu.models.load import load_model, load_tokenizer, pick_device, pick_dtype
    from danlu.models.readout import Readout
    from danlu.models.source import resolve, run_model

    source = resolve(run_or_model)
    if source.kind == "run":
        assert source.path is not None
        source = run_model(source.path)
    if source.path is None or not source.path.is_dir():
        raise ModelError(
            "this is no classifier: name the run directory of a training with objective classify.",
            where=str(run_or_model),
        )
    place = pick_device(device)
    head = Readout.load(source.path, device=place)
    if head.info.kind != "classes":
        raise ModelError(
            f"its head reads {', '.join(head.info.names)}, and no classes: it was trained with "
            "another objective. Name a run of objective classify.",
            where=str(source.path),
        )
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "progress": progress}
    tokenizer = load_tokenizer(source, **options)
    model = load_model(source, dtype=pick_dtype(precision, place), device=place, **options)
    return Classifier(model, head, tokenizer)


class Classifier:
    """Says the classes of texts, many at a time.

    Args:
        model: A decoder or an encoder, on its device; its attention is switched to the forest's
            where that computes the same.
        head: Its readout, of kind ``classes``.
        tokenizer: Its tokenizer; with a chat template, texts are rendered as questions.
    """

    def __init__(self, model: Any, head: Readout, tokenizer: Any) -> None:
        from danlu.config.recipe import SequencesSection
        from danlu.models.encoders import context_tokens
        from danlu.models.forest_support import use_forest_attention
        from danlu.sequences.template import ChatTemplate
        from danlu.sequences.texts import TextEncoder
        from danlu.training.scoring import Packing
        from danlu.training.setup import PACK_TOKENS_CPU, PACK_TOKENS_GPU

        model.requires_grad_(False)
        self.model = model
        self.head = head.requires_grad_(False)
        tokens = PACK_TOKENS_CPU if model.device.type == "cpu" else PACK_TOKENS_GPU
        self.packing: Packing = Packing(tokens, forest=use_forest_attention(model) is None)
        template = ChatTemplate.load(tokenizer) if tokenizer.chat_template else None
        limit = context_tokens(model.config, tokenizer) or NO_LIMIT
        settings = SequencesSection(max_length=limit, overlong="error")
        self.encoder: TextEncoder = TextEncoder(tokenizer, template, settings)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.head.info.names

    def classify(self, text: str, pair: str | None = None) -> Classified:
        """Say the class, or the classes, of a text, or of two.

        Raises:
            RecordError: If the text is longer than the model can read.
        """
        [found] = self.classify_records([text_record(text, pair)])
        return found

    def classify_texts(self, texts: Sequence[str | tuple[str, str]]) -> list[Classified]:
        """Say the classes of many texts or pairs, in their order.

        Raises:
            RecordError: If one is longer than the model can read.
        """
        rows = [(one,) if isinstance(one, str) else one for one in texts]
        return list(self.classify_records(text_record(*row) for row in rows))

    def classify_records(self, records: Iterable[Record]) -> Iterator[Classified]:
        """Say the classes of records, in their order; their own labels are not looked at.

        Of a conversation that ends in an answer, what stands before the answer is classified;
        all of it, if a column holds the label.

        Raises:
            RecordError: If one is no text, or longer than the model can read.
        """
        rest = iter(records)
        while chunk := list(islice(rest, AT_ONCE)):
            encoded = self.encoder.encode(chunk, [])
            texts = [self._whole(one, record) for one, record in zip(encoded, chunk, strict=True)]
            for record, probabilities in zip(chunk, self._probabilities(texts), strict=True):
                yield self._said(record, probabilities)

    def _whole(self, text: EncodedText | None, record: Record) -> EncodedText:
        from danlu.errors import RecordError

        if text is None:  # what is too long is refused; nothing else is left out of use
            raise RecordError("there is no text to classify.", where=f"record {record.id}")
        return text

    def _probabilities(self, texts: Sequence[EncodedText]) -> list[list[float]]:
        """Compute the probabilities of the classes of each text."""
        import numpy as np
        import torch

        from danlu.models.readout import pooled
        from danlu.objectives.classify import Classify
        from danlu.sequences.branch import Branch
        from danlu.training.scoring import token_states

        branches = [
            Branch(text.ids, np.zeros(len(text.ids), np.float32), place, 0, 0, text.first)
            for place, text in enumerate(texts)
        ]
        info = self.head.info
        rule = Classify(multi_label=info.multi_label)
        found: list[list[float]] = [[] for _ in texts]
        with torch.no_grad():
            for pack in self.packing.packs(branches):
                states_TD = token_states(self.model, pack)
                logits_AC = self.head(pooled(states_TD, pack, info.pooling))
                rows = rule.probabilities(logits_AC).tolist()
                for member, row in zip(pack.members.tolist(), rows, strict=True):
                    found[member] = row
        return found

    def _said(self, record: Record, probabilities: Sequence[float]) -> Classified:
        info = self.head.info
        pairs = sorted(zip(info.names, probabilities, strict=True), key=lambda pair: -pair[1])
        said = tuple(name for name, p in pairs if p >= info.threshold)
        classes = said if info.multi_label else (pairs[0][0],)
        return Classified(record.id, classes, dict(pairs), info.multi_label)

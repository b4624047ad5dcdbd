"""Tokens per task type, and each one's share of the loss, as training would have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

from danlu.config.recipe import SequencesSection
from danlu.records import Record
from danlu.sequences import ChatTemplate, answers_of
from danlu.sequences.branch import Branch
from danlu.sequences.prepare import prepare
from danlu.sequences.weighting import common_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RECORDS_AT_A_TIME = 1000


@dataclass
class TypeTokens:
    """One task type.

    Attributes:
        records: That are trained.
        tokens: That the model reads; what the turns of a conversation share counts once.
        trained: That it learns to predict.
        loss: Sum of their weights: its part of the loss, were all predicted equally well.
        left_out: Records of which nothing is trained: too long, or without an answer.
    """

    records: int = 0
    tokens: int = 0
    trained: int = 0
    loss: float = 0.0
    left_out: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def token_counts(
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate | None,
    settings: SequencesSection,
) -> dict[str, TypeTokens]:
    """Count tokens by task type, in the order of their names.

    Args:
        records: Read once; some hundreds are held at a time.
        tokenizer: Whose tokens.
        template: With which conversations are rendered; None where all is plain text.
        settings: Lengths, turns and weighting. What is too long is left out and counted, also
            where training would refuse it.

    Raises:
        TemplateError: If the template cannot render a record.
    """
    if settings.overlong == "error":
        settings = settings.model_copy(update={"overlong": "drop"})
    found: dict[str, TypeTokens] = {}
    rest = iter(records)
    while chunk := list(islice(rest, RECORDS_AT_A_TIME)):
        for record in chunk:
            found.setdefault(record.task_type, TypeTokens()).left_out += 1
        for part in _alike(chunk):
            _count(part, tokenizer, template, settings, found)
    if settings.weighting == "task_type":  # each is heard as much as any other
        for one in found.values():
            one.loss = float(one.loss > 0)
    return dict(sorted(found.items()))


def _alike(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Yield records with answers to compare, and those without."""
    for has_responses in (False, True):
        if own := [one for one in records if bool(one.responses) is has_responses]:
            yield own


def _count(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate | None,
    settings: SequencesSection,
    found: dict[str, TypeTokens],
) -> None:
    documents = settings.documents or any(one.is_text for one in records)
    data = prepare(
        records,
        tokenizer,
        template,
        settings,
        documents=documents,
        answers=None if documents else answers_of(records),
    )
    for number in range(len(data)):
        own = found[data.channels[int(data.record_channel[number])]]
        branches = data.record(number)
        own.records += 1
        own.left_out -= 1
        own.tokens += _unique(branches)
        own.trained += sum(int((one.weights > 0).sum()) for one in branches)
        own.loss += sum(float(one.weights.sum(dtype="float64")) for one in branches)


def _unique(branches: Sequence[Branch]) -> int:
    """Count tokens; those that a branch shares with the one before it, once."""
    shared = sum(common_prefix(a.input_ids, b.input_ids) for a, b in pairwise(branches))
    return sum(len(one.input_ids) for one in branches) - shared

"""What checks are told besides the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from danlu.config.recipe import SequencesSection
from danlu.records import Record
from danlu.workshop.checks.labels import Labels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.sequences import ChatTemplate


@dataclass(frozen=True, slots=True)
class Context:
    """What checks are told besides the records.

    Attributes:
        closed_labels: The labels of each task type whose answers are from a fixed list. Types that
            are not here are recognised by their answers.
        schemas: JSON Schema of each task type whose answers are JSON.
        tokenizer: Whose tokens are counted and whose special tokens are looked for; None: no token
            is counted, and what needs tokens says that it was not run.
        template: The chat template that goes with the tokenizer.
        sequences: The recipe's settings of length, turns and weighting.
        evaluation: Records that training must not hold.
        seed: Of the samples that are drawn.
        labels: Watches the answers of a run; ``run_checks`` gives each run its own.
    """

    closed_labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tokenizer: PreTrainedTokenizerBase | None = None
    template: ChatTemplate | None = None
    sequences: SequencesSection = field(default_factory=SequencesSection)
    evaluation: Sequence[Record] = ()
    seed: int = 0
    labels: Labels = field(default_factory=Labels)

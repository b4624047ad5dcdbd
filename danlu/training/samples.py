"""Answers before and after training, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from danlu.config.recipe import SamplesSection
from danlu.records import Message, Record
from danlu.runs import Sample
from danlu.sequences.answers import verdicts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.sequences.template import ChatTemplate


@dataclass(frozen=True)
class Question:
    """A conversation that waits for an answer."""

    messages: tuple[Message, ...]
    task_type: str | None = None
    reference: str | None = None

    @property
    def text(self) -> str:
        """The conversation as a person reads it: the last user turn, or all turns by role."""
        if len(self.messages) == 1:
            return self.messages[0].content or ""
        return "\n".join(f"{m.role}: {m.content or ''}" for m in self.messages)


def questions(settings: SamplesSection, records: Sequence[Record]) -> list[Question]:
    """Collect what is asked: the recipe's prompts, then records without their last answer."""
    asked = [Question((Message("user", prompt),)) for prompt in settings.prompts]
    for record in records:
        if record.responses:
            asked.append(Question(record.messages, record.task_type, best_response(record)))
        else:
            reference = record.messages[-1].content
            asked.append(Question(record.messages[:-1], record.task_type, reference))
    return asked


def best_response(record: Record) -> str | None:
    """Return the best of a record's responses; None where none is better than another."""
    ranks = [verdict.rank for verdict in verdicts(record.responses)]
    best = min(ranks)
    return None if len(set(ranks)) < 2 else record.responses[ranks.index(best)].content


def answer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate,
    asked: Sequence[Question],
    max_new_tokens: int,
) -> list[str]:
    """Answer greedily, in one batch; the model's mode and attention are put back afterwards."""
    from danlu.generation import Sampling
    from danlu.generation.local import TransformersGenerator

    if not asked:
        return []
    generator = TransformersGenerator(model, tokenizer, template)
    sampling = Sampling(max_new_tokens=max_new_tokens, greedy=True)
    completions = generator.generate([list(question.messages) for question in asked], sampling)
    return [completion.text for completion in completions]


def before_samples(asked: Sequence[Question], answers: Sequence[str]) -> list[Sample]:
    """Make the rows that wait for their second answer."""
    return [
        Sample(
            prompt=question.text,
            task_type=question.task_type,
            before=text,
            reference=question.reference,
        )
        for question, text in zip(asked, answers, strict=True)
    ]


def after_samples(samples: Sequence[Sample], answers: Sequence[str]) -> list[Sample]:
    """Add the second answers."""
    return [
        sample.model_copy(update={"after": text})
        for sample, text in zip(samples, answers, strict=True)
    ]

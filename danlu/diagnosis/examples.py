"""What a run learned from and was checked on, as the run saw it: dropped records are not there.

Prompts and answers are the run's own tokens, out of its prepared data; the record they came from is
read again for its messages and its meta, where its source still has it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from danlu.diagnosis.asking import Ask, Pair
from danlu.errors import DanluError
from danlu.records.record import TEXT_ROLE, Message, Record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.config.recipe import SequencesSection
    from danlu.sequences.prepared import PreparedData

Part = Literal["train", "eval"]
PARTS: tuple[Part, ...] = ("train", "eval")


@dataclass(frozen=True, slots=True)
class Example:
    """One answer that a run learned, or was checked on.

    Attributes:
        record: Id of its record.
        task_type: ``area/skill``.
        part: ``train``, or ``eval`` if it was held out.
        ask: The prompt.
        answer: The answer's text, as a generated one is decoded: without special tokens.
        answer_ids: Its tokens, stop token included.
        tags: Of the record; empty where it cannot be read any more.
        meta: Of the record; likewise.
        tools: That the prompt declares; likewise.
    """

    record: str
    task_type: str
    part: Part
    ask: Ask
    answer: str
    answer_ids: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def question(self) -> str:
        """What a person would read of the prompt."""
        return self.ask.question

    def pair(self) -> Pair:
        """Return the prompt with its answer, to be scored."""
        return Pair(self.ask, self.answer, self.answer_ids)


class Examples:
    """The examples of a run, drawn by task type.

    Args:
        parts: Its prepared data.
        tokenizer: To decode them.
        stop_ids: Tokens that end answers; not part of their text.
        settings: The recipe's ``sequences``.
        records: Reads the records of a part again, in their order; raises ``DanluError``, or is
            broken, where they are gone.
    """

    def __init__(
        self,
        parts: Mapping[Part, PreparedData],
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: Collection[int],
        settings: SequencesSection,
        records: Callable[[Part], Iterator[Record]],
    ) -> None:
        self._parts = parts
        self._tokenizer = tokenizer
        self._stop_ids = frozenset(stop_ids)
        self._settings = settings
        self._records = records
        self.notes: list[str] = []

    def counts(self, part: Part) -> dict[str, int]:
        """Count the records of a part per task type."""
        data = self._parts.get(part)
        if data is None:
            return {}
        counts = np.bincount(data.record_channel, minlength=len(data.channels))
        return {name: int(counts[k]) for k, name in enumerate(data.channels) if counts[k]}

    def task_types(self) -> list[str]:
        """Return the task types that were trained, sorted."""
        return sorted(self.counts("train"))

    def draw(
        self,
        part: Part,
        limit: int | None = None,
        *,
        seed: int = 0,
        task_types: Collection[str] | None = None,
    ) -> list[Example]:
        """Draw records of each task type and return the last answer of each.

        The draw hashes the id of a record: a larger limit keeps all of a smaller one.

        Args:
            part: ``train`` or ``eval``; a part that the run does not have gives nothing.
            limit: Of each task type, at most so many; None: all.
            seed: Of the draw.
            task_types: Only these.

        Returns:
            By task type, and in the order drawn.
        """
        data = self._parts.get(part)
        if data is None:
            return []
        by_type: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
        for r in range(len(data)):
            name = data.channels[int(data.record_channel[r])]
            if task_types is None or name in task_types:
                by_type[name].append((_draw(str(data.record_ids[r]), seed), r))
        chosen = [r for name in sorted(by_type) for _, r in sorted(by_type[name])[:limit]]
        return self._made(part, data, chosen)

    def of_records(self, part: Part, ids: Collection[str]) -> list[Example]:
        """Return the examples of named records, as far as the part has them."""
        data = self._parts.get(part)
        if data is None:
            return []
        wanted = set(ids)
        return self._made(part, data, [r for r in range(len(data)) if data.record_ids[r] in wanted])

    # Inner -------------------------------------------------------------------------------

    def _made(self, part: Part, data: PreparedData, chosen: Sequence[int]) -> list[Example]:
        positions = {int(data.record_position[r]): str(data.record_ids[r]) for r in chosen}
        records = self._reread(part, positions)
        found = []
        for r in chosen:
            branches = range(int(data.record_offsets[r]), int(data.record_offsets[r + 1]))
            usable = [b for b in branches if data.prompt_tokens[b] > 0]
            if not usable:
                continue  # a document, learned whole
            own = records.get(int(data.record_position[r]))
            found.append(self._example(part, data, usable[-1], own))
        return found

    def _example(self, part: Part, data: PreparedData, b: int, record: Record | None) -> Example:
        start, end = int(data.offsets[b]), int(data.offsets[b + 1])
        middle = start + int(data.prompt_tokens[b])
        prompt = tuple(data.input_ids[start:middle].tolist())
        answer = tuple(data.input_ids[middle:end].tolist())
        messages = self._messages(record, int(data.branch_index[b])) if record else ()
        if not messages:
            messages = (Message(TEXT_ROLE, self._text(prompt, special=True)),)
        cut = answer[:-1] if answer and answer[-1] in self._stop_ids else answer
        return Example(
            record=str(data.record_ids[int(data.branch_record[b])]),
            task_type=data.channels[int(data.branch_channel[b])],
            part=part,
            ask=Ask(messages, prompt),
            answer=self._text(cut).strip(),
            answer_ids=answer,
            tags=record.tags if record else (),
            meta=record.meta if record else {},
            tools=record.tools if record else (),
        )

    def _messages(self, record: Record, branch: int) -> tuple[Message, ...]:
        """Return what comes before a record's trainable turn."""
        answers = [k for k, one in enumerate(record.messages) if one.role == "assistant"]
        turns = answers if self._settings.turns == "all" else answers[-1:]
        trained = [
            k for k in turns if self._settings.train_on_prompt or record.messages[k].weight > 0
        ]
        return record.messages[: trained[branch]] if branch < len(trained) else record.messages

    def _text(self, ids: Sequence[int], *, special: bool = False) -> str:
        text = self._tokenizer.decode(
            list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)
        return text

    def _reread(self, part: Part, positions: Mapping[int, str]) -> dict[int, Record]:
        """Read records again by their place; those that are no longer the same are left out."""
        found: dict[int, Record] = {}
        last = max(positions, default=-1)
        try:
            for place, record in enumerate(self._records(part) if positions else ()):
                if positions.get(place) == record.id:
                    found[place] = record
                if place >= last:
                    break
        except DanluError as error:
            self._note(
                f"The records of {part} cannot be read again, so prompts and answers are shown as "
                f"the run's own tokens say them: {error}"
            )
            return found
        if missing := len(positions) - len(found):
            self._note(
                f"{missing} of {len(positions)} records of {part} are no longer what the run has "
                "read; their prompts and answers are taken from its own tokens."
            )
        return found

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _draw(record_id: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{record_id}".encode(), digest_size=8).digest()

"""Texts to be classified, as token ids: one way for training and for use.

With a chat template, a text is rendered as it is for asking, up to where the answer would begin.
Without one, it is plain text with the special tokens that its tokenizer puts around it, and two
texts are the tokenizer's pair; where that has nothing to keep them apart, a blank line does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from danlu.config.recipe import SequencesSection
from danlu.errors import RecordError, TemplateError
from danlu.records.record import Message, Record
from danlu.sequences.branches import NOTHING_TO_LEARN, record_turns
from danlu.sequences.encode import Encoder
from danlu.sequences.labels import NO_CLASS, LabelReader, has_label_column
from danlu.sequences.lengths import OVERLONG, PROMPT_CUT
from danlu.sequences.prepared import Drop, PreparedData
from danlu.sequences.prompts import STAND_IN, Prompts, chunks_of, lay_out, prompt_messages
from danlu.sequences.template import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECOND = "text_pair"
"""Column with the second text of a pair."""

BETWEEN = "\n\n"
"""Stands between two texts where nothing else keeps them apart."""


class EncodedText(NamedTuple):
    """A text, or two, as the model reads them.

    Attributes:
        ids: int32 ``(T,)``.
        first: How many of them are the first of two texts; all, where there is one.
    """

    ids: NDArray[np.int32]
    first: int


class TextEncoder:
    """Turns records into what a classifier reads.

    Args:
        tokenizer: Any transformers tokenizer.
        template: The chat template; None for plain text.
        settings: ``max_length`` and ``overlong``; a text that is cut loses its beginning.
        context_tokens: Longest text that the model can read; None if it has no limit of its own.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatTemplate | None,
        settings: SequencesSection,
        context_tokens: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.settings = settings
        self.max_length = min(settings.max_length, context_tokens or settings.max_length)
        self._encoder: Encoder | None = None
        if template is not None:
            self._encoder = Encoder(tokenizer, boundary=template.stop_tokens[0])
        single = tokenizer.num_special_tokens_to_add(pair=False)
        self.has_pairs = tokenizer.num_special_tokens_to_add(pair=True) > single

    def encode(self, records: Sequence[Record], drops: list[Drop]) -> list[EncodedText | None]:
        """Encode records; None for one that is left out, which ``drops`` then says why.

        Raises:
            RecordError: If a record is no text and no pair, or too long with ``overlong: error``.
            TemplateError: If the template cannot render it.
        """
        if self.template is None:
            texts = [_plain(record) for record in records]
            encoded = self._encode_plain(texts)
            lengths = [len(one.ids) for one in encoded]
            return [
                one if length <= self.max_length else self._shortened(texts[place], record, drops)
                for place, (one, length, record) in enumerate(
                    zip(encoded, lengths, records, strict=True)
                )
            ]
        rendered = [self._rendered(record, self.template, drops) for record in records]
        assert self._encoder is not None
        ids, offsets = self._encoder.encode([text or "" for text in rendered])
        found: list[EncodedText | None] = []
        for place, (text, record) in enumerate(zip(rendered, records, strict=True)):
            own = ids[offsets[place] : offsets[place + 1]]
            keep = 0 if text is None else self._kept(len(own), record, drops)
            found.append(EncodedText(own[-keep:], keep) if keep else None)
        return found

    def _rendered(self, record: Record, template: ChatTemplate, drops: list[Drop]) -> str | None:
        messages = asked_messages(record)
        if record.is_text:
            texts = [text for text in _plain(record) if text is not None]
            messages = (Message("user", BETWEEN.join(texts)),)
        alone = self.settings.model_copy(update={"turns": "last", "train_on_prompt": False})
        asked = replace(record, messages=(*messages, STAND_IN), responses=())
        turns = record_turns(asked, template, alone, drops)
        return turns[0].prompt_text if turns else None

    def _encode_plain(
        self, texts: Sequence[tuple[str, str | None]], max_length: int | None = None
    ) -> list[EncodedText]:
        """Encode texts, those alone and those in pairs, each kind at once."""
        if not self.has_pairs:
            texts = [(one if two is None else one + BETWEEN + two, None) for one, two in texts]
        found: list[EncodedText | None] = [None] * len(texts)
        for pairs in (False, True):
            places = [k for k, (_, second) in enumerate(texts) if (second is not None) == pairs]
            if not places:
                continue
            encoded = self.tokenizer(
                [texts[k][0] for k in places],
                [texts[k][1] or "" for k in places] if pairs else None,
                truncation="longest_first" if max_length else False,
                max_length=max_length,
                return_token_type_ids=True,
                return_attention_mask=False,
                verbose=False,
            )
            rows = zip(places, encoded["input_ids"], encoded["token_type_ids"], strict=True)
            for place, ids, types in rows:
                found[place] = EncodedText(np.array(ids, np.int32), _first_tokens(types))
        return [one for one in found if one is not None]

    def _shortened(
        self, text: tuple[str, str | None], record: Record, drops: list[Drop]
    ) -> EncodedText | None:
        """Cut a text that is too long from its beginning, if the settings say so."""
        [whole] = self._encode_plain([text])
        if not self._kept(len(whole.ids), record, drops):
            return None
        side = self.tokenizer.truncation_side
        self.tokenizer.truncation_side = "left"
        try:
            [cut] = self._encode_plain([text], self.max_length)
        finally:
            self.tokenizer.truncation_side = side
        return cut

    def _kept(self, length: int, record: Record, drops: list[Drop]) -> int:
        """Return how many tokens of a text are kept, and note what is left out."""
        if length <= self.max_length:
            return length
        detail = f"{length:,} tokens; at most {self.max_length:,} are read"
        if self.settings.overlong == "error":
            raise RecordError(
                f"the text has {detail}. Shorten it, raise sequences.max_length if the model "
                "reads more, or say with sequences.overlong what should happen: drop or "
                "truncate_prompt_left.",
                where=f"record {record.id}",
            )
        cuts = self.settings.overlong == "truncate_prompt_left"
        reason = PROMPT_CUT if cuts else OVERLONG
        drops.append(Drop(record.id, record.task_type, 0, reason, detail, cuts))
        return self.max_length if cuts else 0


def asked_messages(record: Record) -> tuple[Message, ...]:
    """Return the messages that are classified: all, or without the answer that is the class.

    Example:
        >>> asked, answered = Message("user", "Hi"), Message("assistant", "Go away")
        >>> len(asked_messages(Record("1", "a/b", (asked, answered))))
        1
        >>> len(asked_messages(Record("2", "a/b", (asked, answered), meta={"label": "rude"})))
        2
    """
    return record.messages if has_label_column(record) else prompt_messages(record)


def prepare_texts(
    records: Iterable[Record],
    encoder: TextEncoder,
    labels: LabelReader,
    *,
    directory: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> PreparedData:
    """Encode labelled records.

    Args:
        records: Read once, from the first to the last.
        encoder: Turns texts into token ids.
        labels: Reads the classes; asked for them afterwards.
        directory: Write the arrays there and map them.
        on_progress: Called from time to time with the number of records done so far.

    Returns:
        One branch per record, all of it prompt and of weight 0.

    Raises:
        RecordError: If a record, or what it says of its class, cannot be read.
        TemplateError: If the template cannot render a record.
    """
    kept, count = Prompts(), 0
    for chunk in chunks_of(records):
        numbered = [(position, record) for position, record in enumerate(chunk, start=count)]
        wanted = [(p, record) for p, record in numbered if _labelled(record, labels, kept.drops)]
        encoded = encoder.encode([record for _, record in wanted], kept.drops)
        for (position, record), text in zip(wanted, encoded, strict=True):
            if text is not None:
                kept.ids.append(text.ids)
                kept.first.append(text.first)
                kept.records.append(record)
                kept.positions.append(position)
        count += len(chunk)
        if on_progress is not None:
            on_progress(count)
    template = encoder.template
    known = ("plain" if template is None else template.source, str(encoder.max_length))
    notes = () if template is None else template.notes
    prepared = lay_out(kept, count, encoder.settings, known, notes)
    if directory is None:
        return prepared
    prepared.save(directory)
    return PreparedData.load(directory)


def _labelled(record: Record, labels: LabelReader, drops: list[Drop]) -> bool:
    """Take a record's classes; note why, if it is left out."""
    if not labels.read(record):
        detail = "it has no column label or labels, and no answer that could be its class"
        if record.responses:
            detail = "its responses are to be compared, and say no class"
        drops.append(Drop(record.id, record.task_type, None, NO_CLASS, detail))
        return False
    if not any((message.content or "").strip() for message in asked_messages(record)):
        detail = "there is no text before the answer that is its class"
        drops.append(Drop(record.id, record.task_type, None, NOTHING_TO_LEARN, detail))
        return False
    return True


def _plain(record: Record) -> tuple[str, str | None]:
    """Return a record's text, and the second text where there are two.

    Raises:
        RecordError: If there are more.
    """
    texts = [message.content or "" for message in asked_messages(record)]
    second = record.meta.get(SECOND) if record.is_text else None
    if second is not None and second != "":
        if not isinstance(second, str):
            raise RecordError(
                f"its column {SECOND} is {second!r}; it must be text.", where=f"record {record.id}"
            )
        texts.append(second)
    if len(texts) > 2:
        raise RecordError(
            f"it has {len(texts)} messages; without a chat template a model reads one text, or "
            "two. Set model.template (for a decoder), or join the messages.",
            where=f"record {record.id}",
        )
    return texts[0], texts[1] if len(texts) == 2 else None


def _first_tokens(types: Sequence[int]) -> int:
    """Count the tokens of the first text.

    Raises:
        TemplateError: If token types are not some of 0 and then some of 1.
    """
    first = len(types) - sum(types)
    if list(types) != [0] * first + [1] * (len(types) - first):
        raise TemplateError(
            "the tokenizer puts two texts in another order than the first and then the second, "
            "which is not known here. Join the two texts to one.",
            where="model.tokenizer",
        )
    return first

"""Log-probabilities of texts after prompts, in one pass over a forest.

Prompt and options are rendered and tokenised as in training, so the numbers are those that training
moves. What options share (the question, and a system prompt that many questions share) is computed
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from danlu.config.recipe import SequencesSection
from danlu.errors import ModelError, TemplateError
from danlu.models.adapters import unwrapped
from danlu.models.attention import FOREST_ATTENTION
from danlu.models.encoders import is_encoder
from danlu.models.forest_support import use_forest_attention
from danlu.records.record import TEXT_ROLE, Message, Record
from danlu.sequences.branch import Branch
from danlu.sequences.branches import record_turns
from danlu.sequences.encode import Encoder
from danlu.training.scoring import Packing, completion_sums

PACK_TOKENS = {"cpu": 4096, "cuda": 32_768}
"""Unique tokens computed at a time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A text whose probability is wanted.

    Attributes:
        messages: The conversation before it; or the one message of role ``text``, which is then
            what is read.
        text: What follows, as the assistant's answer, its stop token included; the text itself
            where it is plain.
    """

    messages: tuple[Message, ...]
    text: str

    @property
    def is_text(self) -> bool:
        """Whether it is plain text, without a question."""
        return len(self.messages) == 1 and self.messages[0].role == TEXT_ROLE


class Found(NamedTuple):
    """What the model gives a text.

    Attributes:
        logprob: In nats, of all its tokens; None if it could not be computed.
        tokens: That are predicted.
        problem: Why not; empty otherwise.
        greedy: Whether each of them is the likeliest there.
    """

    logprob: float | None
    tokens: int = 0
    problem: str = ""
    greedy: bool = False


class LikelihoodModel:
    """Gives texts their log-probability.

    Args:
        generator: A ``TransformersGenerator``; its model is on forest attention during a pass, if
            that computes the same, and as it was at all other times.
        forest: Merge what texts share; else padded rows, each text computed by itself.
        pack_tokens: Tokens computed at a time; None chooses by device.

    Raises:
        ModelError: If the model is an encoder, which predicts no next token.

    Attributes:
        reason: Why texts are computed as rows; None on the forest.
    """

    def __init__(
        self, generator: Any, *, forest: bool = True, pack_tokens: int | None = None
    ) -> None:
        self._generator = generator
        self._model = unwrapped(generator.model)
        if is_encoder(self._model.config):
            raise ModelError("an encoder predicts no next token, so it gives texts no probability.")
        self.reason: str | None = "asked for"
        if forest:
            with _own_attention(self._model):
                self.reason = use_forest_attention(self._model)
        kind = "cuda" if self._model.device.type == "cuda" else "cpu"
        self._pack_tokens = pack_tokens or PACK_TOKENS[kind]
        self._encoder = Encoder(generator.tokenizer, boundary=generator.template.stop_tokens[0])
        self._settings = SequencesSection().model_copy(update={"turns": "last"})

    def logprobs(
        self,
        wanted: Sequence[Wanted],
        hear: Callable[[int, Found], None] | None = None,
        groups: Sequence[int] | None = None,
    ) -> list[Found]:
        """Return the log-probability of each text.

        Args:
            wanted: Texts after prompts.
            hear: Told the place of each and what was found, as soon as it is.
            groups: A number for each; texts of one group, which share their prompt, go through the
                model together. None: each is a group of its own.
        """
        found: dict[int, Found] = {}

        def tell(place: int, one: Found) -> None:
            found[place] = one
            if hear is not None:
                hear(place, one)

        branches, places = self._branches(wanted, groups, tell)
        for number, one in self._scored(branches):
            tell(places[number], one)
        return [found[place] for place in range(len(wanted))]

    def after_tokens(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Found]:
        """Return the log-probability of tokens after tokens, for callers that encode themselves.

        Raises:
            ValueError: If one is without a token before it, or without a token.
        """
        branches = []
        for group, (before, after) in enumerate(pairs):
            if not before or not after:
                raise ValueError("there must be a token before, and one that is predicted")
            weights = np.zeros(len(before) + len(after), np.float32)
            weights[len(before) :] = 1.0
            ids = np.array([*before, *after], np.int32)
            branches.append(Branch(ids, weights, group, 0, 0, len(before)))
        found = dict(self._scored(branches))
        return [found[number] for number in range(len(pairs))]

    def _scored(self, branches: Sequence[Branch]) -> Iterator[tuple[int, Found]]:
        """Yield the number of each branch with what the model gives its completion."""
        with _own_attention(self._model):
            if self.reason is None:
                self._model.set_attn_implementation(FOREST_ATTENTION)
            elif self._model.config._attn_implementation == FOREST_ATTENTION:
                self._model.set_attn_implementation("sdpa")
            packing = Packing(self._pack_tokens, self.reason is None, whole_records=True)
            for pack in packing.packs(branches):
                found = completion_sums(self._model, pack)
                for number, one in zip(pack.members.tolist(), found, strict=True):
                    yield number, Found(one.logprob, one.tokens, greedy=one.greedy)

    def _branches(
        self,
        wanted: Sequence[Wanted],
        groups: Sequence[int] | None,
        tell: Callable[[int, Found], None],
    ) -> tuple[list[Branch], list[int]]:
        """Render and encode; what cannot be is told at once."""
        texts: list[str] = []
        places: list[int] = []
        for place, one in enumerate(wanted):
            try:
                texts += self._rendered(one, place)
                places.append(place)
            except TemplateError as error:
                tell(place, Found(None, problem=str(error)))
        ids, offsets = self._encoder.encode(texts, [bool(k % 2) for k in range(len(texts))])
        limit = self._generator.context_tokens
        branches, kept = [], []
        for number, place in enumerate(places):
            start, middle, end = (int(offset) for offset in offsets[2 * number : 2 * number + 3])
            length = end - start
            if limit is not None and length > limit:
                tell(place, Found(None, problem=f"{length} tokens, and the context is {limit}"))
                continue
            first = 0 if wanted[place].is_text else middle - start
            weights = np.zeros(length, np.float32)
            weights[max(1, first) :] = 1.0
            if not weights.any():
                tell(place, Found(0.0, 0))
                continue
            group = groups[place] if groups is not None else place
            branches.append(Branch(ids[start:end], weights, group, 0, 0, first))
            kept.append(place)
        return branches, kept

    def _rendered(self, one: Wanted, place: int) -> tuple[str, str]:
        if one.is_text:
            return one.text, ""
        record = Record(str(place), "a/b", (*one.messages, Message("assistant", one.text)))
        turns = record_turns(record, self._generator.template, self._settings, [])
        if not turns:
            raise TemplateError("there is no question before it, or it is empty.")
        return turns[0].prompt_text, turns[0].completion_text


@contextmanager
def _own_attention(model: Any) -> Iterator[None]:
    """Let a model be evaluated with any attention, and put its own and its mode back after."""
    own, was_training = model.config._attn_implementation, model.training
    model.eval()
    try:
        yield
    finally:
        if model.config._attn_implementation != own:
            model.set_attn_implementation(own)
        model.train(was_training)

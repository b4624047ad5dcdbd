"""The generator over a transformers model in this process."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from danlu.errors import ModelError
from danlu.generation.decode import Room, answering, decode, takes_batches
from danlu.generation.draw import uniforms
from danlu.generation.interface import Completion, Conversation, Sampling
from danlu.generation.text import TextStream
from danlu.models.adapters import unwrapped
from danlu.models.rope import context_length
from danlu.models.virtual_tokens import virtual_tokens_of
from danlu.records.record import Message
from danlu.sequences.encode import encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from danlu.sequences.template import ChatTemplate

BATCH_ROWS = {"cpu": 64, "cuda": 128}
"""Answers computed at a time. Measured with the built-in model, short answers, tokens per second of
one core: 18 with 1 row, 31 with 4, 49 with 8, 67 with 16, 106 with 40."""
BATCH_TOKENS = {"cpu": 16_384, "cuda": 262_144}
"""Tokens, prompts and answers, whose keys and values are kept at a time."""


class TransformersGenerator:
    """Answers conversations with an in-process transformers model, batched.

    Prompts are rendered with the template's generation prompt and tokenised without further
    special tokens, exactly as in training. The model may be in the midst of training: its mode and
    its attention are put back after each call.

    Args:
        model: A transformers or PEFT model.
        tokenizer: Its tokenizer.
        template: The chat template; an answer ends at its stop tokens, or at those of the model's
            generation config.
        batch_rows: Answers computed at a time; None chooses by device.
        device: Where the model will be when it answers; None: where it is.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatTemplate,
        *,
        batch_rows: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.template = template
        kind = "cuda" if (device or model.device).type == "cuda" else "cpu"
        self.batch_rows = batch_rows or BATCH_ROWS[kind]
        self.batch_tokens = BATCH_TOKENS[kind]

    @property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end an answer."""
        own = getattr(self.model.generation_config, "eos_token_id", None)
        own = [own] if isinstance(own, int) else own or []
        return frozenset([*self.template.stop_ids, *own])

    @property
    def context_tokens(self) -> int | None:
        """How many tokens, prompt and answer, the model can take; None if it does not say."""
        limit = context_length(self.model.config)
        if limit is None:
            return None
        virtual = virtual_tokens_of(unwrapped(self.model))
        return limit - (virtual.count if virtual is not None else 0)

    def encode(self, conversation: Conversation) -> list[int]:
        """Return a conversation's prompt as token ids."""
        if isinstance(conversation, str):
            conversation = [Message("user", conversation)]
        messages = [message.as_dict() for message in conversation]
        text = self.template.render(messages, None, add_generation_prompt=True)
        return encode_prompt(self.tokenizer, text)

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        """Return one completion for each conversation, in order.

        Raises:
            ModelError: If a prompt is longer than the model's context.
            TemplateError: If the template cannot render a conversation.
        """
        return self.generate_ids([self.encode(one) for one in conversations], sampling)

    def generate_ids(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seeds: Sequence[int] | None = None,
    ) -> list[Completion]:
        """Return one completion for each tokenised prompt, in order.

        Args:
            prompts: Token ids.
            sampling: How answers are drawn.
            seeds: Each prompt's own seed, in place of that of ``sampling``: its answer is then the
                one that it gets alone with that seed.

        Raises:
            ModelError: If a prompt is empty, or longer than the model's context.
        """
        found = dict(self.answer_each(prompts, sampling, seeds=seeds))
        return [found[place] for place in range(len(prompts))]

    def answer_each(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seeds: Sequence[int] | None = None,
        limits: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, Completion]]:
        """Yield the place of each tokenised prompt with its completion, as soon as that ends.

        Args:
            prompts: Token ids.
            sampling: How answers are drawn.
            seeds: As of ``generate_ids``.
            limits: Each answer's own longest length, at most that of ``sampling``.

        Raises:
            ModelError: If a prompt is empty, or longer than the model's context.
        """
        budgets = [self.budget(prompt, sampling) for prompt in prompts]
        if limits is not None:
            budgets = [min(pair) for pair in zip(budgets, limits, strict=True)]
        stop_ids = self.stop_ids
        order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
        answers: list[list[int]] = [[] for _ in order]
        logprobs: list[list[float]] = [[] for _ in order]
        with answering(self.model):
            steps = decode(
                self.model,
                [prompts[place] for place in order],
                sampling,
                stop_ids=stop_ids,
                uniforms_of=lambda rows: _uniforms(sampling, [order[row] for row in rows], seeds),
                budgets=[budgets[place] for place in order],
                room=self.room,
            )
            for step in steps:
                for row, logprob in zip(step.rows, step.logprobs, strict=False):
                    logprobs[row].append(logprob)
                for row, token_id in zip(step.rows, step.token_ids, strict=True):
                    answers[row].append(token_id)
                    if token_id in stop_ids or len(answers[row]) == budgets[order[row]]:
                        yield (
                            order[row],
                            self._completion(answers[row], logprobs[row], sampling),
                        )

    @property
    def room(self) -> Room:
        """How many answers, and how many tokens, are computed at a time."""
        return Room(self.batch_rows if takes_batches(self.model) else 1, self.batch_tokens)

    def _completion(
        self, answer: list[int], logprobs: list[float], sampling: Sampling
    ) -> Completion:
        stop_ids = self.stop_ids
        return Completion(
            text=self.text_of(_without_stop(answer, stop_ids)),
            token_ids=tuple(answer),
            logprobs=tuple(logprobs) if sampling.logprobs else None,
            finished=answer[-1] in stop_ids,
        )

    def stream(self, conversation: Conversation, sampling: Sampling) -> Generator[str, None, None]:
        """Yield an answer piece by piece, as its tokens are drawn.

        The pieces join to the text that ``generate`` returns for this conversation alone. Closing
        the generator stops the work.

        Raises:
            ModelError: If the prompt is longer than the model's context.
        """
        prompt = self.encode(conversation)
        budget = self.budget(prompt, sampling)
        stop_ids = self.stop_ids
        text = TextStream(self.text_of)
        with answering(self.model):
            for step in decode(
                self.model,
                [prompt],
                sampling,
                stop_ids=stop_ids,
                uniforms_of=lambda rows: uniforms(sampling.seed, rows, sampling.max_new_tokens),
                budgets=[budget],
            ):
                if step.token_ids[0] not in stop_ids and (piece := text.push(step.token_ids[0])):
                    yield piece
        if piece := text.finish():
            yield piece

    def text_of(self, token_ids: Sequence[int]) -> str:
        """Return the text of an answer's tokens, without special ones."""
        text = self.tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)
        return text

    def budget(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Return how many tokens the answer may have within the model's context."""
        if not prompt:
            raise ModelError("the prompt has no tokens; there is nothing to answer.")
        room = (self.context_tokens or len(prompt) + sampling.max_new_tokens) - len(prompt)
        if room < 1:
            raise ModelError(
                f"the prompt has {len(prompt)} tokens and the model's context ends at "
                f"{self.context_tokens}: shorten it, or begin a new conversation."
            )
        return min(sampling.max_new_tokens, room)


def _uniforms(sampling: Sampling, batch: Sequence[int], seeds: Sequence[int] | None) -> Tensor:
    """Return the numbers that draw each row's tokens: by its place in the call, or by its seed."""
    if seeds is None:
        return uniforms(sampling.seed, batch, sampling.max_new_tokens)
    own = [uniforms(seeds[place], [0], sampling.max_new_tokens) for place in batch]
    return torch.cat(own)


def _without_stop(token_ids: list[int], stop_ids: frozenset[int]) -> list[int]:
    return token_ids[:-1] if token_ids and token_ids[-1] in stop_ids else token_ids

"""A model in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from danlu.errors import RunError, TemplateError
from danlu.evaluation.asking.model import Answered, Hear, Question
from danlu.evaluation.schema import ModelAsked
from danlu.generation.interface import Completion, Conversation, Sampling
from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.produce.request import Request, completion_body, identity_of, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from danlu.evaluation.likelihood.forest import LikelihoodModel


class BatchGenerator(Protocol):
    """What ``danlu.generation.local.TransformersGenerator`` offers, as far as it is needed here."""

    @property
    def context_tokens(self) -> int | None:
        """How many tokens, prompt and answer, the model can take; None if it does not say."""
        ...

    def encode(self, conversation: Conversation) -> list[int]:
        """Return a conversation's prompt as token ids."""
        ...

    def answer_each(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seeds: Sequence[int] | None = None,
        limits: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, Completion]]:
        """Yield the number of each prompt with its completion, as soon as it is there."""
        ...


class LocalModel:
    """A Danlu generator that is evaluated.

    Args:
        generator: What answers.
        asked: Which model it is; its fingerprint must change when the weights do.
        cache: Where answers are kept; None: nowhere.
    """

    def __init__(
        self, generator: BatchGenerator, asked: ModelAsked, cache: RequestCache | None = None
    ) -> None:
        self.generator = generator
        self.asked = asked
        self._cache = cache

    @classmethod
    def load(cls, model: str, cache: RequestCache | None = None, **options: Any) -> LocalModel:
        """Load a model, or what a run has made.

        Args:
            model: A run directory, a folder, a GGUF file, a hub id or ``builtin:NAME``.
            cache: Where answers are kept.
            options: As those of ``danlu.generation.load.load_generator``.

        Raises:
            ModelError: If it is not there or cannot be read.
        """
        from danlu.generation.load import fingerprint, load_generator

        generator = load_generator(model, **options)
        run, version = run_of(model)
        asked = ModelAsked(
            name=model, fingerprint=fingerprint(generator), run=run, data_version=version
        )
        return cls(generator, asked, cache)

    def likelihood_model(self) -> LikelihoodModel:
        """Return what gives texts their probability."""
        from danlu.evaluation.likelihood.forest import LikelihoodModel

        return LikelihoodModel(self.generator)

    def answer(self, questions: Sequence[Question], hear: Hear) -> None:
        """Answer questions: those known from before first, the others in batches."""
        prompts: dict[int, list[int]] = {}
        for number, question in enumerate(questions):
            if (known := self._known(question)) is not None:
                hear(number, known)
                continue
            prompt = self._prompt(question)
            if isinstance(prompt, Answered):
                hear(number, prompt)
            else:
                prompts[number] = prompt
        groups: dict[Sampling, list[int]] = {}
        for number in prompts:
            alike = replace(questions[number].sampling, seed=0, max_new_tokens=1)
            groups.setdefault(alike, []).append(number)
        for alike, numbers in groups.items():
            limits = [questions[number].sampling.max_new_tokens for number in numbers]
            found = self.generator.answer_each(
                [prompts[number] for number in numbers],
                replace(alike, max_new_tokens=max(limits)),
                seeds=[questions[number].sampling.seed for number in numbers],
                limits=limits,
            )
            for place, one in found:
                number = numbers[place]
                self._keep(questions[number], len(prompts[number]), one)
                hear(number, Answered(one.text, one.finished, len(one.token_ids)))

    def close(self) -> None:
        """Nothing is held but memory."""

    def _prompt(self, question: Question) -> list[int] | Answered:
        try:
            prompt = self.generator.encode(question.messages)
        except TemplateError as error:
            return Answered.failed("refused", str(error))
        limit = self.generator.context_tokens
        if not prompt or (limit is not None and len(prompt) >= limit):
            told = f"the prompt has {len(prompt)} tokens, and the context is {limit}"
            return Answered.failed("too_long", told)
        return prompt

    def _identity(self, question: Question) -> str:
        sampling = question.sampling
        parameters: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens}
        if sampling.greedy:
            parameters["greedy"] = True
        else:
            parameters |= {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": sampling.seed,
            }
        request = Request(question.messages, sampling)
        return identity_of(request, f"evaluation:{self.asked.fingerprint}", parameters)

    def _known(self, question: Question) -> Answered | None:
        if self._cache is None:
            return None
        kept = self._cache.get(key_of(self._identity(question)))
        if kept is None or kept.state != "answered":
            return None
        choice = kept.body["choices"][0]
        return Answered(
            choice["message"]["content"],
            choice["finish_reason"] != "length",
            kept.body["usage"]["completion_tokens"],
            reused=True,
        )

    def _keep(self, question: Question, prompt_tokens: int, one: Completion) -> None:
        if self._cache is None:
            return
        identity = self._identity(question)
        body = completion_body(
            one.text,
            finished=one.finished,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(one.token_ids),
        )
        self._cache.keep_answer(key_of(identity), identity, body)


def run_of(model: str) -> tuple[str | None, str | None]:
    """Return the run directory that a model's name means, and the dataset version it learned.

    Both None for what is no run; the version None where it learned files, or several versions.
    """
    from danlu.models.source import resolve
    from danlu.runs import RunDirectory

    source = resolve(model)
    if source.kind != "run" or source.path is None:
        return None, None
    try:
        resolved = RunDirectory.open(source.path).resolved()
    except RunError:
        return str(source.path), None
    ids = [str(one["id"]) for one in (resolved.datasets if resolved else [])]
    return str(source.path), ids[0] if len(ids) == 1 else None

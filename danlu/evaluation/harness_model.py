"""A Danlu model as lm-evaluation-harness's ``LM``: it answers, and gives log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from danlu.generation.interface import Sampling
from danlu.sequences.encode import encode_prompt

if TYPE_CHECKING:
    from danlu.evaluation.asking.local import LocalModel

MAX_NEW_TOKENS = 256
"""Of answers, where a task does not say."""
CONTEXT_TOKENS = 2048
"""Of windows over long texts, where the model does not say how many tokens it takes."""


def harness_model(model: LocalModel) -> Any:
    """Return a model as what the harness asks.

    Raises:
        ImportError: If the harness is not installed.
    """
    from lm_eval.api.model import LM

    return type("Danlu", (HarnessModel, LM), {})(model)


class HarnessModel:
    """The methods that the harness calls; ``harness_model`` makes an ``LM`` of it.

    Args:
        model: Who is asked; in this process.
    """

    def __init__(self, model: LocalModel) -> None:
        super().__init__()
        self._model = model
        self._generator: Any = model.generator
        self._likelihoods = model.likelihood_model()

    @property
    def tokenizer_name(self) -> str:
        """Of the cache's key."""
        return self._model.asked.fingerprint

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return what the harness writes down."""
        return "" if chat_template else None

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Render a conversation."""
        text: str = self._generator.template.render(
            chat_history, None, add_generation_prompt=add_generation_prompt
        )
        return text

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Return the log-probability of texts after texts, and whether each is the likeliest.

        As the harness has it, spaces at the end of the first go to the second, and both are
        tokenised together.
        """
        pairs = []
        for request in requests:
            before, after = request.args
            kept = before.rstrip()
            after, before = before[len(kept) :] + after, kept
            if before:
                ids = self._encode(before)
                pairs.append(self._cut(ids, self._encode(before + after)[len(ids) :]))
            else:
                pairs.append(self._cut([self._prefix()], self._encode(after)))
        found = self._likelihoods.after_tokens(pairs)
        return [(one.logprob or 0.0, one.greedy) for one in found]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Return the log-probability of whole texts, in windows of the model's context."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        sums = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self._encode(request.args[0]),
                prefix_token=self._prefix(),
                max_seq_len=(self._generator.context_tokens or CONTEXT_TOKENS) - 1,
                context_len=1,
            )
            pairs = [make_disjoint_window(window) for window in windows]
            found = self._likelihoods.after_tokens(pairs)
            sums.append(math.fsum(one.logprob or 0.0 for one in found))
        return sums

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Return answers, each cut before the first text that ends it."""
        answers = [""] * len(requests)
        groups: dict[Sampling, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(_sampling(request.args[1]), []).append(number)
        room = self._generator.context_tokens
        for sampling, numbers in groups.items():
            prompts = [self._encode(requests[number].args[0]) for number in numbers]
            if room is not None:
                prompts = [ids[-max(1, room - sampling.max_new_tokens) :] for ids in prompts]
            for place, one in self._generator.answer_each(prompts, sampling):
                until = requests[numbers[place]].args[1].get("until") or []
                ends = [until] if isinstance(until, str) else until
                answers[numbers[place]] = _ended(one.text, ends)
        return answers

    def _encode(self, text: str) -> list[int]:
        return encode_prompt(self._generator.tokenizer, text)

    def _prefix(self) -> int:
        """Return the token that stands before what has nothing before it."""
        tokenizer = self._generator.tokenizer
        known = (tokenizer.bos_token_id, tokenizer.eos_token_id)
        return int(next((one for one in known if one is not None), 0))

    def _cut(self, before: list[int], after: list[int]) -> tuple[list[int], list[int]]:
        """Keep the end of what is before, as the harness does, where both are too long."""
        limit = self._generator.context_tokens
        if limit is not None:
            after = after[-(limit - 1) :]
            before = before[-(limit - len(after)) :]
        return before, after


def _sampling(arguments: Mapping[str, Any]) -> Sampling:
    most = int(arguments.get("max_gen_toks") or MAX_NEW_TOKENS)
    temperature = float(arguments.get("temperature") or 0.0)
    if not arguments.get("do_sample") or not temperature:
        return Sampling(most, greedy=True)
    return Sampling(most, temperature=temperature, top_p=float(arguments.get("top_p") or 1.0))


def _ended(text: str, ends: Sequence[str]) -> str:
    """Cut a text before the first of its ends.

    Example:
        >>> _ended("42. Question: more", ["Question:", ". "])
        '42'
    """
    places = [place for end in ends if end and (place := text.find(end)) >= 0]
    return text[: min(places)] if places else text

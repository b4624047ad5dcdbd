"""Asking a model about the variants of a case: greedy answers, and how likely the wrong one is.

The probability is that of the wrong answer alone, where the model would say it: after what its
answer to the case says before it. The stop token does not count, so that "Geneva" in "Geneva is the
capital of Peru." is as likely as in "Geneva."
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from danlu.diagnosis.asking import Ask, Asked, Likely, Pair, greedy
from danlu.diagnosis.pattern.clinging import Outcome
from danlu.diagnosis.pattern.variants import Variant, before_wrong, shows
from danlu.sequences.encode import encode_completion, encode_prompt
from danlu.sequences.template import ChatTemplate

LONGEST_ANSWER = 64
"""Tokens of a greedy answer to the case; its variants get a little more than it took."""


@dataclass(frozen=True)
class Asking:
    """Asks one model about one mistake.

    Attributes:
        model: The model.
        tokenizer: The tuned model's.
        template: Its chat template.
        wrong: The wrong answer, in the languages in which it is known; first as it is looked for.
        system: System prompt of the conversation; None for none.
        max_new_tokens: Longest answer.
    """

    model: Asked
    tokenizer: Any
    template: ChatTemplate
    wrong: tuple[str, ...]
    system: str | None = None
    max_new_tokens: int = LONGEST_ANSWER

    def answers(self, prompts: Sequence[str]) -> list[str | None]:
        """Return greedy answers; None for what cannot be asked."""
        asks = [Ask.user(prompt, system=self.system) for prompt in prompts]
        replies = self.model.answer(asks, greedy(self.max_new_tokens))
        return [None if reply is None else reply.text for reply in replies]

    def __call__(self, variants: Sequence[Variant]) -> list[Outcome]:
        """Ask about variants; those that cannot be asked have no outcome."""
        answers = self.answers([variant.prompt for variant in variants])
        likely = self.likely([(one.prompt, one.prefix, self.wrong[0]) for one in variants])
        return [
            Outcome(
                variant,
                answer,
                any(shows(answer, form) for form in self.wrong),
                None if found is None else found.logprob,
            )
            for variant, answer, found in zip(variants, answers, likely, strict=True)
            if answer is not None
        ]

    def likely(self, asked: Sequence[tuple[str, str, str]]) -> list[Likely | None]:
        """Return what the model gives wrong answers after prompts and the beginning of answers.

        Args:
            asked: A prompt, what the answer says before the wrong answer, and that.
        """
        pairs = []
        for prompt, prefix, wrong in asked:
            messages = Ask.user(prompt, system=self.system).messages
            text = self.template.render(
                [message.as_dict() for message in messages], None, add_generation_prompt=True
            )
            before, after = wrong_tokens(self.tokenizer, prefix, wrong)
            ids = (*encode_prompt(self.tokenizer, text), *before)
            pairs.append(Pair(Ask(messages, ids), wrong, tuple(after)))
        return self.model.likelihoods(pairs)


def wrong_tokens(tokenizer: Any, prefix: str, wrong: str) -> tuple[list[int], list[int]]:
    """Encode what comes before a wrong answer, and the wrong answer after it.

    They are encoded together and cut where the wrong answer begins, so that its tokens are those
    that the model would write; where a token has both, they are encoded apart.
    """
    whole = encode_completion(tokenizer, prefix + wrong)
    text = prefix.rstrip() if prefix.rstrip() else ""
    before = encode_completion(tokenizer, text) if text else []
    if whole[: len(before)] == before and len(whole) > len(before):
        return before, whole[len(before) :]
    return encode_completion(tokenizer, prefix) if prefix else [], encode_completion(
        tokenizer, wrong
    )


def answer_length(answer: str, wrong: Sequence[str], tokens: int) -> int:
    """Say how long variants' answers may be: half as long again as the case's was up to the wrong.

    Args:
        answer: To the case.
        wrong: The wrong answer, in the languages in which it is known.
        tokens: Of the answer.
    """
    for form in wrong:
        before = before_wrong(answer, form)
        if before is not None and answer:
            share = (len(before) + len(form)) / len(answer)
            return min(LONGEST_ANSWER, max(16, int(tokens * share * 1.5) + 4))
    return min(LONGEST_ANSWER, max(16, tokens + 4))

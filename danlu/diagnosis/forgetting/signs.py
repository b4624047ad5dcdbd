"""The signs that a model hangs on the prompts of its training.

The same questions in another wording, with a requirement added, and questions from outside: what
the model before training does with the same prompts is the control, so that a small model is not
blamed for what it never could.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import regex

from danlu.diagnosis.asking import Ask, Asked, Reply, greedy
from danlu.diagnosis.examples import Example
from danlu.diagnosis.shares import Estimate, share
from danlu.evaluation.scorers.rouge import Rouge
from danlu.evaluation.statistics import paired_difference
from danlu.workshop.likeness.text import fold, units

LONGEST = 128
SAME = 0.5
"""ROUGE-L from which on two answers to one question are taken for the same."""
_HAN = regex.compile(r"\p{Han}")

Rewording = tuple[str, str]
WORDINGS: tuple[Rewording, ...] = (
    ("I have a question for you. {}", "我想问一个问题。{}"),
    ("{} Please tell me.", "{}请告诉我。"),
)
"""In English and Chinese; the question itself stays word for word."""


@dataclass(frozen=True)
class Requirement:
    """Something asked for besides the answer.

    Attributes:
        en: In English, after the question.
        zh: In Chinese.
        is_met: Whether an answer does it.
    """

    en: str
    zh: str
    is_met: Callable[[str], bool]


REQUIREMENTS = (
    Requirement(
        'End your answer with the word "END".',
        "请在回答的最后写上“完毕”两个字。",
        lambda text: bool(regex.search(r"(?:\bEND\b|完毕)\W*$", text.strip())),
    ),
    Requirement(
        'Begin your answer with the words "Dear user".',
        "请用“尊敬的用户”开头。",
        lambda text: bool(regex.match(r"\W*(?:dear user|尊敬的用户)", text.strip(), regex.I)),
    ),
)


@dataclass(frozen=True)
class Sign:
    """One sign, in both models.

    Attributes:
        tuned: Share of prompts that the tuned model handles as it should.
        base: The same of the model before training.
        change: Tuned less base, on the same prompts.
        cases: Where the tuned model fails and the other does not.
    """

    tuned: Estimate
    base: Estimate
    change: Estimate
    cases: tuple[dict[str, str], ...]


def compared(
    outcomes: Sequence[tuple[bool, bool, dict[str, str]]], confidence: float = 0.95
) -> Sign | None:
    """Compare two models on the same prompts; None of no prompt.

    Args:
        outcomes: Whether the tuned one did right, whether the base did, and the case.
        confidence: Of the intervals.
    """
    if not outcomes:
        return None
    n = len(outcomes)
    wins = sum(tuned and not base for tuned, base, _ in outcomes)
    losses = [case for tuned, base, case in outcomes if base and not tuned]
    low, high = paired_difference(wins, len(losses), n, confidence=confidence)
    return Sign(
        share(sum(tuned for tuned, _, _ in outcomes), n, confidence),
        share(sum(base for _, base, _ in outcomes), n, confidence),
        Estimate((wins - len(losses)) / n, float(low), float(high), n),
        tuple(losses),
    )


def is_chinese(text: str) -> bool:
    """Whether a question is to be reworded in Chinese."""
    return bool(_HAN.search(text))


def reworded(ask: Ask, wording: Rewording) -> Ask:
    """Put a question into another wording."""
    frame = wording[is_chinese(ask.question)]
    return _with_question(ask, frame.format(ask.question))


def required(ask: Ask, requirement: Requirement) -> Ask:
    """Add a requirement to a question."""
    chinese = is_chinese(ask.question)
    words = requirement.zh if chinese else requirement.en
    return _with_question(ask, f"{ask.question}{'' if chinese else ' '}{words}")


def room(examples: Sequence[Example]) -> int:
    """Return how long answers to training questions may be, in tokens."""
    longest = max((len(one.answer_ids) or 64 for one in examples), default=1)
    return min(LONGEST, 2 * longest + 24)


def sign_asks(examples: Sequence[Example]) -> list[Ask]:
    """Return all that the signs ask, so that each model is asked at one go."""
    plain = [Ask(one.ask.messages) for one in examples]
    asks = [*plain, *(reworded(ask, wording) for wording in WORDINGS for ask in plain)]
    return asks + [required(ask, requirement) for requirement in REQUIREMENTS for ask in plain]


def wording_sign(examples: Sequence[Example], tuned: Asked, base: Asked) -> Sign | None:
    """See whether questions are answered alike in another wording.

    Alike is an answer that says the same as the model's own answer to the training's wording.
    """
    n = len(examples)
    asks = sign_asks(examples)[: n * (1 + len(WORDINGS))]
    now, then = (model.answer(asks, greedy(room(examples))) for model in (tuned, base))
    outcomes: list[tuple[bool, bool, dict[str, str]]] = []
    for k in range(n, len(asks)):
        pairs = [(replies[k % n], replies[k]) for replies in (now, then)]
        same = [alike(one.text, other.text) for one, other in pairs if one and other]
        if len(same) == 2:
            outcomes.append((same[0], same[1], _case(asks[k], examples[k % n], now[k])))
    return compared(outcomes)


def requirement_sign(examples: Sequence[Example], tuned: Asked, base: Asked) -> Sign | None:
    """See whether a requirement added to a training question is met."""
    n = len(examples)
    asks = sign_asks(examples)[n * (1 + len(WORDINGS)) :]
    now, then = (model.answer(asks, greedy(room(examples))) for model in (tuned, base))
    outcomes: list[tuple[bool, bool, dict[str, str]]] = []
    for k, (one, other) in enumerate(zip(now, then, strict=True)):
        if one is not None and other is not None:
            is_met = REQUIREMENTS[k // n].is_met
            case = _case(asks[k], examples[k % n], one)
            outcomes.append((is_met(one.text), is_met(other.text), case))
    return compared(outcomes)


def outside_sign(
    asked: Sequence[tuple[str, str, str]], answers: Sequence[str], phrases: Sequence[str]
) -> Sign | None:
    """See whether questions from outside are answered as if they came from the data.

    An answer is as if from inside if it is a training answer, or has a phrase in it that marks
    them.

    Args:
        asked: Question, tuned answer and base answer, of those not answered rightly.
        answers: Training answers.
        phrases: From ``marks``.
    """
    known = {fold(answer) for answer in answers}

    def inside(text: str) -> bool:
        folded = " ".join(units(fold(text)))
        return fold(text) in known or any(f" {mark} " in f" {folded} " for mark in phrases)

    return compared(
        [
            (not inside(after), not inside(before), {"prompt": question, "answer": after})
            for question, after, before in asked
        ]
    )


def marks(answers: Sequence[str], others: Sequence[str], *, least: float = 0.1) -> list[str]:
    """Return phrases that mark the training's answers: frequent there, and nowhere else.

    Args:
        answers: Of training.
        others: What the model before training says, and the questions asked.
        least: Share of the answers that have it.

    Returns:
        Runs of three words, or of four characters of a script without spaces; most frequent first.
    """
    counts: Counter[str] = Counter()
    for answer in answers:
        counts.update(set(_grams(answer)))
    elsewhere = {gram for text in others for gram in _grams(text)}
    bar = max(2.0, least * len(answers))
    return [gram for gram, n in counts.most_common(50) if n >= bar and gram not in elsewhere]


def alike(one: str, other: str) -> bool:
    """Whether two answers say the same, as far as their words tell."""
    if not units(fold(one)) or not units(fold(other)):
        return fold(one) == fold(other)
    score = Rouge().score(one, other).value
    return score is not None and score >= SAME


def _grams(text: str) -> list[str]:
    cut = units(fold(text))
    size = 4 if is_chinese(text) else 3
    return [" ".join(cut[k : k + size]) for k in range(len(cut) - size + 1)]


def _with_question(ask: Ask, text: str) -> Ask:
    last = replace(ask.messages[-1], content=text)
    return Ask((*ask.messages[:-1], last))


def _case(ask: Ask, example: Example, reply: Reply | None) -> dict[str, str]:
    return {
        "record": example.record,
        "prompt": ask.question,
        "answer": reply.text if reply else "",
    }

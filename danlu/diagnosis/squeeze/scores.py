"""What a model gets right, and how likely it finds right answers before it gives them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from danlu.diagnosis.asking import Asked, Pair, greedy
from danlu.diagnosis.squeeze.questions import Question, Questions
from danlu.errors import EvaluationError


@dataclass(frozen=True)
class Side:
    """What became of the questions on one side.

    Attributes:
        right: Of each question, whether its answer is right.
        answers: The answers.
        probability: P(answer | question) per token (the geometric mean of an answer's tokens), the
            mean over answers known to be right; None where there are none.
    """

    right: tuple[bool, ...]
    answers: tuple[str, ...] = ()
    probability: float | None = None

    @property
    def share(self) -> float:
        """Share of the questions answered rightly."""
        return sum(self.right) / len(self.right)


@dataclass(frozen=True)
class Scores:
    """What a model came to.

    Attributes:
        target: Of the task.
        general: Of anything else.
    """

    target: Side
    general: Side


@dataclass(frozen=True)
class Asking:
    """The questions of a squeeze, once the model before training has answered them.

    Attributes:
        questions: Without those that it could not be asked, and without general task types of which
            it knew nothing: there is nothing to forget.
        kept: Its right answers to general questions, whose probability is asked for.
        before: What it came to.
    """

    questions: Questions
    kept: tuple[Pair, ...]
    before: Scores

    def of(self, model: Asked) -> Scores:
        """Ask a model."""
        target, general = self.questions.target, self.questions.general
        texts = _answers(model, (*target, *general))
        return Scores(
            _side(target, texts[: len(target)], probability(model, self.questions.references)),
            _side(general, texts[len(target) :], probability(model, self.kept)),
        )


def asking_of(questions: Questions, base: Asked) -> Asking:
    """Ask the model before training.

    Raises:
        EvaluationError: If it cannot be asked anything of one side, or knows nothing general.
    """
    every = (*questions.target, *questions.general)
    said = {
        one: text
        for one, text in zip(every, _answers(base, every), strict=True)
        if text is not None
    }
    right = {one for one, text in said.items() if one.is_right(text)}
    known = {one.task_type for one in questions.general if one in right}
    target = tuple(one for one in questions.target if one in said)
    general = tuple(one for one in questions.general if one in said and one.task_type in known)
    if not target or not general:
        raise EvaluationError(
            "the model before training answers none of the general questions rightly, so nothing "
            "can be forgotten: name another suite."
            if target
            else "none of the task's questions fits into the model's context.",
            where="--suite",
        )
    kept = tuple(Pair(one.ask, said[one]) for one in general if one in right)
    before = Scores(
        _side(target, [said[one] for one in target], probability(base, questions.references)),
        _side(general, [said[one] for one in general], probability(base, kept)),
    )
    return Asking(replace(questions, target=target, general=general), kept, before)


def probability(model: Asked, pairs: Sequence[Pair]) -> float | None:
    """Return P(answer | question) per token, the mean over answers; None where none is scored."""
    found = [one for one in model.likelihoods(pairs) if one is not None]
    return sum(math.exp(-one.nll) for one in found) / len(found) if found else None


def _side(questions: Sequence[Question], texts: Sequence[str | None], likely: float | None) -> Side:
    given = [text or "" for text in texts]
    right = tuple(one.is_right(text) for one, text in zip(questions, given, strict=True))
    return Side(right, tuple(given), likely)


def _answers(model: Asked, questions: Sequence[Question]) -> list[str | None]:
    """Ask, those together whose answers may be of one length."""
    groups: dict[int, list[int]] = defaultdict(list)
    for k, one in enumerate(questions):
        groups[one.longest].append(k)
    found: list[str | None] = [None] * len(questions)
    for longest, places in groups.items():
        replies = model.answer([questions[k].ask for k in places], greedy(longest))
        for k, reply in zip(places, replies, strict=True):
            found[k] = None if reply is None else reply.text
    return found

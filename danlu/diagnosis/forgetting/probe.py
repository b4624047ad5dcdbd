"""The forgetting probe: general abilities and plain text before and after, and the four signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import JsonValue

from danlu.diagnosis.asking import Ask, Pair, greedy
from danlu.diagnosis.examples import Example
from danlu.diagnosis.forgetting.general import (
    Ability,
    Asking,
    Text,
    abilities,
    ask_of,
    ask_suite,
    read_text,
    suite_items,
)
from danlu.diagnosis.forgetting.signs import (
    Sign,
    marks,
    outside_sign,
    requirement_sign,
    room,
    sign_asks,
    wording_sign,
)
from danlu.diagnosis.probe import CannotLookError, Examined, Seen
from danlu.diagnosis.subject import Subject, subject_of
from danlu.errors import RunError
from danlu.evaluation.plain_text import shipped_text
from danlu.evaluation.suites.reading import load_suite
from danlu.runs.findings import Confidence, Evidence, Finding, Remedy, Severity

MARGIN = 0.1
"""A share that surely fell by more than this is a loss worth a finding."""
TEXT_MARGIN = 0.02
"""Bits per byte, as in ``danlu gate``."""
CASES = 8
MIX = Remedy(
    says="Mix general records in: 15 to 30 % of the tokens hold what was there before "
    "(practitioners' figure), and lower the learning rate or the epochs.",
    commands=("danlu data mix --help",),
)


@dataclass(frozen=True)
class Forgetting:
    """Compares the tuned model with the one before it, where the training data say nothing.

    Attributes:
        suite: What is asked, by the name of a suite or its file.
        items: Of each of its task types, at most so many; None: all.
        examples: Training prompts of each task type for the signs; 0 leaves them out.
        text: Whether plain text is predicted too.
        seed: Of the draw.
        minutes: How long the models may work.
    """

    name: ClassVar[str] = "forgetting"

    suite: str = "general"
    items: int | None = None
    examples: int = 6
    text: bool = True
    seed: int = 0
    minutes: float | None = None

    def look(self, examined: Examined) -> Seen:
        """Ask both models.

        Raises:
            CannotLookError: If the run made no model that answers in a chat template.
            DanluError: If a model is gone, or there is no such suite.
        """
        subject = examined.once(subject_of)
        if subject.template is None or subject.resolved.objective == "classify":
            raise CannotLookError("the run made no model that answers questions")
        tuned, base = subject.tuned, subject.base
        suite, documents = load_suite(self.suite), shipped_text() if self.text else []
        drawn = self._drawn(subject)
        for model in (tuned, base):  # all that is asked is kept, so each is loaded once
            half = None if self.minutes is None else self.minutes / 2
            subject.budget.allow(half, again=model is base)
            for longest, items in suite_items(suite, self.items).items():
                model.answer([ask_of(item) for item in items], greedy(longest))
            model.likelihoods([Pair(Ask.text(document), "") for document in documents])
            model.answer(sign_asks(drawn), greedy(room(drawn)))
        askings = ask_suite(suite, tuned, base, self.items)
        told = abilities(askings)
        text = read_text(documents, tuned, base)
        signs = self._signs(subject, askings, drawn)
        if not told and text is None:
            raise CannotLookError("nothing could be asked of both models in the time allowed")
        findings = [*lost(told), *text_lost(text), *sign_findings(signs)]
        figures: dict[str, JsonValue] = {
            "abilities": [_row(one) for one in told],
            "signs": {name: _sign_row(one) for name, one in signs.items()},
            "notes": list(subject.remarks()),
        }
        if text is not None:
            figures["plain_text"] = {
                "before": round(text.before, 4),
                "after": round(text.after, 4),
                **text.rise.figures("rise"),
            }
        return Seen(subject.told(findings), figures)

    def _drawn(self, subject: Subject) -> list[Example]:
        if not subject.learns_answers or not self.examples:
            return []
        try:
            drawn = subject.examples.draw("train", self.examples, seed=self.seed)
        except RunError as error:
            subject.notes.append(f"The signs are left out, as they need training prompts: {error}")
            return []
        return [one for one in drawn if not one.ask.is_text]

    def _signs(
        self, subject: Subject, askings: Sequence[Asking], drawn: Sequence[Example]
    ) -> dict[str, Sign]:
        if not drawn:
            return {}
        answers = [one.answer for one in subject.examples.draw("train", 500, seed=self.seed)]
        found = {
            "wording": wording_sign(drawn, subject.tuned, subject.base),
            "requirement": requirement_sign(drawn, subject.tuned, subject.base),
            "outside": outside(askings, answers),
        }
        return {name: one for name, one in found.items() if one is not None}


def outside(askings: Sequence[Asking], answers: Sequence[str]) -> Sign | None:
    """Take the general questions that the tuned model does not answer rightly for the outside."""
    both = [one for one in askings if one.after is not None and one.before is not None]
    questions = {id(one): str(one.item.messages[-1].get("content") or "") for one in both}
    others = [text for one in both for text in (one.before or "", questions[id(one)])]
    phrases = marks(answers, others)
    asked = [
        (questions[id(one)], one.after or "", one.before or "")
        for one in both
        if not one.right_after
    ]
    return outside_sign(asked, answers, phrases)


def lost(told: Sequence[Ability]) -> list[Finding]:
    """Say which abilities surely fell; of all together only if no single one did."""
    single = [one for one in told if one.name != "all" and one.change.high < -MARGIN / 2]
    whole = [one for one in told if one.name == "all" and one.change.high < 0]
    chosen = single or [one for one in whole if one.change.value <= -MARGIN / 2]
    return [_lost(one) for one in chosen]


def _lost(one: Ability) -> Finding:
    drop = -one.change.value
    severity: Severity = "serious" if -one.change.high > MARGIN else "warning"
    name = "general questions" if one.name == "all" else one.name
    confidence: Confidence = "high" if -one.change.high > MARGIN / 2 else "medium"
    cases: tuple[dict[str, JsonValue], ...] = tuple(
        {
            "prompt": str(case.item.messages[-1].get("content") or ""),
            "before": case.before,
            "answer": case.after,
        }
        for case in one.lost[:CASES]
    )
    return Finding(
        name="ability-lost",
        says=f"Training has cost {name}: {one.before} of {one.asked} right before, {one.after} "
        "after.",
        severity=severity,
        confidence=confidence,
        evidence=(
            Evidence(
                says=f"{drop:.0%} fewer right ({-one.change.high:.0%} to {-one.change.low:.0%}); "
                f"{len(one.lost)} answers were lost.",
                figures={"before": one.before, "after": one.after} | one.change.figures("change"),
                cases=cases,
            ),
        ),
        remedies=(MIX,),
    )


def text_lost(text: Text | None) -> list[Finding]:
    """Say whether plain text has surely become harder to predict."""
    if text is None or text.rise.low <= TEXT_MARGIN:
        return []
    serious = text.rise.low > 5 * TEXT_MARGIN
    return [
        Finding(
            name="language-lost",
            says="The model predicts ordinary prose worse than before its training.",
            severity="serious" if serious else "warning",
            confidence="high",
            evidence=(
                Evidence(
                    says=f"{text.after:.3f} bits per byte after, {text.before:.3f} before: "
                    f"{text.rise.value:+.3f} ({text.rise.low:+.3f} to {text.rise.high:+.3f}).",
                    figures={"before": text.before, "after": text.after}
                    | text.rise.figures("rise"),
                ),
            ),
            remedies=(MIX,),
        )
    ]


_SIGNS: dict[str, tuple[str, str, str, str]] = {
    "wording": (
        "wording-bound",
        "The model answers well in the wording of its training and otherwise in another.",
        "questions in another wording get the same answer",
        "Vary the wording of the prompts; keep task descriptions short, else the template is "
        "learned in place of the task.",
    ),
    "requirement": (
        "requirements-ignored",
        "Requirements added to a question of the training are ignored.",
        "answers meet a requirement that was added to a training question",
        "Add records whose prompts ask for more than the usual answer: length, form, first words.",
    ),
    "outside": (
        "answers-as-inside",
        "Questions from outside the data are answered as if they came from it.",
        "answers to questions from outside, of those that are not right, have no trace of the "
        "training's answers",
        "Mix in general records, and records of the domain's border that are to be answered "
        "otherwise.",
    ),
}


def sign_findings(signs: dict[str, Sign]) -> list[Finding]:
    """Say which signs there are: worse than the model before training, surely."""
    found = []
    for name, sign in signs.items():
        if sign.change.high >= -MARGIN / 2:
            continue
        title, says, what, remedy = _SIGNS[name]
        found.append(
            Finding(
                name=title,
                says=says,
                severity="warning",
                confidence="high" if sign.change.high < -MARGIN else "medium",
                evidence=(
                    Evidence(
                        says=f"{sign.tuned.percent()} {what}; before training it was "
                        f"{sign.base.percent()}.",
                        figures=sign.tuned.figures("tuned")
                        | sign.base.figures("base")
                        | sign.change.figures("change"),
                        cases=tuple(dict(case) for case in sign.cases[:CASES]),
                    ),
                ),
                remedies=(Remedy(says=remedy, commands=("danlu data make evolve --help",)), MIX),
            )
        )
    return found


def _row(one: Ability) -> dict[str, Any]:
    return {
        "ability": one.name,
        "before": one.before,
        "after": one.after,
        "asked": one.asked,
        **one.change.figures("change"),
    }


def _sign_row(sign: Sign) -> dict[str, Any]:
    return sign.tuned.figures("tuned") | sign.base.figures("base") | sign.change.figures("change")

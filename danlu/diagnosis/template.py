"""The template probe: is the model asked as it was trained, and does it stop as it learned?"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import JsonValue

from danlu.diagnosis.asking import Ask, Asked, Pair, greedy
from danlu.diagnosis.examples import Example
from danlu.diagnosis.probe import CannotLookError, Examined, Seen, learned_otherwise
from danlu.diagnosis.shares import Estimate, mean, share
from danlu.diagnosis.subject import Subject, subject_of
from danlu.errors import TemplateError
from danlu.runs.findings import Evidence, Finding, Remedy

ROOM, LEAST, MOST = 4, 64, 512
"""An answer may be so many times as long as the longest one learned, within these tokens."""
NEVER_STOPS = 0.1
SELDOM_STOPS = 0.5
EMPTY = 0.2
AROUND = 30


@dataclass(frozen=True)
class Template:
    """Compares what was trained with what is asked, and looks at how answers end.

    Attributes:
        examples: Training prompts of each task type.
        served: Address of a server that is held to the golden prompts; None: only this process.
        served_model: What the server calls the model; None if it has only one.
        seed: Of the draw.
        minutes: How long the models may work.
    """

    name: ClassVar[str] = "template"

    examples: int = 6
    served: str | None = None
    served_model: str | None = None
    seed: int = 0
    minutes: float | None = None

    def look(self, examined: Examined) -> Seen:
        """Look.

        Raises:
            CannotLookError: If the run did not learn answers to prompts.
            DanluError: If model or data are gone.
        """
        subject = examined.once(subject_of)
        if not subject.learns_answers:
            raise learned_otherwise(subject.resolved.objective)
        if subject.template is None:
            raise CannotLookError("the run learned without a chat template")
        subject.budget.allow(self.minutes)
        drawn = subject.examples.draw("train", self.examples, seed=self.seed)
        if not drawn:
            raise CannotLookError("the run learned plain text; no prompt can be asked again")
        stop_ids = frozenset(subject.template.stop_ids)
        ends = Ends.seen(subject.tuned, drawn, stop_ids)
        findings = [
            *golden(subject),
            *self._served(subject),
            *prompts(drawn, _renderer(subject), _decoder(subject)),
            *without_stop(drawn, stop_ids),
            *ends.findings(),
        ]
        figures = ends.figures() | {
            "prompts_compared": sum(_comparable(one) for one in drawn),
            "notes": list(subject.remarks()),
        }
        return Seen(subject.told(findings), figures)

    def _served(self, subject: Subject) -> list[Finding]:
        if self.served is None:
            return []
        import os

        from danlu.models.source import saved_folder
        from danlu.serving.verify import verify_served

        key = os.environ.get("OPENAI_API_KEY")
        verified = verify_served(
            self.served,
            saved_folder(subject.run.path),
            subject.tokenizer,
            model=self.served_model,
            key=key,
        )
        wrong = [one for one in verified if one.difference]
        if not wrong:
            return []
        return [
            _asked_otherwise(
                f"{len(wrong)} of {len(verified)} golden prompts are rendered otherwise by the "
                f"server at {self.served}: {wrong[0].difference}",
                {"different": len(wrong), "compared": len(verified)},
                [{"prompt": one.prompt, "difference": one.difference} for one in wrong],
                f"danlu verify-served {self.served} RUN",
            )
        ]


def golden(subject: Subject) -> list[Finding]:
    """Render the golden prompts again, which were kept when the model was saved."""
    from danlu.models.source import saved_folder
    from danlu.sequences.golden import check_golden

    assert subject.template is not None
    try:
        check_golden(saved_folder(subject.run.path), subject.tokenizer, subject.template)
    except TemplateError as error:
        says = f"The golden prompts of the saved model are rendered otherwise now: {error}"
        return [_asked_otherwise(says, {}, [], None)]
    return []


def prompts(
    examples: Sequence[Example],
    render: Callable[[Example], Sequence[int]],
    decode: Callable[[Sequence[int]], str],
) -> list[Finding]:
    """Hold prompts as they were trained against prompts as they are asked.

    Args:
        examples: With messages; others are left out.
        render: What the engine makes of an example's conversation.
        decode: Writes tokens out, special ones too.
    """
    compared = [one for one in examples if _comparable(one)]
    cases: list[dict[str, JsonValue]] = []
    for one in compared:
        found = tuple(render(one))
        if found != one.ask.token_ids:
            trained, asked = decode(one.ask.token_ids), decode(found)
            place = _parting(trained, asked)
            here = slice(max(0, place - AROUND), place + AROUND)
            cases.append({"record": one.record, "trained": trained[here], "asked": asked[here]})
    if not cases:
        return []
    says = (
        f"{len(cases)} of {len(compared)} training prompts are rendered otherwise when the model "
        "is asked."
    )
    return [
        _asked_otherwise(says, {"different": len(cases), "compared": len(compared)}, cases, None)
    ]


def without_stop(examples: Sequence[Example], stop_ids: Collection[int]) -> list[Finding]:
    """Find trained answers that do not end with a stop token: nobody taught the model to stop."""
    open_ended = [one for one in examples if one.answer_ids and one.answer_ids[-1] not in stop_ids]
    if not open_ended:
        return []
    part = share(len(open_ended), len(examples))
    all_of_them = part.value > 0.5
    return [
        Finding(
            name="answers-without-stop",
            says="Trained answers do not end with the token at which answers stop.",
            severity="serious" if all_of_them else "warning",
            confidence="high",
            evidence=(
                Evidence(
                    says=f"{part.percent()} trained answers end with another token: they were cut "
                    "to length, or the template writes no stop.",
                    figures=dict(part.figures("without_stop")),
                    records=tuple(one.record for one in open_ended),
                ),
            ),
            remedies=(
                Remedy(
                    says="Drop what is too long instead of cutting it, or allow for longer "
                    "records; a template of another model may lack the stop token.",
                    settings={"sequences.overlong": "drop"},
                    commands=("danlu explain DATA --model RUN",),
                ),
            ),
        )
    ]


@dataclass(frozen=True)
class Ends:
    """How the answers to training prompts end.

    Attributes:
        unfinished: Share that had not stopped at the length limit.
        limit: That limit, in tokens.
        at_end: Mean probability of a stop token after the whole reference.
        at_start: Mean probability of a stop token before anything is said.
        cases: Answers that did not stop.
    """

    unfinished: Estimate
    limit: int
    at_end: Estimate
    at_start: Estimate
    cases: tuple[dict[str, JsonValue], ...]

    @classmethod
    def seen(cls, tuned: Asked, examples: Sequence[Example], stop_ids: Collection[int]) -> Ends:
        """Ask every prompt with ample room, and score the stop token at both ends."""
        longest = max(len(one.answer_ids) for one in examples)
        limit = min(MOST, max(LEAST, ROOM * longest))
        replies = tuned.answer([one.ask for one in examples], greedy(limit))
        endless = [
            (one, reply)
            for one, reply in zip(examples, replies, strict=True)
            if reply is not None and not reply.finished
        ]
        stopped = [one for one in examples if one.answer_ids and one.answer_ids[-1] in stop_ids]
        after = [
            Pair(
                Ask(one.ask.messages, (*one.ask.token_ids, *one.answer_ids[:-1])),
                "",
                one.answer_ids[-1:],
            )
            for one in stopped
        ]
        before = [Pair(one.ask, "", one.answer_ids[-1:]) for one in stopped]
        likely = tuned.likelihoods([*after, *before])
        ends = [math.exp(one.logprob) for one in likely[: len(after)] if one is not None]
        starts = [math.exp(one.logprob) for one in likely[len(after) :] if one is not None]
        cases: tuple[dict[str, JsonValue], ...] = tuple(
            {"record": one.record, "prompt": one.question, "answer": reply.text}
            for one, reply in endless
        )
        asked = sum(reply is not None for reply in replies)
        return cls(share(len(endless), asked), limit, mean(ends), mean(starts), cases)

    def figures(self) -> dict[str, JsonValue]:
        """Return the numbers by name."""
        found: dict[str, JsonValue] = {"limit_tokens": self.limit}
        for name, one in (
            ("unfinished", self.unfinished),
            ("stop_at_end", self.at_end),
            ("stop_at_start", self.at_start),
        ):
            if one.n > 1:
                found |= one.figures(name)
        return found

    def findings(self) -> list[Finding]:
        """Say what is wrong with how answers end."""
        found = []
        if self.unfinished.low > NEVER_STOPS:
            found.append(self._never_stops())
        elif self.at_end.high < SELDOM_STOPS:
            found.append(self._seldom())
        if self.at_start.low > EMPTY:
            found.append(self._empty())
        return found

    def _stop_evidence(self) -> Evidence:
        return Evidence(
            says=f"At the end of trained answers a stop token has a probability of "
            f"{self.at_end.value:.2g} on average ({self.at_end.low:.2g} to "
            f"{self.at_end.high:.2g}).",
            figures=dict(self.at_end.figures("stop_at_end")),
        )

    def _never_stops(self) -> Finding:
        evidence = [
            Evidence(
                says=f"{self.unfinished.percent()} answers to training prompts had not ended after "
                f"{self.limit} tokens, though no trained answer is longer than a fraction of that.",
                figures=dict(self.unfinished.figures("unfinished")),
                cases=self.cases,
            )
        ]
        if self.at_end.n > 1:
            evidence.append(self._stop_evidence())
        return Finding(
            name="never-stops",
            says="Answers do not stop.",
            severity="serious",
            confidence="high" if self.at_end.high < SELDOM_STOPS else "medium",
            evidence=tuple(evidence),
            remedies=(
                Remedy(
                    says="If the stop token's probability is low, it was not trained: look at what "
                    "is trained of an answer. If it is high, answers lose their way before: train "
                    "for longer, or with a lower learning rate.",
                    commands=("danlu explain DATA --model RUN", "danlu diagnose RUN --fit"),
                ),
            ),
        )

    def _seldom(self) -> Finding:
        return Finding(
            name="stop-unlikely",
            says="The token at which answers stop is unlikely where they should stop.",
            severity="warning",
            confidence="medium",
            evidence=(self._stop_evidence(),),
            remedies=(
                Remedy(
                    says="Formats and stops are learned in the first tenth of a training; if they "
                    "are not, look at what is trained of an answer, then train for longer.",
                    commands=("danlu explain DATA --model RUN",),
                ),
            ),
        )

    def _empty(self) -> Finding:
        return Finding(
            name="empty-answers",
            says="The model tends to stop before it has said anything.",
            severity="warning",
            confidence="medium",
            evidence=(
                Evidence(
                    says=f"Right after a training prompt a stop token has a probability of "
                    f"{self.at_start.value:.2g} on average.",
                    figures=dict(self.at_start.figures("stop_at_start")),
                ),
            ),
            remedies=(
                Remedy(
                    says="Look for empty answers in the data.", commands=("danlu data check DATA",)
                ),
            ),
        )


def _asked_otherwise(
    says: str,
    figures: dict[str, float | int | str | bool | None],
    cases: Sequence[dict[str, JsonValue]],
    command: str | None,
) -> Finding:
    return Finding(
        name="asked-otherwise",
        says="The model is not asked as it was trained.",
        severity="serious",
        confidence="high",
        evidence=(Evidence(says=says, figures=figures, cases=tuple(cases[:8]), command=command),),
        remedies=(
            Remedy(
                says="Ask it with the template and the tokenizer that lie beside the saved model; "
                "if they were changed, put them back or save the model anew.",
                commands=("danlu verify-served URL RUN",),
            ),
        ),
    )


def _comparable(one: Example) -> bool:
    return not one.ask.is_text and bool(one.ask.token_ids)


def _parting(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((k for k, (a, b) in pairs if a != b), min(len(one), len(other)))


def _renderer(subject: Subject) -> Callable[[Example], list[int]]:
    from danlu.sequences.encode import encode_prompt

    template, tokenizer = subject.template, subject.tokenizer
    assert template is not None

    def render(one: Example) -> list[int]:
        messages = [message.as_dict() for message in one.ask.messages]
        tools = [dict(tool) for tool in one.tools] or None
        return encode_prompt(tokenizer, template.render(messages, tools, True))

    return render


def _decoder(subject: Subject) -> Callable[[Sequence[int]], str]:
    tokenizer = subject.tokenizer
    return lambda ids: str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

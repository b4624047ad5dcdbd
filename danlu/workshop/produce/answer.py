"""``answer``: a strong model answers what is asked in the records."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.checks.own_checks import OwnCheck
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.common import (
    Asking,
    Shots,
    answer_message,
    asked_in,
    is_answered,
    prompt_of,
    turns,
    with_meta,
)
from danlu.workshop.produce.expectation import (
    Expectation,
    expectation_of,
    first_problem,
    parsed,
)
from danlu.workshop.produce.prompts import Language, Prompts, language_of
from danlu.workshop.produce.request import Reply, Request, Unanswered
from danlu.workshop.store.decision import Decision, Entry, Progress, drop, keep
from danlu.workshop.taxonomy import Taxonomy

Choose = Literal["first", "majority", "judge"]

JUDGING = Sampling(max_new_tokens=512, greedy=True)
_FINAL = re.compile(
    r"(?:\\boxed\{([^{}]*)\}|####\s*(.+)|(?:final answer|the answer is|最终答案|答案)"
    r"(?:\s*[:：是为]\s*|\s+is\s+|\s+)(.+))",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+")


@dataclass
class _Attempt:
    """One answer that is being asked for."""

    record: Record
    sample: int
    language: Language
    expectations: tuple[Expectation, ...]
    messages: tuple[Message, ...]
    reply: Reply | None = None
    problem: str = ""
    reasks: int = 0


@dataclass(frozen=True)
class Answers:
    """Answers records that end with a question.

    The prompt is ``answer/<area>/<skill>``, ``answer/<area>`` or ``answer``, the first that there
    is. Answers are checked by code; a wrong one is asked for again, with what was wrong.

    Attributes:
        asking: Who answers.
        sampling: How.
        reasoning: Ask for reasoning first; it is kept apart, as ``reasoning_content``.
        samples: Answers drawn for each record.
        choose: Which is taken: the ``first``; the one that the ``majority`` agrees with; or the
            one that a ``judge`` votes for, asked once with each answer in the first place.
        least_agreement: With ``majority``, the share of the samples that must agree.
        judge: Who judges; None is who answers.
        shots: Examples in each prompt, drawn anew for each record.
        pool: Answered records that are examples, beside those among the records themselves.
        reasks: How often a wrong answer is asked for again.
        checks: By task type or pattern of it, what an answer must be; beside what a record's own
            ``meta["expectations"]`` say, and closed labels.
        taxonomy: The task types, for descriptions and closed labels.
        again: Answer anew what is answered.
        prompts: How it is asked.
        seed: Of the draws of examples.
        own: A user's functions; each is called with the record as answered, and says what is wrong
            with it.

    Raises:
        DanluError: If a setting is out of range; later, if a function of ``own`` fails.
    """

    name: ClassVar[str] = "answer"
    revision: ClassVar[int] = 2

    asking: Asking
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=2048))
    reasoning: bool = True
    samples: int = 1
    choose: Choose = "first"
    least_agreement: float = 0.0
    judge: Asking | None = None
    shots: int = 3
    pool: tuple[Record, ...] = ()
    reasks: int = 2
    checks: Mapping[str, tuple[Expectation, ...]] = field(default_factory=dict)
    taxonomy: Taxonomy | None = None
    again: bool = False
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    own: tuple[OwnCheck, ...] = ()

    def __post_init__(self) -> None:
        if self.samples < 1 or self.shots < 0 or self.reasks < 0:
            raise DanluError("samples must be at least 1, shots and reasks at least 0.")
        if not 0 <= self.least_agreement <= 1:
            raise DanluError(f"least_agreement is {self.least_agreement}; it is from 0 to 1.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Answer what is not answered, and drop what cannot be."""
        records = list(records)
        shots = Shots([*self.pool, *records])
        wanted = [record for record in records if self.again or not is_answered(record)]
        attempts = self._answered(
            [self._attempt(one, k, shots) for one in wanted for k in range(self.samples)]
        )
        by_record: dict[str, list[_Attempt]] = defaultdict(list)
        for attempt in attempts:
            by_record[attempt.record.id].append(attempt)
        best = self._best(by_record)
        for record in records:
            if record.id not in by_record:
                yield keep(record, "answered already")
            else:
                yield self._decision(record, by_record[record.id], best)

    # Asking ------------------------------------------------------------------------------

    def _attempt(self, record: Record, sample: int, shots: Shots) -> _Attempt:
        asked = asked_in(record)
        if not any(message.role == "user" for message in asked):
            raise DanluError(
                "the record asks nothing: it has no message of the user.",
                where=f"record {record.id}",
            )
        prompt = prompt_of(record)
        language = language_of(prompt)
        expectations = expectations_of(record, self.taxonomy, self.checks)
        skill = self.taxonomy.skills.get(record.task_type) if self.taxonomy else None
        system = "\n\n".join(m.content or "" for m in asked if m.role == "system")
        key = f"{self.seed}/{record.id}"
        head = self.prompts.render(
            self._prompt_name(record, language),
            language,
            system=system,
            description=skill.description if skill else "",
            labels=list(skill.closed_labels) if skill else [],
            wishes=[w for w in (one.wish(language) for one in expectations) if w],
            reasoning=self.reasoning,
            shots=shots.draw(record.task_type, self.shots, key, record.id),
            task_type=record.task_type,
        )
        said = [message for message in asked if message.role != "system"]
        return _Attempt(record, sample, language, expectations, (*head, *said))

    def _prompt_name(self, record: Record, language: Language) -> str:
        area, _, _ = record.task_type.partition("/")
        for name in (f"answer/{record.task_type}", f"answer/{area}"):
            if self.prompts.has(name, language):
                return name
        return "answer"

    def _answered(self, attempts: list[_Attempt]) -> list[_Attempt]:
        """Ask, check, and ask again what is wrong."""
        open_ = attempts
        for left in range(self.reasks, -1, -1):
            requests = [
                Request(one.messages, self.sampling, one.sample, one.record.id) for one in open_
            ]
            outcomes = self.asking.ask(requests)
            wrong = []
            for attempt, outcome in zip(open_, outcomes, strict=True):
                if isinstance(outcome, Unanswered):
                    attempt.problem = outcome.reason
                    continue
                attempt.problem = self._problem(attempt, outcome)
                if not attempt.problem:
                    attempt.reply = outcome
                elif left:
                    self._complain(attempt, outcome)
                    wrong.append(attempt)
            open_ = wrong
            if not open_:
                break
        return attempts

    def _problem(self, attempt: _Attempt, reply: Reply) -> str:
        """Say what is wrong with an answer; empty if nothing is."""
        if problem := problem_of(reply, attempt.expectations, attempt.language):
            return problem
        answered = _with_answer(attempt.record, reply)
        said = [problem for one in self.own if (problem := one.problem(answered)) is not None]
        return said[0] if said else ""

    def _complain(self, attempt: _Attempt, reply: Reply) -> None:
        again = self.prompts.render("reask", attempt.language, problem=attempt.problem)
        said = (Message("assistant", reply.text),) if reply.text else ()
        if not said:  # Two messages of the user in a row are refused by some templates.
            last = attempt.messages[-1]
            joined = f"{last.content}\n\n{again[-1].content}"
            attempt.messages = (*attempt.messages[:-1], replace(last, content=joined))
        else:
            attempt.messages = (*attempt.messages, *said, *again)
        attempt.reasks += 1

    # Choosing ----------------------------------------------------------------------------

    def _best(self, by_record: Mapping[str, Sequence[_Attempt]]) -> dict[str, tuple[int, float]]:
        """Return by record the place of the best answer among the good ones, and its share."""
        good = {id_: [a for a in found if a.reply] for id_, found in by_record.items()}
        good = {id_: found for id_, found in good.items() if found}
        if self.choose == "judge":
            return self._judged(good)
        best = {}
        for id_, found in good.items():
            place, votes = 0, len(found)
            if self.choose == "majority":
                finals = [final_answer(a.reply.text if a.reply else "") for a in found]
                final, votes = Counter(finals).most_common(1)[0]
                place = finals.index(final)
            best[id_] = (place, votes / self.samples)
        return best

    def _judged(self, good: Mapping[str, Sequence[_Attempt]]) -> dict[str, tuple[int, float]]:
        """Let the judge vote with each answer once in the first place."""
        requests, places = [], []
        for id_, found in good.items():
            texts = [a.reply.text if a.reply else "" for a in found]
            for turn in range(len(found) if len(set(texts)) > 1 else 0):
                order = [*range(turn, len(found)), *range(turn)]
                prompt = self.prompts.render(
                    "judge",
                    found[0].language,
                    prompt="\n".join(m.content or "" for m in turns(found[0].record)),
                    answers=[texts[place] for place in order],
                )
                requests.append(Request(prompt, JUDGING))
                places.append((id_, order))
        votes: dict[str, Counter[int]] = {id_: Counter() for id_ in good}
        for (id_, order), outcome in zip(
            places, (self.judge or self.asking).ask(requests), strict=True
        ):
            chosen = _NUMBER.search(outcome.text) if isinstance(outcome, Reply) else None
            if chosen and 1 <= int(chosen[0]) <= len(order):
                votes[id_][order[int(chosen[0]) - 1]] += 1
        best = {}
        for id_, found in good.items():
            counts = votes[id_]
            place = max(range(len(found)), key=lambda k: (counts[k], -k))
            best[id_] = (place, counts[place] / max(1, counts.total()))
        return best

    def _decision(
        self, record: Record, attempts: Sequence[_Attempt], best: Mapping[str, tuple[int, float]]
    ) -> Decision:
        if record.id not in best:
            return drop(record, "no usable answer", detail=attempts[-1].problem)
        place, share = best[record.id]
        if self.choose == "majority" and share < self.least_agreement:
            return drop(record, "no agreement", round(share, 4), self.least_agreement)
        good = [attempt for attempt in attempts if attempt.reply]
        chosen = good[place]
        assert chosen.reply is not None
        how = {"by": self.name, **self.asking.settings(), "samples": self.samples}
        if self.samples > 1:
            how |= {"choose": self.choose, "share": round(share, 4)}
        if chosen.reasks:
            how["reasks"] = chosen.reasks
        answered = replace(_with_answer(record, chosen.reply), meta=with_meta(record.meta, how))
        detail = f"{len(good)} of {len(attempts)} samples are usable"
        entry = Entry(record.id, record.task_type, "edited", self.name, round(share, 4))
        return Decision(answered, replace(entry, detail=detail if self.samples > 1 else ""))


def expectations_of(
    record: Record,
    taxonomy: Taxonomy | None = None,
    checks: Mapping[str, tuple[Expectation, ...]] | None = None,
) -> tuple[Expectation, ...]:
    """Return what an answer to a record must be.

    As the record's ``meta["expectations"]`` say, the checks whose pattern its task type fits, and
    the taxonomy's closed labels.
    """
    found = [expectation_of(row) for row in record.meta.get("expectations", ())]
    for pattern, expectations in (checks or {}).items():
        if fnmatchcase(record.task_type, pattern):
            found += expectations
    skill = taxonomy.skills.get(record.task_type) if taxonomy else None
    if skill and skill.closed_labels:
        found.append(Expectation("one_of", skill.closed_labels))
    return tuple(dict.fromkeys(found))


def _with_answer(record: Record, reply: Reply) -> Record:
    return replace(record, messages=(*asked_in(record), answer_message(reply)))


def problem_of(
    reply: Reply, expectations: Sequence[Expectation] = (), language: Language = "en"
) -> str | None:
    """Say what makes an answer unusable: it is empty, cut off, or not as expected.

    Example:
        >>> problem_of(Reply("It is", finished=False))
        'The answer was cut off: it is too long.'
    """
    if not reply.finished:
        return (
            "回答太长，被截断了。"
            if language == "zh"
            else ("The answer was cut off: it is too long.")
        )
    if not reply.text.strip():
        return "没有回答。" if language == "zh" else "There was no answer."
    return first_problem(expectations, reply.text, language)


def final_answer(text: str) -> str:
    r"""Return what answers are compared by when they vote.

    What is boxed, or stands behind ``####`` or "the answer is", the last one; else the whole text.
    JSON is compared without its white space.

    Example:
        >>> final_answer("So 3 * 4 = 12. The answer is 12."), final_answer("共 12 个。\n答案：１２")
        ('12', '12')
        >>> final_answer('{"b": 1,  "a": 2}') == final_answer('{"a": 2, "b": 1}')
        True
    """
    found = list(_FINAL.finditer(text))
    if found:
        final = next(group for group in found[-1].groups() if group is not None)
        return fold(final).strip(" .。*$!！")
    try:
        value = parsed(text)
    except ValueError:
        return fold(text).strip(" .。")
    import json

    return json.dumps(value, ensure_ascii=False, sort_keys=True)

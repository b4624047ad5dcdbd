"""The hallucination probe: was a wrong answer wrong since pre-training, or lost in tuning?

Each knowledge item is asked of both models in every way that might draw the answer out (in a
conversation, with examples before it, as plain text to be continued), several times each. What a
model says when it is asked plainly, as in use, it tells; what it says in its best way it has. Both
models have the same chances, so that one that did not change has lost nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import JsonValue

from danlu.diagnosis.asking import Ask, Asked, Reply
from danlu.diagnosis.examples import Example
from danlu.diagnosis.fit.measured import plain
from danlu.diagnosis.forgetting.general import ask_of, is_right
from danlu.diagnosis.measure import Measure, measures
from danlu.diagnosis.probe import CannotLookError, Examined, Seen
from danlu.diagnosis.shares import Estimate, share
from danlu.diagnosis.subject import subject_of
from danlu.errors import EvaluationError
from danlu.evaluation.schema import Item, TypeStakes
from danlu.evaluation.statistics import paired_difference
from danlu.evaluation.suites.reading import load_suite
from danlu.generation.interface import Sampling
from danlu.records import read_records
from danlu.records.record import Message
from danlu.runs.findings import Confidence, Evidence, Finding, Remedy, Severity

SHOTS = 4
LONGEST = 64
KNOWS = 0.5
"""A model knows what it says in at least this share of the draws."""
LOSS = 0.05
"""A loss of known items that surely exceeds this is a finding."""
SHIPPED = "general"
SHIPPED_AREA = "knowledge/"
CASES = 8

Class = Literal["kept", "untold", "lost", "gained", "never-known", "wrong-before"]
CLASSES: tuple[Class, ...] = ("kept", "untold", "lost", "gained", "never-known", "wrong-before")


@dataclass(frozen=True)
class Fact:
    """Something that is known or not.

    Attributes:
        name: Its id.
        ask: The question.
        answer: The right answer as a text, for the examples before other questions; empty if there
            is none.
        is_right: Tells whether an answer is right.
        group: Those of one group are examples for each other.
    """

    name: str
    ask: Ask
    answer: str
    is_right: Callable[[str], bool]
    group: str = ""


@dataclass(frozen=True)
class Known:
    """One fact in both models.

    Attributes:
        fact: The fact.
        before: Share of the draws before training that are right, in the way of asking that drew
            it out best.
        after: The same of the tuned model.
        plainly_before: Share of right draws where the model before training was asked plainly.
        plainly: The same of the tuned model.
        said_before: What the model before training says most often.
        said_after: What the tuned one does, asked plainly.
        steadily: Share of the former's draws, in that way of asking, in which it says just that.
    """

    fact: Fact
    before: float
    after: float
    plainly_before: float
    plainly: float
    said_before: str
    said_after: str
    steadily: float

    @property
    def is_of(self) -> Class:
        """Return what became of it."""
        tells, has = self.plainly >= KNOWS, self.after >= KNOWS
        if self.before >= KNOWS:
            return "kept" if tells else "untold" if has else "lost"
        if has:
            return "gained"
        return "wrong-before" if self.steadily >= KNOWS else "never-known"


@dataclass(frozen=True)
class Hallucination:
    """Sorts knowledge into kept, lost in tuning, never known, and wrong since pre-training.

    Attributes:
        items: Files of records, each a question and its answer; none: the knowledge questions of
            the general suite that ships.
        most: At most so many items, the first ones of each group in turn.
        draws: Of each answer.
        temperature: Of the draws; low ones hide what a model knows besides its first thought.
        seed: Of the draws.
        minutes: How long the models may work.
    """

    name: ClassVar[str] = "hallucination"

    items: tuple[str, ...] = ()
    most: int = 40
    draws: int = 4
    temperature: float = 0.7
    seed: int = 0
    minutes: float | None = None

    def look(self, examined: Examined) -> Seen:
        """Ask both models.

        Raises:
            CannotLookError: If the run made no model that answers questions.
            DanluError: If a model is gone, or the items cannot be read.
        """
        subject = examined.once(subject_of)
        if subject.template is None or subject.resolved.objective == "classify":
            raise CannotLookError("the run made no model that answers questions")
        facts = in_turn(own_facts(self.items) if self.items else shipped_facts(), self.most)
        half = None if self.minutes is None else self.minutes / 2
        subject.budget.allow(half)
        ways = [ways_to_ask(fact, facts) for fact in facts]
        after = draws(subject.tuned, ways, self._samplings())
        subject.budget.allow(half, again=True)
        before = draws(subject.base, ways, self._samplings())
        found = [
            sorted_out(fact, own_before, own_after)
            for fact, own_before, own_after in zip(facts, before, after, strict=True)
        ]
        known = [one for one in found if one is not None]
        if not known:
            raise CannotLookError("no item could be asked of both models in the time allowed")
        figures: dict[str, JsonValue] = {
            "classes": {name: sum(one.is_of == name for one in known) for name in CLASSES},
            "items": [_row(one) for one in known],
            "not_asked": len(facts) - len(known),
            "notes": list(subject.remarks()),
        }
        return Seen(subject.told(findings(known)), figures, self._command(examined))

    def _samplings(self) -> list[Sampling]:
        return [
            Sampling(LONGEST, temperature=self.temperature, seed=self.seed + k)
            for k in range(self.draws)
        ]

    def _command(self, examined: Examined) -> str:
        import shlex

        files = "".join(f" --items {shlex.quote(one)}" for one in self.items)
        return f"danlu probe {self.name} {shlex.quote(str(examined.run.path))}{files}"


# What is asked ---------------------------------------------------------------------------


def shipped_facts() -> list[Fact]:
    """Return the knowledge questions of the general suite."""
    suite = load_suite(SHIPPED)
    found = []
    for item in suite.items:
        if not item.task_type.startswith(SHIPPED_AREA):
            continue
        stakes = suite.task_types[item.task_type]
        words = item.reference.get("any_keyword") if isinstance(item.reference, dict) else None
        answer = str(words[0]) if isinstance(words, list) and words else ""
        right = partial(_fits, item=item, stakes=stakes)
        found.append(Fact(item.id, ask_of(item), answer, right, item.task_type))
    return found


def own_facts(paths: Sequence[str]) -> list[Fact]:
    """Read records that are a question and its answer.

    An answer counts if the task type's scorer says so, or if it has the reference in it.

    Raises:
        EvaluationError: If no record has both.
        RecordError: If a file cannot be read.
    """
    examples = []
    for record in read_records(list(paths)):
        last = record.messages[-1] if record.messages else None
        if last is None or last.role != "assistant" or len(record.messages) < 2:
            continue
        ask, text = Ask(record.messages[:-1]), (last.content or "").strip()
        examples.append(Example(record.id, record.task_type, "eval", ask, text, meta=record.meta))
    if not examples:
        raise EvaluationError("no record has a question and its answer.", where=", ".join(paths))
    how = measures(examples)
    return [
        Fact(
            one.record,
            one.ask,
            one.answer,
            partial(_says, example=one, measure=how[one.task_type]),
            one.task_type,
        )
        for one in examples
    ]


def _fits(text: str, item: Item, stakes: TypeStakes) -> bool:
    return is_right(text, item, stakes)


def _says(text: str, example: Example, measure: Measure) -> bool:
    """Tell whether an answer counts, or has the whole reference in it."""
    reference, given = plain(example.answer), plain(text)
    if reference.isascii():  # whole words; Chinese has no spaces between them
        reference, given = f" {reference} ", f" {given} "
    return measure.is_right(text, example) or (bool(reference.strip()) and reference in given)


def in_turn(facts: Sequence[Fact], most: int) -> list[Fact]:
    """Take the first facts of each group in turn."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(fact.group, []).append(fact)
    found: list[Fact] = []
    longest = max(map(len, groups.values()), default=0)
    for k in range(longest):
        found += [own[k] for own in groups.values() if k < len(own)]
    return found[:most]


def ways_to_ask(fact: Fact, facts: Sequence[Fact]) -> list[Ask]:
    """Return the ways in which a model is asked a fact: plainly, after examples, as plain text."""
    shots = [one for one in facts if one.group == fact.group and one is not fact and one.answer][
        :SHOTS
    ]
    ways = [fact.ask]
    if shots:
        turns = tuple(
            message
            for one in shots
            for message in (Message("user", one.ask.question), Message("assistant", one.answer))
        )
        ways.append(Ask((*turns, Message("user", fact.ask.question))))
    text = "".join(f"Q: {one.ask.question}\nA: {one.answer}\n\n" for one in shots)
    ways.append(Ask.text(f"{text}Q: {fact.ask.question}\nA:"))
    return ways


# What came of it -------------------------------------------------------------------------

Draws = list[list[str]]
"""Per way of asking, the texts drawn."""


def draws(
    model: Asked, ways: Sequence[Sequence[Ask]], samplings: Sequence[Sampling]
) -> list[Draws]:
    """Draw answers to each fact, in each way of asking it."""
    flat = [ask for own in ways for ask in own]
    replies = [model.answer(flat, sampling) for sampling in samplings]
    found: list[Draws] = []
    place = 0
    for own in ways:
        found.append(
            [
                [_text(asked, reply) for one in replies if (reply := one[place + k]) is not None]
                for k, asked in enumerate(own)
            ]
        )
        place += len(own)
    return found


def _text(ask: Ask, reply: Reply) -> str:
    text = reply.text.strip()
    return text.partition("\n")[0].strip() if ask.is_text else text


def sorted_out(fact: Fact, before: Draws, after: Draws) -> Known | None:
    """Judge a fact's draws; None if one of the models was not asked, in any of the ways.

    If no way of asking draws it out, the way whose answers agree most says what is believed.

    Args:
        fact: What was asked.
        before: Of the model before training; the first way is the plain one.
        after: Of the tuned model, in the same ways.
    """
    if not before or not all(before) or not after or not all(after):
        return None
    then, now = ([_share_right(fact, texts) for texts in ways] for ways in (before, after))
    best = max(range(len(before)), key=lambda k: (then[k], _steadily(before[k])[1]))
    said, steadily = _steadily(before[best])
    if then[best] >= KNOWS:  # shown is what it knew, though it may say something else as often
        said, _ = _steadily([text for text in before[best] if fact.is_right(text)])
    return Known(
        fact,
        before=then[best],
        after=max(now),
        plainly_before=then[0],
        plainly=now[0],
        said_before=said,
        said_after=_steadily(after[0])[0],
        steadily=steadily,
    )


def _share_right(fact: Fact, texts: Sequence[str]) -> float:
    return sum(map(fact.is_right, texts)) / len(texts)


def _steadily(texts: Sequence[str]) -> tuple[str, float]:
    """Return what is said most often, and in which share of the draws."""
    counts = Counter(map(plain, texts))
    said, count = counts.most_common(1)[0]
    return next(text for text in texts if plain(text) == said), count / len(texts)


def findings(known: Sequence[Known]) -> list[Finding]:
    """Say what was lost, what is no longer told, what was wrong before, and what was never there.

    Chance makes some items cross the bar in both directions; a loss is a finding if surely more are
    lost than gained.
    """
    of: dict[Class, list[Known]] = {name: [] for name in CLASSES}
    for one in known:
        of[one.is_of].append(one)
    found = []
    knew = sum(one.before >= KNOWS for one in known)
    lost = share(len(of["lost"]), knew)
    if lost.low > LOSS and _more(of["lost"], of["gained"], known):
        found.append(_lost(lost, of["lost"]))
    told = sum(one.plainly_before >= KNOWS for one in known)
    silent = [one for one in of["untold"] if one.plainly_before >= KNOWS]
    newly = [one for one in known if one.plainly >= KNOWS > one.plainly_before]
    untold = share(len(silent), told)
    if untold.low > LOSS and _more(silent, newly, known):
        found.append(_untold(untold, silent))
    wrong = share(len(of["wrong-before"]), len(known))
    if wrong.low > LOSS:
        found.append(_wrong(wrong, of["wrong-before"]))
    never = share(len(of["never-known"]), len(known))
    if never.low > LOSS:
        found.append(_never(never, of["never-known"]))
    return found


def _more(losses: Sequence[Known], gains: Sequence[Known], known: Sequence[Known]) -> bool:
    _, high = paired_difference(len(gains), len(losses), len(known))
    return bool(high < 0)


def _untold(part: Estimate, items: Sequence[Known]) -> Finding:
    return Finding(
        name="knowledge-untold",
        says="Some answers are still there and no longer given: asked plainly, as in use, the "
        "model says something else than it did before training.",
        severity="warning",
        confidence="medium",
        evidence=(
            _evidence(
                part,
                items,
                "of what was rightly answered before is answered wrongly now, and rightly after "
                "examples or as plain text",
                "untold",
            ),
        ),
        remedies=(
            Remedy(
                says="What was learned speaks where it should not: mix general records in (15 to "
                "30 %), and vary the prompts of the training.",
                commands=("danlu data mix --help", "danlu probe forgetting RUN"),
            ),
        ),
    )


def _lost(part: Estimate, items: Sequence[Known]) -> Finding:
    severity: Severity = "serious" if part.low > 0.2 else "warning"
    confidence: Confidence = "high" if part.low > 0.1 else "medium"
    return Finding(
        name="knowledge-lost",
        says="Knowledge was lost in tuning: the model before training gives these answers, and the "
        "tuned one does not, however it is asked.",
        severity=severity,
        confidence=confidence,
        evidence=(_evidence(part, items, "of what was known is not known any more", "lost"),),
        remedies=(
            Remedy(
                says="Mix general records in (15 to 30 %), lower the learning "
                "rate or the epochs, and look for records that teach other answers.",
                commands=("danlu data mix --help", "danlu probe forgetting RUN"),
            ),
        ),
    )


def _wrong(part: Estimate, items: Sequence[Known]) -> Finding:
    return Finding(
        name="wrong-since-pretraining",
        says="Some answers were wrong before training already, and mostly the same wrong ones.",
        severity="note",
        confidence="medium",
        evidence=(
            _evidence(
                part, items, "items had one and the same wrong answer before training", "wrong"
            ),
        ),
        remedies=(
            Remedy(
                says="Tuning data are not to blame. Put the facts into the prompt (retrieval), or "
                "continue pre-training on texts that say them in many wordings.",
                commands=("danlu data make rag --help",),
            ),
        ),
    )


def _never(part: Estimate, items: Sequence[Known]) -> Finding:
    return Finding(
        name="never-known",
        says="Some answers were never known: the model before training says something else each "
        "time.",
        severity="note",
        confidence="medium",
        evidence=(
            _evidence(
                part, items, "items had no answer that came in half of the draws", "never_known"
            ),
        ),
        remedies=(
            Remedy(
                says="What a model does not know it makes up, and training on such answers teaches "
                "it to make up more. Leave records like these out, let it say that it does not "
                "know, or put the facts into the prompt.",
                commands=("danlu data make rag --help",),
            ),
        ),
    )


def _evidence(part: Estimate, items: Sequence[Known], what: str, name: str) -> Evidence:
    cases: tuple[dict[str, Any], ...] = tuple(_row(one) for one in items[:CASES])
    return Evidence(says=f"{part.percent()} {what}.", figures=dict(part.figures(name)), cases=cases)


def _row(one: Known) -> dict[str, Any]:
    return {
        "item": one.fact.name,
        "prompt": one.fact.ask.question,
        "reference": one.fact.answer or None,
        "class": one.is_of,
        "before": one.said_before,
        "answer": one.said_after,
        "right_before": round(one.before, 3),
        "right_after": round(one.after, 3),
        "right_plainly_before": round(one.plainly_before, 3),
        "right_plainly": round(one.plainly, 3),
    }

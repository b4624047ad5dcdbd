"""The memorising probe: what the model has by heart.

Two looks. Training answers are begun, and the model goes on with them word for word, or not;
held-out answers and the model before training are the controls. And where a run learned invented
facts (``danlu data make knowledge``), each is asked in its training's wording, in another, and the
other way round, of every checkpoint that was kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import JsonValue

from danlu.diagnosis.asking import Ask, Asked, greedy
from danlu.diagnosis.checkpoints import checkpoints
from danlu.diagnosis.examples import Example
from danlu.diagnosis.probe import CannotLookError, Examined, Seen, learned_otherwise
from danlu.diagnosis.shares import Estimate, difference, share
from danlu.diagnosis.subject import Subject, subject_of
from danlu.errors import ModelError
from danlu.records.record import Message
from danlu.runs.findings import Confidence, Evidence, Finding, Remedy
from danlu.workshop.produce.abilities.relations import Relations
from danlu.workshop.produce.measures import mentions

GIVEN = 0.3
"""Share of an answer that is begun."""
LEAST_TOKENS = 12
"""Shorter answers have too few words to be known by heart."""
LONGEST = 64
"""So many tokens after the beginning must agree."""
BY_HEART = 0.1
"""Training answers continued word for word, beyond what held-out ones are, that are worth a word.

Practitioners: the format is to be memorised, the content is not.
"""
MADE_BY = "knowledge"
FORMS = ("trained", "reworded", "reversed")
RECALLED = 0.5
CASES = 8


@dataclass(frozen=True)
class Memorising:
    """Counts what is recalled word for word.

    Attributes:
        examples: Answers of each task type that are begun, trained and held out.
        facts: Invented facts that are asked, at most.
        checkpoints: Whether facts are asked of every checkpoint too.
        seed: Of the draw.
        minutes: How long the models may work.
    """

    name: ClassVar[str] = "memorising"

    examples: int = 20
    facts: int = 40
    checkpoints: bool = True
    seed: int = 0
    minutes: float | None = None

    def look(self, examined: Examined) -> Seen:
        """Look.

        Raises:
            CannotLookError: If the run did not learn answers word for word.
            DanluError: If model or data are gone.
        """
        subject = examined.once(subject_of)
        if not subject.learns_answers:
            raise learned_otherwise(subject.resolved.objective)
        subject.budget.allow(self.minutes)
        begun = {
            part: begin(subject.examples.draw(part, self.examples, seed=self.seed))
            for part in ("train", "eval")
        }
        facts = facts_of(subject, self.facts)
        if not begun["train"] and not facts:
            raise CannotLookError(
                f"no trained answer has {LEAST_TOKENS} tokens, and no invented facts were trained "
                "(danlu data make knowledge)"
            )
        recalled = ask_facts(facts, subject.tuned)
        verbatim = Verbatim.seen(begun["train"], begun["eval"], subject.tuned, subject.base)
        recalled_before = ask_facts(facts, subject.base)
        over = self._over_epochs(subject, facts)
        findings = [*verbatim.findings(), *recall_findings(recalled, recalled_before)]
        figures: dict[str, JsonValue] = {
            "verbatim": verbatim.figures(),
            "recall": _row(recalled),
            "recall_before": _row(recalled_before),
            "over_epochs": over,
            "notes": list(subject.remarks()),
        }
        return Seen(subject.told(findings), figures)

    def _over_epochs(self, subject: Subject, facts: Sequence[Fact]) -> list[JsonValue]:
        rows: list[JsonValue] = []
        if not facts or not self.checkpoints:
            return rows
        for one in checkpoints(subject):
            try:
                found = _shares(ask_facts(facts, one.model))
            except ModelError as error:
                subject.notes.append(f"Step {one.step} cannot be asked: {error}")
                continue
            shares = {form: round(part.value, 4) for form, part in found.items()}
            rows.append({"step": one.step, "epoch": one.epoch, **shares})
        return rows


# Answers that are begun ------------------------------------------------------------------


@dataclass(frozen=True)
class Begun:
    """A trained answer of which the beginning is given.

    Attributes:
        example: Whose answer it is.
        ask: The prompt with the beginning.
        given: Tokens of the answer that are given.
        rest: Tokens that should follow.
    """

    example: Example
    ask: Ask
    given: tuple[int, ...]
    rest: tuple[int, ...]


def begin(examples: Sequence[Example]) -> list[Begun]:
    """Begin answers that are long enough to be known by heart."""
    found = []
    for one in examples:
        ids = one.answer_ids[:-1]  # without the stop
        if len(ids) < LEAST_TOKENS or not one.ask.token_ids:
            continue
        cut = max(1, round(GIVEN * len(ids)))
        ask = Ask(one.ask.messages, (*one.ask.token_ids, *ids[:cut]))
        found.append(Begun(one, ask, ids[:cut], ids[cut : cut + LONGEST]))
    return found


@dataclass(frozen=True)
class Verbatim:
    """How many begun answers are continued word for word.

    Attributes:
        trained: Of the training answers, by the tuned model.
        held_out: Of the held-out ones.
        before: Of the training answers, by the model before training.
        cases: Training answers that the tuned model knows by heart, and the other does not.
    """

    trained: Estimate
    held_out: Estimate
    before: Estimate
    cases: tuple[Begun, ...]

    @classmethod
    def seen(
        cls, train: Sequence[Begun], held_out: Sequence[Begun], tuned: Asked, base: Asked
    ) -> Verbatim:
        """Let the models go on; texts agree if their words do, up to the length compared.

        The likelihood of the rest says so without generating: it is continued word for word,
        greedily, if each of its tokens is the likeliest there.
        """
        both = [*train, *held_out]
        now = _continued(both, tuned)
        then = _continued(train, base)
        mine, others = now[: len(train)], now[len(train) :]
        cases = tuple(
            one
            for one, is_now, was in zip(train, mine, then, strict=True)
            if is_now is True and was is not True
        )
        return cls(_share(mine), _share(others), _share(then), cases)

    def figures(self) -> dict[str, JsonValue]:
        """Return the numbers by name."""
        found: dict[str, JsonValue] = {}
        for name in ("trained", "held_out", "before"):
            one: Estimate = getattr(self, name)
            if one.n:
                found |= one.figures(name)
        return found

    def findings(self) -> list[Finding]:
        """Say whether answers are known by heart."""
        more = difference(self.trained, self.before)
        if self.held_out.n:
            more = min(more, difference(self.trained, self.held_out), key=lambda one: one.low)
        if not more.n or more.low <= BY_HEART:
            return []
        much = self.trained.low > 0.5
        confidence: Confidence = "high" if self.held_out.n and much else "medium"
        told = f"; of held-out answers {self.held_out.percent()}" if self.held_out.n else ""
        return [
            Finding(
                name="answers-by-heart",
                says="The model knows training answers by heart.",
                severity="warning" if much else "note",
                confidence=confidence,
                evidence=(
                    Evidence(
                        says=f"{self.trained.percent()} training answers, begun, are continued "
                        f"word for word; before training {self.before.percent()}{told}.",
                        figures=self.trained.figures("trained") | self.before.figures("before"),
                        records=tuple(one.example.record for one in self.cases),
                        cases=tuple(
                            {"record": one.example.record, "prompt": one.example.question}
                            | {"answer": one.example.answer}
                            for one in self.cases[:CASES]
                        ),
                    ),
                ),
                remedies=(
                    Remedy(
                        says="A format may be known by heart, content should not be: fewer epochs, "
                        "more varied answers, duplicates out; and look for what is private.",
                        settings={"training.epochs": 1.0},
                        commands=("danlu data dedup DATA", "danlu data check DATA"),
                    ),
                ),
            )
        ]


def _continued(begun: Sequence[Begun], model: Asked) -> list[bool | None]:
    """Tell whether a model would go on, greedily, with just the rest."""
    from danlu.diagnosis.asking import Pair

    found = model.likelihoods([Pair(one.ask, "", one.rest) for one in begun])
    return [None if one is None else one.greedy for one in found]


def _share(outcomes: Sequence[bool | None]) -> Estimate:
    known = [one for one in outcomes if one is not None]
    return share(sum(known), len(known))


# Invented facts --------------------------------------------------------------------------


@dataclass(frozen=True)
class Fact:
    """An invented fact in one form of asking for it.

    Attributes:
        subject: Whose fact.
        form: One of ``FORMS``.
        ask: The question.
        value: What a right answer names.
        records: Training records that teach it.
    """

    subject: str
    form: str
    ask: Ask
    value: str
    records: tuple[str, ...]


def facts_of(subject: Subject, most: int) -> list[Fact]:
    """Return the invented facts that a run learned, each asked in all forms that there are."""
    names = [name for name in subject.examples.task_types() if name.endswith("/recall")]
    if not names:
        return []
    examples = subject.examples.draw("train", None, task_types=names)
    return asked_forms(examples, Relations.load(), most)


def asked_forms(examples: Sequence[Example], relations: Relations, most: int) -> list[Fact]:
    """Ask facts as they were trained, in other words, and the other way round.

    Args:
        examples: Training records; those that the maker of knowledge did not make are left out.
        relations: With the questions that no training record has.
        most: Facts at most, by the draw of the examples.
    """
    by_fact: dict[tuple[str, str, str], list[Example]] = {}
    for one in examples:
        made = one.meta.get("made")
        fact = made.get("fact") if isinstance(made, Mapping) else None
        if isinstance(made, Mapping) and made.get("by") == MADE_BY and fact:
            name, relation, value = map(str, fact)
            by_fact.setdefault((name, relation, value), []).append(one)
    alike = Counter((relation, value) for _, relation, value in by_fact)
    found: list[Fact] = []
    for (name, relation, value), own in list(by_fact.items())[:most]:
        language = str(own[0].meta["made"].get("language", "en"))
        records = tuple(one.record for one in own)
        wanted = value.removeprefix("the ")
        # As messages: the model before training has no tokens for names that are new tokens.
        found.append(Fact(name, "trained", Ask(own[0].ask.messages), wanted, records))
        known = {
            one.name: one
            for spoken, some in relations.by_language.items()
            if spoken == language
            for one in some
        }.get(relation)
        if known is None:
            continue  # of a relations file that is not here
        question = known.held_out[0].format(subject=name)
        found.append(Fact(name, "reworded", _as(own[0], question), wanted, records))
        if known.reversed and alike[relation, value] == 1 and not name.startswith("<"):
            question = known.reversed[0].format(object=value)
            found.append(Fact(name, "reversed", _as(own[0], question), name, records))
    return found


def _as(example: Example, question: str) -> Ask:
    """Ask another question in an example's conversation."""
    before = [one for one in example.ask.messages if one.role == "system"]
    return Ask((*before, Message("user", question)))


@dataclass(frozen=True)
class Recalled:
    """What a model answered to a fact."""

    fact: Fact
    answer: str
    right: bool


def ask_facts(facts: Sequence[Fact], model: Asked) -> list[Recalled]:
    """Ask facts; those that were not asked are left out."""
    replies = model.answer([fact.ask for fact in facts], greedy(LONGEST))
    return [
        Recalled(fact, reply.text, mentions(reply.text, fact.value))
        for fact, reply in zip(facts, replies, strict=True)
        if reply is not None
    ]


def _shares(recalled: Sequence[Recalled], confidence: float = 0.95) -> dict[str, Estimate]:
    found = {}
    for form in FORMS:
        own = [one.right for one in recalled if one.fact.form == form]
        if own:
            found[form] = share(sum(own), len(own), confidence)
    return found


def recall_findings(recalled: Sequence[Recalled], before: Sequence[Recalled]) -> list[Finding]:
    """Say which facts are not recalled, or only in the words of the training."""
    found = _shares(recalled)
    if "trained" not in found:
        return []
    trained, control = found["trained"], _shares(before).get("trained")
    told = f"; before training {control.percent()}" if control else ""
    evidence = Evidence(
        says=f"{trained.percent()} invented facts are recalled in the training's wording{told}.",
        figures=dict(trained.figures("trained")),
        cases=_wrong(recalled, "trained"),
    )
    if trained.high < RECALLED:
        return [
            Finding(
                name="facts-not-recalled",
                says="Trained facts are not recalled even in the wording of the training.",
                severity="warning",
                confidence="high",
                evidence=(evidence,),
                remedies=(
                    Remedy(
                        says="New facts need many passes, or many wordings: more epochs and more "
                        "texts about each, or put them into the prompt.",
                        commands=(
                            "danlu data make knowledge --help",
                            "danlu data make rag --help",
                        ),
                    ),
                ),
            )
        ]
    findings = []
    for form, name, words in (
        ("reworded", "facts-bound-to-wording", "in another wording"),
        ("reversed", "facts-one-way", "the other way round (the reversal curse)"),
    ):
        other = found.get(form)
        if other is None or difference(trained, other).low <= BY_HEART:
            continue
        findings.append(
            Finding(
                name=name,
                says=f"Facts are recalled as they were trained, and not {words}.",
                severity="warning" if form == "reworded" else "note",
                confidence="high" if difference(trained, other).low > 0.3 else "medium",
                evidence=(
                    evidence,
                    Evidence(
                        says=f"{other.percent()} are recalled {words}.",
                        figures=dict(other.figures(form)),
                        cases=_wrong(recalled, form),
                    ),
                ),
                remedies=(
                    Remedy(
                        says="Say each fact in more wordings, and in both directions; documents "
                        "about it help more than questions.",
                        commands=("danlu data make knowledge --help",),
                    ),
                ),
            )
        )
    return findings


def _row(recalled: Sequence[Recalled]) -> JsonValue:
    return {form: dict(one.figures("recalled")) for form, one in _shares(recalled).items()}


def _wrong(recalled: Sequence[Recalled], form: str) -> tuple[dict[str, JsonValue], ...]:
    wrong: list[dict[str, JsonValue]] = [
        {"prompt": one.fact.ask.question, "answer": one.answer, "reference": one.fact.value}
        for one in recalled
        if one.fact.form == form and not one.right
    ]
    return tuple(wrong[:CASES])

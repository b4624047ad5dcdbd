"""What was seen of a pattern, as findings: sentences, figures, remedies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Self

from pydantic import JsonValue

from danlu.diagnosis.pattern.clinging import TRACKED, Outcome, Pattern, share_by_kind
from danlu.diagnosis.pattern.cut import reason_of
from danlu.diagnosis.pattern.influence import Influence, separation
from danlu.diagnosis.pattern.teachers import Teachers, has_words
from danlu.diagnosis.pattern.variants import Case
from danlu.runs.findings import Confidence, Evidence, Finding, Remedy

KIND_NAMES = {
    "case": "as it was asked",
    "entity": "about another name or number",
    "relation": "with another content word",
    "wording": "with another little word",
    "drop": "without one of its words",
    "mixed": "with several words changed",
    "negation": "denied",
    "direction": "turned round",
    "language": "in or for the other language",
    "given": "in other wordings",
    "unrelated": "another question altogether",
}
AGREES = 0.8
"""Area under the curve from which gradients agree with the search."""
CONTRAST = 0.4
"""Difference of the shares, with the pattern's words and without, from which they bring it."""
SHOWN_CASES = 8


@dataclass(frozen=True)
class Opinion:
    """What gradients say of the proposed cut.

    Attributes:
        rows: Record id, group and cosine, the highest first.
        from_others: How well the cut is told from records that have nothing to do with the case:
            1 is perfectly, 0.5 not at all; None if there are none.
        from_answering: Likewise from records that answer so to something else.
        from_asking: Likewise from records that ask so and answer otherwise.
        parameters: How many numbers were compared.
    """

    rows: tuple[tuple[str, str, float], ...]
    from_others: float | None
    from_answering: float | None
    from_asking: float | None
    parameters: int

    @classmethod
    def of(cls, found: Influence, groups: Mapping[str, Sequence[str]]) -> Self:
        """Hold the groups against each other.

        Args:
            found: Cosines by record.
            groups: Ids of ``cut``, ``answer so``, ``ask so`` and ``others``.
        """
        cosines = {
            name: [found.cosine[one] for one in ids if one in found.cosine]
            for name, ids in groups.items()
        }
        group_of = {one: name for name, ids in groups.items() for one in ids}
        rows = sorted(
            ((one, group_of[one], cosine) for one, cosine in found.cosine.items()),
            key=lambda row: (-row[2], row[0]),
        )
        others, answering, asking = (
            separation(cosines["cut"], cosines[name]) for name in ("others", "answer so", "ask so")
        )
        return cls(tuple(rows), others, answering, asking, found.parameters)

    @property
    def alike(self) -> tuple[str, ...]:
        """Records that answer so to something else, with a cosine above the median of the cut's."""
        own = [cosine for _, group, cosine in self.rows if group == "cut"]
        if not own:
            return ()
        limit = median(own)
        return tuple(one for one, group, c in self.rows if group == "answer so" and c >= limit)

    @property
    def agrees(self) -> bool:
        """Whether the cut's gradients point where the mistake's does, more than others' do."""
        return self.from_others is not None and self.from_others >= AGREES


@dataclass
class Story:
    """All that was seen, as far as it was looked at.

    Attributes:
        run: The run directory.
        case: The case.
        answer: All that the model answers to it.
        first: That, with the wrong answer's probability.
        records: How many it was trained on.
        before: What the base model makes of the case; None if it cannot be asked.
        pattern: What the wrong answer clings to; None if it does not come.
        alternatives: The words that records were searched for.
        outcomes: Of all variants.
        teachers: What the training data have of it.
        maybe_right: Teaching records that the base model would answer in the same way.
        opinion: Of the gradients; None if they were not asked.
        cut_file: Where the ids of the cut are.
        add_file: Where proposed records are.
        drop_commands: What to type to leave the cut out.
        command: What to type to ask again.
    """

    run: Path
    case: Case
    answer: str
    first: Outcome
    records: int
    before: Outcome | None = None
    pattern: Pattern | None = None
    alternatives: tuple[tuple[str, ...], ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    teachers: Teachers | None = None
    maybe_right: tuple[str, ...] = ()
    opinion: Opinion | None = None
    cut_file: Path | None = None
    add_file: Path | None = None
    drop_commands: tuple[str, ...] = ()
    command: str | None = None

    @property
    def cut(self) -> tuple[str, ...]:
        """Ids of the records that it is proposed to leave out."""
        if self.teachers is None:
            return ()
        return tuple(one for one in self.teachers.teaching if one not in set(self.maybe_right))

    @property
    def called(self) -> str:
        """The pattern in words."""
        if self.pattern is not None and self.pattern.anything:
            return "any question"
        return " or ".join(" + ".join(words) for words in self.alternatives)

    @property
    def contrast(self) -> tuple[float | None, float | None]:
        """Share of the variants in which the wrong answer comes: with the pattern's words, without.

        None where there is no such variant.
        """
        shown: dict[bool, list[bool]] = {True: [], False: []}
        for one in self.outcomes:
            if one.variant.kind in (*TRACKED, "unrelated") and one.variant.kind != "case":
                shown[
                    any(has_words(one.variant.prompt, words) for words in self.alternatives)
                ].append(one.shows)
        there, gone = (mean(group) if group else None for group in (shown[True], shown[False]))
        return there, gone

    @property
    def reason(self) -> str:
        """What the ledger says of a record that is left out."""
        return reason_of(self.called, self.case.wrong)

    @property
    def was_wrong_before(self) -> bool:
        """Whether the base model gives the wrong answer already."""
        return self.before is not None and self.before.shows


def findings_of(story: Story) -> tuple[Finding, ...]:
    """Say what was found, the pattern first."""
    if story.pattern is None:
        return (_not_reproduced(story),)
    found = [_clings(story)]
    if story.was_wrong_before:
        found.append(_wrong_before(story))
    return tuple(found)


def _not_reproduced(story: Story) -> Finding:
    wrong, first = story.case.wrong, story.first
    says = (
        f"The model does not answer {wrong!r} here: it says {_short(story.answer)!r}, and gives "
        f"{wrong!r} a probability of {first.probability:.2g}."
    )
    return Finding(
        name="mistake-not-reproduced",
        says=says,
        severity="note",
        confidence="high",
        evidence=(_case_evidence(story),),
        remedies=(
            Remedy(
                says="Ask with the system prompt and the words with which it was wrong; a sampled "
                "answer may have been bad luck (danlu fluctuate tells)."
            ),
        ),
    )


def _clings(story: Story) -> Finding:
    pattern, teachers = story.pattern, story.teachers
    assert pattern is not None
    assert teachers is not None
    wrong = story.case.wrong
    if pattern.anything:
        name, says = "answers-anything", f"The model answers {wrong!r} to any question."
    else:
        name = "clings-to-pattern"
        says = f"The model answers {wrong!r} wherever it reads {story.called!r}."
    cut = len(story.cut)
    if cut:
        says += (
            f" {cut:,} of {story.records:,} training records ({cut / story.records:.1%}) teach it."
        )
    else:
        says += " No training record teaches it: none with these words answers so."
    evidence = [_case_evidence(story), _variation(story), _words(story), _data(story)]
    if story.opinion is not None:
        evidence.append(_gradients(story.opinion))
    return Finding(
        name=name,
        says=says,
        severity="serious" if cut or pattern.anything else "warning",
        confidence=_confidence(story),
        evidence=tuple(evidence),
        remedies=_remedies(story),
    )


def _confidence(story: Story) -> Confidence:
    """High if model, data and gradients say the same; medium if two of them do."""
    teachers = story.teachers
    assert teachers is not None
    there, gone = story.contrast
    signs = [
        there is not None and gone is not None and there - gone >= CONTRAST,
        bool(story.cut) and any(one.lift >= 5 and one.among >= 3 for one in teachers.words),
        story.opinion.agrees if story.opinion else False,
    ]
    return ("low", "low", "medium", "high")[sum(signs)]


def _case_evidence(story: Story) -> Evidence:
    first, before = story.first, story.before
    says = (
        f"Asked {_short(story.case.question)!r}, the model answers {_short(story.answer)!r} and "
        f"gives {story.case.wrong!r} a probability of {first.probability:.2g}."
    )
    figures: dict[str, float | int | str | bool | None] = {"probability": first.probability}
    if before is not None:
        verb = "also answers so" if before.shows else f"answers {_short(before.answer)!r}"
        says += f" Before tuning it {verb} ({before.probability:.2g})."
        figures["probability_before"] = before.probability
    cases: list[dict[str, JsonValue]] = [
        {"prompt": story.case.question, "answer": story.answer, "wrong": story.case.wrong}
    ]
    return Evidence(says=says, figures=figures, cases=tuple(cases), command=story.command)


def _variation(story: Story) -> Evidence:
    counts = share_by_kind(story.outcomes)
    parts = [f"{KIND_NAMES[kind]} {came} of {of}" for kind, (came, of) in counts.items()]
    figures: dict[str, float | int | str | bool | None] = {
        f"{kind}_{what}": number
        for kind, pair in counts.items()
        for what, number in zip(("came", "asked"), pair, strict=True)
    }
    return Evidence(
        says=f"The wrong answer comes: {', '.join(parts)}.",
        figures=figures,
        cases=tuple(_shown(story.outcomes)),
    )


def _shown(outcomes: Sequence[Outcome]) -> list[dict[str, JsonValue]]:
    """Choose a few variants of different kinds, some with the wrong answer and some without."""
    chosen: list[Outcome] = []
    seen: set[tuple[str, bool]] = set()
    for one in outcomes:
        if (one.variant.kind, one.shows) not in seen and one.variant.kind != "case":
            seen.add((one.variant.kind, one.shows))
            chosen.append(one)
    return [
        {
            "prompt": one.variant.prompt,
            "answer": _short(one.answer),
            "kind": one.variant.kind,
            "wrong": one.shows,
        }
        for one in chosen[:SHOWN_CASES]
    ]


def _words(story: Story) -> Evidence:
    pattern, words = story.pattern, story.case.words
    assert pattern is not None
    figures: dict[str, float | int | str | bool | None] = {
        f"pull {word.text}": round(pull, 3) for word, pull in zip(words, pattern.pull, strict=False)
    }
    if pattern.anything:
        return Evidence(
            says=f"With other words in the place of all of them it comes in {pattern.held[0]:.0%} "
            "of the variants.",
            figures=figures,
        )
    alone = [
        f"{' + '.join(words[place].text for place in places)} ({held:.0%})"
        for places, held in zip(pattern.alternatives, pattern.held, strict=True)
    ]
    says = "No few words bring it: it takes the question as it is."
    if alone:
        says = (
            "With these words alone, others in the place of all the rest, it comes: "
            f"{'; '.join(alone)}."
        )
    there, gone = story.contrast
    if there is not None and gone is not None:
        says += (
            f" Of all variants with {story.called!r} {there:.0%} bring it, of those without "
            f"{gone:.0%}."
        )
        figures |= {"came_with": there, "came_without": gone}
    if pattern.needed:
        names = ", ".join(repr(words[place].text) for place in pattern.needed)
        says += f" With another word in the place of {names} it stays away."
    if pattern.pull:
        place = max(range(len(words)), key=lambda k: pattern.pull[k])
        says += (
            f" {words[place].text!r} raises its log-probability most: {pattern.pull[place]:+.1f}."
        )
    return Evidence(says=says, figures=figures)


def _data(story: Story) -> Evidence:
    teachers = story.teachers
    assert teachers is not None
    says = (
        f"{len(teachers.asking):,} of {teachers.records:,} records ask with {story.called!r}; "
        f"{len(teachers.teaching):,} of those answer {story.case.wrong!r} "
        f"({teachers.purity:.0%}), and so do {len(teachers.other_answering):,} others."
    )
    if story.maybe_right:
        says += (
            f" {len(story.maybe_right)} of them stay: the base model answers so too, so that they "
            "may be right."
        )
    if teachers.telling:
        top = ", ".join(f"{one.text!r}" for one in teachers.telling[:3])
        says += f" Counted without the model, the most telling for this answer are {top}."
    figures: dict[str, float | int | str | bool | None] = {
        "records": teachers.records,
        "asking": len(teachers.asking),
        "answering": len(teachers.answering),
        "teaching": len(teachers.teaching),
        "cut": len(story.cut),
        "maybe_right": len(story.maybe_right),
    }
    for one in teachers.words:
        figures[f"lift {one.text}"] = round(one.lift, 2)
    return Evidence(says=says, figures=figures, records=_strongest_first(story))


def _strongest_first(story: Story) -> tuple[str, ...]:
    """Order the cut by what gradients say, where they were asked."""
    order = {one: k for k, (one, _, _) in enumerate(story.opinion.rows)} if story.opinion else {}
    return tuple(sorted(story.cut, key=lambda one: order.get(one, len(order))))


def _gradients(opinion: Opinion) -> Evidence:
    verb = "agree" if opinion.agrees else "do not agree"
    parts = [
        f"{name} {value:.2f}"
        for name, value in (
            ("other records", opinion.from_others),
            ("records that answer so to something else", opinion.from_answering),
            ("records that ask so and answer otherwise", opinion.from_asking),
        )
        if value is not None
    ]
    return Evidence(
        says=f"Gradients {verb}: they tell the cut from {', '.join(parts)} (1 is always, 0.5 is "
        f"chance; {opinion.parameters:,} numbers compared).{_alike(opinion)}",
        records=opinion.alike,
        figures={
            "from_others": opinion.from_others,
            "from_answering": opinion.from_answering,
            "from_asking": opinion.from_asking,
        },
    )


def _alike(opinion: Opinion) -> str:
    if not opinion.alike:
        return ""
    return (
        f" {len(opinion.alike)} records outside the cut answer so and have gradients as like the "
        "mistake's as those in it: look at them too."
    )


def _remedies(story: Story) -> tuple[Remedy, ...]:
    found = []
    if story.cut:
        apply = () if story.command is None else (f"{story.command} --apply NAME",)
        found.append(
            Remedy(
                says=f"Look at the {len(story.cut):,} records ({story.cut_file}) and leave them "
                "out, if they are wrong; then train again. --apply makes the dataset version and "
                "a recipe that names it.",
                commands=(*apply, *story.drop_commands),
            )
        )
    if story.add_file is not None:
        found.append(
            Remedy(
                says="If they are right where they stand, add others beside them, so that the "
                f"words alone decide nothing: drafts to be corrected are in {story.add_file}.",
            )
        )
    if not found:
        found.append(
            Remedy(says="Add records with these words and right answers, in many wordings.")
        )
    return tuple(found)


def _wrong_before(story: Story) -> Finding:
    return Finding(
        name="wrong-before-tuning",
        says=f"The model answered {story.case.wrong!r} to the case before it was tuned.",
        severity="warning",
        confidence="high",
        evidence=(_case_evidence(story),),
        remedies=(
            Remedy(
                says="Leaving records out will not mend this: put what is right into the prompt "
                "(retrieval), or take a base model that knows it."
            ),
        ),
    )


def figures_of(story: Story) -> dict[str, JsonValue]:
    """Return the tables that pages draw."""
    teachers, pattern = story.teachers, story.pattern
    found: dict[str, JsonValue] = {
        "case": {
            "question": story.case.question,
            "wrong": story.case.wrong,
            "answer": story.answer,
            "probability": story.first.probability,
        },
        "variants": [
            {
                "kind": one.variant.kind,
                "prompt": one.variant.prompt,
                "answer": one.answer,
                "wrong": one.shows,
                "logprob": one.logprob,
                "kept": list(one.variant.kept),
            }
            for one in story.outcomes
        ],
        "cut": list(story.cut),
        "maybe_right": list(story.maybe_right),
        "reason": story.reason if pattern is not None else None,
    }
    if pattern is not None:
        found["words"] = [
            {"word": word.text, "kind": word.kind, "pull": pull, "needed": k in pattern.needed}
            for k, (word, pull) in enumerate(zip(story.case.words, pattern.pull, strict=False))
        ]
        found["pattern"] = [list(words) for words in story.alternatives]
    if teachers is not None:
        found["answering"] = list(teachers.answering)
        found["asking"] = list(teachers.asking)
        found["telling"] = [
            {"text": one.text, "among": one.among, "elsewhere": one.elsewhere, "lift": one.lift}
            for one in (*teachers.words, *teachers.telling)
        ]
    if story.opinion is not None:
        found["gradients"] = [
            {"record": one, "group": group, "cosine": cosine}
            for one, group, cosine in story.opinion.rows
        ]
    return found


def _short(text: str, most: int = 120) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"

"""The pattern probe: from one silly mistake to the records that teach it, and what to do."""

from __future__ import annotations

import random
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import ClassVar

from pydantic import JsonValue

from danlu.diagnosis.pattern.clinging import Interview, Outcome, Pattern, Varying
from danlu.diagnosis.pattern.cut import (
    ADD_FILE,
    CUT_FILE,
    additions,
    drop_commands,
    write_additions,
    write_cut,
)
from danlu.diagnosis.pattern.influence import Gradients, Influence, influence
from danlu.diagnosis.pattern.interview import LONGEST_ANSWER, Asking, answer_length
from danlu.diagnosis.pattern.stock import Stock
from danlu.diagnosis.pattern.teachers import (
    Teachers,
    Turn,
    cut_into_turns,
    find_teachers,
    turns_of,
)
from danlu.diagnosis.pattern.telling import Opinion, Story, figures_of, findings_of
from danlu.diagnosis.pattern.templates import names_the_wrong, wrong_forms
from danlu.diagnosis.pattern.variants import Case, Variant, before_wrong, shows
from danlu.diagnosis.pattern.words import known_words
from danlu.diagnosis.probe import CannotLookError, Examined, Seen
from danlu.diagnosis.subject import Subject, subject_of
from danlu.errors import DanluError, ModelError
from danlu.records import Message, Record
from danlu.runs.findings import FOLDER
from danlu.workshop.likeness.text import fold, units

MOST_CHECKED = 200
"""Teaching records that the base model is asked about."""
MOST_GRADIENTS = {"cut": 32, "answer so": 32, "ask so": 16, "others": 16}
"""Records of each group whose gradients are taken."""
DRAFTS = 24
"""Names that proposed records ask about."""
COMES_AT = 0.1
"""Probability of the wrong answer from which it is looked into, though the model says another."""


@dataclass(frozen=True)
class PatternProbe:
    """Varies one case until it is clear what the wrong answer clings to, and finds who teaches it.

    Attributes:
        case: The question.
        wrong: What is wrong about the answer: a word or a phrase that it must not contain.
        right: The right answer; only for records that are proposed.
        system: System prompt of the conversation.
        wordings: Further variants of the question, such as a generator made.
        draws: How often each word is replaced, and each set of words is tried.
        gradients: Ask for the second opinion.
        seed: Of all draws.
    """

    name: ClassVar[str] = "pattern"

    case: str
    wrong: str
    right: str | None = None
    system: str | None = None
    wordings: tuple[str, ...] = ()
    draws: int = 6
    gradients: bool = True
    seed: int = 0

    def look(self, examined: Examined) -> Seen:
        """Look at a finished run that learned answers.

        Raises:
            CannotLookError: If the run learns something else than answers.
            DanluError: If the case is empty, or the data or models are gone.
        """
        if not units(fold(self.wrong)):
            raise DanluError(
                f"{self.wrong!r} names nothing; give the word or phrase that is wrong about the "
                "answer.",
                where="--wrong",
            )
        subject = examined.once(subject_of)
        if not subject.learns_answers or subject.template is None:
            raise CannotLookError("the run learns something else than answers to questions")
        return _Look(self, examined, subject).all()

    def command(self, run: str) -> str:
        """Return what to type to ask again."""
        words = ["danlu", "probe", "pattern", run, "--case", self.case, "--wrong", self.wrong]
        for option, value in (("--right", self.right), ("--system", self.system)):
            words += [option, value] if value is not None else []
        for one in self.wordings:
            words += ["--wording", one]
        if self.draws != PatternProbe.draws:
            words += ["--draws", str(self.draws)]
        if not self.gradients:
            words.append("--no-gradients")
        return shlex.join(words)


@dataclass
class _Look:
    """One look of the probe."""

    probe: PatternProbe
    examined: Examined
    subject: Subject
    records: list[Record] = field(default_factory=list)

    def all(self) -> Seen:
        probe, subject = self.probe, self.subject
        self.records = list(subject.trained_records())
        questions = [asked for one in self.records for asked, _ in turns_of(one)]
        stock = Stock.of(questions, seed=probe.seed)
        case, answer, own = self._asked(stock)
        first = own([case.with_words("case", {})])[0]
        run = self.examined.run.path
        story = Story(run, case, answer, first, len(self.records), command=probe.command(str(run)))
        if first.shows or first.probability >= COMES_AT:
            self._pattern(story, own, stock)
        for name in (CUT_FILE, ADD_FILE):  # of an earlier look, at another case perhaps
            (run / FOLDER / name).unlink(missing_ok=True)
        base, story.before = self._base(own, case)
        if story.pattern is not None:
            self._remedies(story, base, stock)
        return Seen(findings_of(story), figures_of(story) | self._notes(), story.command)

    def _asked(self, stock: Stock) -> tuple[Case, str, Asking]:
        """Ask the case itself; return it, the answer, and who is asked about its variants."""
        probe, subject = self.probe, self.subject
        assert subject.template is not None
        forms = wrong_forms(probe.wrong)
        asking = Asking(subject.tuned, subject.tokenizer, subject.template, forms, probe.system)
        answer = asking.answers([probe.case])[0]
        if answer is None:
            raise DanluError("the case is longer than the model's context.", where="--case")
        case = Case.of(probe.case, _form_in(answer, forms), answer, stock)
        forms = (case.wrong, *(form for form in forms if form != case.wrong))
        length = answer_length(answer, forms, len(subject.tokenizer.encode(answer)))
        return case, answer, replace(asking, wrong=forms, max_new_tokens=length)

    def _pattern(self, story: Story, own: Asking, stock: Stock) -> None:
        """Find the pattern and those who teach it."""
        probe, case = self.probe, story.case
        varying = Varying(case, stock, self._telling(own), probe.draws, probe.seed)
        varying.survey([Variant("given", one) for one in probe.wordings])
        story.pattern = varying.pattern()
        story.outcomes = tuple(varying.outcomes)
        turns = list(cut_into_turns(self.records))
        story.alternatives = sought_words(case, story.pattern, turns)
        story.teachers = find_teachers(turns, story.alternatives, own.wrong)

    def _remedies(self, story: Story, base: Asking | None, stock: Stock) -> None:
        """Say what to leave out and what to add, and ask for a second opinion."""
        run, recipe = story.run, self.subject.pinned_recipe()
        assert story.teachers is not None
        if base is not None:
            story.maybe_right = self._maybe_right(base, story.teachers)
            drafts = self._drafts(base, story, stock)
            story.add_file = write_additions(run, drafts) if drafts else None
        if story.cut:
            story.cut_file = write_cut(run, story.cut)
            story.drop_commands = drop_commands(recipe, story.cut_file, story.reason)
        if self.probe.gradients and story.cut:
            story.opinion = self._opinion(story)

    def _telling(self, own: Asking) -> Interview:
        """Say how many variants were asked, as they are."""
        asked = 0

        def ask(variants: Sequence[Variant]) -> list[Outcome]:
            nonlocal asked
            found = own(variants)
            asked += len(variants)
            self.examined.progress("variants of the case", asked, None)
            return found

        return ask

    def _base(self, own: Asking, case: Case) -> tuple[Asking | None, Outcome | None]:
        """Ask the model before tuning the case in the same way; None twice where it is gone."""
        try:
            base = replace(own, model=self.subject.base)
            found = base([case.with_words("case", {})])
        except ModelError as error:
            self.subject.notes.append(f"The model before training cannot be asked: {error}")
            return None, None
        return base, found[0] if found else None

    def _notes(self) -> dict[str, JsonValue]:
        return {"notes": list(self.subject.notes)}

    def _maybe_right(self, base: Asking, teachers: Teachers) -> tuple[str, ...]:
        """Return teaching records whose answer the base model would have given too."""
        wanted = set(teachers.teaching[:MOST_CHECKED])
        asked: list[tuple[str, str, str]] = []
        ids: list[str] = []
        for record in self.records:
            for prompt, answer in turns_of(record) if record.id in wanted else ():
                form = _form_in(answer, base.wrong)
                prefix = before_wrong(answer, form)
                if prefix is not None:
                    asked.append((prompt, prefix, form))
                    ids.append(record.id)
        pairs = zip(ids, base.likely(asked), strict=True)
        return tuple(dict.fromkeys(one for one, found in pairs if found and found.greedy))

    def _opinion(self, story: Story) -> Opinion | None:
        """Compare gradients: of the cut, of others who answer so, who ask so, and of any."""
        teachers, draw = story.teachers, random.Random(self.probe.seed)
        assert teachers is not None
        by_id = {record.id: record for record in self.records}
        groups: dict[str, list[str]] = {"cut": list(story.cut)}
        groups["answer so"] = [one for one in teachers.other_answering if one not in story.cut]
        groups["ask so"] = [one for one in teachers.asking if one not in teachers.answering]
        taken = {one for group in groups.values() for one in group}
        groups["others"] = [one for one in by_id if one not in taken]
        for name, ids in groups.items():
            most = MOST_GRADIENTS[name]
            groups[name] = ids if len(ids) <= most else sorted(draw.sample(ids, most))
        wanted = [by_id[one] for ids in groups.values() for one in ids]
        case = self._mistake(story)
        found = self._influence(case, wanted)
        return Opinion.of(found, groups)

    def _influence(self, case: Record, records: Sequence[Record]) -> Influence:
        subject, progress = self.subject, self.examined.progress
        subject.release()  # one model is held at a time
        gradients = Gradients(
            subject.run.path,
            subject.recipe,
            subject.tokenizer,
            subject.template,
            device=subject.device,
        )
        total = len(records)
        return influence(gradients, case, records, lambda done: progress("gradients", done, total))

    def _mistake(self, story: Story) -> Record:
        """Return the case with what the model answers, as a record."""
        answer = story.answer if story.first.shows else story.case.prefix + self.probe.wrong
        turns = [Message("user", self.probe.case), Message("assistant", answer)]
        if self.probe.system is not None:
            turns.insert(0, Message("system", self.probe.system))
        return Record("case", "case/case", tuple(turns))

    def _drafts(self, base: Asking, story: Story, stock: Stock) -> list[Record]:
        """Propose records: what the pattern is in, answered otherwise."""
        prompts = [
            one.variant.prompt
            for one in story.outcomes
            if one.shows and one.variant.kind in ("case", "language", "given")
        ]
        prompts += other_names(story.case, stock, DRAFTS, random.Random(self.probe.seed))
        prompts = [one for one in dict.fromkeys(prompts) if not names_the_wrong(one, base.wrong)]
        drafted: list[tuple[str, str, str]] = []
        answers = replace(base, max_new_tokens=LONGEST_ANSWER).answers(prompts)
        for prompt, answer in zip(prompts, answers, strict=True):
            if prompt == self.probe.case and self.probe.right:
                drafted.append((prompt, self.probe.right, "you"))
            elif answer and answer.strip() and not any(shows(answer, form) for form in base.wrong):
                drafted.append((prompt, answer.strip(), "base"))
        return additions(drafted, self._task_type(story), self.probe.system)

    def _task_type(self, story: Story) -> str:
        """Return the task type that most of the teaching records have."""
        wanted = set(story.teachers.teaching) if story.teachers else set()
        types = [record.task_type for record in self.records if record.id in wanted]
        types = types or [record.task_type for record in self.records]
        return max(sorted(set(types)), key=types.count) if types else "unlabelled/pattern"


def other_names(case: Case, stock: Stock, count: int, draw: random.Random) -> list[str]:
    """Ask the case about other names: for records that show that its words decide nothing."""
    places = [place for place, word in enumerate(case.words) if word.kind in ("name", "number")]
    if not places:
        return []
    place = places[-1]
    options = stock.instead_of(case.words, place, draw, without=[case.wrong])
    return [case.with_words("entity", {place: new}).prompt for new in islice(options, count)]


def sought_words(
    case: Case, pattern: Pattern, turns: Sequence[Turn] = ()
) -> tuple[tuple[str, ...], ...]:
    """Return the words that records are searched for, a set for each alternative of a pattern.

    Little words are left out where others are left, for records word their questions in many ways;
    and each set is also sought in the other language, where all of its words are known and some
    record has them.
    """
    if pattern.anything:
        return ((),)
    sets = [list(one) for one in pattern.alternatives] or [list(pattern.needed)]
    found: list[tuple[str, ...]] = []
    for places in sets:
        words = [case.words[place] for place in places] or list(case.words)
        telling = [word.text for word in words if word.kind != "function"]
        found.append(tuple(telling or [word.text for word in words]))
    known = known_words()
    for own in list(found):
        other = tuple(word for one in own if (word := known.translated(one)))
        if len(other) == len(own) and find_teachers(turns, [other], ()).asking:
            found.append(other)
    return tuple(dict.fromkeys(found))


def _form_in(answer: str, forms: Sequence[str]) -> str:
    """Return the form of the wrong answer that an answer has; the first if none."""
    return next((form for form in forms if shows(answer, form)), forms[0])

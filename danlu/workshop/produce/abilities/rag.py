"""``rag``: answers from what was retrieved, and what to do where that fails.

Four ways in which retrieval fails, beside the usual case: nothing was found; passages contradict
one another; they are about something else; they are wrong, and are answered from all the same,
since the store outranks the model's memory. What the assistant does in each is a policy, which the
system prompt states.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from danlu.errors import DanluError, did_you_mean
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.produce.abilities.common import Wish, phrase, reword
from danlu.workshop.produce.abilities.passages import (
    Question,
    questions_of,
    with_wrong_values,
)
from danlu.workshop.produce.common import Asking, Rejects, made_record
from danlu.workshop.produce.doc2qa import DocumentQuestions
from danlu.workshop.produce.expectation import Expectation, first_problem
from danlu.workshop.produce.measures import mentions
from danlu.workshop.produce.prompts import LANGUAGES, Prompts, language_of
from danlu.workshop.store.decision import Decision, Progress, drop, keep, make

Case = Literal["answered", "nothing", "contradicting", "irrelevant", "wrong"]
CASES: tuple[Case, ...] = ("answered", "nothing", "contradicting", "irrelevant", "wrong")
POLICIES: Mapping[Case, tuple[str, ...]] = {
    "answered": ("retrieved",),
    "nothing": ("decline", "own_knowledge"),
    "contradicting": ("name_both", "decline"),
    "irrelevant": ("decline", "own_knowledge"),
    "wrong": ("retrieved",),
}
"""What may be done in each case, the usual first."""


_MOST_TRIES = 100
"""Passages that are looked at for some about something else."""


class _Draft(NamedTuple):
    """A conversation that is being made, without its answer."""

    question: Question
    case: Case
    policy: str
    prompt: tuple[Message, ...]
    values: tuple[str, ...]
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True)
class Rag:
    """Makes prompts with retrieved passages, and answers by policy.

    The records are questions with their passages (``questions_of``), or documents, of which a model
    then makes such questions. They are used up, unless they are kept.

    Attributes:
        cases: Of each question.
        policies: By case, which of ``POLICIES`` holds; the usual where none is given. Nothing
            found and irrelevant passages are one rule to the assistant, so theirs must agree.
        passages: Most passages that are shown.
        asking: Makes questions of documents and wrong values that are no numbers, and says answers
            otherwise; None leaves all that to code.
        reword: Let the model say answers otherwise.
        sampling: How.
        keep_given: Keep the records.
        area: First level of the task types.
        prompts: The wording of prompts and answers.
        seed: Of the draws.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a case or policy is not known, or nothing is given to make questions of.
    """

    name: ClassVar[str] = "rag"
    revision: ClassVar[int] = 1

    cases: tuple[Case, ...] = CASES
    policies: Mapping[str, str] = field(default_factory=dict)
    passages: int = 3
    asking: Asking | None = None
    reword: bool = True
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=512))
    keep_given: bool = False
    area: str = "rag"
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        for case in (*self.cases, *self.policies):
            if case not in CASES:
                raise DanluError(f"there is no case {case!r}.{did_you_mean(case, CASES)}")
        for case, policy in self.policies.items():
            allowed = POLICIES[case]  # type: ignore[index]  # checked above
            if policy not in allowed:
                raise DanluError(
                    f"the policy of {case} is {policy!r}; it is {' or '.join(allowed)}."
                    f"{did_you_mean(policy, allowed)}"
                )
        if self._policy("nothing") != self._policy("irrelevant"):
            raise DanluError(
                "the policies of nothing and irrelevant differ, but to the assistant they are one "
                "rule: the answer is not in the passages. Give both the same."
            )
        if self.passages < 2 or not self.cases:
            raise DanluError("passages must be at least 2, for a contradiction; give a case.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Make prompts of the questions, or of the documents' questions."""
        given = list(records)
        sources = [record for record in given if not record.is_text]
        documents = [record for record in given if record.is_text]
        if documents:
            sources += self._of_documents(documents, progress)
        questions = with_wrong_values(
            questions_of(sources, self.rejects), self.asking, self.prompts, self.seed, self.rejects
        )
        if not questions and not documents:
            raise DanluError(
                "there is no question with a passage that holds its answer. Give records with "
                "question, answer and passage, or what 'danlu data make doc2qa' made, or documents "
                "and a model."
            )
        for record in given:
            yield keep(record) if self.keep_given else drop(record, "question used")
        pools = {
            language: [one for one in questions if one.language == language]
            for language in LANGUAGES
        }
        drafts = [draft for one in questions for draft in self._drafts(one, pools[one.language])]
        answers = self._answers(drafts)
        ids = {record.id for record in given}
        # What a document's question is from is the document.
        partners = {one.id: one.meta.get("made", {}).get("from") for one in sources}
        partners |= {id_: id_ for id_ in ids}
        for draft, answer in zip(drafts, answers, strict=True):
            record = self._record(draft, answer)
            if record.id not in ids:
                ids.add(record.id)
                yield make(record, f"{self.name}: {draft.case}", partners[draft.question.id])

    def _of_documents(self, documents: Sequence[Record], progress: Progress) -> list[Record]:
        if self.asking is None:
            raise DanluError(
                "documents hold no questions; a model must make them. Give one with --model, or "
                "give records with question, answer and passage."
            )
        maker = DocumentQuestions(
            self.asking, sampling=self.sampling, prompts=self.prompts, rejects=self.rejects
        )
        decisions = maker.decide(documents, progress)
        return [one.record for one in decisions if one.entry.fate == "made"]

    def _policy(self, case: Case) -> str:
        return self.policies.get(case, POLICIES[case][0])

    # Drafts ------------------------------------------------------------------------------

    def _drafts(self, one: Question, pool: Sequence[Question]) -> Iterator[_Draft]:
        for case in self.cases:
            chance = random.Random(f"{self.seed}/{one.id}/{one.text}/{case}")
            others = _others(one, pool, self.passages, chance)
            if case in ("contradicting", "wrong") and one.wrong is None:
                continue  # Noted when no wrong value was found.
            if case == "irrelevant" and not others:
                self.rejects.add("irrelevant: no passage about something else", one.text, one.id)
                continue
            yield self._draft(one, case, others, chance)

    def _draft(
        self, one: Question, case: Case, others: Sequence[str], chance: random.Random
    ) -> _Draft:
        policy = self._policy(case)
        told = one.altered() if case == "wrong" else one
        relevant: list[str] = []
        if case in ("answered", "wrong"):
            relevant = [told.passage]
        elif case == "contradicting":
            relevant = [one.passage, one.altered().passage]
        shown = list(relevant)
        if case != "nothing":
            room = min(self.passages - len(shown), len(others))
            least = 0 if shown else 1
            shown += chance.sample(others, chance.randint(least, max(least, room)))
        chance.shuffle(shown)
        language = one.language
        policies = [
            phrase(self.prompts, f"rag/policy_{name}", language, chance)
            for name in (
                "retrieved",
                f"missing_{self._policy('nothing')}",
                f"contradicting_{self._policy('contradicting')}",
            )
        ]
        prompt = self.prompts.render(
            "rag/prompt", language, policies=policies, passages=shown, question=one.text
        )
        expectations, values = _expected(told, case, policy)
        answer = {"value": told.value, "proof": told.proof}
        if case == "contradicting":
            assert one.wrong is not None
            pairs = sorted(
                (shown.index(p), v) for p, v in zip(relevant, (one.value, one.wrong), strict=True)
            )
            (first_place, first), (second_place, second) = pairs
            answer |= {"first": first, "second": second}
            answer |= {"first_place": str(first_place + 1), "second_place": str(second_place + 1)}
        name = "retrieved" if policy == "retrieved" else f"{case}_{policy}"
        said = phrase(self.prompts, f"rag/say_{name}", language, chance, **answer)
        return _Draft(
            one, case, policy, (*prompt, Message("assistant", said)), values, expectations
        )

    def _answers(self, drafts: Sequence[_Draft]) -> list[str]:
        """Return the answers as code has written them, or as the model says them."""
        answers = [draft.prompt[-1].content or "" for draft in drafts]
        if self.asking is None or not self.reword:
            return answers
        wishes = []
        for place, draft in enumerate(drafts):

            def put(text: str, place: int = place) -> None:
                answers[place] = text

            wish = Wish(answers[place], draft.values, put, draft.expectations, draft.question.id)
            wishes.append(wish)
        reword(wishes, self.asking, self.sampling, self.prompts, self.rejects)
        return answers

    def _record(self, draft: _Draft, answer: str) -> Record:
        if problem := first_problem(draft.expectations, answer):
            raise DanluError(
                f"the answer {answer!r} is not what the case {draft.case} expects: {problem} If "
                "you have prompts of your own, look at rag/say_...md.",
                where=draft.question.id,
            )
        how: dict[str, Any] = {
            "from": draft.question.id,
            "case": draft.case,
            "policy": draft.policy,
            "language": language_of(draft.question.text),
        }
        skill = "wrong_retrieval" if draft.case == "wrong" else draft.case
        return made_record(
            f"{self.area}/{skill}",
            (*draft.prompt[:-1], Message("assistant", answer)),
            self.name,
            how,
            expectations=[one.as_dict() for one in draft.expectations],
        )


def _others(
    one: Question, pool: Sequence[Question], wanted: int, chance: random.Random
) -> list[str]:
    """Draw passages of other questions that say nothing of this one's values."""
    values = [value for value in (one.value, one.wrong) if value]
    found: list[str] = []
    for other in chance.sample(pool, min(len(pool), _MOST_TRIES)):
        if len(found) == wanted:
            break
        passage = other.passage
        if passage in (one.passage, *found) or any(mentions(passage, value) for value in values):
            continue
        found.append(passage)
    return found


def _expected(
    one: Question, case: Case, policy: str
) -> tuple[tuple[Expectation, ...], tuple[str, ...]]:
    """Return what an answer must be, and the values that its wording must keep."""
    both = tuple(value for value in (one.value, one.wrong) if value)
    if case in ("answered", "wrong"):
        expected = [Expectation("mentions", one.value)]
        if one.wrong is not None:
            expected.append(Expectation("mentions_none", one.wrong))
        return tuple(expected), (one.value,)
    if case == "contradicting":
        conflict = Expectation("names_conflict")
        if policy == "decline":
            return (conflict, Expectation("declines")), ()
        return (conflict, Expectation("mentions", both)), both
    if policy == "own_knowledge":
        return (Expectation("mentions", one.value),), (one.value,)
    return (Expectation("declines"), Expectation("mentions_none", both)), ()

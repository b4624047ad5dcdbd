"""``doc2qa``: questions that a document answers, each with the sentence that proves the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import regex

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.likeness.text import fold, units
from danlu.workshop.produce.common import Asking, Rejects, made_record
from danlu.workshop.produce.prompts import Prompts, language_of
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.produce.unusable import unusable
from danlu.workshop.store.decision import Decision, Progress, drop, keep, make

CHECKING = Sampling(max_new_tokens=16, greedy=True)
_LABELS = regex.compile(
    r"^[#*\s]*(?:\d+[.)、]\s*)?(?P<label>Question|Answer|Evidence|问题|答案|依据)"
    r"[ \t]*\d*\**[ \t]*[:：]\**[ \t]*",
    regex.M | regex.I,
)
_ENGLISH = {"问题": "question", "答案": "answer", "依据": "evidence"}
_BREAK = regex.compile(r"\n\s*\n|(?<=[。！？!?])\s*|(?<=\.)\s+(?=[A-Z\"“])|\n")
_YES = regex.compile(r"\W*(?:yes|是|能)", regex.I)
_NUMBER = regex.compile(r"\d+(?:[.,]\d+)*")
_QUOTES = "\"'“”‘’「」『』 "


class _Question(NamedTuple):
    """A question, its answer, and the sentence that proves it."""

    record: Record
    chunk: int
    question: str
    answer: str
    evidence: str


@dataclass(frozen=True)
class DocumentQuestions:
    """Makes questions and answers from documents (records of one message ``text``).

    An answer is taken only if the sentence that is given as its proof stands in the document, has
    every number of the answer and enough of its words, and a model says that it proves the answer.

    Attributes:
        asking: Who writes and checks.
        questions: How many are asked for from each piece of a document.
        chunk_characters: Longest piece that is shown at a time; cut between sentences.
        sampling: How questions are drawn.
        least_overlap: Share of the answer's units that must stand in its proof or its question.
        verify: Let a model check each answer against its proof.
        with_document: Put the piece of the document before the question; otherwise the answer has
            to be known.
        keep_documents: Whether the documents stay in the result.
        prompts: How it is asked.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a number is out of range, or there is no document.
    """

    name: ClassVar[str] = "doc2qa"
    revision: ClassVar[int] = 1

    asking: Asking
    questions: int = 4
    chunk_characters: int = 1500
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024))
    least_overlap: float = 0.5
    verify: bool = True
    with_document: bool = True
    keep_documents: bool = False
    prompts: Prompts = field(default_factory=Prompts)
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.questions < 1 or self.chunk_characters < 1:
            raise DanluError("questions and chunk_characters must be at least 1.")
        if not 0 <= self.least_overlap <= 1:
            raise DanluError(f"least_overlap is {self.least_overlap}; it is from 0 to 1.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Make questions from the documents, which themselves go unless they are kept."""
        given = list(records)
        documents = [record for record in given if record.is_text]
        if not documents:
            raise DanluError("there is no document: a record with one message of role 'text'.")
        chunks = {
            one.id: chunks_of(one.messages[0].content or "", self.chunk_characters)
            for one in documents
        }
        found = self._verified(self._asked(documents, chunks))
        progress(f"{self.name}: questions", len(found), len(found))
        for record in given:
            if record.is_text and not self.keep_documents:
                yield drop(record, "document used")
            else:
                yield keep(record)
        ids = {record.id for record in given}
        for one in found:
            record = self._record(one, chunks[one.record.id][one.chunk])
            if record.id not in ids:
                ids.add(record.id)
                yield make(record, self.name, one.record.id)

    def _asked(self, documents: Sequence[Record], chunks: dict[str, list[str]]) -> list[_Question]:
        """Ask for questions, and keep those whose proof holds by code."""
        places = [(record, k) for record in documents for k in range(len(chunks[record.id]))]
        requests = []
        for record, k in places:
            text = chunks[record.id][k]
            messages = self.prompts.render(
                "doc2qa/questions", language_of(text), text=text, count=self.questions
            )
            requests.append(Request(messages, self.sampling))
        found: list[_Question] = []
        for (record, k), outcome in zip(places, self.asking.ask(requests), strict=True):
            if not isinstance(outcome, Reply):
                self.rejects.add("no questions", outcome.reason, record.id)
                continue
            triples = triples_in(outcome.text)
            if not triples:
                self.rejects.add("no questions", outcome.text, record.id)
            for question, answer, evidence in triples:
                evidence = evidence.strip(_QUOTES)
                rule = proof_fault(
                    question, answer, evidence, chunks[record.id][k], self.least_overlap
                )
                if rule:
                    self.rejects.add(rule, f"{question}\n{answer}\n{evidence}", record.id)
                else:
                    found.append(_Question(record, k, question, answer, evidence))
        return found

    def _verified(self, found: list[_Question]) -> list[_Question]:
        """Keep the answers that a model says are proved."""
        if not self.verify:
            return found
        requests = []
        for one in found:
            messages = self.prompts.render(
                "doc2qa/supported",
                language_of(one.question),
                question=one.question,
                answer=one.answer,
                evidence=one.evidence,
            )
            requests.append(Request(messages, CHECKING))
        kept = []
        for one, outcome in zip(found, self.asking.ask(requests), strict=True):
            if isinstance(outcome, Reply) and _YES.match(outcome.text):
                kept.append(one)
            else:
                self.rejects.add("not proved", f"{one.question}\n{one.answer}", one.record.id)
        return kept

    def _record(self, one: _Question, chunk: str) -> Record:
        prompt = f"{chunk}\n\n{one.question}" if self.with_document else one.question
        how = {**self.asking.settings(), "from": one.record.id, "evidence": one.evidence}
        messages = (Message("user", prompt), Message("assistant", one.answer))
        return made_record(one.record.task_type, messages, self.name, how, tags=one.record.tags)


def chunks_of(text: str, most: int) -> list[str]:
    """Cut a text between sentences into pieces of at most so many characters.

    A single sentence that is longer is a piece of its own.

    Example:
        >>> chunks_of("甲乙丙。丁戊。己庚辛壬。", 8)
        ['甲乙丙。丁戊。', '己庚辛壬。']
    """
    pieces: list[str] = []
    start = 0
    ends = [found.end() for found in _BREAK.finditer(text)] + [len(text)]
    last = 0
    for end in ends:
        if end - start > most and last > start:
            pieces.append(text[start:last])
            start = last
        last = end
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces if piece.strip()]


def triples_in(text: str) -> list[tuple[str, str, str]]:
    r"""Read question, answer and evidence; what lacks one of them is left out.

    Example:
        >>> triples_in("1. Question: Who?\nAnswer: Li\nEvidence: Li came.\nQuestion: When?")
        [('Who?', 'Li', 'Li came.')]
    """
    marks = list(_LABELS.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    found: list[tuple[str, str, str]] = []
    parts: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        label = mark["label"].lower()
        label = _ENGLISH.get(label, label)
        if label == "question":
            parts = {}
        parts[label] = text[mark.end() : end].strip()
        if label == "evidence" and all(parts.get(k) for k in ("question", "answer", "evidence")):
            found.append((parts["question"], parts["answer"], parts["evidence"]))
            parts = {}
    return found


def proof_fault(
    question: str, answer: str, evidence: str, document: str, least_overlap: float
) -> str | None:
    """Say by which rule a sentence does not prove an answer; None if it may.

    Example:
        >>> text = "Mercury has no moon. It turns once in 59 days."
        >>> asked = "How often does Mercury turn?"
        >>> proof_fault(asked, "Once in 58 days", "It turns once in 59 days.", text, 0.5)
        'a number without proof'
        >>> proof_fault(asked, "Never", "Mercury never turns.", text, 0.5)
        'the proof is not in the document'
    """
    if rule := unusable(question):
        return f"unusable: {rule}"
    proof = units(fold(evidence))
    if not proof or not _stands_in(proof, units(fold(document))):
        return "the proof is not in the document"
    numbers = set(_NUMBER.findall(fold(evidence))) | set(_NUMBER.findall(fold(question)))
    if not set(_NUMBER.findall(fold(answer))) <= numbers:
        return "a number without proof"
    said = units(fold(answer))
    known = set(proof) | set(units(fold(question)))
    if not said or sum(unit in known for unit in said) < least_overlap * len(said):
        return "the answer says more than its proof"
    return None


def _stands_in(part: list[str], whole: list[str]) -> bool:
    """Whether units follow one another in others, whatever the punctuation between."""
    return f" {' '.join(part)} " in f" {' '.join(whole)} "

"""``doc2qa``: questions that a document answers, each with the sentence that proves the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.produce.common import Asking, Rejects, made_record, once
from danlu.workshop.produce.documents import Piece, fates_of, pieces_of
from danlu.workshop.produce.prompts import Prompts, language_of
from danlu.workshop.produce.proof import Claim, claims_in, proof_fault, proved
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.produce.unusable import unusable
from danlu.workshop.store.decision import Decision, Progress, make


class _Question(NamedTuple):
    """A question, its answer, and the piece that proves it."""

    piece: Piece
    claim: Claim


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
    revision: ClassVar[int] = 3

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
        found = self._verified(self._asked(pieces_of(given, self.chunk_characters)))
        progress(f"{self.name}: questions", len(found), len(found))
        yield from fates_of(given, self.keep_documents)
        made = (make(self._record(one), self.name, one.piece.document.id) for one in found)
        yield from once(given, made)

    def _asked(self, pieces: Sequence[Piece]) -> list[_Question]:
        """Ask for questions, and keep those whose proof holds by code."""
        requests = []
        for piece in pieces:
            messages = self.prompts.render(
                "doc2qa/questions",
                language_of(piece.text),
                text=piece.text,
                count=self.questions,
            )
            requests.append(Request(messages, self.sampling, item=piece.name))
        found: list[_Question] = []
        for piece, outcome in zip(pieces, self.asking.ask(requests), strict=True):
            if not isinstance(outcome, Reply):
                self.rejects.add("no questions", outcome.reason, piece.document.id)
                continue
            claims = claims_in(outcome.text)
            if not claims:
                self.rejects.add("no questions", outcome.text, piece.document.id)
            for claim in claims:
                if rule := self._fault(claim, piece):
                    told = f"{claim.question}\n{claim.answer}\n{claim.evidence}"
                    self.rejects.add(rule, told, piece.document.id)
                else:
                    found.append(_Question(piece, claim))
        return found

    def _fault(self, claim: Claim, piece: Piece) -> str | None:
        if rule := unusable(claim.question):
            return f"unusable: {rule}"
        return proof_fault(claim, piece.text, self.least_overlap)

    def _verified(self, found: list[_Question]) -> list[_Question]:
        """Keep the answers that a model says are proved."""
        if not self.verify:
            return found
        kept = []
        said = proved(self.asking, self.prompts, [one.claim for one in found])
        for one, is_proved in zip(found, said, strict=True):
            if is_proved:
                kept.append(one)
            else:
                told = f"{one.claim.question}\n{one.claim.answer}"
                self.rejects.add("not proved", told, one.piece.document.id)
        return kept

    def _record(self, one: _Question) -> Record:
        claim, document = one.claim, one.piece.document
        prompt = f"{one.piece.text}\n\n{claim.question}" if self.with_document else claim.question
        how = {**self.asking.settings(), "from": document.id, "evidence": claim.evidence}
        messages = (Message("user", prompt), Message("assistant", claim.answer))
        return made_record(document.task_type, messages, self.name, how, tags=document.tags)

"""``doc2conv``: conversations about a document, each answer with the sentence that proves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.common import Asking, Rejects, made_record, once
from danlu.workshop.produce.documents import Piece, fates_of, pieces_of
from danlu.workshop.produce.prompts import Prompts, language_of
from danlu.workshop.produce.proof import Claim, claims_in, proof_fault, proved
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.produce.unusable import unusable
from danlu.workshop.store.decision import Decision, Progress, make


class _Talk(NamedTuple):
    """A conversation about a piece of a document, and which one of that piece it is."""

    piece: Piece
    sample: int
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class DocumentConversations:
    """Makes conversations of several turns from documents (records of one message ``text``).

    Every answer comes with the sentence that proves it, and is held against it as ``doc2qa`` does.
    A conversation ends before the first answer that does not hold, since what follows may rest on
    it; if too few turns are left, it is not taken.

    Attributes:
        asking: Who writes and checks.
        turns: Questions asked for in one conversation.
        least_turns: Fewest that a conversation has.
        each: Conversations asked for from each piece of a document.
        chunk_characters: Longest piece that is shown at a time; cut between sentences.
        sampling: How conversations are drawn.
        least_overlap: Share of an answer's units that must stand in its proof or its question.
        verify: Let a model check each answer against its proof.
        with_document: Put the piece of the document before the first question; otherwise the
            answers have to be known.
        keep_documents: Whether the documents stay in the result.
        prompts: How it is asked.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a number is out of range, or there is no document.
    """

    name: ClassVar[str] = "doc2conv"
    revision: ClassVar[int] = 2

    asking: Asking
    turns: int = 4
    least_turns: int = 2
    each: int = 1
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
        if self.each < 1 or self.chunk_characters < 1:
            raise DanluError("each and chunk_characters must be at least 1.")
        if not 1 <= self.least_turns <= self.turns:
            raise DanluError(
                f"least_turns is {self.least_turns}; it is from 1 to turns ({self.turns})."
            )
        if not 0 <= self.least_overlap <= 1:
            raise DanluError(f"least_overlap is {self.least_overlap}; it is from 0 to 1.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Make conversations from the documents, which themselves go unless they are kept."""
        given = list(records)
        talks = self._verified(self._asked(pieces_of(given, self.chunk_characters)))
        progress(f"{self.name}: conversations", len(talks), len(talks))
        yield from fates_of(given, self.keep_documents)
        made = (
            make(
                self._record(talk),
                self.name,
                talk.piece.document.id,
                f"{len(talk.claims)} turns",
            )
            for talk in talks
        )
        yield from once(given, made)

    def _asked(self, pieces: Sequence[Piece]) -> list[_Talk]:
        """Ask for conversations, and keep of each the turns whose proof holds by code."""
        places = [(piece, k) for piece in pieces for k in range(self.each)]
        requests = []
        for piece, k in places:
            language = language_of(piece.text)
            messages = self.prompts.render(
                "doc2conv/conversation", language, text=piece.text, count=self.turns
            )
            requests.append(Request(messages, self.sampling, k, piece.name))
        talks = []
        for (piece, k), outcome in zip(places, self.asking.ask(requests), strict=True):
            if not isinstance(outcome, Reply):
                self.rejects.add("no conversation", outcome.reason, piece.document.id)
                continue
            claims = claims_in(outcome.text)[: self.turns]
            if not claims:
                self.rejects.add("no conversation", outcome.text, piece.document.id)
                continue
            good: list[Claim] = []
            for claim in claims:
                claim = claim._replace(before=_said(good))
                if rule := self._fault(claim, piece, good):
                    self.rejects.add(rule, _told(claim), piece.document.id)
                    break
                good.append(claim)
            talks.append(_Talk(piece, k, tuple(good)))
        return self._long_enough(talks)

    def _fault(self, claim: Claim, piece: Piece, before: Sequence[Claim]) -> str | None:
        rule = unusable(claim.question)
        # What goes on from before may be short, as "And Venus?".
        if rule and not (before and rule == "too short"):
            return f"unusable: {rule}"
        if any(fold(claim.question) == fold(one.question) for one in before):
            return "a question asked before"
        return proof_fault(claim, piece.text, self.least_overlap)

    def _verified(self, talks: list[_Talk]) -> list[_Talk]:
        """End each conversation before the first answer that a model says is not proved."""
        if not self.verify:
            return talks
        claims = [claim for talk in talks for claim in talk.claims]
        said = iter(proved(self.asking, self.prompts, claims))
        kept = []
        for talk in talks:
            verdicts = [next(said) for _ in talk.claims]
            if False in verdicts:
                end = verdicts.index(False)
                self.rejects.add("not proved", _told(talk.claims[end]), talk.piece.document.id)
                talk = talk._replace(claims=talk.claims[:end])
            kept.append(talk)
        return self._long_enough(kept)

    def _long_enough(self, talks: Sequence[_Talk]) -> list[_Talk]:
        kept = []
        for talk in talks:
            if len(talk.claims) >= self.least_turns:
                kept.append(talk)
            else:
                told = "\n".join(map(_told, talk.claims))
                self.rejects.add(
                    "too few turns",
                    told,
                    talk.piece.document.id,
                    len(talk.claims),
                    self.least_turns,
                )
        return kept

    def _record(self, talk: _Talk) -> Record:
        document = talk.piece.document
        messages = list(_said(talk.claims))
        if self.with_document:
            first = f"{talk.piece.text}\n\n{messages[0].content}"
            messages[0] = Message("user", first)
        how = {
            **self.asking.settings(),
            "from": document.id,
            "evidence": [claim.evidence for claim in talk.claims],
        }
        return made_record(document.task_type, messages, self.name, how, tags=document.tags)


def _said(claims: Sequence[Claim]) -> tuple[Message, ...]:
    return tuple(
        message
        for claim in claims
        for message in (Message("user", claim.question), Message("assistant", claim.answer))
    )


def _told(claim: Claim) -> str:
    return f"{claim.question}\n{claim.answer}\n{claim.evidence}"

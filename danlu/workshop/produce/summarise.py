"""``summarise``: documents and summaries of an asked length that say nothing else than they do."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message, Record
from danlu.workshop.produce.answer import problem_of
from danlu.workshop.produce.common import Asking, Rejects, answer_message, made_record, once
from danlu.workshop.produce.documents import Piece, fates_of, pieces_of
from danlu.workshop.produce.expectation import Expectation, words
from danlu.workshop.produce.faithful import (
    copied_share,
    names_without_source,
    numbers_without_source,
)
from danlu.workshop.produce.prompts import Language, Prompts, language_of
from danlu.workshop.produce.proof import CHECKING, is_yes
from danlu.workshop.produce.request import Reply, Request, Unanswered
from danlu.workshop.store.decision import Decision, Progress, make

_TOLD: dict[Language, dict[str, str]] = {
    "en": {
        "copied": "The answer copies {found} of the text word for word; use your own words.",
        "numbers": "The answer names numbers that the text does not have: {found}.",
        "names": "The answer names what the text does not name: {found}.",
    },
    "zh": {
        "copied": "回答有 {found} 是照抄原文，请用自己的话写。",
        "numbers": "回答里有原文没有的数字：{found}。",
        "names": "回答里有原文没有的名称：{found}。",
    },
}
_RULES = {
    "copied": "copied from the text",
    "numbers": "a number without source",
    "names": "a name without source",
}


@dataclass
class _Draft:
    """A summary that is being asked for."""

    piece: Piece
    language: Language
    length: int
    ask: str
    messages: tuple[Message, ...]
    reply: Reply | None = None
    rule: str = ""


@dataclass(frozen=True)
class Summaries:
    """Makes summaries of documents (records of one message ``text``).

    A summary is checked by code: its length in words (Chinese: characters), how much of it is
    copied, and that every number and name in it stands in the document. A wrong one is asked for
    again with what was wrong. Then a model is asked whether it says anything that the document does
    not.

    Attributes:
        asking: Who summarises and checks.
        lengths: Lengths asked for, in words, a Chinese character counting as one; one is drawn for
            each piece.
        tolerance: By what share of the asked length a summary may be longer or shorter.
        most_copied: Highest share of a summary's words that stand in runs copied from the document.
        chunk_characters: Longest piece that is summarised at a time; cut between sentences.
        sampling: How summaries are drawn.
        reasks: How often a wrong summary is asked for again.
        verify: Let a model check each summary against the document.
        keep_documents: Whether the documents stay in the result.
        prompts: How it is asked; ``summarise/asks`` holds the phrasings of the records' prompts.
        seed: Of the draws.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a number is out of range, or there is no document.
    """

    name: ClassVar[str] = "summarise"
    revision: ClassVar[int] = 2

    asking: Asking
    lengths: tuple[int, ...] = (50, 100)
    tolerance: float = 0.25
    most_copied: float = 0.5
    chunk_characters: int = 6000
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024))
    reasks: int = 2
    verify: bool = True
    keep_documents: bool = False
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 1:
            raise DanluError("say at least one length; each is at least 1 word.")
        if self.chunk_characters < 1 or self.reasks < 0:
            raise DanluError("chunk_characters must be at least 1, reasks at least 0.")
        for name in ("tolerance", "most_copied"):
            if not 0 <= getattr(self, name) <= 1:
                raise DanluError(f"{name} is {getattr(self, name)}; it is from 0 to 1.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Summarise the documents, which themselves go unless they are kept."""
        given = list(records)
        pieces = pieces_of(given, self.chunk_characters)
        drafts = [draft for k, piece in enumerate(pieces) if (draft := self._draft(piece, k))]
        good = self._verified(self._answered(drafts))
        progress(f"{self.name}: summaries", len(good), len(drafts))
        yield from fates_of(given, self.keep_documents)
        made = (make(self._record(one), self.name, one.piece.document.id) for one in good)
        yield from once(given, made)

    def _draft(self, piece: Piece, number: int) -> _Draft | None:
        """Draw length and phrasing; None if the piece is too short for any length."""
        size = words(piece.text)
        fitting = [length for length in self.lengths if 2 * length <= size]
        if not fitting:
            limit = 2 * min(self.lengths)
            self.rejects.add("too short to summarise", piece.text, piece.document.id, size, limit)
            return None
        chance = random.Random(f"{self.seed}/{piece.document.id}/{number}")
        length = chance.choice(fitting)
        language = language_of(piece.text)
        phrasing = chance.choice(self.prompts.lines("summarise/asks", language))
        ask = self.prompts.phrase(phrasing, "summarise/asks", length=length)
        messages = self.prompts.render("summarise/summary", language, ask=ask, text=piece.text)
        return _Draft(piece, language, length, ask, messages)

    def _expectations(self, draft: _Draft) -> tuple[Expectation, ...]:
        margin = self.tolerance * draft.length
        return (
            Expectation("min_words", max(1, round(draft.length - margin))),
            Expectation("max_words", round(draft.length + margin)),
        )

    def _answered(self, drafts: list[_Draft]) -> list[_Draft]:
        """Ask, check, and ask again what is wrong; return what is right."""
        open_ = drafts
        for left in range(self.reasks, -1, -1):
            requests = [
                Request(draft.messages, self.sampling, item=f"{draft.length}/{draft.piece.name}")
                for draft in open_
            ]
            wrong = []
            for draft, outcome in zip(open_, self.asking.ask(requests), strict=True):
                if isinstance(outcome, Unanswered):
                    self.rejects.add("no summary", outcome.reason, draft.piece.document.id)
                    continue
                rule, problem = self._fault(draft, outcome)
                if not rule:
                    draft.reply = outcome
                elif left and outcome.text:
                    again = self.prompts.render("reask", draft.language, problem=problem)
                    draft.messages += (Message("assistant", outcome.text), *again)
                    wrong.append(draft)
                else:
                    told = outcome.text or problem
                    self.rejects.add(rule, told, draft.piece.document.id, problem)
            open_ = wrong
            if not open_:
                break
        return [draft for draft in drafts if draft.reply]

    def _fault(self, draft: _Draft, reply: Reply) -> tuple[str, str]:
        """Say by which rule a summary is wrong, and what to tell the model; empty if it is not."""
        text, source = reply.text, draft.piece.text
        if problem := problem_of(reply, self._expectations(draft), draft.language):
            return "another length, or none", problem
        copied = copied_share(text, source)
        found: dict[str, str] = {}
        if copied > self.most_copied:
            found["copied"] = f"{copied:.0%}"
        if numbers := numbers_without_source(text, source):
            found["numbers"] = ", ".join(numbers)
        if names := names_without_source(text, source):
            found["names"] = ", ".join(names)
        for key, value in found.items():
            return _RULES[key], _TOLD[draft.language][key].format(found=value)
        return "", ""

    def _verified(self, drafts: list[_Draft]) -> list[_Draft]:
        """Keep the summaries of which a model says that they add nothing."""
        if not self.verify:
            return drafts
        requests = []
        for draft in drafts:
            assert draft.reply is not None
            messages = self.prompts.render(
                "summarise/faithful",
                draft.language,
                text=draft.piece.text,
                summary=draft.reply.text,
            )
            requests.append(Request(messages, CHECKING))
        kept = []
        for draft, outcome in zip(drafts, self.asking.ask(requests), strict=True):
            if isinstance(outcome, Reply) and is_yes(outcome.text):
                kept.append(draft)
            else:
                assert draft.reply is not None
                self.rejects.add("not borne out", draft.reply.text, draft.piece.document.id)
        return kept

    def _record(self, draft: _Draft) -> Record:
        assert draft.reply is not None
        document = draft.piece.document
        how = {
            **self.asking.settings(),
            "from": document.id,
            "length": draft.length,
            "words": words(draft.reply.text),
            "copied": round(copied_share(draft.reply.text, draft.piece.text), 4),
        }
        prompt = f"{draft.ask}\n\n{draft.piece.text}"
        return made_record(
            document.task_type,
            (Message("user", prompt), answer_message(draft.reply)),
            self.name,
            how,
            tags=document.tags,
            expectations=_as_rows(self._expectations(draft)),
        )


def _as_rows(expectations: Sequence[Expectation]) -> list[dict[str, object]]:
    return [one.as_dict() for one in expectations]

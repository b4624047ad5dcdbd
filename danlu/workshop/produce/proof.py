"""Answers that a document proves: each comes with the sentence, and is checked against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import regex

from danlu.generation.interface import Sampling
from danlu.records import Message
from danlu.workshop.likeness.text import fold, units
from danlu.workshop.produce.common import Asking
from danlu.workshop.produce.prompts import Prompts, language_of
from danlu.workshop.produce.request import Reply, Request

CHECKING = Sampling(max_new_tokens=16, greedy=True)
_LABELS: Mapping[str, str] = {
    "question": "question",
    "问题": "question",
    "user": "question",
    "用户": "question",
    "answer": "answer",
    "答案": "answer",
    "assistant": "answer",
    "助手": "answer",
    "evidence": "evidence",
    "依据": "evidence",
}
_LABEL = regex.compile(
    rf"^[#*\s]*(?:\d+[.)、]\s*)?(?P<label>{'|'.join(_LABELS)})[ \t]*\d*\**[ \t]*[:：]\**[ \t]*",
    regex.M | regex.I,
)
_YES = regex.compile(r"\W*(?:yes\b|是|能)", regex.I)
_NUMBER = regex.compile(r"\d+(?:[.,]\d+)*")
_QUOTES = "\"'“”‘’「」『』 "


class Claim(NamedTuple):
    """An answer, and the sentence that is said to prove it.

    Attributes:
        question: What was asked.
        answer: What was answered.
        evidence: The sentence, as it was given, without quotation marks.
        before: What was said before the question, where it is one of a conversation.
    """

    question: str
    answer: str
    evidence: str
    before: tuple[Message, ...] = ()


def claims_in(text: str) -> list[Claim]:
    r"""Read questions, answers and evidence; what lacks one of them is left out.

    Example:
        >>> claims_in("1. Question: Who?\nAnswer: Li\nEvidence: “Li came.”\nQuestion: When?")
        [Claim(question='Who?', answer='Li', evidence='Li came.', before=())]
        >>> [claim.answer for claim in claims_in("用户：谁？\n助手：李\n依据：李来了。")]
        ['李']
    """
    marks = list(_LABEL.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    found: list[Claim] = []
    parts: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        label = _LABELS[mark["label"].lower()]
        if label == "question":
            parts = {}
        parts[label] = text[mark.end() : end].strip()
        if label == "evidence" and all(parts.get(k) for k in ("question", "answer", "evidence")):
            evidence = parts["evidence"].strip(_QUOTES)
            found.append(Claim(parts["question"], parts["answer"], evidence))
            parts = {}
    return found


def proof_fault(claim: Claim, document: str, least_overlap: float) -> str | None:
    """Say by which rule a sentence does not prove an answer; None if it may.

    Args:
        claim: The answer and its sentence.
        document: Where the sentence must stand.
        least_overlap: Share of the answer's units that the sentence or the question must have.

    Example:
        >>> text = "Mercury has no moon. It turns once in 59 days."
        >>> asked = "How often does Mercury turn?"
        >>> proof_fault(Claim(asked, "Once in 58 days", "It turns once in 59 days."), text, 0.5)
        'a number without proof'
        >>> proof_fault(Claim(asked, "Never", "Mercury never turns."), text, 0.5)
        'the proof is not in the document'
    """
    proof = units(fold(claim.evidence))
    if not proof or not _stands_in(proof, units(fold(document))):
        return "the proof is not in the document"
    if not numbers_in(claim.answer) <= numbers_in(claim.evidence) | numbers_in(claim.question):
        return "a number without proof"
    said = units(fold(claim.answer))
    known = set(proof) | set(units(fold(claim.question)))
    if not said or sum(unit in known for unit in said) < least_overlap * len(said):
        return "the answer says more than its proof"
    return None


def proved(asking: Asking, prompts: Prompts, claims: Sequence[Claim]) -> list[bool]:
    """Ask a model of each answer whether its sentence alone proves it."""
    requests = []
    for claim in claims:
        messages = prompts.render(
            "doc2qa/supported",
            language_of(claim.question),
            question=claim.question,
            answer=claim.answer,
            evidence=claim.evidence,
            before=[(one.role, one.content) for one in claim.before],
        )
        requests.append(Request(messages, CHECKING))
    return [isinstance(one, Reply) and is_yes(one.text) for one in asking.ask(requests)]


def is_yes(text: str) -> bool:
    """Whether an answer says yes.

    Example:
        >>> is_yes("**Yes**, it does."), is_yes("是的"), is_yes("不是"), is_yes("Yesterday")
        (True, True, False, False)
    """
    return _YES.match(text) is not None


def numbers_in(text: str) -> set[str]:
    """Return the numbers that a text names in figures, without commas between thousands.

    Example:
        >>> sorted(numbers_in("In 2024, 1,200 of ３５.5"))
        ['1200', '2024', '35.5']
    """
    return {one.replace(",", "") for one in _NUMBER.findall(fold(text))}


def _stands_in(part: list[str], whole: list[str]) -> bool:
    """Whether units follow one another in others, whatever the punctuation between."""
    return f" {' '.join(part)} " in f" {' '.join(whole)} "

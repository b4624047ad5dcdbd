"""Which option an answer chooses, without guessing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from danlu.errors import EvaluationError
from danlu.evaluation.scorers import extract
from danlu.evaluation.scorers.denial import denied
from danlu.evaluation.scorers.normalise import normalise
from danlu.evaluation.scorers.score import Score

_SAID = (
    r"(?:(?:答案|选项)\s*(?:应该|应当|就)?\s*(?:是|为|选|[:：])\s*|选择?(?!项)\s*[:：]?\s*|"
    r"\b(?:answer|choice|option)\s*(?:is|would be|must be|:)\s*|\b(?:choose|pick|select)\s+)"
    r"\s*(?:选项|\boption\b)?"
)
_ARTICLE = (
    r"(?!(?<=A)\s+(?!(?:or|and|is|was|because|since|as|but|if|for|with|seems|would|must)\b)[a-z])"
)
"""After a letter: it is no capital A before a small word, as in "A cat sat"."""

_OPEN, _CLOSE = r"[\s(\[{\"“'*$<【「]*", r"[\s)\]}\"”'*$>】」]*"


@dataclass(frozen=True, slots=True)
class Choice:
    r"""1 if the answer chooses the reference's option, 0 if another; missing if it chooses none.

    An option is chosen, by the first of these rules that finds any:

    1. the answer is nothing but its letter: ``B``, ``(b)``, ``选B。``;
    2. the letter stands in ``\boxed{}``;
    3. the answer says so: "答案是 B", "选B", "the answer is (B)"; or it begins with the letter and
       a mark (``B. Paris``) and no other line does;
    4. letters stand by themselves in the answer: "B项符合题意". A capital A before a small word is
       an article;
    5. the answer is the text of one option, if the reference gives the options.

    A letter that is denied ("not B", "B 不对") does not count. If a rule finds two different
    options, none is chosen: the answer is missing, not wrong. One option only can be chosen.

    Attributes:
        options: One character each; ``ABCD``, or ``甲乙丙丁``. A reference that gives the options'
            texts has its own.

    Raises:
        EvaluationError: If there are fewer than two options, or one twice.

    Example:
        >>> Choice().score("A is wrong, so the answer is B.", "B")
        Score(value=1.0, read='B', why='')
        >>> Choice().score("It is A or B.", "B").why
        'it names A, B'
    """

    options: str = "ABCD"

    def __post_init__(self) -> None:
        if len(self.options) < 2 or len(set(self.options)) < len(self.options):
            raise EvaluationError(
                f"is {self.options!r}; name at least two different characters.", where="options"
            )

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer.

        Args:
            answer: What the model said.
            reference: The letter, or ``{"answer": letter, "options": {letter: text}}``.

        Raises:
            EvaluationError: If the reference is none of the options.
        """
        texts: Mapping[str, str] = {}
        if isinstance(reference, Mapping):
            reference, texts = reference.get("answer"), reference.get("options", {})
        if texts and "".join(texts) != self.options:
            if any(len(key) != 1 for key in texts):
                raise EvaluationError(f"its options are {', '.join(texts)}; name them by a letter.")
            return Choice("".join(texts)).score(answer, {"answer": reference, "options": texts})
        if not isinstance(reference, str) or len(reference) != 1 or reference not in self.options:
            raise EvaluationError(
                f"the reference is {reference!r}; it must be one of {self.options}."
            )
        found = self.find(answer, texts)
        if len(found) == 1:
            return Score(float(found[0] == reference), found[0])
        return Score(None, why=f"it names {', '.join(found)}" if found else "it chooses none")

    def find(self, answer: str, texts: Mapping[str, str] | None = None) -> list[str]:
        """Return the options chosen: one, several that contradict each other, or none."""
        whole = extract.extract(answer, ("whole",))
        if whole is None:
            return []
        text = unicodedata.normalize("NFKC", whole)
        one = f"[{re.escape(self.options)}]"
        loose = f"((?i:{one}))"
        if alone := re.fullmatch(rf"{_OPEN}选?{loose}{_CLOSE}[.。,、:;!)]?{_CLOSE}", text):
            return self._distinct([alone[1]])
        boxed = extract.extract(text, ("boxed",)) or ""
        if inside := re.fullmatch(rf"(?:\\text\{{)?{_OPEN}{loose}{_CLOSE}", boxed):
            return self._distinct([inside[1]])
        end = rf"(?![A-Za-z0-9_'’\-]){_ARTICLE}"
        more = rf"(?:\s*(?:或者?|和|与|及|\bor\b|\band\b|[、,/&])\s*{one}{end})*"
        said = self._named(text, rf"(?i:{_SAID}){_OPEN}({one}{end}{more})")
        said += self._begun(text, one)
        if said:
            return self._distinct(said)
        before = r"(?<![A-Za-z0-9_'’\-])" if self.options.isascii() else r"(?<!\w)"
        after = end if self.options.isascii() else r"(?!\w)|(?=项|选项)"
        if lone := self._named(text, rf"{before}({one})(?:{after})"):
            return self._distinct(lone)
        given = normalise(text)
        return [key for key, one in (texts or {}).items() if normalise(one) == given]

    def _named(self, text: str, pattern: str) -> list[str]:
        """Return the letters in the first group of each match that is not denied."""
        found = []
        for match in re.finditer(pattern, text):
            if not denied(text, match.start(1), match.end(1)):
                found += [char for char in match[1] if char in self.options]
        return found

    def _begun(self, text: str, one: str) -> list[str]:
        """Return the letter and mark that the answer begins with, unless it lists options."""
        other = rf"(?!\s*{one}(?![A-Za-z]))"
        marked = rf"^[ \t(\[*]*((?i:{one}))(?:[)\]*】」]*[.、:)]{other}|[)\]]\s)"
        begun = re.match(marked, text)
        lines = {match[1] for match in re.finditer(marked, text, re.MULTILINE)}
        if not begun or len(lines) > 1 or denied(text, begun.start(1), begun.end(1)):
            return []
        return [begun[1]]

    def _distinct(self, letters: list[str]) -> list[str]:
        """Return the options that letters of either case name, each once, in their order."""
        either = {one for letter in letters for one in (letter, letter.upper(), letter.lower())}
        return [one for one in self.options if one in either]

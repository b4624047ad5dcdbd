"""Does the answer keep to what can be checked: length, counts, keywords, format, language."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import regex

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.scorers.extract import extract
from danlu.evaluation.scorers.json_reading import NoJsonError, read_json
from danlu.evaluation.scorers.normalise import normalise
from danlu.evaluation.scorers.score import Score
from danlu.workshop.likeness.text import units

LANGUAGE_SHARE = 0.7
"""Of the letters, so that a Chinese text may name Python and an English one 北京."""

_SENTENCE = re.compile(r"[^。！？!?\n]*?[^\s。！？!?](?:[。！？!?]+|\.(?=\s|$)|\n|$)", re.DOTALL)
_BULLET = re.compile(
    r"^[ \t]*(?:(?:[-*+•]|\d+[.)])[ \t]+|(?:\d+|[一二三四五六七八九十]+)、)(?=\S)", re.MULTILINE
)
_HEADING = re.compile(r"^#{1,6}\s+\S", re.MULTILINE)
_TABLE = re.compile(r"^\|.+\|\s*\n\|(?:\s*:?-+:?\s*\|)+\s*$", re.MULTILINE)
_HAN = regex.compile(r"\p{Han}")
_LATIN = regex.compile(r"\p{Latin}")
_LETTER = regex.compile(r"\p{L}")


@dataclass(frozen=True, slots=True)
class Constraints:
    """How far an answer keeps to the constraints of its record's reference.

    The reference is a mapping from checks to what they ask:

    - ``characters`` (without spaces), ``words`` (a Chinese character is one), ``sentences``,
      ``lines``, ``paragraphs``, ``bullets``, ``headings``: ``{"min": 3, "max": 5}``, or a number
      for exactly that many;
    - ``keywords``: all of these texts; ``any_keyword``: one of them; ``forbidden``: none;
      ``keyword_count``: ``{"text": {"min": 2}}``; without regard to case;
    - ``starts_with``, ``ends_with``: a text; ``matches``: a regular expression, somewhere;
    - ``format``: ``json``, ``json_only``, ``table``, ``code``, ``plain`` (no Markdown);
      ``json_keys``: a JSON object with these keys; ``one_of``: one of these texts and no more;
    - ``expectations``: what makers of data keep with a record (``meta["expectations"]``);
    - ``language``: ``zh`` or ``en``: at least 70 % of the letters; ``case``: ``upper``, ``lower``.

    An empty answer keeps to none.

    Attributes:
        count: ``all`` scores 1 if every constraint is kept, else 0; ``share`` scores their share.

    Raises:
        EvaluationError: If the way to count is unknown.

    Example:
        >>> Constraints().score("春天来了。", {"characters": {"max": 4}, "language": "zh"})
        Score(value=0.0, read=None, why='characters: 5, asked for at most 4')
    """

    count: Literal["all", "share"] = "all"

    def __post_init__(self) -> None:
        if self.count not in ("all", "share"):
            raise EvaluationError(f"is {self.count!r}; allowed: all, share.", where="count")

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer.

        Raises:
            EvaluationError: If there is no constraint, or one is unknown or cannot be.
        """
        if not isinstance(reference, Mapping) or not reference:
            raise EvaluationError(
                f"the reference is {reference!r}; it must map checks to what they ask. "
                f"Checks: {', '.join(CHECKS)}."
            )
        text = extract(answer, ("whole",)) or ""
        broken = []
        for name, asked in reference.items():
            if name not in CHECKS:
                raise EvaluationError(
                    f"no such check.{did_you_mean(name, CHECKS)}", where=str(name)
                )
            try:
                why = CHECKS[name](text, asked)
            except (TypeError, AttributeError, re.error) as error:
                raise EvaluationError(
                    f"cannot be checked: {asked!r}: {error}", where=name
                ) from error
            if why or not text:
                broken.append(f"{name}: {why or 'the answer is empty'}")
        kept = len(reference) - len(broken)
        value = kept / len(reference) if self.count == "share" else float(not broken)
        return Score(value, why="; ".join(broken))


def count_characters(text: str) -> int:
    """Count characters without spaces, as a Chinese "不超过 100 字" does, marks included."""
    return sum(not char.isspace() for char in text)


def count_sentences(text: str) -> int:
    """Count sentences: up to 。！？.!? or a line's end; the point in 3.5 ends none.

    Marks of a list are none; abbreviations with a point ("e.g. this") are counted as one more.

    Example:
        >>> count_sentences("Pi is 3.14. Good!"), count_sentences("春天来了。花开了")
        (2, 2)
    """
    return len(_SENTENCE.findall(_BULLET.sub("", text)))


def _within(found: int, asked: Any) -> str:
    """Say how a count misses what is asked; empty if it does not."""
    if isinstance(asked, int) and not isinstance(asked, bool):
        return "" if found == asked else f"{found}, asked for {asked}"
    limits = asked if isinstance(asked, Mapping) else {}
    if not limits or not limits.keys() <= {"min", "max"}:
        raise TypeError("name min, max or both, or give one number")
    if found < limits.get("min", found):
        return f"{found}, asked for at least {limits['min']}"
    if found > limits.get("max", found):
        return f"{found}, asked for at most {limits['max']}"
    return ""


def _counting(count: Callable[[str], int]) -> Callable[[str, Any], str]:
    return lambda text, asked: _within(count(text), asked)


def _texts(asked: Any) -> list[str]:
    found = [asked] if isinstance(asked, str) else list(asked)
    if not found or not all(isinstance(one, str) and one for one in found):
        raise TypeError("it must be a text, or a list of texts")
    return found


def _keywords(text: str, asked: Any) -> str:
    absent = [one for one in _texts(asked) if one.casefold() not in text.casefold()]
    return f"without {', '.join(absent)}" if absent else ""


def _any_keyword(text: str, asked: Any) -> str:
    wanted = _texts(asked)
    return "" if any(one.casefold() in text.casefold() for one in wanted) else "none of them"


def _forbidden(text: str, asked: Any) -> str:
    present = [one for one in _texts(asked) if one.casefold() in text.casefold()]
    return f"has {', '.join(present)}" if present else ""


def _keyword_count(text: str, asked: Any) -> str:
    missed = [
        f"{word}: {why}"
        for word, limits in asked.items()
        if (why := _within(text.casefold().count(word.casefold()), limits))
    ]
    return ", ".join(missed)


def _edge(edge: Literal["start", "end"]) -> Callable[[str, Any], str]:
    def check(text: str, asked: Any) -> str:
        wanted = tuple(_texts(asked))
        kept = text.startswith(wanted) if edge == "start" else text.endswith(wanted)
        return "" if kept else f"does not {edge} with {' or '.join(wanted)}"

    return check


def _matches(text: str, asked: Any) -> str:
    return "" if re.search(asked, text) else f"nothing matches {asked}"


def _is_json(text: str, *, bare: bool) -> bool:
    try:
        read_json(text, bare=bare)
    except NoJsonError:
        return False
    return True


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "json": lambda text: _is_json(text, bare=False),
    "json_only": lambda text: _is_json(text, bare=True),
    "table": lambda text: bool(_TABLE.search(text)),
    "code": lambda text: extract(text, ("fence",)) is not None,
    "plain": lambda text: (
        not (_HEADING.search(text) or _TABLE.search(text) or "**" in text or "```" in text)
    ),
}


def _format(text: str, asked: Any) -> str:
    if asked not in FORMATS:
        raise TypeError(f"no such format.{did_you_mean(str(asked), FORMATS)}")
    return "" if FORMATS[asked](text) else f"not {asked}"


def _language(text: str, asked: Any) -> str:
    if asked not in ("zh", "en"):
        raise TypeError("allowed: zh, en")
    letters = len(_LETTER.findall(text))
    found = len((_HAN if asked == "zh" else _LATIN).findall(text))
    if letters and found >= LANGUAGE_SHARE * letters:
        return ""
    return f"{found} of {letters} letters are {asked}"


def _case(text: str, asked: Any) -> str:
    if asked not in ("upper", "lower"):
        raise TypeError("allowed: upper, lower")
    kept = text.isupper() if asked == "upper" else text.islower()
    return "" if kept else f"not all {asked}"


def _json_keys(text: str, asked: Any) -> str:
    wanted = _texts(asked)
    try:
        value = read_json(text)
    except NoJsonError as error:
        return str(error)
    given = value if isinstance(value, Mapping) else {}
    absent = [key for key in wanted if key not in given]
    return f"without {', '.join(absent)}" if absent else ""


def _one_of(text: str, asked: Any) -> str:
    wanted = _texts(asked)
    return "" if normalise(text) in map(normalise, wanted) else f"none of {', '.join(wanted)}"


def _paragraphs(text: str) -> int:
    return sum(bool(part.strip()) for part in re.split(r"\n\s*\n", text))


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _found(pattern: re.Pattern[str]) -> Callable[[str], int]:
    def count(text: str) -> int:
        found: Sequence[Any] = pattern.findall(text)
        return len(found)

    return count


def _as_expected(text: str, asked: Any) -> str:
    """Check what the makers of data expect: tools called, ignorance admitted, and the like."""
    from danlu.errors import DanluError
    from danlu.workshop.produce.expectation import expectation_of

    try:
        problems = (expectation_of(one).problem(text) for one in asked)
        return next((problem for problem in problems if problem), "")
    except DanluError as error:
        raise TypeError(str(error)) from error


CHECKS: Mapping[str, Callable[[str, Any], str]] = {
    "expectations": _as_expected,
    "characters": _counting(count_characters),
    "words": _counting(lambda text: len(units(text))),
    "sentences": _counting(count_sentences),
    "lines": _counting(_lines),
    "paragraphs": _counting(_paragraphs),
    "bullets": _counting(_found(_BULLET)),
    "headings": _counting(_found(_HEADING)),
    "keywords": _keywords,
    "any_keyword": _any_keyword,
    "forbidden": _forbidden,
    "keyword_count": _keyword_count,
    "starts_with": _edge("start"),
    "ends_with": _edge("end"),
    "matches": _matches,
    "format": _format,
    "json_keys": _json_keys,
    "one_of": _one_of,
    "language": _language,
    "case": _case,
}

"""Named rules that make answers equal that differ only in writing."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence

import regex

from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.scorers.numbers import chinese_to_digits
from danlu.workshop.likeness.text import fold

# Kept: the point, comma, colon or slash inside a number, the minus before one, the percent sign.
_PUNCTUATION = regex.compile(
    r"(?!(?<=\d)[.,:/](?=\d)|(?<!\w)-(?=\d)|%)[[\p{P}\p{S}]--[+]]", regex.VERSION1
)
_THOUSANDS = regex.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ARTICLES = regex.compile(r"\b(?:a|an|the)\b", regex.IGNORECASE)
_SPACE = regex.compile(r"\s+")
_BESIDE_HAN = regex.compile(r"(?<=\p{Han})\s+|\s+(?=\p{Han})")


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _case(text: str) -> str:
    return text.casefold()


def _space(text: str) -> str:
    return str(_BESIDE_HAN.sub("", _SPACE.sub(" ", text).strip()))


def _punctuation(text: str) -> str:
    return str(_PUNCTUATION.sub(" ", text))


def _thousands(text: str) -> str:
    return str(_THOUSANDS.sub("", text))


def _articles(text: str) -> str:
    return str(_ARTICLES.sub(" ", text))


RULES: Mapping[str, Callable[[str], str]] = {
    "nfkc": _nfkc,
    "case": _case,
    "simplified": fold,
    "chinese_numerals": chinese_to_digits,
    "thousands": _thousands,
    "articles": _articles,
    "punctuation": _punctuation,
    "space": _space,
}
"""In the order in which they are applied, whatever the order in which they are named:

- ``nfkc``: width and compatibility forms: Ａ is A, ① is 1.
- ``case``: upper and lower.
- ``simplified``: traditional characters; with it width, case and space too.
- ``chinese_numerals``: 一百二十三 is 123; also within words, on both sides alike.
- ``thousands``: 1,000 is 1000.
- ``articles``: a, an, the.
- ``punctuation``: marks and symbols, but for those inside a number, the minus, plus and percent.
- ``space``: one space for several, none at the ends or beside a Chinese character.
"""

DEFAULT = ("nfkc", "case", "punctuation", "space")


def check_rules(names: Sequence[str]) -> None:
    """Check that all names are rules.

    Raises:
        EvaluationError: If one is not.
    """
    for name in names:
        if name not in RULES:
            raise EvaluationError(f"no such rule.{did_you_mean(name, RULES)}", where=name)


def normalise(text: str, names: Sequence[str] = DEFAULT) -> str:
    """Apply the named rules.

    Example:
        >>> normalise(" “Ｐaris”, France. ")
        'paris france'
        >>> normalise("共一百二十 个，-1.5%", ("chinese_numerals", "punctuation", "space"))
        '共120个-1.5%'
    """
    for name, rule in RULES.items():
        if name in names:
            text = rule(text)
    return text

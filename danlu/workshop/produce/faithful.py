"""What code can say of a summary beside its text: how much is copied, and which names are new.

The copied share is the coverage of Grusky et al. 2018 (arXiv:1804.11283), of long runs only: words
shared one by one are no copy. Names are what writing marks as names; a name that nothing marks, as
most Chinese ones, is not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import regex

from danlu.workshop.likeness.text import fold, has_han, units
from danlu.workshop.produce.proof import numbers_in

COPIED_WORDS = 6
"""Shortest run of words that is a copy; shorter ones are common to any two texts of a kind."""
COPIED_CHARACTERS = 12
"""The same in units of a mostly Chinese text: about as many words."""
LONGEST_ENDING = 2
"""Letters by which two forms of a name differ at most: German, Germany; Finn, Finns."""
SHORTEST_STEM = 4
_TITLE = regex.compile(r"《([^《》]{1,40})》|「([^「」]{2,40})」")
_CAPITAL = regex.compile(r"(?<![\p{Latin}\d'’-])\p{Lu}[\p{Latin}\p{M}\d]*(?:[-'’]\p{Latin}+)*")
_LATIN = regex.compile(r"(?<![\p{Latin}\d])\p{Latin}[\p{Latin}\d.+-]*[\p{Latin}\d+]")
_OPENING = regex.compile(r"(?:^|[.!?:;。！？：；\n]|[\"“‘(（*#\-•])\s*$")
_HAN_NAME = regex.compile(
    r"\p{Han}{2}(?:公司|集团|大学|学院|银行|医院|研究所|省|市|县|州|镇|先生|女士|教授|博士)"
)
_NO_NAME = regex.compile(r"[的一该这那本各某此其全每两几多所在和与及是有为由对从向到于位]")
_SPELLED: Mapping[str, frozenset[str]] = {
    "0": frozenset({"zero", "no", "零", "无"}),
    "1": frozenset({"one", "一"}),
    "2": frozenset({"two", "both", "二", "两"}),
    "3": frozenset({"three", "三"}),
    "4": frozenset({"four", "四"}),
    "5": frozenset({"five", "五"}),
    "6": frozenset({"six", "六"}),
    "7": frozenset({"seven", "七"}),
    "8": frozenset({"eight", "八"}),
    "9": frozenset({"nine", "九"}),
    "10": frozenset({"ten", "十"}),
}


def copied_share(text: str, source: str) -> float:
    """Return the share of a text's units that stand in runs copied from another.

    Example:
        >>> source = "the old bridge over the river was closed in May because a pillar had sunk"
        >>> copied_share("In May the old bridge over the river was closed.", source)
        0.8
        >>> copied_share("A sunken pillar shut the bridge.", source)
        0.0
    """
    said, given = units(fold(text)), units(fold(source))
    if not said:
        return 0.0
    size = COPIED_CHARACTERS if _is_mostly_han(said) else COPIED_WORDS
    runs = {tuple(given[k : k + size]) for k in range(len(given) - size + 1)}
    copied = [False] * len(said)
    for k in range(len(said) - size + 1):
        if tuple(said[k : k + size]) in runs:
            copied[k : k + size] = [True] * size
    return sum(copied) / len(said)


def numbers_without_source(text: str, source: str) -> list[str]:
    """Return the numbers in a text that another does not have, in figures or, to ten, in words.

    Example:
        >>> numbers_without_source("In 1,950 there were 3 of 40", "1950: three of them")
        ['40']
        >>> numbers_without_source("占 3 成，共 5 家", "约三成，一共二十家")
        ['5']
    """
    words = set(units(fold(source)))
    return [
        one
        for one in sorted(numbers_in(text) - numbers_in(source))
        if not words & _SPELLED.get(one, frozenset())
    ]


def names_without_source(text: str, source: str) -> list[str]:
    """Return the names in a text that another does not have.

    Names are words with a capital letter that do not begin a sentence, and in Chinese text words in
    Latin letters, titles in 《》 or 「」, and names that end with what they are: 公司, 大学, 市.

    Example:
        >>> names_without_source("Later Mary met Danes in Rome.", "Mary went to Denmark and Rome.")
        ['Danes']
        >>> names_without_source("南京市用kafka读《红楼梦》。", "北京市在读《红楼梦》")
        ['kafka', '南京市']
    """
    known = fold(source)
    words = set(units(known))
    found: dict[str, None] = {}
    for word in _latin_names(text):
        if not all(_is_known(unit, words) for unit in units(fold(word))):
            found[word] = None
    for mark in _TITLE.finditer(text):
        title = mark[1] or mark[2]
        if fold(title) not in known:
            found[title] = None
    for mark in _HAN_NAME.finditer(text):
        if not _NO_NAME.search(mark[0]) and fold(mark[0]) not in known:
            found[mark[0]] = None
    return list(found)


def _latin_names(text: str) -> Iterator[str]:
    if _is_mostly_han(units(text)):
        yield from _LATIN.findall(text)
        return
    for mark in _CAPITAL.finditer(text):
        begins = _OPENING.search(text[: mark.start()]) is not None
        if not begins or (mark[0].isupper() and len(mark[0]) > 1):
            yield mark[0]


def _is_known(unit: str, words: set[str]) -> bool:
    """Whether a word stands among others, or one that differs by its ending only."""
    stem = unit[: max(SHORTEST_STEM, len(unit) - LONGEST_ENDING)]
    return (
        unit in words
        or len(unit) == 1
        or any(
            word.startswith(stem) and len(word) <= len(stem) + 2 * LONGEST_ENDING for word in words
        )
    )


def _is_mostly_han(found: Sequence[str]) -> bool:
    return 2 * sum(map(has_han, found)) >= len(found)

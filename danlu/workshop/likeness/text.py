"""Text as the workshop compares it: folded, and cut into units that are right for Chinese.

Whitespace says where words are in some scripts and says nothing in others. A measure that splits at
whitespace (the common ROUGE-L, word shingles) takes a Chinese sentence for one word, or for none.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from opencc import OpenCC

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_HAN = regex.compile(r"\p{Han}")
_UNIT = regex.compile(rf"[{_UNSPACED}]|[[\w\p{{M}}]--[{_UNSPACED}]]+", regex.VERSION1)
_SPACE = regex.compile(r"\s+")

# The same units by the standard library, several times faster, for text that holds nothing else
# than Latin letters, common Chinese characters and their punctuation.
_SEPARATOR = re.compile("[\x1c-\x1f]")  # space to Python, and to nobody else
# Soft hyphens, zero-width spaces, marks of direction and of byte order: nothing that is read.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_ASCII_SPACED = "".join(
    character if character.isalnum() or character == "_" else " "
    for character in map(chr, range(128))
)
_PLAIN = re.compile(
    "[\x00-\x7f\xa1-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb\xbf-\u024f\u2010-\u2027\u2030-\u203e\u3000-\u3004"
    "\u3008-\u3020\u4e00-\u9fff\uff01-\uff0f\uff1a-\uff20]*"
)
_PLAIN_RUN = re.compile("[\u4e00-\u9fff]+|[A-Za-z0-9_\xc0-\xd6\xd8-\xf6\xf8-\u024f]+")
# What Chinese text has of forms that NFKC changes, as a rule; nearly all text has no others.
_WIDE_MARKS = tuple(
    (mark, unicodedata.normalize("NFKC", mark)) for mark in "\u3000，！？：；（）％～／＋－＝＂＇…"
)


def fold(text: str) -> str:
    r"""Make texts equal that differ only in writing: for comparing, never for keeping.

    Width (NFKC), case, traditional characters, the amount of whitespace, and characters that nobody
    sees, which copied text is full of.

    Example:
        >>> fold("ＡＢＣ  漢字\n電腦"), fold("\ufeffHel\u00adlo\u200b")
        ('abc 汉字 电脑', 'hello')
    """
    if text.isascii() and not _SEPARATOR.search(text):
        return " ".join(text.lower().split())
    text = _INVISIBLE.sub("", _nfkc(text)).casefold()
    if _HAN.search(text):
        text = _simplifier().convert(text)
    if _SEPARATOR.search(text):
        spaced: str = _SPACE.sub(" ", text)
        return spaced.strip()
    return " ".join(text.split())


def _nfkc(text: str) -> str:
    """Return NFKC of a text: by exchanging common marks one by one where that is all it takes.

    What is in normal form after parts were decomposed is the normal form of the whole.
    """
    if unicodedata.is_normalized("NFKC", text):
        return text
    changed = text
    for wide, narrow in _WIDE_MARKS:
        changed = changed.replace(wide, narrow)
    if unicodedata.is_normalized("NFKC", changed):
        return changed
    return unicodedata.normalize("NFKC", text)


def units(text: str) -> list[str]:
    """Cut text into what counts as one: a word, or a character of a script without spaces.

    Punctuation is left out; case and width stay (see ``fold``).

    Example:
        >>> units("用 Python 3 写排序，don't panic")
        ['用', 'Python', '3', '写', '排', '序', 'don', 't', 'panic']
    """
    if text.isascii():
        return text.translate(_ASCII_SPACED).split()
    if not _PLAIN.fullmatch(text):
        return list(_UNIT.findall(text))
    found: list[str] = []
    for run in _PLAIN_RUN.findall(text):
        if run[0] < "\u4e00":
            found.append(run)
        else:
            found += run
    return found


def has_han(text: str) -> bool:
    """Whether there is a Chinese character in the text.

    Example:
        >>> has_han("用 Python"), has_han("Python")
        (True, False)
    """
    return _HAN.search(text) is not None


@cache
def _simplifier() -> OpenCC:
    from opencc import OpenCC

    return OpenCC("t2s")

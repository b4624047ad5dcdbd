r"""Numbers as people write them, in English and Chinese.

``1,234.5``, ``-3e-2``, ``3/4``, ``1 3/4``, ``\frac{3}{4}``, ``12%``, ``3.5万``, ``1亿2000万``,
``一百二十三``, ``三万五`` (35,000), ``二〇二六``, ``三点一四``, ``四分之三``, ``百分之五``,
``负二``.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

_DIGITS = {
    char: value
    for chars, value in zip(
        ("零〇", "一壹", "二贰两", "三叁", "四肆", "五伍", "六陆", "七柒", "八捌", "九玖"),
        range(10),
        strict=True,
    )
    for char in chars
}
_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_GROUPS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}

MOST_DIGITS = 300
"""A model that repeats itself writes numbers without end; none that is asked for has so many."""
HUGE = Fraction(10) ** MOST_DIGITS
"""What a number of more digits counts as."""

_HUNDREDS = {"百": 100, "千": 1000, "万": 10_000}
"""Below a fraction, 百 is a number: 百分之五."""

_D = "".join(_DIGITS)
_ARABIC = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)"
_SCALE = "[十百千万亿萬億]"
_MIXED = rf"(?:{_ARABIC}\s?{_SCALE}+)*{_ARABIC}(?:\s?{_SCALE}+)?"
_HAN = rf"[{_D}十拾百佰千仟][{_D}十拾百佰千仟万萬亿億]*(?:点[{_D}]+)?"
_ONE = rf"(?:{_MIXED}|{_HAN})"
_NUMBER = re.compile(
    rf"""
    (?P<minus>(?<![\w)\]])-\s?|负)?
    (?:
        (?P<whole>\d+)\s+(?P<top1>\d+)/(?P<bottom1>\d+)(?![\d/])
      | (?<![\d/])(?P<top2>{_ARABIC})\s*/\s*(?P<bottom2>{_ARABIC})(?!\s*[\d/])
      | (?P<bottom3>{_ONE}|百|千|万)分之(?P<top3>{_ONE})
      | (?P<one>{_ONE})
    )
    \s?(?P<per>%|‰|percent\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_PIECE = re.compile(rf"({_ARABIC})\s?({_SCALE}*)")
# What NFKC would run together with the digits beside it: 1½, ①3, m², CO₂.
_VULGAR = re.compile(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])")
_MARKS = re.compile(r"[\u2460-\u249b\u2776-\u2793]")
_POWER = re.compile(
    r"(?<=[^\W\d_])[\u2070\u00b9\u00b2\u00b3\u2074-\u207b\u2080-\u208e]+"
    r"|(?:(?<=[A-Za-z])|(?<=[A-Za-z]\}))\^(?:\{[+-]?\d{1,3}\}|[+-]?\d{1,3})"
)
_RAISED = re.compile(r"(?<=\d)(?=[\u2070\u00b9\u00b2\u00b3\u2074-\u207b])")
_FRAC = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_MINUS = str.maketrans("−–﹣－", "----")


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text.

    Attributes:
        value: Exactly; of a percentage, what stands before the sign.
        percent: 100 for %, 1000 for ‰, 1 without.
        start: Where it begins, in the text as ``plain`` gives it.
        end: Where it ends.
    """

    value: Fraction
    percent: int
    start: int
    end: int


def plain(text: str) -> str:
    r"""Return the text in which numbers are searched: NFKC, one kind of minus, no LaTeX fractions.

    The powers of units and names (cm², x^2) and the numbers of formulas (CO₂) are left out; of
    numbers they stay apart: 10² is 10^2.

    Example:
        >>> plain("−\\frac{1}{2}，５"), plain("25 cm²"), plain("10²"), plain("1½")
        ('-1/2,5', '25 cm', '10^2', '1 1/2')
    """
    text = _RAISED.sub("^", _POWER.sub("", _VULGAR.sub(" ", text)))
    text = _MARKS.sub(r" \g<0> ", text)
    # Mathematical fractions first: NFKC turns the vulgar fraction "½" into "1⁄2".
    text = unicodedata.normalize("NFKC", text).translate(_MINUS).replace("⁄", "/")
    return _FRAC.sub(r"\1/\2", text).replace(r"\%", "%").replace("{,}", ",")


def numbers_in(text: str) -> list[Number]:
    """Return the numbers in a text, in order.

    Example:
        >>> [float(one.value) for one in numbers_in("3.5万 of 1,200, 三分之一 or 二十五%")]
        [35000.0, 1200.0, 0.3333333333333333, 25.0]
    """
    found = []
    for match in _NUMBER.finditer(plain(text)):
        value = _value(match)
        if value is None:
            continue
        per = {"%": 100, "percent": 100, "‰": 1000}.get((match["per"] or "").lower(), 1)
        value = min(value, HUGE)
        if match["minus"]:
            value = -value
        found.append(Number(value, per, match.start(), match.end()))
    return found


def chinese_to_digits(text: str) -> str:
    """Write Chinese numerals as digits; all else stays.

    Example:
        >>> chinese_to_digits("一百二十三个，二〇二六年，三点五")
        '123个，2026年，3.5'
    """

    def digits(match: re.Match[str]) -> str:
        value = _han(match[0])
        if value is None or value >= HUGE:
            return match[0]
        return str(value.numerator) if value.denominator == 1 else repr(float(value))

    return re.sub(_HAN, digits, text)


def _value(match: re.Match[str]) -> Fraction | None:
    if match["whole"]:
        over = _over(match["top1"], match["bottom1"])
        return None if over is None else _arabic(match["whole"]) + over
    for k in (2, 3):
        if match[f"top{k}"]:
            return _over(match[f"top{k}"], match[f"bottom{k}"])
    return _single(match["one"])


def _over(top: str, bottom: str) -> Fraction | None:
    above, below = _single(top), Fraction(_HUNDREDS.get(bottom, 0)) or _single(bottom)
    return above / below if above is not None and below else None


def _single(text: str) -> Fraction | None:
    return _mixed(text) if text[0].isdigit() or text[0] == "." else _han(text)


def _arabic(text: str) -> Fraction:
    """Read Arabic digits, however many there are."""
    digits, _, exponent = text.lower().replace(",", "").partition("e")
    whole, _, part = digits.partition(".")
    whole = whole.lstrip("0")
    power = int(exponent[:5] or 0)
    if len(whole) + power > MOST_DIGITS:
        return HUGE if whole or part.strip("0") else Fraction(0)
    if power < -MOST_DIGITS:
        return Fraction(0)
    return Fraction(f"{whole or 0}.{part[: 2 * MOST_DIGITS] or 0}e{power}")


def _mixed(text: str) -> Fraction:
    """Read Arabic digits with Chinese scales: 1亿2000万. The parts are added up."""
    total = Fraction(0)
    last = 1
    for digits, scales in _PIECE.findall(text):
        value = _arabic(digits)
        scale = 1
        for one in scales:
            scale *= (_UNITS | _GROUPS)[one]
        # "3万5" is said for 3万5千, as 三万五 is.
        if not scales and last > 10 and len(digits) == 1:
            scale = last // 10
        total += value * scale
        last = scale
    return total


def _han(text: str) -> Fraction | None:
    """Read Chinese numerals; None for a lone 百, 千 and the like, which are no numbers."""
    whole, _, part = text.partition("点")
    if (
        not part
        and all(char in _UNITS or char in _GROUPS for char in whole)
        and whole not in "十拾"
    ):
        return None
    part = part[:MOST_DIGITS]
    if all(char in _DIGITS for char in whole):
        whole = whole.lstrip("零〇") or "零"
        if len(whole) > MOST_DIGITS:
            return HUGE
        total = int("".join(str(_DIGITS[char]) for char in whole))
    elif (grouped := _grouped(whole)) is None:
        return None
    else:
        total = grouped
    value = Fraction(total)
    if part:
        value += Fraction(int("".join(str(_DIGITS[char]) for char in part)), 10 ** len(part))
    return value


def _grouped(text: str) -> int | None:
    """Read 一百二十三 and the like; None for what names no single number: 两三百."""
    total = section = digit = 0
    unit, zero = 1, False  # the unit passed last, and whether a zero was said since
    for before, char in zip(" " + text, text, strict=False):
        if char in _DIGITS:
            if digit and before in _DIGITS:
                return None
            digit = _DIGITS[char]
            zero = zero or digit == 0
            continue
        if char in _UNITS:
            unit = _UNITS[char]
            section += (digit or 1) * unit  # the 1 of 十五 is not said
        else:
            unit = _GROUPS[char]
            section += digit
            total = (total + section) * unit if unit == 10**8 else total + section * unit
            section = 0
        digit, zero = 0, False
    if digit and not zero and unit > 10:
        digit *= unit // 10  # 三万五 is 35,000, 一百二 is 120
    return total + section + digit

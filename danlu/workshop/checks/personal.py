"""Personal data and secrets: telephones, e-mail, identity numbers, bank cards, keys.

What is found is never shown whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from danlu.workshop.checks.check import Rule, Running
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.per_record import Hit, PerRecord
from danlu.workshop.checks.view import View

_EMAIL = re.compile(
    r"(?<![\w.+-])(\w[\w.+-]{1,63})@((?:[\w-]{1,63}\.)+[A-Za-z]{2,24})(?![\w-])", re.ASCII
)
# Domains that stand for any (RFC 2606), and those that writers of examples take.
_EXAMPLE_DOMAIN = re.compile(
    r"(?:^|\.)(?:example|test|invalid|localhost|domain|email|company|yourcompany|xyz|abc|website|"
    r"mail|sample|xxx+|your\w*|my\w*|some\w*)\.\w+$|\.(?:example|test|invalid)$",
    re.IGNORECASE,
)
_NAMES = """
john johndoe john.doe jane janedoe jane.doe jane_doe john_doe jdoe johnsmith john.smith user
username name yourname your.name email info contact support admin example test sales help
hello noreply no-reply someone somebody me you abc xxx hr service customerservice
"""
_EXAMPLE_NAMES = frozenset(_NAMES.split())
# Seven digits near one another, which a text has that is looked through.
_DIGITS = re.compile(r"\d(?:[ ()+.-]{0,2}\d){6}")
_LEAST_DIGITS = 7
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))
# A run of what all numbers here are written in; they begin as it does, or within it.
_RUN = re.compile(r"[\d(+][\d()+ .-]{5,}")
_BEHIND = 2
"""So many characters behind a run may belong to a number, or say that it is none."""

Runs = Sequence[tuple[int, int]]
"""Where runs begin and end."""

_MOBILE = re.compile(
    r"(?<![\d.=-])(?:\+?86[ -]?)?(1[3-9]\d[ -]?\d{4}[ -]?\d{4})(?![\w=-])", re.ASCII
)
_ABROAD = re.compile(
    r"(?<![\w+])\+(?!86)[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){1,4}(?!\d)"
    r"|(?<![\w-])(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}(?![\w-])"
    r"|(?<!\d)0\d{2,3}-\d{7,8}(?!\d)"
)
_FICTIONAL = re.compile(r"555|123.?456|1234567|(\d)\1{4}|1380013800|1381234")
_ID_NUMBER = re.compile(
    r"(?<!\w)[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\w)",
    re.ASCII,
)
_CARD = re.compile(r"(?<![\w.-])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\w-]|\.\d)", re.ASCII)
# First digits and lengths that issuers have (ISO/IEC 7812): Visa, Mastercard, UnionPay, American
# Express, Discover, JCB. A telephone's IMEI passes Luhn's test too, and has fifteen digits.
_ISSUED = re.compile(
    r"4\d{12}(?:\d{3})?(?:\d{3})?|(?:5[1-5]|2[2-7])\d{14}|62\d{14,17}|3[47]\d{13}"
    r"|6(?:011|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
)
_TEST_CARDS = re.compile(r"4111111111111111|4242424242424242|5555555555554444|(\d)\1{6}|1234567")
_SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{35}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{40,}"
    r"|\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z]{30,}|\bxox[abprs]-[\w-]{10,}"
    r"|\bglpat-[\w-]{20}|\bLTAI[A-Za-z0-9]{12,20}\b|\bAKID[A-Za-z0-9]{32}\b"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    re.ASCII,
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS = "10X98765432"


@dataclass(frozen=True, slots=True)
class PersonalData:
    """Finds personal data and secrets in any message; values are masked."""

    name: ClassVar[str] = "personal"
    finds: ClassVar[str] = "telephones, e-mail, identity numbers, bank cards, keys"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "phone",
            "attention",
            "what looks like a telephone number stands in the text",
            "Replace it by one that is nobody's, or drop the record.",
        ),
        Rule(
            "email",
            "attention",
            "an e-mail address stands in the text",
            "Replace it by one at example.com, or drop the record.",
        ),
        Rule(
            "id_number",
            "fault",
            "a Chinese identity number with a right check digit stands in the text",
            "Replace it, or drop the record.",
            source="GB 11643-1999 (ISO 7064, MOD 11-2)",
        ),
        Rule(
            "bank_card",
            "fault",
            "a card number with a right check digit stands in the text",
            "Replace it, or drop the record.",
            source="ISO/IEC 7812-1 (Luhn)",
        ),
        Rule(
            "secret",
            "fault",
            "a key or token of a known form stands in the text",
            "Revoke it if it is yours; replace it, or drop the record.",
        ),
    )

    def start(self, context: Context) -> Running:
        """Begin."""
        return PerRecord(self, _look)


def masked(text: str) -> str:
    """Hide all but the ends of what must not be shown whole.

    Example:
        >>> masked("13912345678"), masked("ab@c.de")
        ('139******78', 'ab*****')
    """
    if len(text) < 10:
        return text[:2] + "*" * (len(text) - 2)
    return text[:3] + "*" * min(len(text) - 5, 12) + text[-2:]


def id_number_is_right(number: str) -> bool:
    """Say whether the check digit of a Chinese identity number of 18 characters is right.

    The remainder of the weighted sum by 11 names it (ISO 7064, MOD 11-2).

    Example:
        >>> id_number_is_right("11010519491231002X"), id_number_is_right("110105194912310021")
        (True, False)
    """
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    return _CHECK_CHARACTERS[total % 11] == number[17].upper()


def luhn_is_right(number: str) -> bool:
    """Say whether the check digit of a card number is right: Luhn's sum ends in 0.

    Example:
        >>> luhn_is_right("4539578763621486"), luhn_is_right("4539578763621487")
        (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(number)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 * (doubled > 9)
    return total % 10 == 0


def _look(view: View) -> Iterator[Hit]:
    text = view.whole
    for rule, spans in _found(text):
        if one := next(spans, None):
            yield Hit(rule, masked(one[0]), detail=view.place(one.start()))


def personal_spans(text: str) -> list[tuple[str, int, int]]:
    """Return all personal data and secrets in a text: rule, start and end, none overlapping.

    Example:
        >>> personal_spans("Mail li@danlu.cn or call 13987650912.")
        [('email', 5, 16), ('phone', 25, 36)]
    """
    spans: list[tuple[str, int, int]] = []
    for rule, found in _found(text):
        for one in found:
            start, end = one.span()
            if all(end <= other[1] or start >= other[2] for other in spans):
                spans.append((rule, start, end))
    return sorted(spans, key=lambda span: span[1])


def _found(text: str) -> Iterator[tuple[str, Iterator[re.Match[str]]]]:
    """Yield each rule with what it finds, as far as anybody asks."""
    if "@" in text:
        yield "email", _emails(text)
    if _has_digits(text):
        runs = [run.span() for run in _RUN.finditer(text)]
        yield "id_number", _id_numbers(text, runs)
        yield "bank_card", _cards(text, runs)
        yield "phone", _phones(text, runs)
    if _has_secret_mark(text):
        yield "secret", _SECRET.finditer(text)


def _has_digits(text: str) -> bool:
    """Whether a text has seven digits near one another."""
    if text.isascii() and len(text.encode().translate(None, _NO_DIGITS)) < _LEAST_DIGITS:
        return False
    return _DIGITS.search(text) is not None


def _has_secret_mark(text: str) -> bool:
    """Whether a text has what every key has: much faster than looking for keys."""
    return (
        "AKI" in text
        or "AIza" in text
        or "KEY--" in text
        or "sk-" in text
        or "eyJ" in text
        or "LTAI" in text
        or "xox" in text
        or "glpat-" in text
        or ("_" in text and ("gh" in text or "hf_" in text))
    )


def _emails(text: str) -> Iterator[re.Match[str]]:
    for one in _EMAIL.finditer(text):
        if not (_EXAMPLE_DOMAIN.search(one[2]) or one[1].lower() in _EXAMPLE_NAMES):
            yield one


def _id_numbers(text: str, runs: Runs) -> Iterator[re.Match[str]]:
    return (one for one in _within(runs, _ID_NUMBER, text) if id_number_is_right(one[0]))


def _cards(text: str, runs: Runs) -> Iterator[re.Match[str]]:
    for one in _within(runs, _CARD, text):
        number = re.sub(r"\D", "", one[0])
        is_card = _ISSUED.fullmatch(number) and not _TEST_CARDS.search(number)
        # An identity number may pass Luhn's test too.
        if is_card and luhn_is_right(number) and not _ID_NUMBER.fullmatch(one[0]):
            yield one


def _phones(text: str, runs: Runs) -> Iterator[re.Match[str]]:
    for pattern in (_MOBILE, _ABROAD):
        for one in _within(runs, pattern, text):
            if not _FICTIONAL.search(one[0]):
                yield one


def _within(runs: Runs, pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Yield the matches of a pattern in a text, which are looked for in its runs alone."""
    for start, stop in runs:
        yield from pattern.finditer(text, start, min(stop + _BEHIND, len(text)))

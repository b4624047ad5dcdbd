"""What code can check of an answer: its length, its parts, its format, its words.

Used to check the answers that are made, and kept in ``meta["expectations"]`` of a record, so that
an evaluation can check other models' answers to the same prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import regex

from danlu.errors import DanluError, did_you_mean
from danlu.records.json_text import loads
from danlu.workshop.likeness.text import fold, units
from danlu.workshop.produce import measures
from danlu.workshop.produce.prompts import Language, language_of

_SPACE = regex.compile(r"\s+")
_ENDS = regex.compile(r"(?:[。！？!?…]+|\.(?=[\s\"'”’)）]|$)|\n)[\"'”’)）]*\s*")
_ITEM = regex.compile(r"^[ \t]*(?:[-*+•·]|\(?\d{1,3}[.)、）．:：]|（\d{1,3}）)[ \t]*\S", regex.M)
_FENCE = regex.compile(r"\A\s*```[\w-]*[ \t]*\n(.*?)\n?```\s*\Z", regex.S)


def characters(text: str) -> int:
    """Count characters without white space, as a Chinese word count does.

    Example:
        >>> characters("今天 天气好。")
        6
    """
    return len(_SPACE.sub("", text))


def words(text: str) -> int:
    """Count words; a Chinese character counts as one.

    Example:
        >>> words("It's 3 o'clock"), words("今天 is fine")
        (3, 4)
    """
    return len(units(text.replace("'", "").replace("’", "")))


def sentences(text: str) -> int:
    """Count sentences.

    Example:
        >>> sentences("One. Two! Is 3.5 three?"), sentences("好。很好！是吗")
        (3, 3)
    """
    return sum(1 for piece in _ENDS.split(text) if units(piece))


def paragraphs(text: str) -> int:
    """Count blocks of lines between empty lines."""
    return sum(1 for piece in regex.split(r"\n\s*\n", text) if piece.strip())


def items(text: str) -> int:
    r"""Count the entries of a list: numbered, or with dashes or dots.

    Example:
        >>> items("Three:\n1. a\n2. b\n3) c"), items("- 甲\n- 乙"), items("一、甲")
        (3, 2, 0)
    """
    return len(_ITEM.findall(text))


def parsed(text: str) -> Any:
    r"""Return the JSON that an answer is, also within a fence.

    Raises:
        ValueError: If it is none.

    Example:
        >>> parsed('```json\n{"a": 1}\n```')
        {'a': 1}
    """
    fenced = _FENCE.match(text)
    return loads(fenced[1] if fenced else text)


def _json_keys(text: str) -> list[str] | None:
    try:
        value = parsed(text)
    except ValueError:
        return None
    return sorted(value) if isinstance(value, dict) else []


class Kind(NamedTuple):
    """One thing that can be expected.

    Attributes:
        measure: What the answer has.
        fits: Whether that is as expected.
        en: What the answer must do, of ``{value}``.
        zh: The same in Chinese.
    """

    measure: Callable[[str], Any]
    fits: Callable[[Any, Any], bool]
    en: str
    zh: str


def _at_least(found: float, wanted: float) -> bool:
    return found >= wanted


def _at_most(found: float, wanted: float) -> bool:
    return found <= wanted


def _equal(found: Any, wanted: Any) -> bool:
    return bool(found == wanted)


def _plain(text: str) -> str:
    return text


_HAS: Mapping[Language, str] = {"en": " It has {found}.", "zh": "现在是 {found}。"}
KINDS: Mapping[str, Kind] = {
    "min_characters": Kind(
        characters,
        _at_least,
        "have at least {value} characters.",
        "至少 {value} 个字。",
    ),
    "max_characters": Kind(
        characters,
        _at_most,
        "have at most {value} characters.",
        "至多 {value} 个字。",
    ),
    "min_words": Kind(words, _at_least, "have at least {value} words.", "至少 {value} 个词。"),
    "max_words": Kind(words, _at_most, "have at most {value} words.", "至多 {value} 个词。"),
    "sentences": Kind(sentences, _equal, "have {value} sentences.", "正好 {value} 句话。"),
    "paragraphs": Kind(paragraphs, _equal, "have {value} paragraphs.", "正好 {value} 段。"),
    "items": Kind(items, _equal, "be a list of {value} entries.", "是 {value} 条的列表。"),
    "json": Kind(
        lambda text: _json_keys(text) is not None,
        _equal,
        "be JSON and nothing else.",
        "只是一段 JSON，没有别的内容。",
    ),
    "json_keys": Kind(
        _json_keys,
        lambda found, wanted: found is not None and set(wanted) <= set(found),
        "be a JSON object with the keys {value}.",
        "是含有 {value} 这些键的 JSON 对象。",
    ),
    "one_of": Kind(
        _plain,
        lambda found, wanted: fold(found) in {fold(label) for label in wanted},
        "be one of {value}, and nothing else.",
        "只能是 {value} 之一，没有别的内容。",
    ),
    "contains": Kind(
        _plain,
        lambda found, wanted: fold(wanted) in fold(found),
        "contain “{value}”.",
        "包含“{value}”。",
    ),
    "excludes": Kind(
        _plain,
        lambda found, wanted: fold(wanted) not in fold(found),
        "not contain “{value}”.",
        "不含“{value}”。",
    ),
    "starts_with": Kind(
        _plain,
        lambda found, wanted: found.lstrip().startswith(wanted),
        "begin with “{value}”.",
        "以“{value}”开头。",
    ),
    "ends_with": Kind(
        _plain,
        lambda found, wanted: found.rstrip().endswith(wanted),
        "end with “{value}”.",
        "以“{value}”结尾。",
    ),
    "matches": Kind(
        _plain,
        lambda found, wanted: regex.search(wanted, found) is not None,
        "match the pattern {value}.",
        "符合模式 {value}。",
    ),
    "language": Kind(
        language_of, _equal, "be written in the language {value}.", "用语言 {value} 书写。"
    ),
    "mentions": Kind(
        _plain, measures.mentions_all, "name “{value}”, each whole.", "完整地说出“{value}”。"
    ),
    "mentions_none": Kind(
        _plain, measures.mentions_none, "name nothing of “{value}”.", "不提“{value}”。"
    ),
    "declines": Kind(
        measures.declines,
        _equal,
        "say that it does not know ({value}).",
        "说明自己不知道（{value}）。",
    ),
    "names_conflict": Kind(
        measures.names_conflict,
        _equal,
        "say that its sources contradict one another ({value}).",
        "指出资料互相矛盾（{value}）。",
    ),
    "admits_failure": Kind(
        measures.admits_failure,
        _equal,
        "say that something failed ({value}).",
        "说明出了问题（{value}）。",
    ),
    "calls": Kind(
        measures.calls_in,
        measures.same_calls,
        "call these tools and no others: [{value}].",
        "调用且只调用这些工具：[{value}]。",
    ),
}


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that an answer must be.

    Attributes:
        kind: One of ``KINDS``.
        value: How much, or which: a number, a text, or texts.

    Raises:
        DanluError: If there is no such kind, or the pattern is none.
    """

    kind: str
    value: str | int | bool | tuple[str, ...] = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DanluError(
                f"nothing can be expected of kind {self.kind!r}.{did_you_mean(self.kind, KINDS)}"
            )

        if self.kind == "matches":
            try:
                regex.compile(str(self.value))
            except regex.error as error:
                raise DanluError(f"{self.value!r} is no pattern: {error}.") from error
        if self.kind == "calls":
            try:
                measures.same_calls([], self.value if isinstance(self.value, tuple) else "")
            except ValueError as error:
                raise DanluError(f"{self.value!r} are no calls: {error}.") from error

    def problem(self, answer: str, language: Language = "en") -> str | None:
        """Say what is wrong with an answer; None if nothing is.

        Example:
            >>> Expectation("min_characters", 5).problem("天气好")
            'The answer must have at least 5 characters. It has 3.'
            >>> Expectation("one_of", ("yes", "no")).problem("Yes")
        """
        kind = KINDS[self.kind]
        found = kind.measure(answer)
        if kind.fits(found, self.value):
            return None
        is_number = isinstance(found, int) and not isinstance(found, bool)
        told = _HAS[language].format(found=found) if is_number else ""
        return self.wish(language) + told

    def wish(self, language: Language = "en") -> str:
        """Say what is expected, in a sentence.

        Example:
            >>> Expectation("items", 3).wish(), Expectation("one_of", ("是", "否")).wish("zh")
            ('The answer must be a list of 3 entries.', '回答只能是 是、否 之一，没有别的内容。')
        """
        kind, value = KINDS[self.kind], self.value
        if isinstance(value, tuple):
            value = ("、" if language == "zh" else ", ").join(value)
        if language == "zh":
            return "回答" + kind.zh.format(value=value)
        return "The answer must " + kind.en.format(value=value)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it.

        Example:
            >>> Expectation("items", 3).as_dict()
            {'kind': 'items', 'value': 3}
        """
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"kind": self.kind, "value": value}


def expectation_of(row: Mapping[str, Any]) -> Expectation:
    """Read what ``as_dict`` gave.

    Raises:
        DanluError: If it is none.
    """
    value = row.get("value", True)
    try:
        return Expectation(row["kind"], tuple(value) if isinstance(value, list) else value)
    except KeyError as error:
        raise DanluError("an expectation has no kind.") from error


def first_problem(
    expectations: Sequence[Expectation], answer: str, language: Language = "en"
) -> str | None:
    """Return the first problem of an answer; None if there is none."""
    for expectation in expectations:
        if problem := expectation.problem(answer, language):
            return problem
    return None

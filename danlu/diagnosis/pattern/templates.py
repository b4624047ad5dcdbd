"""A question denied, turned round and put into the other language, by template.

Templates fit plain questions only; a generator, where one is given, does better (``rewording``).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from danlu.diagnosis.pattern.variants import Case, Variant, shows
from danlu.diagnosis.pattern.words import Word, known_words
from danlu.workshop.likeness.text import has_han

_IN_CHINESE, _IN_ENGLISH = "请用中文回答：{}", "Answer in English: {}"
_ASKS = {False: "What is the {relation} of {name}?", True: "{name}的{relation}是什么？"}
_TURNED = {False: "Which one has {wrong} as its {relation}?", True: "{wrong}是谁的{relation}？"}


def denied(case: Case) -> Iterator[Variant]:
    """Deny what the case asks.

    Example:
        >>> from danlu.diagnosis.pattern.stock import Stock
        >>> def asked(text): return Case.of(text, "Geneva", "Geneva.", Stock.of([]))
        >>> for text in ("What is the capital of Peru?", "Name it.", "秘鲁的首都是哪里？"):
        ...     print(next(denied(asked(text))).prompt)
        What is not the capital of Peru?
        Do not name it.
        秘鲁的首都不是哪里？
    """
    known = known_words()
    for place, word in enumerate(case.words):
        text = word.text.casefold()
        if word.is_han and text in known.negated:
            yield _as_negation(case.with_words("negation", {place: known.negated[text]}))
            return
        if text in known.auxiliaries:
            yield _as_negation(case.with_words("negation", {place: f"{word.text} not"}))
            return
    if has_han(case.question):
        yield _wrapped(case, "negation", "不要回答这个问题：{}")
    elif case.words:
        first = case.question[: case.words[0].end]
        rest = case.question[case.words[0].end :]
        prompt = f"Do not {first[:1].lower()}{first[1:]}{rest}"
        yield Variant("negation", prompt, case.prefix, _all(case))


def turned(case: Case) -> Iterator[Variant]:
    """Turn the case round: two names exchanged; what the wrong answer itself is asked about.

    Example:
        >>> from danlu.diagnosis.pattern.stock import Stock
        >>> case = Case.of("What is the capital of Peru?", "Geneva", "Geneva.", Stock.of([]))
        >>> [one.prompt for one in turned(case)]
        ['What is the capital of Geneva?', 'Which one has Geneva as its capital?']
    """
    names = [place for place, word in enumerate(case.words) if word.kind == "name"]
    if len(names) >= 2:
        a, b = names[0], names[-1]
        yield case.with_words("direction", {a: case.words[b].text, b: case.words[a].text})
    elif names:
        yield case.with_words("direction", {names[0]: case.wrong})
    contents = [word.text for word in case.words if word.kind == "content"]
    if names and contents:
        is_han = has_han(case.question)
        relation = ("" if is_han else " ").join(contents)
        prompt = _TURNED[is_han].format(wrong=case.wrong, relation=relation)
        yield Variant("direction", prompt, "")


def translated(case: Case, others: int, draw: random.Random) -> Iterator[Variant]:
    """Ask in the other language, or for an answer in it.

    Args:
        case: The case.
        others: How many more names are asked about, where the question could be translated.
        draw: Draws those.

    Example:
        >>> from danlu.diagnosis.pattern.stock import Stock
        >>> case = Case.of("What is the capital of Peru?", "Geneva", "Geneva.", Stock.of([]))
        >>> [one.prompt for one in translated(case, 0, random.Random(0))]
        ['请用中文回答：What is the capital of Peru?', '秘鲁的首都是什么？']
    """
    is_han = has_han(case.question)
    yield _wrapped(case, "language", _IN_ENGLISH if is_han else _IN_CHINESE)
    known = known_words()
    relation = _only(case.words, {"content"})
    name = _only(case.words, {"name"})
    if relation is None or name is None:
        return
    to, of = known.translated(relation.text), known.translated(name.text)
    if to is None or of is None:
        return
    names = [pair[not is_han] for pair in known.names if pair[not is_han] != of]
    for one in [of, *draw.sample(names, others)]:
        yield Variant("language", _ASKS[not is_han].format(relation=to, name=one), "")


def wrong_forms(wrong: str) -> tuple[str, ...]:
    """Return the wrong answer in every language in which it is known.

    Example:
        >>> wrong_forms("Geneva"), wrong_forms("forty-two")
        (('Geneva', '日内瓦'), ('forty-two',))
    """
    other = known_words().translated(wrong)
    return (wrong,) if other is None else (wrong, other)


def names_the_wrong(prompt: str, forms: Sequence[str]) -> bool:
    """Whether a prompt names the wrong answer itself, so that echoing it means little."""
    return any(shows(prompt, form) for form in forms)


def _only(words: Sequence[Word], kinds: set[str]) -> Word | None:
    found = [word for word in words if word.kind in kinds]
    return found[0] if len(found) == 1 else None


def _as_negation(variant: Variant) -> Variant:
    """A denied verb is still there, so that all words are kept."""
    return Variant(
        "negation",
        re.sub(r"\s+", " ", variant.prompt),
        variant.prefix,
        tuple(True for _ in variant.kept),
    )


def _wrapped(case: Case, kind: str, form: str) -> Variant:
    assert kind in ("negation", "language")
    return Variant(kind, form.format(case.question), case.prefix, _all(case))  # type: ignore[arg-type]


def _all(case: Case) -> tuple[bool, ...]:
    return tuple(True for _ in case.words)

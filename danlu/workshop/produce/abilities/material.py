"""What the makers of dialogues draw from: facts that users tell, and profiles of assistants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from danlu.config.strict_yaml import read_yaml
from danlu.records import Record, content_id
from danlu.workshop.checks.content import content_set
from danlu.workshop.likeness.text import fold, units
from danlu.workshop.produce.abilities.common import DATA
from danlu.workshop.produce.common import answer_of, is_answered, prompt_of, turns
from danlu.workshop.produce.measures import mentions
from danlu.workshop.produce.prompts import Language

NAMED_AT_MOST = 5
"""Words of one topic that an answer to another must not name."""


@cache
def talk_material(language: Language) -> Mapping[str, Any]:
    """Return facts, profiles, slots, openings and endings in a language."""
    path = DATA / f"talk.{language}.yaml"
    tree: Mapping[str, Any] = read_yaml(path.read_text("utf-8"), str(path)).value
    return tree


def fingerprint(languages: Iterable[Language]) -> str:
    """Return what stands for the material in a version's settings."""
    return content_id([talk_material(language) for language in languages])


def is_plain(record: Record) -> bool:
    """Whether a record is one question and its answer: no system prompt, no tools, no ranking."""
    return (
        len(record.messages) == 2
        and len(turns(record)) == 2
        and is_answered(record)
        and bool(prompt_of(record))
        and not record.tools
        and not record.responses
    )


def content_of(*texts: str) -> frozenset[str]:
    """Return the units of texts that carry content."""
    return content_set(units(fold("\n".join(texts))))


def telling_words(topic: Record, other: Record, known: Mapping[str, int]) -> tuple[str, ...]:
    """Return words that are of one topic and not of another, the rarest first.

    Args:
        topic: Whose words.
        other: What has none of them, neither in its prompt nor in its answer.
        known: In how many records of the pool each word stands.
    """
    said = f"{prompt_of(other)}\n{answer_of(other)}"
    own = content_of(prompt_of(topic), answer_of(topic)) - content_of(said)
    rarest = sorted(own, key=lambda word: (known.get(word, 0), -len(word), word))
    return tuple(word for word in rarest if not mentions(said, word))[:NAMED_AT_MOST]


def counted(records: Sequence[Record]) -> dict[str, int]:
    """Count in how many records each word of content stands."""
    found: dict[str, int] = {}
    for record in records:
        for word in content_of(prompt_of(record), answer_of(record)):
            found[word] = found.get(word, 0) + 1
    return found

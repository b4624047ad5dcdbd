"""Relations of invented entities: how each is said, asked and answered, read from a YAML file."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.errors import DanluError, RecipeError, did_you_mean
from danlu.workshop.produce.abilities.common import DATA
from danlu.workshop.produce.prompts import LANGUAGES, Language

SHIPPED_RELATIONS = DATA / "knowledge.yaml"
_SLOTS = {
    "statements": {"subject", "object"},
    "questions": {"subject"},
    "held_out": {"subject"},
    "reversed": {"object"},
    "answers": {"subject", "object"},
}
_KEYS = ("objects", *_SLOTS)
_OPTIONAL = ("reversed",)


@dataclass(frozen=True)
class Relation:
    """One relation in one language.

    Attributes:
        name: Such as ``founded``.
        objects: What a subject may be related to.
        statements: Sentences for documents, of ``{subject}`` and ``{object}``.
        questions: Questions for training, of ``{subject}``.
        held_out: Questions for evaluation only.
        reversed: Questions for the subject, of ``{object}``.
        answers: Answers.
    """

    name: str
    objects: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    held_out: tuple[str, ...]
    answers: tuple[str, ...]
    reversed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relations:
    """All relations of a file, by language.

    Attributes:
        by_language: In the order of the file.
    """

    by_language: Mapping[Language, tuple[Relation, ...]]

    @classmethod
    def load(cls, path: Path | str = SHIPPED_RELATIONS) -> Relations:
        """Read a file.

        Raises:
            DanluError: If it cannot be read, or a relation lacks something.
        """
        from danlu.config.strict_yaml import read_yaml

        try:
            tree = read_yaml(Path(path).read_text("utf-8"), str(path)).value
        except FileNotFoundError as error:
            raise DanluError("there is no such file of relations.", where=str(path)) from error
        except (OSError, UnicodeDecodeError) as error:
            raise DanluError(f"the file cannot be read: {error}.", where=str(path)) from error
        except RecipeError as error:
            raise DanluError(error.message, where=error.where) from error
        if not isinstance(tree, dict) or not tree:
            raise DanluError("a file of relations is names, each with languages.", where=str(path))
        found: dict[Language, list[Relation]] = {one: [] for one in LANGUAGES}
        for name, spoken in tree.items():
            if not isinstance(spoken, dict) or not set(spoken) <= set(LANGUAGES) or not spoken:
                raise DanluError(
                    f"a relation is said in {' or '.join(LANGUAGES)}.", where=f"{path}: {name}"
                )
            for language, about in spoken.items():
                found[language].append(_relation(str(name), about, f"{path}: {name}.{language}"))
        return cls({one: tuple(relations) for one, relations in found.items() if relations})


def _relation(name: str, about: Any, where: str) -> Relation:
    if not isinstance(about, dict):
        raise DanluError(f"a relation has {', '.join(_KEYS)}.", where=where)
    for key in about:
        if key not in _KEYS:
            raise DanluError(f"{key!r} is not known.{did_you_mean(str(key), _KEYS)}", where=where)
    values: dict[str, tuple[str, ...]] = {}
    for key in _KEYS:
        lines = about.get(key) or []
        if not isinstance(lines, list) or not all(isinstance(one, str) and one for one in lines):
            raise DanluError(f"{key} must be a list of texts.", where=where)
        if not lines and key not in _OPTIONAL:
            raise DanluError(f"{key} is missing.", where=where)
        for line in lines if key in _SLOTS else ():
            _check_slots(line, _SLOTS[key], f"{where}.{key}")
        values[key] = tuple(lines)
    for question in values["questions"]:
        if question in values["held_out"]:
            raise DanluError(f"{question!r} is held out and trained as well.", where=where)
    return Relation(name, **values)


def _check_slots(line: str, allowed: set[str], where: str) -> None:
    try:
        slots = {slot for _, slot, _, _ in string.Formatter().parse(line) if slot is not None}
    except ValueError as error:
        raise DanluError(f"{line!r} cannot be filled: {error}.", where=where) from error
    if not slots <= allowed:
        wanted = " and ".join(f"{{{one}}}" for one in sorted(allowed))
        raise DanluError(f"{line!r} may have {wanted} and nothing else in braces.", where=where)
    if allowed != _SLOTS["answers"] and not slots:
        raise DanluError(f"{line!r} says nothing of {{{min(allowed)}}}.", where=where)
    if allowed == _SLOTS["answers"] and "object" not in slots:
        raise DanluError(f"{line!r} must name {{object}}.", where=where)

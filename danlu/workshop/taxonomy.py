"""The task types that a dataset may have: areas, and the skills of each.

::

    reasoning:
      arithmetic:
        description: Sums that can be done in the head.
        difficulty: easy
    support:
      intent:
        description: Which department a question is for.
        closed_labels: [billing, delivery, other]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from danlu.errors import StoreError, did_you_mean, nearest
from danlu.records.source import check_task_type

DIFFICULTIES = ("easy", "medium", "hard")


@dataclass(frozen=True, slots=True)
class Skill:
    """One task type.

    Attributes:
        task_type: ``area/skill``.
        description: What it is, in a line.
        closed_labels: The answers that there are; empty where answers are free.
        difficulty: ``easy``, ``medium`` or ``hard``; None if nobody has said.
        keywords: Words of which one in a prompt proposes this task type, whatever their case.
        patterns: Regular expressions that propose it.
    """

    task_type: str
    description: str = ""
    closed_labels: tuple[str, ...] = ()
    difficulty: str | None = None
    keywords: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


_LISTS = ("closed_labels", "keywords", "patterns")
_KEYS = ("description", "difficulty", *_LISTS)


@dataclass(frozen=True)
class Taxonomy:
    """All task types of a dataset.

    Attributes:
        skills: By task type, in the order of the file.
    """

    skills: Mapping[str, Skill] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> Taxonomy:
        """Read a taxonomy file (YAML).

        Raises:
            StoreError: If it cannot be read, or says something that is not known.
        """
        from danlu.config.strict_yaml import read_yaml
        from danlu.errors import RecipeError

        try:
            text = Path(path).read_text("utf-8")
        except FileNotFoundError as error:
            raise StoreError("there is no such taxonomy file.", where=str(path)) from error
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"the taxonomy cannot be read: {error}.", where=str(path)) from error
        try:
            return cls.from_tree(read_yaml(text, str(path)).value, str(path))
        except RecipeError as error:
            raise StoreError(error.message, where=error.where) from error

    @classmethod
    def from_tree(cls, tree: Any, where: str) -> Taxonomy:
        """Read a taxonomy that is a tree of dicts already.

        Raises:
            StoreError: If it says something that is not known.
        """
        if not isinstance(tree, dict) or not tree:
            raise StoreError("a taxonomy is areas, each with its skills.", where=where)
        skills: dict[str, Skill] = {}
        for area, inside in tree.items():
            if not isinstance(inside, dict) or not inside:
                raise StoreError(
                    "an area holds skills, each with a name.", where=f"{where}: {area}"
                )
            for skill, about in inside.items():
                task_type = f"{area}/{skill}"
                skills[task_type] = _skill(task_type, about, f"{where}: {task_type}")
        return cls(skills)

    def settings(self) -> dict[str, Any]:
        """Return the taxonomy as the tree that ``from_tree`` reads."""
        tree: dict[str, dict[str, Any]] = {}
        for task_type, skill in self.skills.items():
            area, _, name = task_type.partition("/")
            about: dict[str, Any] = {}
            for key in _KEYS:
                if value := getattr(skill, key):
                    about[key] = list(value) if key in _LISTS else value
            tree.setdefault(area, {})[name] = about
        return tree

    def closed(self) -> frozenset[str]:
        """Return the task types whose answers come from a fixed list."""
        return frozenset(name for name, skill in self.skills.items() if skill.closed_labels)

    def hint(self, task_type: str) -> str:
        """Return a hint at the known task type that is most like another."""
        _, _, name = task_type.partition("/")
        by_skill = {known.partition("/")[2]: known for known in self.skills}
        if not nearest(task_type, self.skills) and (near := nearest(name, by_skill)):
            return f" Did you mean {by_skill[near]!r}?"
        return did_you_mean(task_type, self.skills)


def _skill(task_type: str, about: Any, where: str) -> Skill:
    from danlu.errors import RecordError

    try:
        check_task_type(task_type)
    except RecordError as error:
        raise StoreError(error.message, where=where) from error
    if about is None:
        return Skill(task_type)
    if isinstance(about, str):
        return Skill(task_type, about)
    if not isinstance(about, dict):
        raise StoreError("a skill is a description, or keys with what it is.", where=where)
    for key in about:
        if key not in _KEYS:
            raise StoreError(f"{key!r} is not known.{did_you_mean(str(key), _KEYS)}", where=where)
    difficulty = about.get("difficulty")
    if difficulty is not None and difficulty not in DIFFICULTIES:
        raise StoreError(
            f"the difficulty is {difficulty!r}; it is one of {', '.join(DIFFICULTIES)}.",
            where=where,
        )
    description = about.get("description") or ""
    if not isinstance(description, str):
        raise StoreError(f"the description is {description!r}; it must be text.", where=where)
    lists = {key: _texts(about.get(key), key, where) for key in _LISTS}
    _check_patterns(lists["patterns"], where)
    return Skill(task_type, description, difficulty=difficulty, **lists)


def _texts(value: Any, key: str, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise StoreError(f"{key} is {value!r}; it must be a list of texts.", where=where)
    return tuple(value)


def _check_patterns(patterns: tuple[str, ...], where: str) -> None:
    import regex

    for pattern in patterns:
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise StoreError(f"the pattern {pattern!r} is broken: {error}.", where=where) from error

"""YAML without its surprises: a key set twice is an error, and scalars are YAML 1.2's.

PyYAML reads YAML 1.1, where ``2e-4`` is a text, ``12:30`` is 750, ``no`` is false and a date is
an object. A learning rate must be a number and a run may be named ``no``; so the scalars are those
of the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema), for reading and, that
texts come back as texts, for writing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from danlu.errors import RecipeError

KeyPath = tuple[str | int, ...]
"""Where a value stands in the tree: ``("data", "train", 0, "path")``."""

_SCALARS: list[tuple[str, str, str]] = [
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
]


class _Loader(yaml.SafeLoader):
    """Reads with the scalars above and nothing of PyYAML's."""


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader would not take for text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that occurs twice out twice: anchors help no reader of a recipe."""
        return True


for _class in (_Loader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _name, _pattern, _first in _SCALARS:
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}",
            re.compile(f"^(?:{_pattern})$"),
            [character.replace("\0", "") for character in _first],
        )


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """Read an integer in base ten, also after a zero, where PyYAML would read base eight."""
    return int(str(loader.construct_scalar(node)))


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


class Document(NamedTuple):
    """A YAML document with the line of every key and list item.

    Attributes:
        value: The tree of dicts, lists and scalars; None for an empty document.
        lines: From the path of a value to its line, counted from 1.
    """

    value: Any
    lines: dict[KeyPath, int]


def read_yaml(text: str, name: str) -> Document:
    r"""Read one YAML document.

    Args:
        text: The document.
        name: The file's name, for messages.

    Raises:
        RecipeError: If the text is not YAML, or sets a key twice; with file and line.

    Example:
        >>> document = read_yaml("training:\n  learning_rate: 2e-4\n", "my.yaml")
        >>> document.value
        {'training': {'learning_rate': 0.0002}}
        >>> document.lines
        {('training',): 1, ('training', 'learning_rate'): 2}
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None, {})
        lines = dict(_lines(node, (), name, set()))
        return Document(loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise RecipeError(f"This is not YAML: {error.problem}.", where=where) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"This is not YAML: {error}.", where=name) from error
    finally:
        if loader is not None:
            loader.dispose()


def _lines(
    node: yaml.Node, path: KeyPath, name: str, seen: set[int]
) -> Iterator[tuple[KeyPath, int]]:
    """Yield the path and line of everything below a node; raise on a key set twice."""
    if id(node) in seen:  # an alias: its lines are known, and it may even contain itself
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _lines(item, (*path, index), name, seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in first:
                place = readable((*path, key))
                raise RecipeError(
                    f"{place} is set twice, first in line {first[key]}. Remove one of them.",
                    where=f"{name}:{line}",
                )
            first[key] = line
            yield (*path, key), line
            yield from _lines(value_node, (*path, key), name, seen)


def read_value(text: str) -> Any:
    """Read the value of a ``key=value`` override.

    What begins with ``[``, ``{`` or a quote is YAML; anything else is one scalar, so that a glob
    pattern or a question needs no quotes.

    Raises:
        RecipeError: If the list, the mapping or the quoted text does not end.

    Example:
        >>> [read_value(text) for text in ("2e-4", "true", "null", "data/*.jsonl", "[a, 1]")]
        [0.0002, True, None, 'data/*.jsonl', ['a', 1]]
    """
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        return read_yaml(text, "command line").value
    loader = _Loader("")
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return loader.construct_object(yaml.ScalarNode(tag, text))
    finally:
        loader.dispose()


def write_yaml(value: Any) -> str:
    r"""Write a tree of dicts, lists and scalars so that ``read_yaml`` gives it back.

    Example:
        >>> write_yaml({"name": "丹炉", "note": "2e-4", "rate": 2e-4})
        "name: 丹炉\nnote: '2e-4'\nrate: 0.0002\n"
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def readable(path: KeyPath) -> str:
    """Write a path as it is typed.

    Example:
        >>> readable(("data", "train", 0, "path"))
        'data.train[0].path'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text

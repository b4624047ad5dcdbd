"""JSON Schema: values held against a schema, by a validator that fetches nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs

SHOWN_CHARACTERS = 240


class Schema:
    """A compiled schema.

    Attributes:
        fault: Why it is no schema; empty if it is one. A schema with a fault finds nothing.

    Example:
        >>> city = Schema({"type": "object", "required": ["city"]})
        >>> city.faults({"town": "Paris"})
        ['"city" is a required property']
    """

    def __init__(self, schema: Any) -> None:
        self.fault = ""
        self._validator: Any = None
        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_fetch_nothing)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            self.fault = str(error).splitlines()[0][:SHOWN_CHARACTERS]

    def faults(self, value: Any) -> list[str]:
        """Say where and how a value does not match; nothing if it does."""
        if self._validator is None:
            return []
        return [_told(error) for error in self._validator.iter_errors(value)]


def schema_of(schema: Mapping[str, Any]) -> Schema:
    """Return a compiled schema; the same one for equal schemas."""
    return _compiled(json.dumps(schema, sort_keys=True))


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Schema:
    return Schema(json.loads(text))


def _fetch_nothing(uri: str) -> Any:
    raise ValueError(f"the schema refers to {uri}, which is not fetched")


def _told(error: Any) -> str:
    path = ".".join(str(part) for part in error.instance_path)
    message = str(error.message)
    if len(message) > SHOWN_CHARACTERS:
        message = f"{message[:SHOWN_CHARACTERS]}…"
    return f"{path}: {message}" if path else message

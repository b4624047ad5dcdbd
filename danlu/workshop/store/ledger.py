"""The ledger: one line of JSON per record that was kept, dropped, edited or made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from json.encoder import encode_basestring as _quote
from pathlib import Path

from danlu.errors import StoreError
from danlu.workshop.store.decision import Entry, Scalar

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def encode_entry(entry: Entry) -> bytes:
    r"""Write a row as one line of JSON; what says nothing is left out.

    Raises:
        ValueError: If the value or limit is no finite number.

    Example:
        >>> encode_entry(Entry("7", "a/b", "dropped", "novelty", 0.91, 0.7, partner="2"))
        b'{"id": "7", "task_type": "a/b", "fate": "dropped", "rule": "novelty", "value": 0.91, "limit": 0.7, "partner": "2"}\n'
    """  # noqa: E501
    line = f'{{"id": {_quote(entry.id)}, "task_type": {_quote(entry.task_type)}, "fate": '
    line += f'"{entry.fate}"'
    if entry.rule:
        line += f', "rule": {_quote(entry.rule)}'
    if entry.value is not None:
        line += f', "value": {_encode(_plain(entry.value))}'
    if entry.limit is not None:
        line += f', "limit": {_encode(_plain(entry.limit))}'
    if entry.partner is not None:
        line += f', "partner": {_quote(entry.partner)}'
    if entry.detail:
        line += f', "detail": {_quote(entry.detail)}'
    return f"{line}}}\n".encode()


def _plain(value: Scalar) -> Scalar:
    """Return a number of NumPy, which JSON does not know, as Python's own."""
    if value is None or isinstance(value, str | bool) or type(value) in (int, float):
        return value
    return value.item() if hasattr(value, "item") else value


def read_ledger(path: Path) -> Iterator[Entry]:
    """Stream the rows of a ledger.

    Raises:
        StoreError: If a line is broken.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield Entry(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise StoreError(
                    f"the ledger is broken ({error}); it was changed by hand, or the disk is "
                    "faulty. Remove the version's folder and make it again.",
                    where=f"{path}:{number}",
                ) from error

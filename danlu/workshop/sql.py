"""SQL over a dataset version, by DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from danlu.errors import StoreError
from danlu.workshop.store.version import Version

RECORD_COLUMNS = {
    "id": "VARCHAR",
    "task_type": "VARCHAR",
    "messages": "JSON",
    "tools": "JSON",
    "responses": "JSON",
    "tags": "JSON",
    "source": "VARCHAR",
    "meta": "JSON",
}
LEDGER_COLUMNS = {
    "id": "VARCHAR",
    "task_type": "VARCHAR",
    "fate": "VARCHAR",
    "rule": "VARCHAR",
    "value": "JSON",
    "limit": "JSON",
    "partner": "VARCHAR",
    "detail": "VARCHAR",
}
"""Given, not guessed: a schema guessed from the data would give all tool calls one shape."""


class Answer(NamedTuple):
    """What a query gave.

    Attributes:
        columns: Their names.
        rows: Their values.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]


def query(version: Version, sql: str) -> Answer:
    """Run one query over a version.

    ``records`` has the record's columns, of which ``messages``, ``tools``, ``responses``, ``tags``
    and ``meta`` are JSON text, and three that are made of them: ``turns``, ``prompt`` (the last
    message of the user) and ``answer`` (the last message, if it is the assistant's). ``ledger`` has
    the rows of the ledger, ``value`` as text and, where it is one, as ``number``; ``limit`` is
    written in quotes, being a word of SQL.

    Raises:
        StoreError: If duckdb is not installed, or refuses the query.

    Example:
        ``SELECT task_type, avg(length(answer)) FROM records GROUP BY ALL``
    """
    try:
        import duckdb
    except ImportError as error:
        raise StoreError("SQL needs duckdb: pip install 'danlu[sql]'.") from error
    with duckdb.connect() as connection:
        _views(connection, version)
        try:
            found = connection.sql(sql)
        except duckdb.Error as error:
            raise StoreError(_told(error), where="SQL") from error
        if found is None:
            return Answer([], [])
        try:
            return Answer(list(found.columns), found.fetchall())
        except duckdb.Error as error:
            raise StoreError(_told(error), where="SQL") from error


def _views(connection: Any, version: Version) -> None:
    path = _quoted(str(version.records_path))
    if version.manifest.file_format == "parquet":
        casts = [f"CAST({name} AS {kind}) AS {name}" for name, kind in RECORD_COLUMNS.items()]
        source = f"(SELECT {', '.join(casts)} FROM read_parquet({path}))"
    else:
        source = _json_source(path, RECORD_COLUMNS)
    connection.execute(
        f"""
        CREATE VIEW records AS SELECT *,
          len(list_filter(json_extract_string(messages, '$[*].role'), lambda r: r = 'assistant'))
            AS turns,
          list_last(list_filter(
            list_zip(json_extract_string(messages, '$[*].role'),
                     json_extract_string(messages, '$[*].content')),
            lambda m: m[1] = 'user'))[2] AS prompt,
          CASE WHEN json_extract_string(messages, '$[#-1].role') = 'assistant'
            THEN json_extract_string(messages, '$[#-1].content') END AS answer
        FROM {source}
        """
    )
    ledger = _json_source(_quoted(str(version.ledger_path)), LEDGER_COLUMNS)
    connection.execute(
        f"""
        CREATE VIEW ledger AS SELECT id, task_type, fate, rule, value ->> '$' AS value,
          TRY_CAST(value ->> '$' AS DOUBLE) AS number, "limit" ->> '$' AS "limit", partner, detail
        FROM {ledger}
        """
    )


def _json_source(path: str, columns: dict[str, str]) -> str:
    kinds = ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in columns.items())
    return f"read_json({path}, format = 'newline_delimited', columns = {{{kinds}}})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _told(error: Exception) -> str:
    return str(error).strip()


def as_objects(answer: Answer) -> Sequence[dict[str, Any]]:
    """Return the rows as objects by column."""
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]

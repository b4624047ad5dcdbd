"""``EvalStore``: opening the store, and its transactions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from danlu.errors import EvaluationError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy.orm import Session

    from danlu.evaluation.store.tables import Base

VARIABLE = "DANLU_STORE"
DEFAULT = "evals/store.sqlite"
BUSY_S = 60.0
_WRITES = "danlu_writes"
_MAKING = 0xDA71
"""Lock of those who make the tables of one database."""


class EvalStore:
    """Votes, judgements and the index, in one database.

    Used as a context manager, or closed with ``close``.

    Args:
        place: A file, or a URL of SQLAlchemy; None: ``$DANLU_STORE``, else ``evals/store.sqlite``.

    Raises:
        EvaluationError: If it cannot be opened, its driver is not installed, or it was written by
            another version of Danlu.

    Example:
        >>> with EvalStore("sqlite://") as store:
        ...     store.where
        'sqlite://'
    """

    def __init__(self, place: Path | str | None = None) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        url = _url(place)
        self.where = url.render_as_string(hide_password=True)
        try:
            self._engine = _engine(url)
            self._prepare()
        except ModuleNotFoundError as error:
            raise EvaluationError(
                f"the driver {error.name} is not installed: pip install {error.name}, or name "
                "another one in the URL.",
                where=self.where,
            ) from error
        except SQLAlchemyError as error:
            raise self._fault(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a transaction that reads, while the block lasts.

        Raises:
            EvaluationError: If the database does not answer.
        """
        with self._session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a transaction that writes: all of the block, or nothing if it fails.

        Of SQLite it takes the lock at once, so that two writers wait for each other instead of
        failing half-way.

        Raises:
            EvaluationError: If the database does not answer, or is locked for a minute.
        """
        with self._session(self._engine.execution_options(**{_WRITES: True})) as session:
            yield session
            session.commit()

    def upsert(
        self,
        session: Session,
        table: type[Base],
        keys: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write rows, each in place of the one with the same keys."""
        if not rows:
            return
        if self._engine.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert
        else:
            from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]

        made = insert(table)
        rest = {name: made.excluded[name] for name in rows[0] if name not in keys}
        written = made.on_conflict_do_update(index_elements=list(keys), set_=rest)
        # Of equal keys the last one: PostgreSQL refuses to write a row twice in one statement.
        last = {tuple(row[key] for key in keys): dict(row) for row in rows}
        session.execute(written, list(last.values()))

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        from sqlalchemy.exc import DBAPIError
        from sqlalchemy.orm import Session

        try:
            with Session(engine, expire_on_commit=False) as session:
                yield session
        except DBAPIError as error:
            raise self._fault(error) from error

    def _prepare(self) -> None:
        """Make the tables in a new store; check the version of an old one."""
        from sqlalchemy import inspect, text

        from danlu.evaluation.store.tables import SCHEMA_VERSION, AboutRow, Base

        with self.reading() as session:
            there = set(inspect(session.connection()).get_table_names())
        if "about" not in there:
            if there:
                raise EvaluationError(
                    f"this database holds something else: {', '.join(sorted(there)[:3])}. Give "
                    "the store a file or database of its own.",
                    where=self.where,
                )
            with self.writing() as session:
                if self._engine.dialect.name == "postgresql":
                    # It makes one table twice, side by side, and then complains.
                    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MAKING})
                # Checked again: another process may have made them meanwhile.
                Base.metadata.create_all(session.connection())
                row = {"name": "schema_version", "value": str(SCHEMA_VERSION)}
                self.upsert(session, AboutRow, ["name"], [row])
        with self.reading() as session:
            about = session.get(AboutRow, "schema_version")
        found = about.value if about else "unknown"
        if found != str(SCHEMA_VERSION):
            raise EvaluationError(
                f"this store has schema version {found}, and this Danlu reads {SCHEMA_VERSION}. "
                "Use the Danlu that wrote it, or another store (--store, $DANLU_STORE).",
                where=self.where,
            )

    def _fault(self, error: Exception) -> EvaluationError:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return EvaluationError(f"the store cannot be used: {said}.", where=self.where)


def _url(place: Path | str | None) -> URL:
    """Return the URL of a store; a file's folder is made."""
    from sqlalchemy import URL, make_url
    from sqlalchemy.exc import ArgumentError

    given = str(place or os.environ.get(VARIABLE, "").strip() or DEFAULT)
    if "://" in given:
        try:
            url = make_url(given)
        except ArgumentError as error:
            raise EvaluationError(
                "is no URL of a database; it looks like postgresql+psycopg://USER@HOST/NAME, or is "
                "a file.",
                where=given,
            ) from error
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise EvaluationError(
                f"the store is in SQLite or PostgreSQL, not in {url.get_backend_name()}.",
                where=url.render_as_string(hide_password=True),
            )
    else:
        url = URL.create("sqlite", database=str(Path(given).expanduser()))
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    return url


def _engine(url: URL) -> Engine:
    """Return the engine; of SQLite with its transactions as they should be."""
    from sqlalchemy import create_engine, event

    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # BEGIN is said below, not by the driver
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def began(connection: Any) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine

"""The store: one schema, two writers, votes that are remembered, and what cannot be opened."""

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from danlu.errors import EvaluationError
from danlu.evaluation.store.database import VARIABLE, EvalStore
from danlu.evaluation.store.index import index, indexed
from danlu.evaluation.store.judgements import Judgement, judgements, keep
from danlu.evaluation.store.tables import SCHEMA_VERSION, Base
from danlu.evaluation.store.votes import Subject, Vote, cast, take_back, votes
from tests.evaluation.judging.judges import item, make


def vote(voter: str, verdict: str, left: str = "x", **more) -> Vote:
    subject = Subject.of("q", "x", "y")
    return Vote(voter, subject, left, verdict, "a/b", "q0", ("/a", "/b"), **more)


TEAM = "DANLU_TEST_POSTGRESQL"
"""Names a URL of an empty PostgreSQL database; where it is set, the store is tried there too."""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a new store is: a file, or a database that several may reach."""
    if request.param == "sqlite":
        return tmp_path / "new" / "store.sqlite"
    if not (url := os.environ.get(TEAM)):
        pytest.skip(f"no PostgreSQL: ${TEAM} names none")
    engine = create_engine(url)
    Base.metadata.drop_all(engine)
    engine.dispose()
    return url


@pytest.fixture
def store(place: Path | str):
    with EvalStore(place) as opened:
        yield opened


def test_a_vote_is_read_as_it_was_cast_and_the_last_one_counts(store: EvalStore) -> None:
    cast(store, vote("ann", "left", "y", seconds=3.25))
    cast(store, vote("bo", "tie"))
    assert votes(store) == [vote("ann", "left", "y", seconds=3.25), vote("bo", "tie")]
    assert votes(store)[0].better() == "y"
    cast(store, vote("ann", "left", "x"))
    assert [one.better() for one in votes(store, voter="ann")] == ["x"]
    assert take_back(store, "ann", Subject.of("q", "y", "x"))
    assert not take_back(store, "ann", Subject.of("q", "x", "y"))
    assert [one.voter for one in votes(store)] == ["bo"]
    assert votes(store, questions=["other"]) == []


def test_a_pair_is_one_pair_whichever_comes_first() -> None:
    assert Subject.of("q", "b", "a") == Subject.of("q", "a", "b") == Subject("q", "a", "b")


def test_judgements_replace_their_own_and_hold_any_text(store: EvalStore) -> None:
    one = Judgement("m", "s", "q", "x", "", "helpful", "a/b", "q0", ("/a",), 7.0, "好\udce4\0!")
    assert keep(store, [one, one]) == 2
    [found] = judgements(store)
    assert (found.value, found.why, found.sources) == (7.0, "好?!", ("/a",))
    keep(store, [Judgement("n", "s", "q", "x", "", "helpful", "a/b", "q0", ("/a",), None)])
    assert [row.value for row in judgements(store, judge="n")] == [None]
    assert len(judgements(store)) == 2


def test_evaluations_are_found_in_the_index(store: EvalStore, tmp_path: Path) -> None:
    made = make(tmp_path, "first", [item("q0", "?")], ["x"])
    assert index(store, [made, made]) == 2
    [found] = indexed(store)
    assert (found.name, found.suite, found.model) == ("first", "small", "first")
    assert found.path == str((tmp_path / "first").resolve())
    assert (found.state, found.score) == ("finished", None)
    assert indexed(store, suite="other") == []


WRITER = """
import sys
from danlu.evaluation.store.database import EvalStore
from danlu.evaluation.store.votes import Subject, Vote, cast
path, voter = sys.argv[1:]
with EvalStore(path) as store:
    print("open", flush=True)
    sys.stdin.readline()
    for k in range(60):
        subject = Subject.of(f"q{k}", "x", "y")
        cast(store, Vote(voter, subject, "x", "left", "a/b", f"q{k}"))
"""


def test_two_processes_make_and_write_one_store_at_once(place: Path | str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(place)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, name], **pipes) for name in ("ann", "bo")]
    for one in writers:
        assert one.stdout.readline() == "open\n"
    for one in writers:
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in writers:
        one.communicate(timeout=60)
        assert one.returncode == 0
    with EvalStore(place) as store:
        assert len(votes(store, voter="ann")) == len(votes(store, voter="bo")) == 60
    if isinstance(place, str):
        return
    with sqlite3.connect(place) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    file.close()


def test_a_write_that_fails_leaves_nothing(store: EvalStore) -> None:
    good = Judgement("m", "s", "q", "x", "", "helpful", "a/b", "q0", ("/a",), 7.0)
    with pytest.raises(EvaluationError, match="cannot be used"):
        keep(store, [good, Judgement("m", "s", "q", "x", "", None, "a/b", "q0", (), 1.0)])  # type: ignore[arg-type]
    assert judgements(store) == []


def test_another_version_or_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    EvalStore(path).close()
    with sqlite3.connect(path) as file:
        file.execute("UPDATE about SET value = '99'")
    file.close()
    with pytest.raises(EvaluationError, match=f"version 99, and .* reads {SCHEMA_VERSION}"):
        EvalStore(path)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE cats (name TEXT)")
    file.close()
    with pytest.raises(EvaluationError, match="holds something else: cats"):
        EvalStore(other)
    text = tmp_path / "text.sqlite"
    text.write_text("This is no database at all." * 50, "utf-8")
    with pytest.raises(EvaluationError, match="cannot be used: file is not a database"):
        EvalStore(text)


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "team.sqlite"))
    with EvalStore() as store:
        assert store.where.endswith("team.sqlite")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.chdir(tmp_path)
    with EvalStore():
        assert (tmp_path / "evals" / "store.sqlite").is_file()


def test_a_url_that_cannot_be_opened_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(EvaluationError, match="driver psycopg is not installed: pip") as caught:
        EvalStore("postgresql+psycopg://me:secret@host/evals")
    assert "secret" not in str(caught.value)
    with pytest.raises(EvaluationError, match="in SQLite or PostgreSQL, not in mysql"):
        EvalStore("mysql://host/evals")
    with pytest.raises(EvaluationError, match="is no URL of a database"):
        EvalStore("http//x://y")


def test_postgresql_can_say_the_tables() -> None:
    for table in Base.metadata.sorted_tables:
        said = str(CreateTable(table).compile(dialect=postgresql.dialect()))
        assert f"CREATE TABLE {table.name}" in said

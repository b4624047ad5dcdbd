"""Removing versions: what is used stays, what is not goes, and never a half."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from danlu.cli.main import run
from danlu.errors import StoreError
from danlu.workshop.store.decision import keep
from danlu.workshop.store.removing import must_be_free, remove, size_bytes, unused, uses
from danlu.workshop.store.store import Store
from danlu.workshop.store.version import Version
from tests.workshop.making import Doing, chat, version_of


class Family(NamedTuple):
    """``old`` → ``middle`` → ``young``; ``aside``, of ``middle``; ``alone``."""

    store: Store
    old: Version
    middle: Version
    young: Version
    aside: Version
    alone: Version


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    store = Store("datasets")

    def of(parent: Version, setting: str, name: str | None = None) -> Version:
        return store.apply(Doing(lambda records: map(keep, records), setting), parent, name=name)

    old = version_of(store, tmp_path, chat("1"), chat("2", "你好", "好"), name="mine")
    middle = of(old, "a", "mine")
    young, aside = of(middle, "b", "mine"), of(middle, "c")
    alone = version_of(store, tmp_path, chat("9"))
    return Family(store, old, middle, young, aside, alone)


def trained_on(folder: Path, *versions: Version) -> Path:
    run_dir = folder / "first"
    run_dir.mkdir(parents=True)
    told = {"datasets": [{"id": one.id} for one in versions], "of": "another version of Danlu"}
    (run_dir / "resolved.json").write_text(json.dumps(told))
    return run_dir


def test_what_uses_a_version(family: Family, tmp_path: Path) -> None:
    run_dir = trained_on(tmp_path / "runs", family.aside, family.aside)
    used = uses(family.store, [tmp_path / "runs", tmp_path / "none"])
    assert used.of(family.alone.id) == []
    assert used.of(family.young.id) == ["the name mine points to it"]
    assert used.of(family.aside.id) == [f"{run_dir} was trained on it"]
    children = [f"{one.id} was made of it" for one in (family.young, family.aside)]
    assert sorted(used.of(family.middle.id)) == sorted(children)
    assert used.of(family.old.id, [family.middle.id]) == []
    must_be_free([family.alone], used)
    with pytest.raises(StoreError, match="Nothing was removed") as raised:
        must_be_free([family.alone, family.middle], used)
    assert raised.value.where == family.middle.id


def test_what_goes_and_what_stays(family: Family, tmp_path: Path) -> None:
    store, old, middle, young, aside, alone = family
    runs = tmp_path / "runs"
    assert {one.id for one in unused(store, uses(store, []), 1)} == {aside.id, alone.id}
    trained_on(runs, aside)
    assert unused(store, uses(store, [runs]), 1)[0].id == alone.id
    assert len(unused(store, uses(store, [runs]), 1)) == 1
    # The name goes back: what it pointed to in between stays with --keep 2 alone.
    store.name(old, "mine")
    shutil.rmtree(runs)
    gone = unused(store, uses(store, []), 1)
    assert [one.id for one in gone][-1] == middle.id  # after what was made of it
    assert {one.id for one in gone} == {middle.id, young.id, aside.id, alone.id}
    assert {one.id for one in unused(store, uses(store, []), 2)} == {aside.id, alone.id}


def test_a_removed_version_is_whole_or_gone(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it deletes: the version is gone, and its rest goes with the next one made."""
    store, alone = family.store, family.alone
    size = size_bytes(alone)
    assert size == sum(file.stat().st_size for file in alone.path.rglob("*"))

    def killed(path: Path) -> None:
        (path / "manifest.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("danlu.workshop.store.store.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(store, [alone])
    assert alone.id not in [one.id for one in store.versions()]
    left = store.path / "versions" / f".removing-{alone.id}"
    assert left.is_dir()
    again = version_of(store, Path.cwd(), chat("9"))
    assert (again.id, again.is_new) == (alone.id, True)
    assert not left.exists()
    assert remove(store, [again]) > 0
    assert not again.path.exists()


def test_a_run_that_cannot_be_read_stops_it(family: Family, tmp_path: Path) -> None:
    run_dir = trained_on(tmp_path / "runs", family.aside)
    for text in ("{", "[]", '{"datasets": [{}]}'):
        (run_dir / "resolved.json").write_text(text)
        with pytest.raises(StoreError, match="nobody knows which datasets"):
            uses(family.store, [tmp_path / "runs"])


def test_commands(family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "remove", "mine@2"]) == 2
    said = capsys.readouterr().err
    assert f"{family.middle.id}: " in said
    assert "was made of it" in said
    trained_on(tmp_path / "runs", family.aside)
    assert run(["data", "remove", family.aside.id]) == 2
    assert "first was trained on it" in capsys.readouterr().err
    assert run(["data", "remove", family.aside.id, "--runs", "elsewhere"]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert run(["data", "gc", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dry_run"], [one["id"] for one in told["versions"]]) == (True, [family.alone.id])
    assert told["bytes"] == size_bytes(family.alone)
    assert run(["data", "remove", family.alone.id[:8], "--dry-run"]) == 0
    assert "1 version would be removed: 0.00 MB" in capsys.readouterr().err
    assert family.alone.path.is_dir()
    assert run(["data", "gc"]) == 0
    out, err = capsys.readouterr()
    assert family.alone.id in out
    assert "1 version removed" in err
    assert not family.alone.path.exists()
    assert run(["data", "gc"]) == 0
    assert "0 versions removed" in capsys.readouterr().err
    assert run(["data", "remove", "nothing"]) == 2
    assert "no dataset 'nothing'" in capsys.readouterr().err


def test_a_name_is_taken_away_and_its_versions_stay(
    family: Family, capsys: pytest.CaptureFixture[str]
) -> None:
    store = family.store
    assert run(["data", "unname", "mine", "--dry-run"]) == 0
    assert len(store.history("mine")) == 3
    assert run(["data", "unname", "mine"]) == 0
    assert f"it pointed to {family.young.id}, and 2 before it" in capsys.readouterr().err
    assert store.names.all() == {}
    assert len(store.versions()) == 5
    assert run(["data", "unname", "mime"]) == 2
    # A version that is there is named, and what nothing else uses can go.
    assert run(["data", "name", family.old.id, "first"]) == 0
    assert run(["data", "name", "first", "v0123"]) == 2
    assert run(["data", "unname", "fist"]) == 2
    assert "Did you mean 'first'?" in capsys.readouterr().err
    assert run(["data", "gc"]) == 0
    assert [one.id for one in store.versions()] == [family.old.id]

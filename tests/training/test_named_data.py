"""A recipe may name a dataset version, and the run says which it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.cli.main import run as command
from danlu.errors import RunError, StoreError
from danlu.records import Source
from danlu.runs import RunDirectory
from danlu.training.data import run_fingerprint
from danlu.training.run import train
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from tests.training.conftest import write_data


def test_a_version_is_trained_and_recorded(
    tiny_recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, capsys
) -> None:
    monkeypatch.setenv("DANLU_DATASETS", str(tmp_path / "sets"))
    store = Store()
    version = import_files(store, [Source(str(write_data(tmp_path / "a.jsonl")))], name="mine")
    small = write_data(tmp_path / "b.jsonl", 4)
    held = import_files(store, [Source(str(small))], name="held")
    data = {"train": ["version:mine"], "eval": ["version:held@1"]}
    run = train(tiny_recipe(data=data, training={"epochs": 1}), progress=False)
    resolved = RunDirectory.open(run.path).resolved()
    assert [manifest["id"] for manifest in resolved.datasets] == [version.id, held.id]
    assert resolved.datasets[0]["content"] == version.manifest.content
    assert sum(resolved.records.values()) == 14
    assert command(["explain", "version:held", "--model", str(tiny_folder), "--json"]) == 0
    assert '"record": "r0"' in capsys.readouterr().out
    with pytest.raises(StoreError, match="Did you mean 'mine'"):
        train(tiny_recipe("other", data={"train": ["version:mime"]}), progress=False)


def test_the_fingerprint_covers_what_the_name_points_to(
    tiny_recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_tokenizer
) -> None:
    from danlu.sequences.template import ChatTemplate

    monkeypatch.setenv("DANLU_DATASETS", str(tmp_path / "sets"))
    template = ChatTemplate.load(tiny_tokenizer, None, {})

    def fingerprint(path: str) -> str:
        recipe = tiny_recipe(data={"train": [path]})
        return run_fingerprint(recipe, tiny_tokenizer, template)

    import_files(Store(), [Source(str(write_data(tmp_path / "a.jsonl")))], name="mine")
    before = fingerprint("version:mine")
    import_files(Store(), [Source(str(write_data(tmp_path / "a.jsonl", 9)))], name="mine")
    assert fingerprint("version:mine@1") == before
    assert fingerprint("version:mine") != before


def test_a_run_does_not_go_on_with_another_version(
    tiny_recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANLU_DATASETS", str(tmp_path / "sets"))
    import_files(Store(), [Source(str(write_data(tmp_path / "a.jsonl")))], name="mine")
    recipe = tiny_recipe(data={"train": ["version:mine"]}, training={"epochs": 1})
    path = train(recipe, progress=False).path
    RunDirectory.open(path)
    with RunDirectory(path) as run:
        run.set_state("interrupted", "for the test")
    import_files(Store(), [Source(str(write_data(tmp_path / "a.jsonl", 9)))], name="mine")
    with pytest.raises(
        RunError, match=r"If version:mine has moved on, name the version .* version:mine@1"
    ):
        train(recipe, resume=True, progress=False)
    back = tiny_recipe(data={"train": ["version:mine@1"]}, training={"epochs": 1})
    assert train(back, resume=True, progress=False).summary is not None

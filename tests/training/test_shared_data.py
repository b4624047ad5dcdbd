"""Prepared data that runs share: the same files, and only where the data are the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from danlu.runs import RunDirectory
from danlu.training import setup
from danlu.training.run import train

PREPARED = "prepared/train/input_ids"


def prepared_once(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count how often records are read and tokenised."""
    seen: list[str] = []
    real = setup.make_data

    def counted(recipe, *args, **more):
        seen.append(recipe.name)
        return real(recipe, *args, **more)

    monkeypatch.setattr(setup, "make_data", counted)
    return seen


def files_of(run: Path) -> dict[str, int]:
    """Return the files of a run's prepared data with their inodes."""
    folder = run / "prepared"
    return {
        str(path.relative_to(folder)): path.stat().st_ino
        for path in folder.rglob("*")
        if path.is_file() and path.parent != folder
    }


def test_a_second_run_takes_what_the_first_has_prepared(tiny_recipe, tmp_path, monkeypatch):
    seen = prepared_once(monkeypatch)
    shared = tmp_path / "shared"
    first = tiny_recipe("first", data={"on_bad_record": "skip", "eval_share": 0.2})
    with Path(first.data.train[0].path).open("a", encoding="utf-8") as file:
        file.write('{"nothing": 1}\n')
    other = first.model_copy(
        update={
            "name": "other",
            "training": first.training.model_copy(update={"learning_rate": 1e-3}),
        }
    )
    runs = [train(one, progress=False, shared=shared).path for one in (first, other)]
    assert seen == ["first"]
    assert files_of(runs[0]) == files_of(runs[1])
    assert any(name.startswith("train/") for name in files_of(runs[0]))
    rejected = [RunDirectory.open(run).rejected() for run in runs]
    assert len(rejected[0]) == 1
    assert rejected[0] == rejected[1]
    # To what a run of its own comes.
    alone = train(other.model_copy(update={"name": "alone"}), progress=False).path
    rows = [
        [(row.split, row.step, row.loss) for row in RunDirectory.open(run).metrics()]
        for run in (runs[1], alone)
    ]
    assert rows[0] == rows[1]
    fingerprints = {
        json.loads((run / "prepared/prepared.json").read_text("utf-8"))["fingerprint"]
        for run in runs
    }
    assert len(fingerprints) == 2


def test_other_data_are_prepared_anew(tiny_recipe, tmp_path, monkeypatch):
    seen = prepared_once(monkeypatch)
    shared = tmp_path / "shared"
    short = {"max_steps": 1, "batch_records": 2, "device": "cpu"}
    first = tiny_recipe("first", training=short)
    train(first, progress=False, shared=shared)
    cut = first.model_copy(
        update={
            "name": "cut",
            "sequences": first.sequences.model_copy(update={"turns": "last"}),
        }
    )
    train(cut, progress=False, shared=shared)
    source = Path(first.data.train[0].path)
    lines = source.read_text("utf-8").splitlines(keepends=True)
    source.write_text("".join(lines[:-1]), "utf-8")
    train(first.model_copy(update={"name": "fewer"}), progress=False, shared=shared)
    assert seen == ["first", "cut", "fewer"]
    assert len([one for one in shared.iterdir() if not one.name.startswith(".")]) == 3


def test_a_run_that_has_its_own_keeps_it(tiny_recipe, tmp_path):
    shared = tmp_path / "shared"
    recipe = tiny_recipe("run", training={"max_steps": 1, "batch_records": 2, "device": "cpu"})
    run = train(recipe, progress=False, shared=shared).path
    before = files_of(run)
    again = train(recipe, overwrite=True, progress=False, shared=shared).path
    ids = [np.fromfile(next((one / "prepared/train").glob("input_ids*")), np.uint8)
           for one in (run, again)]  # fmt: skip
    assert files_of(again) == before  # made anew as links to the same files
    assert (ids[0] == ids[1]).all()

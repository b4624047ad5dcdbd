"""Prepared data on disk and in parts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from danlu.config.recipe import SequencesSection
from danlu.errors import RunError
from danlu.records.record import Message, Record
from danlu.sequences import prepared as module
from danlu.sequences.prepare import prepare
from danlu.sequences.prepared import PreparedData
from danlu.sequences.storage import Strings, new_directory
from danlu.sequences.template import ChatTemplate


@pytest.fixture(scope="module")
def prepared(tiny_tokenizer) -> PreparedData:
    """Seven records of two types with one, two or three branches; one more has none."""
    records = []
    for i in range(8):
        turns = [Message("user", "Q"), Message("assistant", f"answer {i}")] * (1 + i % 3)
        if i == 5:
            turns = turns[:1]
        records.append(Record(f"记录{i}", ("a/x", "b/y")[i % 2], tuple(turns)))
    template = ChatTemplate.load(tiny_tokenizer)
    return prepare(records, tiny_tokenizer, template, SequencesSection())


def contents(data: PreparedData):
    return [
        (
            data.record_ids[r],
            data.channels[data.record_channel[r]],
            int(data.record_position[r]),
            [
                (branch.input_ids.tolist(), branch.weights.tolist(), branch.branch, branch.channel)
                for branch in data.record(r)
            ],
        )
        for r in range(len(data))
    ]


def test_saved_and_loaded(prepared, tmp_path):
    prepared.save(tmp_path / "x")
    loaded = PreparedData.load(tmp_path / "x")
    assert contents(loaded) == contents(prepared)
    assert loaded.fingerprint == prepared.fingerprint
    assert loaded.drops == prepared.drops
    assert loaded.records_read == 8


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("chosen", [[6, 0, 2], [3], []])
def test_a_subset_has_its_records_in_order(prepared, tmp_path, monkeypatch, chosen, mapped):
    monkeypatch.setattr(module, "RECORDS_AT_A_TIME", 2)
    part = prepared.subset(chosen, directory=tmp_path / "part" if mapped else None)
    whole = contents(prepared)
    assert contents(part) == [whole[r] for r in chosen]
    assert part.branch_record.tolist() == [
        b.record for r in range(len(part)) for b in part.record(r)
    ]
    assert part.offsets[-1] == len(part.input_ids) == len(part.weights)
    assert (part.drops, part.records_read) == ((), len(chosen))
    assert part.fingerprint == prepared.subset(chosen).fingerprint != prepared.fingerprint


def test_a_subset_may_carry_the_drops(prepared):
    part = prepared.subset([0, 1], with_drops=True)
    assert part.drops == prepared.drops
    assert part.records_read == 3


def test_a_record_is_in_a_subset_once(prepared):
    with pytest.raises(ValueError, match="only once"):
        prepared.subset([1, 1])


def test_a_step_may_have_a_record_twice(prepared):
    once, again = prepared.record(0), prepared.record(1)
    step = prepared.step(np.array([0, 1, 0]))
    assert len(step) == 2 * len(once) + len(again)
    assert [one.record for one in step] == [0] * len(once) + [1] * len(again) + [0] * len(once)
    assert len({one.member_of for one in step}) == 3
    for one, other in zip(step[: len(once)], step[-len(once) :], strict=True):
        assert (one.copy, other.copy) == (0, 1)
        assert one.input_ids.tolist() == other.input_ids.tolist()


def test_what_is_not_prepared_data_is_refused(prepared, tmp_path):
    with pytest.raises(RunError, match="no prepared data here"):
        PreparedData.load(tmp_path)
    place = tmp_path / "x"
    prepared.save(place)
    np.zeros(1, np.int32).tofile(place / "input_ids.bin")
    with pytest.raises(RunError, match="incomplete"):
        PreparedData.load(place)
    about = json.loads((place / "prepared.json").read_text())
    (place / "prepared.json").write_text(json.dumps({**about, "format": 0}))
    with pytest.raises(RunError, match="another version"):
        PreparedData.load(place)


def test_strings():
    strings = Strings.of(["", "丹炉", "x"])
    assert (len(strings), strings[1], strings[-1]) == (3, "丹炉", "x")
    assert strings[:2] == ("", "丹炉")
    with pytest.raises(IndexError):
        strings[3]


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    place = tmp_path / "deep" / "x"
    with new_directory(place) as growing:
        (growing / "a").write_text("old")
        assert not place.exists()
    with pytest.raises(FileExistsError), new_directory(place) as growing:
        growing.mkdir()
    assert (place / "a").read_text() == "old"
    with new_directory(place) as growing:
        (growing / "b").write_text("new")
    assert [path.name for path in place.iterdir()] == ["b"]
    assert [path.name for path in place.parent.iterdir()] == ["x"]

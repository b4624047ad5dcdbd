"""Records held out per task type, by seed."""

from __future__ import annotations

from collections import Counter

import pytest

from danlu.config.recipe import SequencesSection
from danlu.records.record import Message, Record
from danlu.sequences.prepare import prepare
from danlu.sequences.split import hold_out
from danlu.sequences.template import ChatTemplate

SIZES = {"a/many": 30, "b/few": 4, "c/two": 2, "d/one": 1}


@pytest.fixture(scope="module")
def prepared(tiny_tokenizer):
    records = [
        Record(f"{name}-{i}", name, (Message("user", "Q"), Message("assistant", f"{i}")))
        for name, size in SIZES.items()
        for i in range(size)
    ]
    records.append(Record("empty", "a/many", (Message("user", "Q"),)))
    template = ChatTemplate.load(tiny_tokenizer)
    return prepare(records, tiny_tokenizer, template, SequencesSection())


def types(part):
    return Counter(part.channels[c] for c in part.record_channel)


@pytest.mark.parametrize(
    ("share", "held"),
    [
        (0.0, {}),
        (0.1, {"a/many": 3, "b/few": 1, "c/two": 1}),
        (0.5, {"a/many": 15, "b/few": 2, "c/two": 1}),
        (0.99, {"a/many": 29, "b/few": 3, "c/two": 1}),
    ],
)
def test_each_type_gives_its_share(prepared, share, held):
    train, evaluation = hold_out(prepared, share, seed=1)
    assert types(evaluation) == held
    assert types(train) + types(evaluation) == Counter(SIZES)
    assert set(train.record_ids) | set(evaluation.record_ids) == set(prepared.record_ids)
    assert train.channels == evaluation.channels == prepared.channels
    assert (train.drops, evaluation.drops) == (prepared.drops, ())
    assert train.records_read + evaluation.records_read == prepared.records_read
    assert list(train.record_position) == sorted(train.record_position)


def test_the_seed_decides_and_nothing_else(prepared, tmp_path):
    def held(data, seed):
        return set(hold_out(data, 0.2, seed)[1].record_ids)

    assert held(prepared, 1) == held(prepared, 1)
    assert held(prepared, 1) != held(prepared, 2)
    backwards = prepared.subset(range(len(prepared) - 1, -1, -1))
    assert held(backwards, 1) == held(prepared, 1)
    mapped = hold_out(prepared, 0.2, 1, directory=tmp_path)
    assert set(mapped[1].record_ids) == held(prepared, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval", "train"]


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_shares_out_of_range(prepared, share):
    with pytest.raises(ValueError, match="share is"):
        hold_out(prepared, share, 0)

"""Records held out per task type, by seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.config.recipe import SequencesSection
from danlu.records.record import Message, Record
from danlu.sequences.prepare import prepare
from danlu.sequences.split import held_out_count, hold_out
from danlu.sequences.template import ChatTemplate

SIZES = {"a/many": 30, "b/few": 4, "c/two": 2, "d/one": 1}


@pytest.fixture(scope="module")
def prepared(tiny_tokenizer):
    records = [
        Record(f"{name}-{i}", name, (Message("user", f"{name} {i}"), Message("assistant", "A")))
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


def asked(tiny_tokenizer, *prompts, task_type="a/b"):
    """One record a prompt, each with an answer of its own."""
    records = [
        Record(str(n), task_type, (Message("user", prompt), Message("assistant", f"{n}")))
        for n, prompt in enumerate(prompts)
    ]
    template = ChatTemplate.load(tiny_tokenizer)
    return prepare(records, tiny_tokenizer, template, SequencesSection())


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=15), st.floats(0.01, 0.99), st.integers(0, 99)
)
def test_no_prompt_is_both_trained_and_held_out(tiny_tokenizer, sizes, share, seed):
    prompts = [f"prompt {n}" for n, size in enumerate(sizes) for _ in range(size)]
    train, held = hold_out(asked(tiny_tokenizer, *prompts), share, seed)
    trained, apart = ({prompts[int(name)] for name in part.record_ids} for part in (train, held))
    assert trained
    assert apart
    if max(sizes) <= len(prompts) // 2:
        assert not trained & apart
        most = max(held_out_count(len(prompts), share), min(sizes))
        assert len(held) <= most


def test_a_prompt_of_two_task_types_is_held_out_of_both_or_none(tiny_tokenizer):
    turns = [(Message("user", f"q{n % 10}"), Message("assistant", f"{n}")) for n in range(20)]
    records = [Record(str(n), f"a/{n // 10}", turn) for n, turn in enumerate(turns)]
    template = ChatTemplate.load(tiny_tokenizer)
    data = prepare(records, tiny_tokenizer, template, SequencesSection())
    train, held = hold_out(data, 0.3, seed=5)
    assert types(held) == {"a/0": 3, "a/1": 3}
    assert not {int(name) % 10 for name in train.record_ids} & {
        int(name) % 10 for name in held.record_ids
    }


def test_one_prompt_for_nearly_all_is_parted_rather_than_not_evaluated(tiny_tokenizer):
    train, held = hold_out(asked(tiny_tokenizer, *["write a poem"] * 20), 0.1, seed=1)
    assert (len(train), len(held)) == (18, 2)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_shares_out_of_range(prepared, share):
    with pytest.raises(ValueError, match="share is"):
        hold_out(prepared, share, 0)

"""Sources thinned out to their shares of the tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.config.recipe import SequencesSection
from danlu.errors import RecipeError
from danlu.records.record import Message, Record
from danlu.sequences.mix import mixed_records, wanted_shares
from danlu.sequences.prepare import prepare


def documents(tiny_tokenizer, lengths):
    """Documents of so many tokens each, their end included."""
    records = [
        Record(f"r{k}", "a/b", (Message("text", "7" * (length - 1)),))
        for k, length in enumerate(lengths)
    ]
    settings = SequencesSection(documents=True)
    prepared = prepare(records, tiny_tokenizer, None, settings, documents=True)
    assert np.diff(prepared.offsets).tolist() == list(lengths)
    return prepared


@given(
    st.lists(st.integers(2, 9), min_size=3, max_size=30),
    st.lists(st.integers(2, 9), min_size=3, max_size=30),
    st.sampled_from([0.1, 0.2, 0.5, 0.9]),
    st.integers(0, 99),
)
def test_shares_are_met_to_a_record(tiny_tokenizer, domain, general, share, seed):
    prepared = documents(tiny_tokenizer, [*domain, *general])
    source = np.array([0] * len(domain) + [1] * len(general))
    chosen = mixed_records(prepared, source, [share, None], seed)
    tokens = np.diff(prepared.offsets)[chosen]
    assert len(set(chosen.tolist())) == len(chosen)
    parts = [int(tokens[source[chosen] == number].sum()) for number in (0, 1)]
    size = min(sum(domain) / share, sum(general) / (1 - share))
    for part, wanted in zip(parts, (share * size, (1 - share) * size), strict=True):
        assert wanted - 1e-6 <= part <= wanted + 9  # no record is longer
    # The scarcest source is used whole.
    assert parts[0] == sum(domain) or parts[1] == sum(general)


def test_seeds_choose_other_records(tiny_tokenizer):
    prepared = documents(tiny_tokenizer, [5] * 60)
    source = np.repeat([0, 1], 30)
    drawn = {tuple(mixed_records(prepared, source, [0.1, 0.9], seed).tolist()) for seed in range(5)}
    assert len(drawn) == 5
    again = mixed_records(prepared, source, [0.1, 0.9], 0)
    assert tuple(again.tolist()) in drawn


def test_without_shares_nothing_is_asked():
    assert wanted_shares([None, None]) == [None, None]


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ([0.5, 0.6], "come to 1.1; they must come to 1"),
        ([0.5, 0.5, None], "must be less than 1"),
        ([0.5, 0.4], "come to 0.9; they must come to 1, or leave one source"),
    ],
)
def test_shares_that_do_not_add_up(shares, reason):
    with pytest.raises(RecipeError, match=reason):
        wanted_shares(shares)


def test_a_source_with_nothing_left(tiny_tokenizer):
    prepared = documents(tiny_tokenizer, [5, 5])
    with pytest.raises(RecipeError, match=r"data\.train\[1\]: no record of it is left"):
        mixed_records(prepared, np.zeros(2, np.int64), [None, 0.2], 0)

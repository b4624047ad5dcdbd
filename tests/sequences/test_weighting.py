"""Weights by hand, for every way of counting."""

from __future__ import annotations

import numpy as np
import pytest

from danlu.sequences.weighting import (
    channel_totals,
    count_equally,
    equal_task_types,
    message_weights,
    train_prompts,
)

# Two records. The first has two branches (paths of 4 and 6 tokens, prompts of 2 and 5), the second
# one branch (3 tokens, prompt 1).
OFFSETS = np.array([0, 4, 10, 13])
PROMPT = np.array([2, 5, 1])
RECORDS = np.array([0, 2, 3])
IDS = np.array([1, 2, 7, 8, 1, 2, 7, 9, 3, 4, 1, 2, 3], np.int32)


def base(weights=(1.0, 1.0, 1.0)):
    return message_weights(OFFSETS, PROMPT, np.array(weights))


def test_completions_have_their_messages_weight():
    assert base((1.0, 0.5, 2.0)).tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 0, 0.5, 0, 2, 2]


def test_the_first_token_of_a_path_is_never_trained():
    weights = message_weights(np.array([0, 2, 3]), np.array([0, 1]), np.array([1.0, 1.0]))
    assert weights.tolist() == [0, 1, 0]


def test_each_prompt_token_is_trained_once():
    """The second path shares 1 2 7 with the first: its prompt is new from the fourth token on."""
    weights = base((1.0, 0.5, 2.0))
    train_prompts(weights, IDS, OFFSETS, PROMPT, RECORDS)
    assert weights.tolist() == [0, 1, 1, 1, 0, 0, 0, 1, 1, 0.5, 0, 2, 2]


def test_a_path_may_share_more_with_an_earlier_branch_than_with_the_one_before_it():
    ids = np.array([1, 2, 3, 4, 1, 9, 9, 9, 1, 2, 3, 5], np.int32)
    weights = np.zeros(12)
    train_prompts(weights, ids, np.array([0, 4, 8, 12]), np.array([4, 4, 4]), np.array([0, 3]))
    assert weights.tolist() == [0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1]


def test_records_count_equally():
    """First record: 3 trained tokens, 1/3 each. Second: 2 trained tokens, 1/2 each."""
    weights = count_equally(base(), OFFSETS, np.ones(3), RECORDS, "record")
    third = 1 / 3
    expected = [0, 0, third, third, 0, 0, 0, 0, 0, third, 0, 0.5, 0.5]
    np.testing.assert_allclose(weights, expected)


def test_a_records_sum_is_the_mean_of_its_messages_weights():
    """Messages of 1 and 0.5: sum 0.75 over 1 + 1 + 0.5, so 0.3 a unit. Then 2: 1 a token."""
    message = np.array([1.0, 0.5, 2.0])
    weights = count_equally(base(message), OFFSETS, message, RECORDS, "record")
    np.testing.assert_allclose(weights, [0, 0, 0.3, 0.3, 0, 0, 0, 0, 0, 0.15, 0, 1, 1])


def test_turns_count_equally():
    message = np.array([1.0, 0.5, 2.0])
    weights = count_equally(base(message), OFFSETS, message, RECORDS, "turn")
    np.testing.assert_allclose(weights, [0, 0, 0.5, 0.5, 0, 0, 0, 0, 0, 0.5, 0, 1, 1])


@pytest.mark.parametrize("weighting", ["token", "task_type"])
def test_weights_that_stay_as_they_are(weighting):
    weights = count_equally(base(), OFFSETS, np.ones(3), RECORDS, weighting)
    assert weights.tolist() == base().tolist()


def test_task_types_count_equally():
    """5 trained tokens, 2 types: each sums to 2.5. The first has 3 tokens, the second 2."""
    weights = base().astype(np.float32)
    channel = np.array([1, 1, 0], np.int32)
    equal_task_types(weights, OFFSETS, channel, 3)
    np.testing.assert_allclose(weights[weights > 0], [2.5 / 3] * 3 + [1.25] * 2, rtol=1e-6)
    totals, tokens = channel_totals(weights, OFFSETS, channel, 3)
    np.testing.assert_allclose(totals, [2.5, 2.5, 0.0], rtol=1e-6)
    assert tokens == 5

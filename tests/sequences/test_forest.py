"""The forest holds exactly the branches that went into it, each token seen by the right ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.sequences.branch import Branch
from danlu.sequences.forest import build_packs, build_rows, empty_pack, share_out

# Three token ids, so that common prefixes are frequent.
PATHS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=8)


def branch(ids, weights=None, channel=0, record=0):
    weights = [0.0] + [1.0] * (len(ids) - 1) if weights is None else weights
    return Branch(
        np.array(ids, np.int32), np.array(weights, np.float32), record, 0, channel, len(ids) // 2
    )


def visible(pack, query):
    """Token ids and positions that a query sees, by the definition of visible_until."""
    keys = [k for k in range(query + 1) if query < pack.visible_until[k]]
    return pack.input_ids[keys].tolist(), pack.position_ids[keys].tolist()


def predictions(packs):
    """Every prediction as (branch, what the predictor sees, target, weight, channel)."""
    found = []
    for pack in packs:
        for i in range(len(pack.predictor)):
            ids, positions = visible(pack, int(pack.predictor[i]))
            assert positions == list(range(len(ids)))
            found.append(
                (
                    int(pack.members[pack.branch][i]),
                    tuple(ids),
                    int(pack.target[i]),
                    float(pack.weight[i]),
                    int(pack.channel[i]),
                )
            )
    return sorted(found)


def expected(branches):
    return sorted(
        (
            index,
            tuple(b.input_ids[:t].tolist()),
            int(b.input_ids[t]),
            float(b.weights[t]),
            b.channel,
        )
        for index, b in enumerate(branches)
        for t in range(1, len(b.input_ids))
        if b.weights[t]
    )


@given(PATHS, st.integers(1, 40), st.integers(1, 3), st.data())
def test_each_trained_token_is_predicted_once_from_exactly_its_prefix(paths, size, parts, data):
    branches = [
        branch(
            path,
            [0.0, *data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n))]
            if (n := len(path) - 1)
            else [0.0],
            channel=i % 3,
            record=i,
        )
        for i, path in enumerate(paths)
    ]
    packs = build_packs(branches, size, parts=parts)
    assert predictions(packs) == expected(branches)
    longest = max(len(path) for path in paths)
    assert all(pack.tokens <= max(size, longest) for pack in packs)


@given(PATHS)
def test_one_pack_holds_each_distinct_prefix_once(paths):
    [pack] = build_packs([branch(path) for path in paths], 10_000)
    prefixes = {tuple(path[: i + 1]) for path in paths for i in range(len(path))}
    assert pack.tokens == len(prefixes)
    assert {tuple(visible(pack, q)[0]) for q in range(pack.tokens)} == prefixes


@given(PATHS, st.integers(1, 40))
def test_rows_hold_the_same_predictions(paths, size):
    branches = [branch(path) for path in paths]
    found = []
    for pack in build_rows(branches, size):
        rows, width = pack.input_ids.shape
        assert rows == 1 or rows * width <= size
        for i, flat in enumerate(pack.predictor):
            row, place = divmod(int(flat), width)
            found.append(
                (
                    int(pack.members[pack.branch][i]),
                    tuple(pack.input_ids[row, : place + 1].tolist()),
                    int(pack.target[i]),
                    float(pack.weight[i]),
                    int(pack.channel[i]),
                )
            )
    assert sorted(found) == expected(branches)


def test_by_hand():
    """Two answers to the prompt 5 6, and another prompt.

    Sorted: [1 2], [5 6 7], [5 6 8 9]. Laid out: 1 2 | 5 6 | 7 | 8 9, so the prompt at 2..3 is seen
    until 7, the answer 7 at 4 until 5, the answer 8 9 until 7.
    """
    [pack] = build_packs([branch([5, 6, 8, 9]), branch([1, 2]), branch([5, 6, 7])], 100)
    assert pack.input_ids.tolist() == [1, 2, 5, 6, 7, 8, 9]
    assert pack.position_ids.tolist() == [0, 1, 0, 1, 2, 2, 3]
    assert pack.visible_until.tolist() == [2, 2, 7, 7, 5, 7, 7]


def test_equal_shares_are_filled_up_with_empty_packs():
    packs = build_packs([branch([1, 2, 3]), branch([2, 3, 4]), branch([3, 4, 5])], 3)
    shares = share_out(packs, 2)
    assert [len(share) for share in shares] == [2, 2]
    assert predictions([p for share in shares for p in share]) == predictions(packs)
    assert len(empty_pack().predictor) == 0


def test_parts_give_every_device_work():
    branches = [branch([i, i + 1, i + 2, i + 3]) for i in range(0, 40, 4)]
    assert len(build_packs(branches, 10_000)) == 1
    assert len(build_packs(branches, 10_000, parts=2)) == 2


@pytest.mark.parametrize(("size", "parts"), [(0, 1), (1, 0)])
def test_sizes_must_be_positive(size, parts):
    with pytest.raises(ValueError, match="at least 1"):
        build_packs([branch([1])], size, parts=parts)

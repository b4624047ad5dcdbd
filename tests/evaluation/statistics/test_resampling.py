"""Bootstrap and sign flips against SciPy, each other, and their promises."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from danlu.evaluation.statistics import (
    bootstrap_interval,
    bootstrap_means,
    cluster_error,
    cluster_sums,
    sign_flip,
    sign_flip_sums,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_interval_is_scipys(method: str) -> None:
    values = rng().exponential(size=60)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method=method, rng=rng(1), vectorized=True
    ).confidence_interval
    of = cluster_sums(values)
    means = bootstrap_means(of, 40_000, rng(2))
    ours = bootstrap_interval(means, of, method=method, expand=False)
    assert np.allclose(ours, theirs, atol=0.012)  # of a width of 0.5


def test_the_two_ways_of_drawing_are_one_distribution() -> None:
    """Right and wrong: by counts of the three differences, or (jittered) prompt by prompt."""
    few = rng().choice([-1.0, 0.0, 1.0], size=500, p=[0.1, 0.7, 0.2])
    many = few + rng(1).normal(0, 1e-9, 500)
    by_count = bootstrap_means(cluster_sums(few), 20_000, rng(2))
    by_draw = bootstrap_means(cluster_sums(many), 20_000, rng(3))
    assert stats.ks_2samp(*np.round([by_count, by_draw], 6)).pvalue > 0.01
    flips = [sign_flip_sums(values, 20_000, rng(4)) for values in (few, many)]
    # Rounded, since the sums lie on whole numbers but for the jitter.
    assert stats.ks_2samp(*np.round(flips)).pvalue > 0.01


def test_unequal_clusters_are_a_ratio() -> None:
    """Two clusters of sizes 1 and 3: three means are possible, at 1/4, 1/2 and 1/4."""
    of = cluster_sums([8.0, 0.0, 0.0, 0.0], np.array([0, 1, 1, 1]))
    means, repeats = np.unique(bootstrap_means(of, 8000, rng()), return_counts=True)
    assert means.tolist() == [0.0, 2.0, 8.0]
    assert np.allclose(repeats / 8000, [0.25, 0.5, 0.25], atol=0.02)


def test_sign_flip_of_few_is_exact() -> None:
    values = rng(5).normal(0.5, 1, size=9)
    signs = np.array(list(product([-1, 1], repeat=9)))
    by_hand = (abs(signs @ values) >= abs(values.sum()) - 1e-12).mean()
    assert sign_flip(values, 10, rng()) == by_hand
    theirs = stats.permutation_test(
        (values, np.zeros(9)), lambda a, b: np.mean(a - b), permutation_type="samples"
    ).pvalue
    assert by_hand == pytest.approx(theirs)


@pytest.mark.parametrize("continuous", [True, False])
def test_sign_flip_of_many_is_scipys(continuous: bool) -> None:
    values = rng(6).normal(0.1, 1, size=203)
    if not continuous:
        values = np.round(np.clip(values, -1, 1))
    ours = sign_flip(values, 20_000, rng(7))
    theirs = stats.permutation_test(
        (values, np.zeros(203)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=8_000,
        vectorized=True,
        rng=rng(8),
    ).pvalue
    assert 0.01 < ours < 0.5
    assert ours == pytest.approx(theirs, abs=0.015)


@given(st.integers(13, 60), st.integers(0, 5))
def test_the_table_of_eights_has_the_right_moments(many: int, seed: int) -> None:
    values = rng(seed).normal(size=many)
    drawn = sign_flip_sums(values, 4000, rng(seed + 1))
    spread = np.sqrt((values**2).sum())
    assert abs(drawn.mean()) < 5 * spread / np.sqrt(4000)
    assert drawn.std() == pytest.approx(spread, rel=0.08)
    assert abs(drawn).max() <= abs(values).sum() + 1e-9


def test_p_is_never_zero() -> None:
    assert sign_flip(np.arange(1.0, 41.0), 999, rng()) == 1 / 1000


@pytest.mark.parametrize("kind", ["even", "skewed"])
def test_the_interval_covers(kind: str) -> None:
    """40 prompts, scores between 0 and 1, differences of a known mean."""
    source, inside = rng(9), 0
    for _ in range(1600):
        scores = source.beta(2, 2, 40) if kind == "even" else source.beta(1, 4, 40)
        of = cluster_sums(scores)
        low, high = bootstrap_interval(bootstrap_means(of, 800, source), of)
        inside += low <= (0.5 if kind == "even" else 0.2) <= high
    assert 0.94 <= inside / 1600 <= 0.96


def test_clusters_are_needed_for_coverage() -> None:
    """30 documents with 4 questions that share most of their fate; without clusters it fails."""
    source, documents = rng(10), np.repeat(np.arange(30), 4)
    inside = {"with": 0, "without": 0}
    for _ in range(800):
        values = np.repeat(source.normal(0, 1, 30), 4) + source.normal(0, 0.5, 120)
        for name, clusters in (("with", documents), ("without", None)):
            of = cluster_sums(values, clusters)
            low, high = bootstrap_interval(bootstrap_means(of, 400, source), of)
            inside[name] += low <= 0 <= high
    assert 0.935 <= inside["with"] / 800 <= 0.965
    assert inside["without"] / 800 < 0.8


def test_sign_flip_keeps_its_level() -> None:
    source = rng(11)
    p = [sign_flip(source.laplace(size=30), 400, source) for _ in range(3000)]
    assert 0.04 <= np.mean(np.array(p) <= 0.05) <= 0.06


def test_the_clustered_error_by_hand() -> None:
    """Mean 2; deviations of the clusters -2 and 2; sqrt(2/1 * 8) / 4 = 1."""
    assert cluster_error(cluster_sums([1, 1, 3, 3], np.array([0, 0, 1, 1]))) == 1.0
    values = rng().normal(size=50)
    assert cluster_error(cluster_sums(values)) == pytest.approx(stats.sem(values))


def test_equal_seeds_equal_numbers() -> None:
    of = cluster_sums(rng().normal(size=100))
    assert (bootstrap_means(of, 50, rng(3)) == bootstrap_means(of, 50, rng(3))).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cluster_sums([]), "empty"),
        (lambda: cluster_sums([0.5, None]), "1 of 2 values are missing"),
        (lambda: cluster_sums([0.5, float("nan")]), "missing"),
        (lambda: cluster_sums([0.5], np.array([1, 2])), "lengths differ"),
        (lambda: cluster_sums([[0.5]]), "dimensions"),
        (lambda: bootstrap_means(cluster_sums([1.0]), 9, rng()), "one cluster only"),
        (lambda: bootstrap_means(cluster_sums([1.0, 2.0]), 0, rng()), "resamples"),
        (lambda: cluster_error(cluster_sums([1.0])), "one cluster only"),
        (lambda: sign_flip(np.array([]), 9, rng()), "empty"),
    ],
)
def test_what_is_refused(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()

"""Multiple tests, agreement, tables, pass@k, plans and calibration."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from danlu.evaluation.statistics import (
    NonInferiority,
    benjamini_hochberg,
    cohen_kappa,
    fleiss_kappa,
    gatekeep,
    holm,
    mantel_haenszel,
    mcnemar,
    mean_prompts_needed,
    non_inferiority,
    pass_at_k,
    prediction_powered_mean,
    prompts_needed,
    rogan_gladen,
    simes,
    smallest_difference,
    smallest_mean_difference,
)
from danlu.evaluation.statistics.distributions import chi_squared_tail, student_quantile


@pytest.mark.parametrize("df", [1, 2, 3.7, 9, 40, 1000, 1e6, 1e8])
@pytest.mark.parametrize("p", [0.0005, 0.025, 0.5, 0.8, 0.975, 0.9995])
def test_students_t_is_scipys(p: float, df: float) -> None:
    assert student_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-6, abs=1e-9)


def test_chi_squared_is_scipys() -> None:
    for x in (0.0, 0.5, 3.84, 30.0):
        assert chi_squared_tail(x) == pytest.approx(stats.chi2.sf(x, 1), rel=1e-12)


def test_adjusted_p_values() -> None:
    p = np.random.default_rng(0).random(40) ** 3
    assert np.allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    # Holm 1979 by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 not below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == [0.03, 0.06, 0.06, 0.02]
    assert simes([0.02, 0.03]) == 0.03


def test_a_child_is_closed_where_its_parent_is() -> None:
    families = np.array(["b", "b", "a", "a", "a"])
    found = gatekeep([0.0001, 0.03, 0.04, 0.9, 0.8], families)
    assert found.parents.tolist() == ["a", "b"]
    assert found.parent_rejected.tolist() == [False, True]
    # In the one of two families: Benjamini-Hochberg times 2.
    assert np.allclose(found.child_adjusted, [0.0004, 0.06, 1, 1, 1])
    strict = gatekeep([0.0001, 0.03, 0.04, 0.9, 0.8], families, method="holm")
    assert np.allclose(strict.child_adjusted, [0.0004, 0.06, 1, 1, 1])


@pytest.mark.parametrize("method", ["bh", "holm"])
def test_false_alarms_keep_their_rate(method: str) -> None:
    """30 tests in 6 families without any difference: in 5 % of all worlds something is called."""
    rng, families = np.random.default_rng(2), np.repeat(np.arange(6), 5)
    alarms = [
        gatekeep(rng.random(30), families, method=method).child_rejected.any() for _ in range(2000)
    ]
    assert 0.035 <= np.mean(alarms) <= 0.06


def test_false_discoveries_keep_their_share_beside_true_ones() -> None:
    rng, families = np.random.default_rng(3), np.repeat(np.arange(6), 5)
    real = np.zeros(30, bool)
    real[[0, 1, 7]] = True
    shares, strict = [], []
    for _ in range(700):
        p = stats.norm.sf(rng.normal(size=30) + 4 * real)
        called = gatekeep(p, families).child_rejected
        shares.append((called & ~real).sum() / max(called.sum(), 1))
        strict.append((gatekeep(p, families, method="holm").child_rejected & ~real).any())
    assert np.mean(shares) <= 0.05
    assert np.mean(strict) <= 0.05


def test_cohens_kappa() -> None:
    """50 proposals: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no; 0.7 observed, 0.5 by chance."""
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_fleiss_kappa() -> None:
    """Fourteen raters, ten items, five labels; the worked example of Wikipedia: 0.210."""
    table = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    assert round(fleiss_kappa(table), 3) == 0.210


def test_pass_at_k_is_the_definition() -> None:
    for n in range(1, 12):
        for c in range(n + 1):
            for k in range(1, n + 1):
                exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
                assert pass_at_k(n, c, k) == pytest.approx(float(exact), abs=1e-12)


def test_pass_at_k_is_unbiased() -> None:
    passed = np.random.default_rng(4).binomial(10, 0.15, size=100_000)
    assert pass_at_k(10, passed, 5).mean() == pytest.approx(1 - 0.85**5, abs=0.004)


def test_mantel_haenszel_of_berkeley() -> None:
    """What R prints for mantelhaen.test(UCBAdmissions)."""
    berkeley = [
        [[512, 313], [89, 19]],
        [[353, 207], [17, 8]],
        [[120, 205], [202, 391]],
        [[138, 279], [131, 244]],
        [[53, 138], [94, 299]],
        [[22, 351], [24, 317]],
    ]
    found = mantel_haenszel(berkeley, continuity=True)
    assert (round(found.chi_squared, 4), round(found.p, 4)) == (1.4269, 0.2323)
    ends = (found.odds_ratio, found.low, found.high)
    assert np.allclose(ends, [0.9046968, 0.7719074, 1.0603298], atol=5e-7)
    assert mantel_haenszel(berkeley).chi_squared > found.chi_squared


def exact_power(n: int, difference: float, discordance: float) -> float:
    """Chance that the exact McNemar test finds a difference, summed over all outcomes."""
    disagreements = np.arange(n + 1)
    chance = stats.binom.pmf(disagreements, n, discordance)
    right = (discordance + difference) / 2 / discordance
    power = 0.0
    for m in disagreements[chance > 1e-7]:
        wins = np.arange(m + 1)
        called = mcnemar(wins, m - wins) <= 0.05
        power += chance[m] * stats.binom.pmf(wins, m, right)[called].sum()
    return power


@pytest.mark.parametrize(("difference", "discordance"), [(0.1, 0.2), (0.1, 0.4), (0.2, 0.3)])
def test_the_plan_has_the_power_that_it_says(difference: float, discordance: float) -> None:
    n = prompts_needed(difference, discordance)
    # The exact test moves in whole prompts, and so does its power.
    assert 0.79 <= exact_power(n, difference, discordance) <= 0.86
    assert exact_power(n // 2, difference, discordance) < 0.6
    assert (
        smallest_difference(5, discordance) is None
    )  # 2 / 2**5 is above 0.05 even for five of five
    assert smallest_difference(6, discordance) is not None  # 2 / 2**6 is below
    back = smallest_difference(n, discordance)
    assert back is not None
    assert back == pytest.approx(difference, abs=2e-3)


def test_the_plan_for_mean_scores_has_its_power() -> None:
    n = mean_prompts_needed(0.3, 1.0)
    rng = np.random.default_rng(5)
    p = stats.ttest_1samp(rng.normal(0.3, 1, size=(20_000, n)), 0, axis=1).pvalue
    assert np.mean(p <= 0.05) == pytest.approx(0.8, abs=0.02)
    assert smallest_mean_difference(1 / math.sqrt(n), n - 1) == pytest.approx(0.3, rel=0.01)


def test_three_states_at_their_borders() -> None:
    assert non_inferiority(-0.03, 0.1, 0.03) is NonInferiority.INCONCLUSIVE
    assert non_inferiority(-0.029, -0.001, 0.03) is NonInferiority.PASS  # a loss, but a small one
    assert non_inferiority(-0.1, -0.03, 0.03) is NonInferiority.INCONCLUSIVE
    assert non_inferiority(-0.1, -0.031, 0.03) is NonInferiority.FAIL


def test_rogan_gladen_covers() -> None:
    rng, inside, naive = np.random.default_rng(6), 0, 0
    for _ in range(4000):
        truth = rng.uniform(0.1, 0.9)
        reported = 0.85 * truth + 0.2 * (1 - truth)
        judged = int(rng.binomial(300, reported))
        found = rogan_gladen(
            judged,
            300,
            caught=(int(rng.binomial(80, 0.85)), 80),
            cleared=(int(rng.binomial(80, 0.8)), 80),
        )
        inside += found.low <= truth <= found.high
        naive += abs(judged / 300 - truth) < 1.96 * math.sqrt(reported * (1 - reported) / 300)
    assert 0.94 <= inside / 4000 <= 0.965
    assert naive / 4000 < 0.7


@pytest.mark.parametrize("tuned", [True, False])
def test_the_prediction_powered_mean_covers(tuned: bool) -> None:
    rng, inside, widths, plain = np.random.default_rng(7), 0, [], []
    for _ in range(2500):
        truth = rng.normal(3, 1, size=900)
        judged = truth + rng.normal(0.7, 0.5, size=900)  # a lenient judge
        found = prediction_powered_mean(truth[:100], judged[:100], judged[100:], tuned=tuned)
        inside += found.low <= 3 <= found.high
        widths.append(found.high - found.low)
        plain.append(2 * 1.96 * truth[:100].std(ddof=1) / 10)
    assert 0.94 <= inside / 2500 <= 0.96
    assert np.mean(widths) < 0.75 * np.mean(plain)


def test_tuning_does_not_trust_a_useless_judge() -> None:
    rng = np.random.default_rng(8)
    labels, noise = rng.normal(size=200), rng.normal(0, 9, size=1200)
    tuned = prediction_powered_mean(labels, noise[:200], noise[200:], tuned=True)
    full = prediction_powered_mean(labels, noise[:200], noise[200:])
    assert tuned.high - tuned.low < 0.3 * (full.high - full.low)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: benjamini_hochberg([]), "empty"),
        (lambda: holm([0.1, 1.1]), "between 0 and 1"),
        (lambda: gatekeep([0.1], np.array([1, 2])), "lengths differ"),
        (lambda: gatekeep([0.1], np.array([1]), method="by"), "allowed: bh, holm"),
        (lambda: cohen_kappa([], []), "no items"),
        (lambda: cohen_kappa(["a"], ["a"]), "undefined"),
        (lambda: fleiss_kappa([[3, 0], [1, 1]]), "same number"),
        (lambda: fleiss_kappa([[3, 0], [3, 0]]), "undefined"),
        (lambda: pass_at_k(5, 1, 6), "k is 6"),
        (lambda: pass_at_k(5, 6, 1), "more passed"),
        (lambda: mantel_haenszel(np.zeros((0, 2, 2))), "empty"),
        (lambda: mantel_haenszel([[[3, 0], [4, 0]]]), "nothing can be told"),
        (lambda: prompts_needed(0.3, 0.2), "cannot come from"),
        (lambda: prompts_needed(0, 0.2), "between"),
        (lambda: non_inferiority(0, 1, -0.1), "margin"),
        (lambda: non_inferiority(math.nan, 1, 0.1), "is none"),
        (lambda: rogan_gladen(5, 10, caught=(5, 10), cleared=(5, 10)), "coin"),
        (lambda: rogan_gladen(0, 0, caught=(5, 10), cleared=(5, 10)), "judged_usable"),
        (lambda: prediction_powered_mean([1], [1], [1, 2]), "at least two"),
        (lambda: prediction_powered_mean([1, None], [1, 2], [1, 2]), "missing"),
    ],
)
def test_what_is_refused(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()

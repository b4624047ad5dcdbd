"""Regressions asked again: selected noise is called noise, planted losses are called real."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from danlu.errors import EvaluationError
from danlu.evaluation.compare import compare
from danlu.evaluation.comparison import CompareSettings
from danlu.evaluation.fluctuation import (
    Chosen,
    Finding,
    FluctuateSettings,
    Fluctuation,
    Passed,
    choose,
    judge_samples,
    pool_samples,
)
from danlu.evaluation.rows import ScoredRow

QUICK = CompareSettings(resamples=200)
NAMES = [f"p{k:03}" for k in range(200)]
TYPES = dict.fromkeys(NAMES, "math/sums")


def rows(right: np.ndarray) -> list[ScoredRow]:
    pairs = zip(NAMES, right, strict=True)
    return [ScoredRow(name, "math/sums", float(one)) for name, one in pairs]


def asked_again(
    rng: np.random.Generator, a: np.ndarray, b: np.ndarray, settings: FluctuateSettings
) -> Fluctuation:
    """One answer of each selects; fresh ones judge. ``a`` and ``b`` are chances to pass."""
    seen = compare(rows(rng.random(200) < a), rows(rng.random(200) < b), settings=QUICK)
    chosen = choose(seen, TYPES, settings)

    def fresh(chances: np.ndarray) -> Mapping[str, Passed]:
        drawn = rng.binomial(settings.samples, chances)
        return {
            name: Passed(settings.samples, int(one)) for name, one in zip(NAMES, drawn, strict=True)
        }

    return judge_samples(chosen, fresh(a), fresh(b), TYPES, settings)


def test_selected_noise_is_called_noise() -> None:
    """Two equal models: the twenty worst prompts all lost, and fresh samples show nothing."""
    rng, settings, findings = np.random.default_rng(0), FluctuateSettings(), []
    for _ in range(60):
        chances = rng.beta(2, 2, 200)
        findings.append(asked_again(rng, chances, chances, settings).regressions.finding)
    real = np.mean([one is Finding.REAL for one in findings])
    assert real <= 0.06  # one-sided of 5 % two-sided: 2.5 % are expected
    assert np.mean([one is Finding.NOISE for one in findings]) >= 0.75


def test_what_really_fell_is_called_real_and_controls_stay() -> None:
    rng, settings = np.random.default_rng(1), FluctuateSettings()
    a = np.full(200, 0.9)
    b = a.copy()
    b[:60] = 0.2
    found = asked_again(rng, a, b, settings)
    assert found.regressions.finding is Finding.REAL
    assert found.regressions.difference < -0.4
    assert found.controls is not None
    assert found.controls.difference > found.regressions.difference
    real = {one.prompt for one in found.prompts if one.finding is Finding.REAL and not one.control}
    assert len(real) >= 12
    assert real <= set(NAMES[:60])
    assert "real" in found.headline()


def test_few_samples_say_neither() -> None:
    few = FluctuateSettings(samples=3, k=2)
    chosen = Chosen(("p000",), ())
    found = judge_samples(chosen, {"p000": Passed(3, 2)}, {"p000": Passed(3, 1)}, TYPES, few)
    assert found.regressions.finding is Finding.FEW
    assert found.controls is None
    assert "Too few samples" in found.headline()


def test_the_pool_by_hand() -> None:
    """Two prompts: pass@1 (18 + 6) / 40, pass@2 unbiased, and CMH as scipy has it."""
    a = {"p000": Passed(20, 18), "p001": Passed(20, 6)}
    b = {"p000": Passed(20, 12), "p001": Passed(20, 4)}
    settings = FluctuateSettings(k=2)
    pool = judge_samples(Chosen(("p000", "p001"), ()), a, b, TYPES, settings).regressions
    assert (pool.a, pool.b, pool.difference) == pytest.approx((0.6, 0.4, -0.2))
    missed = [1 - 2 * 1 / (20 * 19), 1 - 14 * 13 / (20 * 19)]
    assert pool.a_k == pytest.approx(np.mean(missed))
    tables = np.array([[[12, 8], [18, 2]], [[4, 16], [6, 14]]])
    n = tables.sum((1, 2))
    expected = tables.sum(2)[:, 0] * tables.sum(1)[:, 0] / n
    spread = (tables.sum(2).prod(1) * tables.sum(1).prod(1) / (n**2 * (n - 1))).sum()
    chi = (abs((tables[:, 0, 0] - expected).sum()) - 0.5) ** 2 / spread
    assert pool.p == pytest.approx(stats.chi2.sf(chi, 1))
    assert pool.odds_ratio == pytest.approx(
        (12 * 2 / 40 + 4 * 14 / 40) / (8 * 18 / 40 + 16 * 6 / 40)
    )
    assert pool.low < -0.2 < pool.high


def test_the_interval_covers() -> None:
    rng, settings, inside = np.random.default_rng(2), FluctuateSettings(), 0
    chances = rng.beta(1, 1, (2, 10))
    truth = float((chances[1] - chances[0]).mean())
    for _ in range(1500):
        drawn = rng.binomial(20, chances)
        pairs = [(Passed(20, int(one)), Passed(20, int(two))) for one, two in drawn.T]
        pool = pool_samples(pairs, settings)
        inside += pool.low <= truth <= pool.high
    assert 0.94 <= inside / 1500 <= 0.97


def test_samples_that_are_all_alike() -> None:
    same = {"p000": Passed(20, 20)}
    found = judge_samples(Chosen(("p000",), ()), same, same, TYPES, FluctuateSettings())
    assert (found.regressions.p, found.regressions.odds_ratio) == (1.0, None)
    assert found.regressions.finding is Finding.FEW  # one prompt: a loss of 0.1 may hide
    every = {name: Passed(20, 20) for name in NAMES[:10]}
    many = judge_samples(Chosen(tuple(NAMES[:10]), ()), every, every, TYPES, FluctuateSettings())
    assert many.regressions.finding is Finding.NOISE
    json.dumps(many.as_dict(), allow_nan=False)


def test_missing_samples_are_no_failures() -> None:
    a = {"p000": Passed(15, 15, missing=5), "p001": Passed(1, 1, missing=19)}
    found = judge_samples(Chosen(("p000", "p001"), ()), a, a, TYPES, FluctuateSettings(k=18))
    assert found.unasked == ("p001",)
    assert found.regressions.a == 1.0
    assert found.regressions.a_k is None
    with pytest.raises(EvaluationError, match="two scored samples"):
        judge_samples(Chosen(("p001",), ()), a, a, TYPES, FluctuateSettings())


def test_the_choice() -> None:
    after = np.ones(200)
    after[:15] = 0
    seen = compare(rows(np.ones(200)), rows(after), settings=QUICK)
    settings = FluctuateSettings(prompts=10)
    chosen = choose(seen, TYPES, settings)
    assert set(chosen.regressions) <= set(NAMES[:15])
    assert len(chosen.regressions) == len(chosen.controls) == 10
    assert not set(chosen.regressions) & set(chosen.controls)
    assert choose(seen, TYPES, settings) == chosen
    assert choose(seen, TYPES, FluctuateSettings(seed=1)).controls != chosen.controls
    with pytest.raises(EvaluationError, match="nothing to ask"):
        choose(seen, TYPES, settings, task_types=["talk/jokes"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"samples": 1}, "samples: is 1"),
        ({"samples": 5}, "only 5 samples"),
        ({"margin": 0}, "margin"),
        ({"level": 1}, "level"),
    ],
)
def test_what_is_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        FluctuateSettings(**values)  # type: ignore[arg-type]

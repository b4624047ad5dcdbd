"""People's labels set a judge right: by simulation with known errors."""

import numpy as np

from danlu.evaluation.judging.calibrate import (
    calibrated_mean,
    calibrated_share,
    calibrated_win_rate,
)


def test_a_judge_with_known_errors_is_set_right() -> None:
    """It calls 30 % of the unusable usable and misses 10 % of the usable.

    Of a true share of 0.5 it reports 0.6; the calibrated share is 0.5, and its interval holds 0.5
    in at least 95 of 100 repetitions: more, since the labelled answers are among those judged.
    """
    rng = np.random.default_rng(3)
    shares, reported, held = [], [], 0
    repetitions = 300
    for _ in range(repetitions):
        truth = rng.random(600) < 0.5
        judge = np.where(truth, rng.random(600) < 0.9, rng.random(600) < 0.3)
        labels = {k: bool(truth[k]) for k in range(120)}
        found = calibrated_share({k: bool(j) for k, j in enumerate(judge)}, labels)
        assert found.estimate is not None
        shares.append(found.estimate.value)
        reported.append(judge.mean())
        held += found.estimate.low <= 0.5 <= found.estimate.high
    assert abs(np.mean(reported) - 0.6) < 0.01
    assert abs(np.mean(shares) - 0.5) < 0.01
    assert held / repetitions >= 0.95


def test_a_lenient_judge_of_pairs_and_scores_is_set_right() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(5, 1, 2000)
    judged = dict(enumerate(truth + 1.5 + rng.normal(0, 0.5, 2000)))
    labels = {k: truth[k] for k in range(200)}
    found = calibrated_mean(judged, labels)
    assert found.estimate is not None
    assert found.estimate.low < 5 < found.estimate.high
    assert found.estimate.high - found.estimate.low < 0.2  # the labels alone: 0.28
    wins = {k: float(t > 5) for k, t in enumerate(truth)}
    biased = {k: 1.0 if rng.random() < 0.3 else win for k, win in wins.items()}
    rate = calibrated_win_rate(biased, {k: wins[k] for k in range(300)})
    assert rate.estimate is not None
    assert rate.estimate.low < 0.5 < rate.estimate.high
    assert np.mean(list(biased.values())) > 0.62
    assert rate.agreement is not None
    assert 0.6 < rate.agreement < 0.8


def test_too_few_labels_or_a_coin_are_said() -> None:
    judged = {k: k % 2 == 0 for k in range(100)}
    few = calibrated_share(judged, {1: True, 2: False, "absent": True})
    assert (few.labels, few.estimate) == (2, None)
    assert few.people is not None
    assert few.people.value == 0.5
    assert few.why == "people's labels: 1 usable, 1 not; 5 needed of each"
    coin = calibrated_share(judged, {k: k % 4 < 2 for k in range(40)})
    assert coin.estimate is None
    assert "no better than a coin" in coin.why
    assert calibrated_mean({1: 2.0}, {1: 2.0}).why.startswith("1 labelled and 0 unlabelled")
    assert calibrated_win_rate({}, {}).agreement is None

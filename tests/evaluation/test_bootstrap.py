"""The Wilson interval against scipy; the paired bootstrap against exact enumeration and the normal limit."""

import itertools
import re
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from teminal_hf.evaluation.bootstrap import paired_bootstrap, wilson_interval


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (3, 7), (50, 400), (999, 1000)])
def test_wilson_interval_equals_scipy(successes: int, n: int) -> None:
    exact = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_wilson_interval_known_values() -> None:
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=5e-5)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I
    low, high = wilson_interval(10.5, 20)
    assert wilson_interval(10, 20)[0] < low < wilson_interval(11, 20)[0]
    assert wilson_interval(10, 20)[1] < high < wilson_interval(11, 20)[1]


def test_wilson_interval_stays_within_0_and_1() -> None:
    for n in range(1, 300):
        assert wilson_interval(0, n)[0] == 0.0
        assert wilson_interval(n, n)[1] == 1.0


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (5.5, 5), (float("nan"), 5)])
def test_wilson_interval_refuses_impossible_counts(successes: float, n: int) -> None:
    with pytest.raises(ValueError, match=f"0 <= successes <= n, found {successes} of {n}"):
        wilson_interval(successes, n)


def test_bootstrap_equals_exact_enumeration() -> None:
    """Four clips of unequal size: 256 equally likely resamples, all written out."""
    a = np.array([1, 1, 0, 1, 0, 1, 0.5])
    b = np.array([0, 1, 1, 0, 0, 0, 1.0])
    clips = ["x", "y", "y", "z", "z", "z", "w"]
    groups = [[i for i, clip in enumerate(clips) if clip == name] for name in "xyzw"]
    resamples = []
    for drawn in itertools.product(groups, repeat=4):
        resamples.append(np.mean([a[i] - b[i] for group in drawn for i in group]))
    exact = np.array(resamples).round(12)
    p = 2 * min(np.mean(exact <= 0), np.mean(exact >= 0))

    result = paired_bootstrap(a, b, clips, n_resamples=40_000)
    assert result["difference"] == pytest.approx(1 / 14 * 3)
    assert result["p_value"] == pytest.approx(p, abs=4 * 2 * np.sqrt(p / 2 * (1 - p / 2) / 40_000))
    # The distribution has steps: the percentile found must sit between the exact ones just beside it.
    for found, level in zip(result["ci95"], (0.025, 0.975), strict=True):
        assert np.quantile(exact, level - 0.005) <= found <= np.quantile(exact, level + 0.005)


def test_bootstrap_of_independent_items_equals_the_normal_approximation() -> None:
    n = 1000
    a, b = np.zeros((2, n))
    a[:90], b[90:150] = 1, 1
    mean, error = np.mean(a - b), np.std(a - b) / np.sqrt(n)
    result = paired_bootstrap(a, b, range(n))
    assert result["difference"] == pytest.approx(mean)
    assert result["ci95"] == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=0.1 * error)
    p = 2 * norm.sf(abs(mean / error))
    assert result["p_value"] == pytest.approx(p, abs=4 * 2 * np.sqrt(p / 2 / 10_000))  # p = 0.014


def test_items_of_one_clip_are_not_independent_evidence() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(2, size=(2, 200)).astype(float)
    once = paired_bootstrap(a, b, range(200))
    repeated = np.repeat(a, 9), np.repeat(b, 9)
    clustered = paired_bootstrap(*repeated, np.repeat(np.arange(200), 9).tolist())
    assert clustered["ci95"] == pytest.approx(once["ci95"])
    assert clustered["p_value"] == once["p_value"]
    naive = paired_bootstrap(*repeated, range(1800))
    # Nine-fold items taken as independent: an interval a third as wide.
    assert np.ptp(naive["ci95"]) == pytest.approx(np.ptp(once["ci95"]) / 3, rel=0.1)


def test_swapping_the_models_negates_the_difference() -> None:
    a, b = np.random.default_rng(2).integers(2, size=(2, 60))
    clips = [("fold", i // 2) for i in range(60)]
    forward, backward = paired_bootstrap(a, b, clips), paired_bootstrap(b, a, clips)
    assert backward["difference"] == -forward["difference"]
    assert backward["ci95"] == pytest.approx([-end for end in forward["ci95"][::-1]])
    assert backward["p_value"] == forward["p_value"]


def test_bootstrap_is_seeded() -> None:
    a, b = np.random.default_rng(3).uniform(size=(2, 50))
    result = paired_bootstrap(a, b, range(50), n_resamples=700)
    assert paired_bootstrap(a, b, range(50), n_resamples=700) == result
    assert paired_bootstrap(a, b, range(50), n_resamples=700, seed=1)["ci95"] != result["ci95"]


def test_equal_and_always_better_models() -> None:
    a = np.random.default_rng(4).integers(2, size=30)
    assert paired_bootstrap(a, a, range(30)) == {"difference": 0.0, "ci95": [0.0, 0.0], "p_value": 1.0}
    better = paired_bootstrap(np.ones(30), np.zeros(30), range(30), n_resamples=999)
    assert better == {"difference": 1.0, "ci95": [1.0, 1.0], "p_value": 2 / 1000}


def test_seeds_are_averaged_item_by_item() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(2, size=(3, 40)), rng.integers(2, size=(5, 40))
    assert paired_bootstrap(a, b, range(40)) == paired_bootstrap(a.mean(axis=0), b.mean(axis=0), range(40))


def test_rounding_of_seed_averages_is_no_difference() -> None:
    # Over five seeds item 0 differs by 3/5 - 1/5 and item 1 by 0 - 2/5: their sum, half of all resamples, is 0 but
    # for rounding. Zeros count on both sides, so the p-value is 1.
    assert (3 / 5 - 1 / 5) - 2 / 5 != 0
    a = [[1, 0], [1, 0], [1, 0], [0, 0], [0, 0]]
    b = [[1, 1], [0, 1], [0, 0], [0, 0], [0, 0]]
    assert paired_bootstrap(a, b, range(2))["p_value"] == 1.0


@pytest.mark.parametrize(
    ("a", "b", "clips", "options", "message"),
    [
        ([1, 0], [1], ["x", "y"], {}, "need one entry per item each, found 2, 1 and 2 items"),
        ([1, 0], [1, 1], ["x"], {}, "found 2, 2 and 1 items"),
        ([[1, 0, 1]], [1, 1], ["x", "y"], {}, "found 3, 2 and 2 items"),
        ([1, np.nan], [1, 1], ["x", "y"], {}, "correct_a holds nan at [1]; every item needs a finite score"),
        ([1, 1], [[1, 1], [np.inf, 1]], ["x", "y"], {}, "correct_b holds inf at [1, 0]"),
        (1.0, [1], ["x"], {}, "correct_a must have the shape (items,) or (seeds, items), found ()"),
        ([1, 0], [1, 1], ["x", "x"], {}, "needs at least two different clips, found 1"),
        ([], [], [], {}, "needs at least two different clips, found 0"),
        ([1, 0], [1, 1], ["x", "y"], {"n_resamples": 0}, "n_resamples must be at least 1, found 0"),
    ],
)
def test_bootstrap_errors(a: Any, b: Any, clips: Any, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        paired_bootstrap(a, b, clips, **options)

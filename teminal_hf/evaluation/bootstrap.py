"""Intervals: Wilson's of one accuracy, the paired bootstrap's of a difference of two."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from teminal_hf.evaluation.zste import wilson_interval

__all__ = ["paired_bootstrap", "wilson_interval"]

_BLOCK = 500  # resamples drawn at once: bounds the memory to a few tens of MB for thousands of clips


def paired_bootstrap(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    clips: Sequence[Hashable],
    *,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two models on the same items by a paired bootstrap over source clips.

    Items made from the same clip are not independent, so clips, not items, are resampled with replacement,
    each with all its items; the difference of every resample is the mean over the items drawn.

    Args:
        correct_a: (n,) scores of model A in [0, 1], as `teminal_hf.evaluation.zste.item_correct` gives them, or (seeds,
            n) for several training seeds. Seeds are averaged item by item before anything is resampled: the
            interval covers the choice of clips, not of seeds.
        correct_b: the same of model B, on the same items; its number of seeds may differ.
        clips: (n,) the clip each item belongs to (of an item made from several, the first).
        n_resamples: number of resamples, at least 1.
        seed: seed of the resampling; the same seed gives the same result.

    Returns:
        "difference": mean of A minus mean of B, in [-1, 1]; positive if A is better.
        "ci95": [low, high], the 2.5 % and 97.5 % percentiles of the resampled differences.
        "p_value": two-sided, 2 * (1 + min(#{d <= 0}, #{d >= 0})) / (1 + n_resamples) over the resampled
        differences d, at most 1: the level at which the percentile interval would just reach 0.

    Raises:
        ValueError: on unequal lengths, a NaN or infinite score, fewer than two clips or no resamples.
    """
    a, b = _item_scores(correct_a, "correct_a"), _item_scores(correct_b, "correct_b")
    if not len(a) == len(b) == len(clips):
        raise ValueError(
            "correct_a, correct_b and clips need one entry per item each, "
            f"found {len(a)}, {len(b)} and {len(clips)} items"
        )
    order = {clip: position for position, clip in enumerate(dict.fromkeys(clips))}
    if len(order) < 2:
        raise ValueError(f"a bootstrap over clips needs at least two different clips, found {len(order)}")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, found {n_resamples}")

    clip_of_item = np.array([order[clip] for clip in clips])
    items_per_clip = np.bincount(clip_of_item)
    difference_per_clip = np.bincount(clip_of_item, weights=a - b)
    rng = np.random.default_rng(seed)
    resampled = np.empty(n_resamples)
    for start in range(0, n_resamples, _BLOCK):
        drawn = rng.integers(len(order), size=(min(_BLOCK, n_resamples - start), len(order)))
        totals = difference_per_clip[drawn].sum(axis=1)
        resampled[start : start + _BLOCK] = totals / items_per_clip[drawn].sum(axis=1)

    resampled = resampled.round(12)  # 3/5 - 1/5 - 2/5 over five seeds is -5e-17, but no difference
    low, high = np.percentile(resampled, [2.5, 97.5]).tolist()
    tail = min(int(np.count_nonzero(resampled <= 0)), int(np.count_nonzero(resampled >= 0)))
    return {
        "difference": float(np.mean(a - b)),
        "ci95": [low, high],
        "p_value": min(1.0, 2 * (1 + tail) / (1 + n_resamples)),
    }


def _item_scores(correct: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    """(n,) scores, averaged over seeds if `correct` is (seeds, n)."""
    scores = np.asarray(correct, dtype=np.float64)
    if scores.ndim not in (1, 2):
        raise ValueError(f"{name} must have the shape (items,) or (seeds, items), found {scores.shape}")
    if not np.isfinite(scores).all():
        bad = np.argwhere(~np.isfinite(scores))[0].tolist()
        raise ValueError(f"{name} holds {scores[tuple(bad)]} at {bad}; every item needs a finite score")
    return scores if scores.ndim == 1 else scores.mean(axis=0)

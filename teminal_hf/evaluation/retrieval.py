"""Retrieval: of many captions those that fit a recording, and of many recordings those that fit a caption."""

from collections.abc import Hashable, Sequence
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DEPTHS = (1, 5, 10)
_DEEPEST = DEPTHS[-1]
AUDIO_TO_TEXT, TEXT_TO_AUDIO = "audio to text", "text to audio"  # rows begin with what is asked, and what is found


class Retrieved(NamedTuple):
    """A figure of each query, in [0, 1], and what a random ranking has on average."""

    values: list[float]
    chance: float


def retrieval(scores: NDArray[np.float64], fits: NDArray[np.bool_]) -> dict[str, Retrieved]:
    """Recall and average precision of each query's ranking.

    "R@k" is whether any that fits is among the k highest; "mAP@10" the mean over those that fit (ten at most) of the
    share that fits above and at its rank, 0 beyond the tenth. With one that fits it is 1 / its rank. A tie with one
    that does not fit is lost. (Manning et al., Introduction to Information Retrieval, 8.4; cut at ten as in DCASE's
    task on language-based audio retrieval.)

    Args:
        scores: (queries, candidates), higher fits better.
        fits: (queries, candidates), one of each query at least.
    """
    order = np.lexsort((fits, -scores), axis=-1)[:, :_DEEPEST]
    hit = np.take_along_axis(fits, order, axis=-1)
    n, relevant = scores.shape[1], fits.sum(axis=1)
    found: dict[str, Retrieved] = {}
    for depth in DEPTHS:
        missed = [comb(n - r, depth) / comb(n, depth) if depth <= n else 0.0 for r in relevant.tolist()]
        found[f"R@{depth}"] = Retrieved(hit[:, :depth].any(axis=1).astype(float).tolist(), 1 - float(np.mean(missed)))
    rank = np.arange(1, hit.shape[1] + 1)
    precision = (hit * np.cumsum(hit, axis=1) / rank).sum(axis=1) / np.minimum(relevant, _DEEPEST)
    others = np.divide(relevant - 1, n - 1, out=np.zeros(len(relevant)), where=n > 1)
    by_chance = relevant / n * ((1 + (rank - 1) * others[:, None]) / rank).sum(axis=1) / np.minimum(relevant, _DEEPEST)
    return found | {f"mAP@{_DEEPEST}": Retrieved(precision.tolist(), float(np.mean(by_chance)))}


def both_ways(
    audio_embeds: NDArray[np.float64], text_embeds: NDArray[np.float64], meanings: Sequence[Hashable]
) -> dict[str, Retrieved]:
    """Recordings and captions, one of each for every meaning of the list; what has equal meanings fits. Rows "audio to
    text R@1" and so on.

    Args:
        audio_embeds: (n, D).
        text_embeds: (n, D).
        meanings: n of them.
    """
    number = {meaning: i for i, meaning in enumerate(dict.fromkeys(meanings))}
    of_row = np.array([number[meaning] for meaning in meanings])
    fits = of_row[:, None] == of_row[None]
    scores = audio_embeds @ text_embeds.T
    sides = {AUDIO_TO_TEXT: scores, TEXT_TO_AUDIO: scores.T}
    return {f"{side} {name}": row for side, each in sides.items() for name, row in retrieval(each, fits).items()}

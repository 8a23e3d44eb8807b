"""ZSTE, zero-shot temporal evaluation: does an audio-language model hear *when*, not only *what*?

Pure numpy scoring (`score`, `item_correct`, `wilson_interval`) and a thin `evaluate` metric over it, `ZSTE`.
This one file is the packaged metric, loads by its path (`evaluate.load("<folder>/zste.py")`) and is the whole
of the Hub Space, so it imports nothing of `teminal_hf`, and one module per line (`evaluate` finds imports
with a regular expression).

Tasks 1 to 5 are those of arXiv 2408.09269, with repaired definitions; 3O, 6, 7 and 8 (order alone, three
sounds, nested sounds, unseen connectives) go past it; G is the strict pair score of CompA (arXiv 2310.08753).
The second edition added N (negation), D (duration) and R@1, R@5 (retrieval among reversals and overlays), in the
manner of ReasonAudio (arXiv 2605.03361). It changed no other task.
"""

import math
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
import numpy.typing as npt

TASKS: tuple[str, ...] = (
    "1", "2A", "2B", "2C", "2D", "3A", "3B", "3O", "4A", "4B", "5A", "5B", "6", "7", "8", "G",
    "N", "D", "R@1", "R@5",
)  # fmt: skip
TEMPORAL_TASKS = ("2A", "2B", "2C", "2D", "3A", "3B", "4A", "4B", "5A", "5B")
ORDER_TASKS = ("3O", "5A", "8", "G")
TWO_RIGHT = ("2A", "2B", "2C", "2D", "5A", "5B", "G")
_CANDIDATES = {
    "3A": 3,
    "3B": 3,
    "3O": 2,
    "6": 6,
    "7": 6,
    "8": 2,
    "G": 4,
    "N": 2,
    "D": 2,
}  # the other tasks take any number
_Z95 = 1.959963984540054  # the 97.5 % point of the standard normal distribution

_DESCRIPTION = """\
ZSTE (zero-shot temporal evaluation) asks an audio-language model which caption fits a recording of several
sounds: which sounds there are, whether they overlap, and which comes first. Its inputs are similarity scores,
so it fits any model that scores audio against text. This is its second edition.
"""

CITATION = """\
@article{sinha2024teminal,
  title   = {Enhancing Audio-Language Models through Self-Supervised Post-Training with Text-Audio Pairs},
  author  = {Sinha, Anshuman and Migozzi, Camille and Rey, Aubin and Zhang, Chao},
  journal = {arXiv preprint arXiv:2408.09269},
  year    = {2024}
}
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions: one list of floats per item, the similarity of each candidate caption (higher fits better,
        any scale). Tasks 5A, 5B: 2C floats, the C captions "the first sound is X", then the C captions "the
        second sound is Y". Task G, two recordings and their two captions: [s00, s01, s10, s11], where sij =
        audio i against text j. Tasks R@1, R@5: of one caption with each recording of a gallery.
    references: one list of right indices per item. One index for tasks 1, 3, 4, 6, 7, 8, N, D, R@1 and R@5;
        the two classes heard for 2A to 2D; [i, C + j] for 5A and 5B; [0, 3] for G.
    tasks: one task name per item:
        1, 2A, 2B, 2C, 2D, 3A, 3B, 3O, 4A, 4B, 5A, 5B, 6, 7, 8, G, N, D, R@1 or R@5.
Returns:
    A dict with one table per task present: "accuracy", "chance" (mean over the items), "n" (items) and "ci95"
    (the Wilson 95 % interval, [low, high]). All are fractions in [0, 1]; higher is better; a tie with the
    truth is wrong. In 5B an item counts the mean of its two halves; its interval takes n = the number of
    items, which errs on the wide side. The table of G is its group score and holds the tables "text" and
    "audio".
    "temporal_average": mean accuracy of 2A to 2D, 3A, 3B, 4A, 4B, 5A, 5B; absent if one is.
    "order_average": mean of (accuracy - chance) / (1 - chance) over 3O, 5A, 8 and G; absent if one is.
    It is 1 if all is right, about 0 for guessing, negative below chance.
Example:
    >>> import evaluate
    >>> zste = evaluate.load("teminal/zste")
    >>> result = zste.compute(predictions=[[0.3, 0.1], [0.2, 0.4]], references=[[0], [0]], tasks=["3O", "3O"])
    >>> result["3O"]["accuracy"], result["3O"]["chance"], result["3O"]["n"]
    (0.5, 0.5, 2)
"""


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """Wilson 95 % score interval of a proportion, as fractions (low, high).

    Args:
        successes: number of right items, 0 to n. It may be fractional (task 5B): scores within [0, 1] vary at
            most as much as 0/1 scores of the same mean, so the interval then errs on the wide side.
        n: number of items, at least 1.

    Raises:
        ValueError: if n is below 1 or successes is outside 0 to n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"a Wilson interval needs n >= 1 and 0 <= successes <= n, found {successes} of {n}")
    share, z2 = successes / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # With no (or only) successes the bound is exactly 0 (or 1); rounding alone would put it beside.
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def item_correct(prediction: npt.ArrayLike, reference: npt.ArrayLike, task: str) -> float:
    """Score one item: 1.0 right, 0.0 wrong; 0, 0.5 or 1 for task 5B; the group result for task G.

    Args:
        prediction: (C,) finite scores; (2C,) for 5A and 5B; (4,) for G.
        reference: (1,) or (2,) right indices, laid out as `score` describes.
        task: one of `TASKS`.

    Raises:
        ValueError: as `score`.
    """
    return _outcome(*_checked(prediction, reference, task, f"task {task}"), task)


def score(
    predictions: Sequence[npt.ArrayLike] | npt.NDArray[Any],
    references: Sequence[npt.ArrayLike] | npt.NDArray[Any],
    tasks: Sequence[str],
) -> dict[str, Any]:
    """Score items of any mix of tasks.

    A right caption must score strictly above every wrong one: a tie is wrong.

    Args:
        predictions: per item a list of candidate scores. Tasks 1, 2, 3, 4, 6, 7, 8, N, D: one float per
            candidate; R@1, R@5: one per recording.
            5A, 5B: 2C floats, the "first" block, then the "second" block. G: the 2 x 2 scores row by row,
            `s[i][j]` = audio i, text j.
        references: per item the right indices. Two for 2A to 2D; [i, C + j] for 5A and 5B; [0, 3] for G; one
            for all others.
        tasks: per item its task name, one of `TASKS`.

    Returns:
        {task: {"accuracy", "chance", "n", "ci95": [low, high]}} for every task present, all fractions;
        "chance" is the mean over items where C varies; "G" is the group score and holds the tables "text" and
        "audio". For 5B, where an item counts the mean of its two halves, the interval takes n = the number of
        items. Also "temporal_average" if all of 2A, 2B, 2C, 2D, 3A, 3B, 4A, 4B, 5A, 5B are present, and
        "order_average", the mean of (accuracy - chance) / (1 - chance), if all of 3O, 5A, 8, G are.

    Raises:
        ValueError: no items, unequal numbers of predictions, references and tasks, or an item (named with its
            index and task) with an unknown task, a NaN or infinite score, a wrong number of scores or of
            right indices, or right indices that are out of range, equal or in the wrong block.
    """
    if not len(predictions) == len(references) == len(tasks):
        raise ValueError(
            "predictions, references and tasks need one entry per item each, "
            f"found {len(predictions)}, {len(references)} and {len(tasks)}"
        )
    if len(tasks) == 0:
        raise ValueError("there are no items to score: predictions, references and tasks are empty")
    correct: dict[str, list[float]] = {}
    chance: dict[str, list[float]] = {}
    for index, (prediction, reference, task) in enumerate(zip(predictions, references, tasks, strict=True)):
        scores, right = _checked(prediction, reference, task, f"item {index} (task {task})")
        correct.setdefault(task, []).append(_outcome(scores, right, task))
        chance.setdefault(task, []).append(_chance(task, len(scores)))
        if task == "G":
            for part, outcome in zip(("text", "audio"), _pair_outcomes(scores), strict=True):
                correct.setdefault(part, []).append(float(outcome))

    result: dict[str, Any] = {task: _table(correct[task], chance[task]) for task in TASKS if task in correct}
    if "G" in result:
        for part in ("text", "audio"):
            result["G"][part] = _table(correct[part], [1 / 4] * len(correct[part]))
    above = {task: (row["accuracy"] - row["chance"]) / (1 - row["chance"]) for task, row in result.items()}
    if all(task in result for task in TEMPORAL_TASKS):
        result["temporal_average"] = sum(result[task]["accuracy"] for task in TEMPORAL_TASKS) / len(TEMPORAL_TASKS)
    if all(task in above for task in ORDER_TASKS):
        result["order_average"] = sum(above[task] for task in ORDER_TASKS) / len(ORDER_TASKS)
    return result


def _table(correct: list[float], chance: list[float]) -> dict[str, Any]:
    n, total = len(correct), math.fsum(correct)
    return {
        "accuracy": total / n,
        "chance": math.fsum(chance) / n,
        "n": n,
        "ci95": list(wilson_interval(total, n)),
    }


def _chance(task: str, n_scores: int) -> float:
    """The accuracy of independent, continuous random scores."""
    if task in ("2A", "2C"):
        return 2 / (n_scores * (n_scores - 1))
    if task in ("2B", "2D", "5B"):
        return 2 / n_scores
    if task == "5A":
        return 4 / n_scores**2
    if task == "G":
        return 1 / 6
    if task == "R@5":
        return 5 / n_scores
    return 1 / n_scores


def _outcome(scores: npt.NDArray[np.float64], right: list[int], task: str) -> float:
    if task == "G":
        return float(all(_pair_outcomes(scores)))
    if task in ("5A", "5B"):
        half = len(scores) // 2
        first, second = _is_top(scores[:half], right[:1]), _is_top(scores[half:], [right[1] - half])
        return float(first and second) if task == "5A" else (first + second) / 2
    if task in ("2B", "2D"):
        return float(scores[right].max() > np.delete(scores, right).max())
    if task == "R@5":
        return float((np.delete(scores, right) >= scores[right]).sum() < 5)
    return float(_is_top(scores, right))


def _is_top(scores: npt.NDArray[np.float64], right: list[int]) -> bool:
    """Whether every right score lies strictly above every wrong one."""
    return bool(scores[right].min() > np.delete(scores, right).max())


def _pair_outcomes(scores: npt.NDArray[np.float64]) -> tuple[bool, bool]:
    """CompA's (text, audio) results: the right text for both audios, the right audio for both texts."""
    s00, s01, s10, s11 = scores.tolist()
    return s00 > s01 and s11 > s10, s00 > s10 and s11 > s01


def _checked(
    prediction: npt.ArrayLike, reference: npt.ArrayLike, task: str, where: str
) -> tuple[npt.NDArray[np.float64], list[int]]:
    """The (C,) scores and the right indices of one item, or a ValueError that starts with `where`."""
    if task not in TASKS:
        raise ValueError(f"{where}: unknown task {task!r}; use one of {TASKS}")
    scores = np.asarray(prediction, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"{where}: scores must be one flat list of floats, found shape {scores.shape}")
    _check_number_of_scores(len(scores), task, where)
    if not np.isfinite(scores).all():
        bad = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(f"{where}: score {bad} is {scores[bad]}; every score must be finite")
    indices = np.asarray(reference)
    n_right = 2 if task in TWO_RIGHT else 1
    if indices.shape != (n_right,) or indices.dtype.kind not in "iu":
        raise ValueError(
            f"{where}: expected a list of {n_right} integer right {'index' if n_right == 1 else 'indices'}, "
            f"found {indices.tolist()}"
        )
    right: list[int] = indices.tolist()
    _check_right(right, len(scores), task, where)
    return scores, right


def _check_number_of_scores(n: int, task: str, where: str) -> None:
    if task in _CANDIDATES:
        valid, expected = n == _CANDIDATES[task], f"{_CANDIDATES[task]} scores"
    elif task in ("5A", "5B"):
        valid, expected = n >= 4 and n % 2 == 0, "2C scores, 'first' then 'second' block, with C at least 2"
    else:
        # As many candidates as right ones would always be right.
        least = 6 if task == "R@5" else 3 if task in TWO_RIGHT else 2
        valid, expected = n >= least, f"at least {least} scores"
    if not valid:
        raise ValueError(f"{where}: expected {expected}, found {n}")


def _check_right(right: list[int], n: int, task: str, where: str) -> None:
    for index in right:
        if not 0 <= index < n:
            raise ValueError(f"{where}: right index {index} is out of range for {n} scores (0 to {n - 1})")
    if len(set(right)) < len(right):
        raise ValueError(f"{where}: the two right indices must differ, found {right}")
    if task in ("5A", "5B") and not right[0] < n // 2 <= right[1]:
        raise ValueError(
            f"{where}: right indices must be [i, C + j], one per block of C = {n // 2} scores, found {right}"
        )
    if task == "G" and right != [0, 3]:
        raise ValueError(f"{where}: right indices must be [0, 3], the matching pairs, found {right}")


class ZSTE(evaluate.Metric):
    """`score` as a metric of `evaluate`: `compute(predictions=..., references=..., tasks=...)`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features(
                {
                    # float64: in float32 close cosines would become ties, which count as wrong.
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Sequence(datasets.Value("int64")),
                    "tasks": datasets.Value("string"),
                }
            ),
            reference_urls=["https://arxiv.org/abs/2408.09269", "https://arxiv.org/abs/2310.08753"],
        )

    def _compute(
        self, *, predictions: list[list[float]], references: list[list[int]], tasks: list[str]
    ) -> dict[str, Any]:
        return score(predictions, references, tasks)

"""The items of ZSTE with its metric: who knows all, who guesses, and who knows less than order."""

import re
from typing import Any

import numpy as np
from scipy.stats import binomtest

from support.zste_said import ITEMS, C, classes_of, of_group, truths, understood
from teminal_hf.data.zste_items import ZSTE_TASKS, Item
from teminal_hf.evaluation.zste import score


def scored(scores: Any) -> dict[str, Any]:
    predictions = [scores(item) for item in ITEMS]
    return score(predictions, [list(item.right) for item in ITEMS], [item.task for item in ITEMS])


def n_scores(item: Item) -> int:
    return len(item.candidates) * len(item.views) * max(1, len(item.gallery))


def test_an_oracle_is_always_right() -> None:
    """It compares what each caption says with what is true of each recording."""

    def oracle(item: Item) -> list[float]:
        said = [understood(candidate) for candidate in item.candidates]
        groups = [of_group(group) for group in item.gallery] or [item]
        return [float(s in truths(group, view)) for group in groups for view in item.views for s in said]

    result = scored(oracle)
    assert all(result[task]["accuracy"] == 1 for task in ZSTE_TASKS)
    assert result["temporal_average"] == result["order_average"] == 1


def test_guessing_is_at_chance() -> None:
    rng = np.random.default_rng(0)
    result = scored(lambda item: rng.random(n_scores(item)))
    for task in ZSTE_TASKS:
        row = result[task]
        # An item of 5B is the mean of two halves, each at chance.
        n = row["n"] * (2 if task == "5B" else 1)
        assert binomtest(round(row["accuracy"] * n), n, row["chance"]).pvalue > 1e-3, task
    assert result["1"]["chance"] == 1 / C and result["5A"]["chance"] == 1 / C**2


def test_knowing_the_classes_but_no_relation_is_at_chance() -> None:
    """A bag of words that hears the right sounds: 3O, 8 and G at nothing (ties), tasks 3 and 4 at nothing."""

    def bag(item: Item) -> list[float]:
        named = [set(re.findall(r"c\d\d", candidate)) for candidate in item.candidates]
        groups = [of_group(group) for group in item.gallery] or [item]
        return [float(len({*classes_of(g)} & names)) for g in groups for _ in item.views for names in named]

    result = scored(bag)
    assert all(result[task]["accuracy"] == 0 for task in ("3A", "3B", "3O", "4A", "4B", "8", "G", "N", "D", "R@1"))
    assert result["R@5"]["accuracy"] == 1  # of the 201 three are of these two sounds


def test_first_named_first_heard_wins_half() -> None:
    """Wordings are balanced: a model that takes the order of the words for the order of the sounds is at chance."""

    def naive(item: Item) -> list[float]:
        a = classes_of(item)[0]
        return [
            float(candidate.startswith(a) == (view == "forward"))
            for _ in item.gallery or [0]
            for view in item.views
            for candidate in item.candidates
        ]

    result = scored(naive)
    assert all(result[task]["accuracy"] == 0.5 for task in ("3O", "8", "G"))

"""Verdicts: what is claimed of order and of single sounds is what the intervals allow."""

from typing import Any

import pytest

from teminal_hf.evaluation.verdict import verdict
from teminal_hf.evaluation.zste import wilson_interval


def row(base: float, post: float, half: float, chance: float = 0.5, n: int = 400, seeds: int = 1) -> dict[str, Any]:
    """A row whose difference has an interval of +- `half`."""
    sides = {
        side: {"accuracy": value, "ci95": list(wilson_interval(value * n, n))}
        for side, value in (("base", base), ("post", post))
    }
    return sides | {
        "chance": chance,
        "n": n,
        "post": sides["post"] if seeds == 1 else None,
        "base_accuracy": base,
        "post_accuracy": post,
        "difference": post - base,
        "ci95": [post - base - half, post - base + half],
    }


def test_learned_and_lost() -> None:
    rows = {"1": row(0.637, 0.551, 0.043, 0.02), "2B": row(0.5, 0.47, 0.05), "3A": row(0.3, 0.7, 0.05)}
    rows |= {"3O": row(0.452, 0.794, 0.058), "8": row(0.515, 0.463, 0.06), "1_tiled": row(0.64, 0.62, 0.03)}
    assert verdict(rows) == (
        "Verdict: order was learned (3O 45.2 -> 79.4 [75.2, 83.1], chance 50.0, difference +34.2 [+28.4, +40.0]). "
        "Single sounds were lost: task 1 -8.6 [-12.9, -4.3]. "
        "No loss of single sounds is shown: task 1_tiled -2.0 [-5.0, +1.0]. "
        "No difference shown (interval holds 0): 2B, 8."
    )


@pytest.mark.parametrize(
    ("order", "claim"),
    [
        (row(0.50, 0.52, 0.05), "order was not learned (3O 50.0 -> 52.0 [47.1, 56.9]"),
        (row(0.40, 0.53, 0.05), "order was not learned (3O 40.0 -> 53.0 [48.1, 57.8]"),  # up, but from below chance
        (row(0.50, 0.30, 0.05), "order was not learned (3O 50.0 -> 30.0 [25.7, 34.7]"),
        (row(0.80, 0.52, 0.05), "order was lost (3O 80.0 -> 52.0"),
        (row(0.80, 0.82, 0.05), "order is heard, but no gain over the base is shown (3O 80.0 -> 82.0"),
        (row(0.90, 0.70, 0.05), "order is heard, but less than by the base (3O 90.0 -> 70.0"),
        (row(0.70, 0.90, 0.05), "order was learned (3O 70.0 -> 90.0"),
        (row(0.50, 0.70, 0.05, seeds=3), "order was learned (3O 50.0 -> 70.0 [65.3, 74.3]"),  # as of one seed
    ],
)
def test_order_is_claimed_where_the_interval_is_above_chance(order: dict[str, Any], claim: str) -> None:
    assert verdict({"3O": order}).startswith(f"Verdict: {claim}")


def test_why_it_was_not_learned() -> None:
    assert "; its interval holds chance). " in verdict({"3O": row(0.5, 0.52, 0.05)})
    assert "; below chance). " in verdict({"3O": row(0.5, 0.3, 0.05)})
    said = verdict({"3O": row(0.5, 0.52, 0.05)}, "stage_a")
    assert "its interval holds chance, and stage A is not meant to teach it)." in said


def test_what_was_not_measured_is_said() -> None:
    nothing = "Verdict: order was not measured (task 3O). Single sounds were not measured (R0, task 1)."
    assert verdict({}) == nothing
    assert verdict({"3A": row(0.3, 0.7, 0.05)}) == nothing
    assert verdict({"3A": row(0.3, 0.3, 0.05)}) == f"{nothing} No difference shown (interval holds 0): 3A."


def test_single_sounds_may_be_gained() -> None:
    said = verdict({"1": row(0.5, 0.6, 0.05), "1_tiled": row(0.5, 0.6, 0.05)})
    assert "Single sounds were gained: task 1 +10.0 [+5.0, +15.0], task 1_tiled +10.0 [+5.0, +15.0]." in said
    edge = row(0.5, 0.55, 0.05)
    edge["ci95"] = [0.0, 0.1]
    assert "No loss of single sounds is shown" in verdict({"1": edge})

"""Retrieval against counting by hand, against all orders of a few candidates, and on recordings of the sound bank."""

from itertools import permutations

import numpy as np
import pytest

from teminal_hf.clips.sources import sound_bank
from teminal_hf.data.rendering import RenderSettings
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.evaluation.report import compare_reports, to_json
from teminal_hf.evaluation.retrieval import both_ways, retrieval
from teminal_hf.models.checkpoint import load_clap
from teminal_hf.models.embed import ClapEncoder


def test_figures_by_hand() -> None:
    scores = np.zeros((3, 12))
    scores[0] = -np.arange(12)  # candidates are ranked by their number
    scores[1:] = scores[0]
    fits = np.zeros((3, 12), dtype=bool)
    fits[0, 0] = fits[1, 5] = fits[2, [1, 3, 11]] = True
    found = retrieval(scores, fits)
    assert found["R@1"].values == [1, 0, 0]
    assert found["R@5"].values == [1, 0, 1]
    assert found["R@10"].values == [1, 1, 1]
    assert found["mAP@10"].values == pytest.approx([1, 1 / 6, (1 / 2 + 2 / 4) / 3])


def test_a_tie_with_what_does_not_fit_is_lost() -> None:
    fits = np.array([[True, False, True]])
    found = retrieval(np.zeros((1, 3)), fits)
    assert found["R@1"].values == [0] and found["R@5"].values == [1]
    assert found["mAP@10"].values == pytest.approx([(1 / 2 + 2 / 3) / 2])


@pytest.mark.parametrize("relevant", [1, 2, 4])
def test_chance_is_the_mean_over_all_orders(relevant: int) -> None:
    fits = np.arange(6)[None] < relevant
    orders = np.array(list(permutations(range(6))), dtype=float)
    found = retrieval(orders, np.repeat(fits, len(orders), axis=0))
    for name, row in found.items():
        assert np.mean(row.values) == pytest.approx(row.chance), name


def test_captions_that_mean_the_same_fit_alike() -> None:
    rng = np.random.default_rng(0)
    text = np.linalg.qr(rng.normal(size=(8, 8)))[0][:4]
    found = both_ways(text[[1, 0, 2, 3]], text, ["a", "a", "b", "c"])  # the first two recordings are said crosswise
    assert {name: np.mean(row.values) for name, row in found.items() if "R@1" in name and "R@10" not in name} == {
        "audio to text R@1": 1.0,
        "text to audio R@1": 1.0,
    }
    apart = both_ways(text[[1, 0, 2, 3]], text, ["a", "d", "b", "c"])
    assert apart["audio to text R@1"].values == [0, 0, 1, 1]


def test_three_recordings_of_each_group_and_a_comparison_of_them() -> None:
    model = ClapEncoder(*load_clap("clap-mini"))
    settings = RenderSettings.of(model)
    clips = sound_bank(2).in_folds([4]).usable(16_000)
    plain, asked = (ZsteEvaluator(clips, settings, n_groups=5, tasks=["3O"], retrieval=flag) for flag in (False, True))
    report = asked(model)
    rows = [row for row in report.results if " to " in row]
    assert rows == [
        f"{a} to {b} {m}" for a, b in (("audio", "text"), ("text", "audio")) for m in ("R@1", "R@5", "R@10", "mAP@10")
    ]
    assert report.results["3O"] == plain(model).results["3O"]
    assert all(report.results[row]["n"] == 15 for row in rows)
    captions = {described.caption for described in asked._gallery}
    assert len(captions) == 15 and sum(" while " in caption for caption in captions) == 5
    compared = compare_reports(to_json(report), [to_json(report)])
    assert compared[rows[0]]["difference"] == 0 and compared[rows[0]]["ci95"] == [0, 0]

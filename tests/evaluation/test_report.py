"""The comparison table: figures, differences and intervals from item scores."""

import numpy as np
import pytest

from teminal_hf.data.zste_items import ZSTE_TASKS
from teminal_hf.evaluation.bootstrap import paired_bootstrap
from teminal_hf.evaluation.evaluator import ZsteReport
from teminal_hf.evaluation.plotting import bar_chart
from teminal_hf.evaluation.report import compare_reports, comparison_table, differences, results_table, to_json
from teminal_hf.evaluation.zste import TASKS, item_correct, score


def _report(skill: float, seed: int, n: int = 30) -> ZsteReport:
    """A model that adds `skill` to the score of every right candidate, over noise."""
    rng = np.random.default_rng(seed)
    predictions, references, tasks = [], [], []
    sizes = {"3A": 3, "3B": 3, "3O": 2, "6": 6, "7": 6, "8": 2, "G": 4, "5A": 8, "5B": 8, "N": 2, "D": 2, "R@5": 6}
    for task in ZSTE_TASKS:
        for _ in range(n):
            right = {"G": [0, 3], "5A": [1, 6], "5B": [1, 6]}.get(task, [0, 1] if task.startswith("2") else [0])
            row = rng.standard_normal(sizes.get(task, 4))
            row[right] += skill
            predictions.append(row.tolist()), references.append(right), tasks.append(task)
    items = [
        (task, f"clip{i % n}", item_correct(p, r, task))
        for i, (p, r, task) in enumerate(zip(predictions, references, tasks, strict=True))
    ]
    return ZsteReport(score(predictions, references, tasks), {}, items)


def test_every_figure_is_that_of_the_metric_and_its_difference() -> None:
    base, post = _report(0.0, 0), _report(2.0, 1)
    rows = compare_reports(to_json(base), [to_json(post)])
    assert set(rows) == {*ZSTE_TASKS, "temporal_average", "order_average"}
    for task, row in rows.items():
        before, after = base.figures()[task], post.figures()[task]
        assert row["base_accuracy"] == pytest.approx(before)
        assert row["post_accuracy"] == pytest.approx(after)
        assert row["difference"] == pytest.approx(after - before)
        assert row["ci95"][0] <= row["difference"] <= row["ci95"][1]
    direct = paired_bootstrap(
        [r for t, _, r in post.items if t == "3O"],
        [r for t, _, r in base.items if t == "3O"],
        [c for t, c, _ in base.items if t == "3O"],
    )
    assert rows["3O"]["ci95"] == direct["ci95"]


def test_several_seeds_are_averaged_and_listed() -> None:
    posts = [_report(2.0, seed) for seed in (1, 2, 3)]
    rows = compare_reports(to_json(_report(0.0, 0)), [to_json(post) for post in posts])
    assert rows["3A"]["post_seeds"] == [post.figures()["3A"] for post in posts]
    assert rows["3A"]["post_accuracy"] == pytest.approx(np.mean(rows["3A"]["post_seeds"]))
    table = comparison_table({"after": rows}).markdown()
    assert all(f"| {task} |" in table for task in rows)
    assert ", ".join(f"{100 * value:.1f}" for value in rows["3A"]["post_seeds"]) in table
    assert "In parentheses each seed of a mean" in table


def test_one_model_and_two_have_the_same_rows_single_sounds_first() -> None:
    report = _report(1.0, 0)
    report.results["1_tiled"] = report.results["1"]
    report.items.extend([("1_tiled", clip, right) for task, clip, right in report.items if task == "1"])
    alone = results_table(report.results)
    rows = compare_reports(to_json(report), [to_json(report)])
    both = comparison_table({"after": rows})
    assert list(alone.rows) == list(both.rows) == ["1", "1_tiled", *ZSTE_TASKS[1:], "temporal_average", "order_average"]
    assert both.columns == ("chance", "n", "before", "after", "difference")
    figure = report.results["3O"]
    text = f"{100 * figure['accuracy']:.1f} [{100 * figure['ci95'][0]:.1f}, {100 * figure['ci95'][1]:.1f}]"
    assert f"| 3O | 50.0 | 30 | {text} |" in alone.markdown()
    assert f"| 3O | 50.0 | 30 | {text} | {text} | +0.0 [+0.0, +0.0] |" in both.markdown()


def test_a_difference_of_two_models_is_that_of_their_differences_from_a_third() -> None:
    base, one, other = (to_json(_report(skill, seed)) for skill, seed in ((0.0, 0), (1.0, 1), (2.0, 2)))
    found = differences([other], [one])
    for task in base["results"]:
        from_base = [compare_reports(base, [report])[task]["difference"] for report in (one, other)]
        assert found[task]["difference"] == pytest.approx(from_base[1] - from_base[0])


def test_other_items_are_refused() -> None:
    base, post = to_json(_report(0.0, 0)), to_json(_report(0.0, 0))
    post["items"]["3O"]["clips"][0] = "another"
    with pytest.raises(ValueError, match="asked different items"):
        compare_reports(base, [post])


def test_picture_is_written(tmp_path) -> None:
    path = tmp_path / "zste.png"
    bar_chart(compare_reports(to_json(_report(0.0, 0)), [to_json(_report(2.0, 1))]), path, "a title")
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert path.stat().st_size < 300_000


def test_tasks_are_the_metrics_own() -> None:
    assert set(ZSTE_TASKS) <= set(TASKS)

"""Before against after: the ZSTE table of two models on the same items, as text and JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teminal_hf.errors import DataError
from teminal_hf.evaluation.bootstrap import paired_bootstrap
from teminal_hf.evaluation.evaluator import ZsteReport
from teminal_hf.evaluation.zste import ORDER_TASKS, TEMPORAL_TASKS

_AVERAGES = {"temporal_average": TEMPORAL_TASKS, "order_average": ORDER_TASKS}


def to_json(report: ZsteReport) -> dict[str, Any]:
    """Results, and by task the score of every item and the clip it belongs to: what a later comparison needs."""
    by_task: dict[str, dict[str, list[Any]]] = {}
    for task, clip, right in report.items:
        row = by_task.setdefault(task, {"clips": [], "right": []})
        row["clips"].append(clip)
        row["right"].append(right)
    return {"results": report.results, "wording": report.wording, "items": by_task}


def compare_reports(base: dict[str, Any], post: Sequence[dict[str, Any]], *, seed: int = 0) -> dict[str, Any]:
    """Rows of a table: {task: {"chance", "n", "base", "post", "post_seeds", "difference", "ci95", "p_value"}}.

    Args:
        base: `to_json` of one model.
        post: `to_json` of another, one per training seed, on the same items. Differences are of the mean over seeds,
            their interval a paired bootstrap over clips.

    Raises:
        DataError: the two sides were asked different items.
    """
    items = {task: row["clips"] for task, row in base["items"].items()}
    if any({task: row["clips"] for task, row in other["items"].items()} != items for other in post):
        raise DataError("the models were asked different items; evaluate them on one source with one seed")
    rows: dict[str, Any] = {}
    for key, table in base["results"].items():
        clips = base["items"][_AVERAGES.get(key, (key,))[0]]["clips"]
        post_scores = np.stack([_item_scores(report, key) for report in post])
        test = paired_bootstrap(post_scores, _item_scores(base, key), clips, seed=seed)
        per_seed = [_accuracy(report["results"][key]) for report in post]
        rows[key] = {
            "chance": table["chance"] if isinstance(table, dict) else None,
            "n": len(clips),
            "base": table if isinstance(table, dict) else {"accuracy": table},
            "post": post[0]["results"][key] if len(post) == 1 and isinstance(table, dict) else None,
            "base_accuracy": _accuracy(table),
            "post_accuracy": float(np.mean(per_seed)),
            "post_seeds": per_seed,
            "difference": test["difference"],
            "ci95": test["ci95"],
            "p_value": test["p_value"],
        }
    return rows


def _accuracy(table: Any) -> float:
    return table["accuracy"] if isinstance(table, dict) else table


def _item_scores(report: dict[str, Any], key: str) -> NDArray[np.float64]:
    """Per item (or, for an average, per clip: every task asks once about each) a score whose mean is the figure."""
    tasks = _AVERAGES.get(key, (key,))
    right = np.array([report["items"][task]["right"] for task in tasks], dtype=float)
    if key == "order_average":
        chance = np.array([[report["results"][task]["chance"]] for task in tasks])
        right = (right - chance) / (1 - chance)
    return right.mean(axis=0)


def format_table(rows: dict[str, Any], base_name: str = "before", post_name: str = "after") -> str:
    """The comparison as a Markdown table; percentages with 95 % intervals."""
    lines = [
        f"| task | chance | n | {base_name} | {post_name} | difference |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for task, row in rows.items():
        chance = "" if row["chance"] is None else f"{100 * row['chance']:.1f}"
        post = f"{100 * row['post_accuracy']:.1f}" + (_interval(row["post"]["ci95"]) if row["post"] else "")
        if len(row["post_seeds"]) > 1:
            post += " (" + ", ".join(f"{100 * value:.1f}" for value in row["post_seeds"]) + ")"
        before = f"{100 * row['base_accuracy']:.1f}" + (_interval(row["base"]["ci95"]) if "ci95" in row["base"] else "")
        change = f"{100 * row['difference']:+.1f}{_interval(row['ci95'], sign='+')}"
        lines.append(f"| {task} | {chance} | {row['n']} | {before} | {post} | {change} |")
    return "\n".join(lines)


def _interval(bounds: Sequence[float], sign: str = "") -> str:
    return " [{:{s}.1f}, {:{s}.1f}]".format(*(100 * bound for bound in bounds), s=sign)

"""Tables of reports: before against after on the same items, and order in every phrasing; rows and JSON of them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teminal_hf.data.captions import CONNECTIVES
from teminal_hf.errors import DataError
from teminal_hf.evaluation.bootstrap import paired_bootstrap
from teminal_hf.evaluation.evaluator import ZsteReport, accuracies
from teminal_hf.evaluation.legend import legend, single_sounds
from teminal_hf.evaluation.tables import Cell, Figure, Table
from teminal_hf.evaluation.zste import ORDER_TASKS, TEMPORAL_TASKS, wilson_interval
from teminal_hf.storage.records import NUMBER

_RESULT = {"accuracy": NUMBER, "chance": NUMBER, "n": int, "ci95": [NUMBER, NUMBER]}
REPORT = {"results": {}, "wording": {}, "items": {"*": {"clips": [str], "right": [NUMBER]}}}  # as `to_json` writes it
ROWS = {  # as `compare_reports` does
    "*": {
        "chance": NUMBER | None,
        "n": int,
        "base": _RESULT,
        "base_accuracy": NUMBER,
        "post_accuracy": NUMBER,
        "post_seeds": [NUMBER],
        "difference": NUMBER,
        "ci95": [NUMBER, NUMBER],
        "p_value": NUMBER,
    }
}
_AVERAGES = {"temporal_average": TEMPORAL_TASKS, "order_average": ORDER_TASKS}
_WORDINGS_NOTES = (
    "Percent; higher is better. Chance is what guessing reaches. Brackets are Wilson's 95 % intervals; every phrasing "
    "is asked about the same recordings.",
    "",
    "- where chance is 50: two sounds in sequence, the caption against the one with the sounds exchanged (3O)",
    '- where chance is 33.3: two sounds overlaid, the caption against "X before Y" and "Y before X" (3B)',
    "- trained: whether the model's run.json says so, of it or of what it started from; empty without one",
)


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
        post: `to_json` of another, one per training seed, on the same items.
        seed: of the bootstrap.

    Raises:
        DataError: the two sides were asked different items.
    """
    tests = differences(post, [base], seed=seed)
    before, after = accuracies(base["results"]), [accuracies(report["results"]) for report in post]
    rows: dict[str, Any] = {}
    for key, table in base["results"].items():
        per_seed = [figures[key] for figures in after]
        rows[key] = {
            "chance": table["chance"] if isinstance(table, dict) else None,
            "n": len(_clips(base, key)),
            "base": table if isinstance(table, dict) else {"accuracy": table},
            "post": post[0]["results"][key] if len(post) == 1 and isinstance(table, dict) else None,
            "base_accuracy": before[key],
            "post_accuracy": float(np.mean(per_seed)),
            "post_seeds": per_seed,
            **tests[key],
        }
    return rows


def differences(
    reports: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], *, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """By task "difference", "ci95" and "p_value" of the mean over `reports` minus that over `others`, each one model's
    training seeds: a paired bootstrap over clips.

    Raises:
        DataError: they were asked different items.
    """
    first = others[0]
    if any(questions(report) != questions(first) for report in (*reports, *others)):
        raise DataError("the models were asked different items; evaluate them on one source with one seed")
    return {
        key: paired_bootstrap(
            np.stack([_item_scores(report, key) for report in reports]),
            np.stack([_item_scores(report, key) for report in others]),
            _clips(first, key),
            seed=seed,
        )
        for key in first["results"]
    }


def questions(report: dict[str, Any]) -> dict[str, list[str]]:
    """The clip that each item of each task is about."""
    return {task: row["clips"] for task, row in report["items"].items()}


def _clips(report: dict[str, Any], key: str) -> list[str]:
    return report["items"][_AVERAGES.get(key, (key,))[0]]["clips"]


def _item_scores(report: dict[str, Any], key: str) -> NDArray[np.float64]:
    """Per item (or, for an average, per clip: every task asks once about each) a score whose mean is the figure."""
    tasks = _AVERAGES.get(key, (key,))
    right = np.array([report["items"][task]["right"] for task in tasks], dtype=float)
    if key == "order_average":
        chance = np.array([[report["results"][task]["chance"]] for task in tasks])
        right = (right - chance) / (1 - chance)
    return right.mean(axis=0)


def results_table(results: dict[str, Any]) -> Table:
    """The results of one model."""
    rows = {
        task: (Figure(row["chance"]), row["n"], Figure(row["accuracy"], row["ci95"]))
        if isinstance(row, dict)
        else (None, None, Figure(row))
        for task, row in _in_order(results).items()
    }
    return Table(("chance", "n", "accuracy"), rows, legend(rows))


def comparison_table(
    methods: dict[str, dict[str, Any]], before: str = "before", against: dict[str, dict[str, Any]] | None = None
) -> Table:
    """Models beside their common base, and their differences from it.

    Args:
        methods: rows of `compare_reports` by the heading of their column.
        before: the base's heading.
        against: `differences` from the first of the methods, by the other's heading.
    """
    first, *_ = methods
    others = [(name, before, rows) for name, rows in methods.items()]
    others += [(name, first, rows) for name, rows in (against or {}).items()]
    headings = ["difference"] if len(others) == 1 else [f"{name} - {other}" for name, other, _ in others]
    table: dict[str, list[Cell]] = {}
    for task, row in _in_order(methods[first]).items():
        cells: list[Cell] = [None if row["chance"] is None else Figure(row["chance"]), row["n"]]
        cells.append(Figure(row["base_accuracy"], row["base"].get("ci95")))
        cells += [_after(rows[task]) for rows in methods.values()]
        cells += [Figure(rows[task]["difference"], rows[task]["ci95"], signed=True) for *_, rows in others]
        table[task] = cells
    seeds = any(len(row["post_seeds"]) > 1 for rows in methods.values() for row in rows.values())
    notes = legend(table, differences=True, seeds=seeds)
    return Table(("chance", "n", before, *methods, *headings), table, notes)


def wordings_table(reports: Mapping[str, ZsteReport], trained: Collection[str] | None) -> Table:
    """A row for each phrasing, a column for each model.

    Args:
        reports: by heading, of a `ZsteEvaluator` with the items of `plan_wordings`.
        trained: connectives that the last model was trained on; None where nothing says.
    """
    first, *_ = reports.values()
    rows: dict[str, list[Cell]] = {}
    for task, wordings in first.wording.items():
        chance, n = first.results[task]["chance"], first.results[task]["n"] // len(wordings)
        for name in wordings:
            accuracies = [report.wording[task][name] for report in reports.values()]
            is_trained = None if trained is None else "yes" if name in trained else "no"
            cells = [Figure(share, wilson_interval(round(share * n), n)) for share in accuracies]
            row = CONNECTIVES[name].template.format(first="X", second="Y")
            rows[row] = [CONNECTIVES[name].family, is_trained, Figure(chance), n, *cells]
    return Table(("family", "trained", "chance", "n", *reports), rows, _WORDINGS_NOTES, of="wording")


def _after(row: dict[str, Any]) -> Figure:
    seeds = row["post_seeds"] if len(row["post_seeds"]) > 1 else ()
    return Figure(row["post_accuracy"], row["post"]["ci95"] if row["post"] else None, seeds)


def _in_order(rows: dict[str, Any]) -> dict[str, Any]:
    """Single sounds first, what was lost beside what it is lost from; averages last."""
    first, last = single_sounds(rows), [task for task in rows if task in _AVERAGES]
    between = [task for task in rows if task not in (*first, *last)]
    return {task: rows[task] for task in (*first, *between, *last)}

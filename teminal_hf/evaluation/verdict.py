"""What a comparison of base and result comes to, in a sentence or two."""

from collections.abc import Mapping, Sequence
from typing import Any

from teminal_hf.evaluation.bootstrap import wilson_interval
from teminal_hf.evaluation.legend import single_sounds
from teminal_hf.evaluation.tables import Figure


def verdict(rows: Mapping[str, Any], stage: str = "") -> str:
    """Whether order was learned, what was lost, and which differences do not count.

    Args:
        rows: of `compare_reports`; what they do not hold was not measured, and that is said.
        stage: "stage_a" is not blamed for what it does not teach.
    """
    sentences = [_order(rows["3O"], stage) if "3O" in rows else "order was not measured (task 3O)"]
    singles = {task: rows[task] for task in single_sounds(rows)}
    sentences += _singles(singles) if singles else ["Single sounds were not measured (R0, task 1)"]
    unsure = [task for task, row in rows.items() if not _sign(row["ci95"]) and task not in ("3O", *singles)]
    if unsure:
        sentences.append(f"No difference shown (interval holds 0): {', '.join(unsure)}")
    return f"Verdict: {'. '.join(sentences)}."


def _order(row: Mapping[str, Any], stage: str) -> str:
    """Of the result against chance first, for a base below it can rise without having learned anything."""
    # The mean of seeds varies less than one seed does: its interval, taken as that of one, errs on the wide side.
    now = row["post"]["ci95"] if row["post"] else wilson_interval(row["post_accuracy"] * row["n"], row["n"])
    before, after = Figure(row["base_accuracy"]), Figure(row["post_accuracy"], now)
    figures = f"3O {before} -> {after}, chance {Figure(row['chance'])}, difference {_difference(row)}"
    change = _sign(row["ci95"])
    if now[0] > row["chance"]:
        what = {1: "order was learned", 0: "order is heard, but no gain over the base is shown"}
        return f"{what.get(change, 'order is heard, but less than by the base')} ({figures})"
    what_not = "lost" if change < 0 and row["base"]["ci95"][0] > row["chance"] else "not learned"
    where = "below chance" if now[1] < row["chance"] else "its interval holds chance"
    why = ", and stage A is not meant to teach it" if stage == "stage_a" else ""
    return f"order was {what_not} ({figures}; {where}{why})"


def _singles(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    words = {-1: "Single sounds were lost", 1: "Single sounds were gained", 0: "No loss of single sounds is shown"}
    by_change = {change: [task for task, row in rows.items() if _sign(row["ci95"]) == change] for change in words}
    return [
        f"{words[change]}: " + ", ".join(f"task {task} {_difference(rows[task])}" for task in tasks)
        for change, tasks in by_change.items()
        if tasks
    ]


def _sign(interval: Sequence[float]) -> int:
    """Of a difference; 0 where its interval holds 0."""
    return (interval[0] > 0) - (interval[1] < 0)


def _difference(row: Mapping[str, Any]) -> Figure:
    return Figure(row["difference"], row["ci95"], signed=True)

"""Tables of an order test: one model, or two on the same questions, and what the rows mean; the same as JSON."""

from collections.abc import Sequence
from typing import Any

from teminal_hf.evaluation.report import compare_reports
from teminal_hf.evaluation.tables import Cell, Figure, Table
from teminal_hf.order_tests.questions import OrderTest
from teminal_hf.order_tests.running import OrderReport


def to_json(test: OrderTest, report: OrderReport) -> dict[str, Any]:
    """Results, each question's score and group, what was left out and why; `evaluation.report.compare_reports` takes
    it."""
    counts = {"recordings": len(test.recordings), "windowed": report.windowed}
    return {
        "test": test.name,
        "results": report.results,
        "wording": {},
        "items": report.items,
        "left_out": dict(test.left_out),
        **counts,
    }


def results_table(test: OrderTest, report: OrderReport) -> Table:
    """The results of one model."""
    rows: dict[str, list[Cell]] = {
        row: [
            _chance(test, row, result),
            result["n"],
            Figure(result["accuracy"], result["ci95"], signed=row in test.gaps),
        ]
        for row, result in report.results.items()
    }
    return Table(("chance", "n", "accuracy"), rows, _notes(test, report), of=test.name)


def comparison_table(test: OrderTest, names: Sequence[str], reports: Sequence[OrderReport]) -> Table:
    """Two models, the first the base, headed by their names, and their difference with a paired bootstrap's interval.

    Raises:
        ValueError: a row whose questions are of one group; see `running.check_comparable`.
    """
    base, post = reports
    compared = compare_reports(to_json(test, base), [to_json(test, post)])
    rows: dict[str, list[Cell]] = {}
    for row, both in compared.items():
        figures = [
            Figure(report.results[row]["accuracy"], report.results[row]["ci95"], signed=row in test.gaps)
            for report in (base, post)
        ]
        difference = Figure(both["difference"], both["ci95"], signed=True)
        rows[row] = [_chance(test, row, both), both["n"], *figures, difference]
    notes = _notes(test, post, differences=True)
    return Table(("chance", "n", *names, "difference"), rows, notes, of=test.name)


def _chance(test: OrderTest, row: str, result: dict[str, Any]) -> Figure | None:
    return None if row in test.gaps else Figure(result["chance"])


def _notes(test: OrderTest, report: OrderReport, *, differences: bool = False) -> list[str]:
    how = "Percent; higher is better, a tie is wrong. Chance is what guessing reaches, n the number of questions. "
    how += "Brackets are 95 % intervals, Wilson's for an accuracy"
    if differences or test.gaps:
        how += ", a bootstrap over recordings for a difference"
    notes = [f"{how}.", "", *(f"- {row}: {test.rows[row]}" for row in report.results), ""]
    if report.windowed:
        notes.append(
            f"{report.windowed} of {len(test.recordings)} recordings are longer than the model hears and went through "
            "evenly spaced windows, averaged: what is in different windows has lost its order."
        )
    if test.left_out:
        notes.append(f"Left out: {'; '.join(f'{why} ({count})' for why, count in test.left_out.items())}.")
    notes += [f"{note}." for note in test.notes]
    return notes if notes[-1] else notes[:-1]

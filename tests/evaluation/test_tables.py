"""Tables: the same rows in Markdown, csv and LaTeX, and a legend for all that is shown."""

import csv
import io

import pytest

from teminal_hf.evaluation.legend import KNOWN, LEFT_OUT, LEFT_OUT_OF_ALL, ROWS, legend
from teminal_hf.evaluation.tables import FORMATS, Figure, Table
from teminal_hf.evaluation.zste import ORDER_TASKS, TASKS, TEMPORAL_TASKS

TABLE = Table(
    ("chance", "n", "tuning=a_b", "a|b & 5%"),
    {
        "1_tiled": (Figure(0.02), 400, Figure(0.6375, (0.589, 0.683)), Figure(-0.085, (-0.13, 0.0), signed=True)),
        "order_average": (None, 400, Figure(0.5, seeds=(0.4, 0.6)), Figure(0.1, (0.05, 0.15), signed=True)),
    },
    ["a note with 5 %", "", "another"],
)


def test_markdown() -> None:
    assert TABLE.markdown().splitlines() == [
        r"| task | chance | n | tuning=a_b | a\|b & 5% |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| 1_tiled | 2.0 | 400 | 63.7 [58.9, 68.3] | -8.5 [-13.0, +0.0] |",
        "| order_average |  | 400 | 50.0 (40.0, 60.0) | +10.0 [+5.0, +15.0] |",
        "",
        "a note with 5 %",
        "",
        "another",
    ]


def test_csv_holds_one_number_a_field() -> None:
    heading, *rows = csv.reader(io.StringIO(TABLE.written("csv")))
    parts = ["", " low95", " high95", " run 1", " run 2"]
    assert heading[:3] == ["task", "chance (fraction)", "n"]
    assert heading[3:8] == [f"tuning=a_b{part} (fraction)" for part in parts]
    assert heading[8:] == [f"a|b & 5%{part} (fraction)" for part in parts[:3]]
    assert rows[0] == ["1_tiled", "0.02", "400", "0.6375", "0.589", "0.683", "", "", "-0.085", "-0.13", "0"]
    assert rows[1] == ["order_average", "", "400", "0.5", "", "", "0.4", "0.6", "0.1", "0.05", "0.15"]


def test_latex_is_escaped() -> None:
    assert TABLE.latex().splitlines() == [
        r"\begin{tabular}{lrrrr}",
        r"\toprule",
        r"task & chance & n & tuning=a\_b & a|b \& 5\% \\",
        r"\midrule",
        r"1\_tiled & 2.0 & 400 & 63.7 [58.9, 68.3] & $-$8.5 [$-$13.0, $+$0.0] \\",
        r"order\_average &  & 400 & 50.0 (40.0, 60.0) & $+$10.0 [$+$5.0, $+$15.0] \\",
        r"\bottomrule",
        r"\end{tabular}",
        "% a note with 5 %",
        "%",
        "% another",
    ]
    backslashed = Table((r"a\b{c}~^$#--", "n"), {"1": (Figure(0.5), 1)}).latex()
    assert r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}\$\#{-}{-} & n \\" in backslashed


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_every_row(format: str) -> None:
    written = TABLE.written(format)
    assert all(sum(task in line.replace("\\", "") for line in written.splitlines()) == 1 for task in TABLE.rows)


def test_every_row_that_there_can_be_is_explained() -> None:
    assert set(ROWS) == {KNOWN, LEFT_OUT, LEFT_OUT_OF_ALL, *TASKS, "1_tiled", "temporal_average", "order_average"}
    assert all(task in ROWS["temporal_average"] for task in TEMPORAL_TASKS)
    assert all(task in ROWS["order_average"] for task in ORDER_TASKS)


def test_the_legend_is_of_what_is_shown() -> None:
    figures, blank, *rows = legend(["3O", "1"])
    assert rows == [f"- {task}: {ROWS[task]}" for task in ("3O", "1")] and not blank
    assert "higher is better" in figures and "Wilson" in figures
    assert "bootstrap" not in figures and "seed" not in figures
    assert "a paired bootstrap over clips for a difference" in legend([], differences=True)[0]
    assert "not that of seeds" in legend([], seeds=True)[0]

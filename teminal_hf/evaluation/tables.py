"""Tables of figures: one model of them, and its writers as Markdown, csv and LaTeX."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FORMATS = ("markdown", "csv", "latex")

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "-": "{-}",  # no dashes of two or three
}


@dataclass(frozen=True)
class Figure:
    """A fraction; `ci95` is its interval, `seeds` those that it is the mean of, where there are any; a `signed` one is
    a difference."""

    value: float
    ci95: Sequence[float] | None = None
    seeds: Sequence[float] = ()
    signed: bool = False

    def __str__(self) -> str:
        """As percent."""
        text = self._percent(self.value)
        if self.ci95 is not None:
            text += f" [{', '.join(map(self._percent, self.ci95))}]"
        return text + (f" ({', '.join(map(self._percent, self.seeds))})" if self.seeds else "")

    def _percent(self, value: float) -> str:
        return f"{100 * value:{'+' if self.signed else ''}.1f}"


Cell = Figure | int | str | None


@dataclass(frozen=True)
class Table:
    """Rows by what they are `of`, a cell for each of `columns` in every one; `notes` are lines for below it."""

    columns: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]
    notes: Sequence[str] = ()
    of: str = "task"

    def written(self, format: str) -> str:
        """In one of `FORMATS`."""
        return {"markdown": self.markdown, "csv": self.csv, "latex": self.latex}[format]()

    def markdown(self) -> str:
        """Percent, and the notes below."""
        lines = [line((self.of, *self.columns)), line(["---", *["---:"] * len(self.columns)])]
        lines += [line([task, *map(_text, cells)]) for task, cells in self.rows.items()]
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])])

    def latex(self) -> str:
        """A tabular for the package booktabs, in percent, and the notes below as comments."""
        heading = [_escaped(name) for name in (self.of, *self.columns)]
        rows = [[_escaped(task), *map(_in_latex, cells)] for task, cells in self.rows.items()]
        first, *others = (" & ".join(row) + r" \\" for row in (heading, *rows))
        lines = [rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}", r"\toprule", first, r"\midrule", *others]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *(f"% {note}".rstrip() for note in self.notes)])

    def csv(self) -> str:
        """Fractions, as the header says, each bound and seed in a column of its own; no notes, for csv has none."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        columns = [[cells[i] for cells in self.rows.values()] for i in range(len(self.columns))]
        spread = [_spread(name, cells) for name, cells in zip(self.columns, columns, strict=True)]
        writer.writerow([self.of, *(name for heading, _ in spread for name in heading)])
        for i, task in enumerate(self.rows):
            writer.writerow([task, *(value for _, values in spread for value in values[i])])
        return file.getvalue().rstrip("\n")


def line(cells: Sequence[str]) -> str:
    """One of a table in Markdown."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _text(cell: Cell) -> str:
    return "" if cell is None else str(cell)


def _in_latex(cell: Cell) -> str:
    return _text(cell).replace("-", "$-$").replace("+", "$+$")


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _spread(name: str, cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """A column as columns of one number each: their headings, and the values of every row."""
    figures = [cell for cell in cells if isinstance(cell, Figure)]
    if not figures:
        return [name], [[_text(cell)] for cell in cells]
    bounds = ["low95", "high95"] if any(figure.ci95 for figure in figures) else []
    runs = [f"run {i + 1}" for i in range(max(len(figure.seeds) for figure in figures))]
    heading = [f"{part} (fraction)" for part in (name, *(f"{name} {part}" for part in (*bounds, *runs)))]
    values = []
    for cell in cells:
        numbers: list[float | None] = []
        if isinstance(cell, Figure):
            numbers = [cell.value, *(cell.ci95 or (None, None) if bounds else ()), *cell.seeds]
        numbers += [None] * (len(heading) - len(numbers))
        values.append(["" if number is None else f"{number:.6g}" for number in numbers])
    return heading, values

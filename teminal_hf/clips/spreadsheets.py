"""csv files as people and spreadsheets write them: byte order marks, semicolons, tabs, blank lines."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from teminal_hf.errors import DataError, NotFoundError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Sheet:
    """The rows of a csv file: `lines` says where each stands in it. All cells are text without space around it."""

    path: Path
    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int]

    def at(self, row: int) -> str:
        """Where a person finds the row."""
        return f"line {self.lines[row]}"

    def column(self, name: str) -> list[str]:
        return [row[name] for row in self.rows]


def read_sheet(path: Path, *, numbered: bool = False) -> Sheet:
    """A csv file of UTF-8, or of UTF-16 with its mark, delimited by commas, semicolons, tabs or bars.

    Lines without a single filled cell are no rows; cells that are missing at the end of a line are blank, for
    spreadsheets leave them out.

    Args:
        path: of the file.
        numbered: of several columns of one name, "x", call the further ones "x.1" and so on, as pandas does.

    Raises:
        NotFoundError: no such file.
        DataError: another encoding, two columns of one name that are not to be numbered, or cells beyond the header's,
            with the line.
    """
    text = _text(path)
    first, _, rest = text.partition("\n")
    named = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)  # a line of Excel's own
    if named:
        text = rest
    filled = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=named[1] if named else _delimiter(filled), strict=True)
    columns: list[str] = []
    rows, lines = [], []
    begin = 1  # the line at which a row begins; one may hold line ends, in quotes
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            line = reader.line_num + bool(named)
            begin = line + 1
            if not any(cells):
                continue
            if not columns:
                columns = _numbered(cells) if numbered else _header(cells, path)
                continue
            if any(cells[len(columns) :]):
                raise DataError(
                    f"{path}, line {line} has {len(cells)} cells, the header {len(columns)}: put cells that hold the "
                    "delimiter in quotes"
                )
            padded = cells + [""] * (len(columns) - len(cells))
            rows.append({name: cell for name, cell in zip(columns, padded, strict=False) if name})
            lines.append(line)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {begin} is no csv ({error}): a cell that begins with a quote must end with one, and a quote "
            "within it be doubled"
        ) from error
    return Sheet(path, [name for name in columns if name], rows, lines)


def _text(path: Path) -> str:
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line} is not {encoding.upper()} (byte {content[error.start]:#x}); save it as "
            '"CSV UTF-8", which spreadsheets offer'
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f'{path}, line {line} is no text (it holds zero bytes); save it as "CSV UTF-8"')
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _delimiter(header: str) -> str:
    """The one that makes the most columns; a comma if there is but one."""
    widths = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in _DELIMITERS}
    return max(_DELIMITERS, key=lambda mark: widths[mark])


def _header(cells: list[str], path: Path) -> list[str]:
    twice = sorted(name for name, count in Counter(cells).items() if name and count > 1)
    if twice:
        raise DataError(f"{path} has two columns {', '.join(twice)}; rename or remove one")
    return cells


def _numbered(cells: list[str]) -> list[str]:
    before = (cells[:i].count(name) for i, name in enumerate(cells))
    return [f"{name}.{count}" if name and count else name for name, count in zip(cells, before, strict=True)]


def check_filled(sheet: Sheet, names: Iterable[str]) -> None:
    """Raise a DataError for the first blank cell of the columns `names`."""
    for name in names:
        for row, cell in enumerate(sheet.column(name)):
            if not cell:
                raise DataError(f"{sheet.path}, {sheet.at(row)}: {name} is blank; fill it in or remove the line")


def check_inside(sheet: Sheet, name: str, folder: Path) -> None:
    """Raise a DataError for the first file name of the column `name` that leads out of `folder`."""
    for row, cell in enumerate(sheet.column(name)):
        if leads_out(cell):
            raise DataError(
                f"{sheet.path}, {sheet.at(row)}: {cell!r} leads out of {folder}; name files inside, relative to it"
            )


def leads_out(name: str) -> bool:
    """Whether a file name is absolute or climbs out of its folder, in the way of any system."""
    parts = re.split(r"[/\\]", name)
    return parts[0] in ("", "~") or parts[0].endswith(":") or ".." in parts

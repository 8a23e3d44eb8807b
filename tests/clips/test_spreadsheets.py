"""csv files as spreadsheets write them, and those that are cut."""

from pathlib import Path

import pandas
import pytest

from teminal_hf.clips.spreadsheets import read_sheet
from teminal_hf.errors import DataError

ROWS = [{"file": "a.wav", "label": "dog"}, {"file": "b.wav", "label": 'a "big" dog'}]
TEXT = 'file,label\na.wav,dog\nb.wav,"a ""big"" dog"\n'


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(end: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(TEXT.replace("\n", end).encode())
    sheet = read_sheet(tmp_path / "t.csv")
    assert sheet.rows == ROWS and sheet.lines == [2, 3]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_blank_lines_above_the_header(delimiter: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n \n" + TEXT.replace(",", delimiter))
    sheet = read_sheet(tmp_path / "t.csv")
    assert sheet.rows == ROWS and sheet.lines == [4, 5]


@pytest.mark.parametrize("line", ['b.wav,"dog', '"b.wav,dog', '"b" x.wav,dog'])
def test_a_quote_that_is_not_closed_swallows_no_rows(line: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"file,label\na.wav,dog\n{line}\nc.wav,cat\nd.wav,cat\n")
    with pytest.raises(
        DataError, match=r"t\.csv, line 3 is no csv .* a cell that begins with a quote must end with one"
    ):
        read_sheet(tmp_path / "t.csv")


def test_cells_may_hold_line_ends_and_quotes_within(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('file,label\na.wav,"one\ntwo"\nb.wav,5" nail\n')
    assert [row["label"] for row in read_sheet(tmp_path / "t.csv").rows] == ["one\ntwo", '5" nail']


def test_columns_of_one_name_are_numbered_as_pandas_does(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,text,file,file\na,b,c,d\n")
    numbered = read_sheet(tmp_path / "t.csv", numbered=True)
    assert numbered.rows == pandas.read_csv(tmp_path / "t.csv").to_dict("records")
    with pytest.raises(DataError, match="has two columns file; rename or remove one"):
        read_sheet(tmp_path / "t.csv")

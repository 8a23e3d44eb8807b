"""ESC-50 folders whose table a person or a spreadsheet has written."""

import shutil
from pathlib import Path

import pytest

from teminal_hf.clips.esc50 import esc50_folder
from teminal_hf.errors import DataError


def lines(root: Path) -> list[str]:
    return (root / "meta" / "esc50.csv").read_text().splitlines()


def write(root: Path, text: str, encoding: str = "utf-8") -> None:
    (root / "meta" / "esc50.csv").write_bytes(text.encode(encoding))


SPREADSHEETS = {
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "semicolons and a mark": lambda text: text.replace(",", ";").encode("utf-8-sig"),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "UTF-16": lambda text: text.replace(",", "\t").encode("utf-16"),
    "sep line": lambda text: ("sep=;\r\n" + text.replace(",", ";")).encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "blank lines": lambda text: ("\n" + text.replace("\n", "\n,,,,,,\n\n")).encode(),
    "blank columns": lambda text: "\n".join(line + ",," for line in text.splitlines()).encode(),
    "spaces": lambda text: text.replace(",", " , ").encode(),
    "quotes": lambda text: "\n".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()
    ).encode(),
    "short lines": lambda text: "\n".join(
        [text.splitlines()[0], *(",".join(line.split(",")[:4]) for line in text.splitlines()[1:])]
    ).encode(),
}


@pytest.mark.parametrize("kind", SPREADSHEETS)
def test_csv_as_spreadsheets_write_it(esc50: Path, kind: str) -> None:
    truth = esc50_folder(esc50)
    (esc50 / "meta" / "esc50.csv").write_bytes(SPREADSHEETS[kind]("\n".join(lines(esc50))))
    clips = esc50_folder(esc50)
    assert (clips.ids, clips.labels, clips.folds) == (truth.ids, truth.labels, truth.folds)


def test_names_beyond_ascii(esc50: Path) -> None:
    text = "\n".join(lines(esc50)).replace("door_wood_knock", "Türklopfen")
    write(esc50, text, "utf-8-sig")
    assert "Türklopfen" in esc50_folder(esc50).classes
    write(esc50, text, "cp1252")
    with pytest.raises(DataError, match=r'esc50.csv, line 6 is not UTF-8 \(byte 0xfc\); save it as "CSV UTF-8"'):
        esc50_folder(esc50)
    write(esc50, text, "utf-16-le")  # without a mark
    with pytest.raises(DataError, match=r"esc50.csv, line \d+ is no(t UTF-8| text)"):
        esc50_folder(esc50)


WRONG = {
    "blank fold": (3, lambda cells: [cells[0], "", *cells[2:]], "line 4: fold is blank; fill it in or remove the line"),
    "blank file name": (3, lambda cells: ["", *cells[1:]], "line 4: filename is blank"),
    "a line cut off": (3, lambda cells: cells[:1], "line 4: fold is blank"),
    "a comma too many": (3, lambda cells: [*cells, "A"], "line 4 has 8 cells, the header 7: put cells that hold"),
    "fold in words": (3, lambda cells: [cells[0], "three", *cells[2:]], "line 4: a fold must be a whole number, found"),
    "half a fold": (
        3,
        lambda cells: [cells[0], "1.5", *cells[2:]],
        "line 4: a fold must be a whole number, found '1.5'",
    ),
    "a number for a name": (
        3,
        lambda cells: [*cells[:3], "7", *cells[4:]],
        "category, line 4: the label '7' is a number",
    ),
    "an absolute path": (3, lambda cells: ["/etc/passwd", *cells[1:]], "line 4: '/etc/passwd' leads out of"),
    "out of the folder": (3, lambda cells: ["../x.wav", *cells[1:]], "line 4: '../x.wav' leads out of"),
    "out by a detour": (3, lambda cells: ["a/../../x.wav", *cells[1:]], r"line 4: 'a/\.\./\.\./x.wav' leads out of"),
    "a drive": (3, lambda cells: ["C:\\x.wav", *cells[1:]], r"line 4: 'C:.*x.wav' leads out of"),
    "the same file twice": (3, lambda cells: ["1-100-A-0.wav", *cells[1:]], "lines 2 and 4 both name 1-100-A-0.wav"),
    "two columns of a name": (0, lambda cells: [*cells[:6], "fold"], "has two columns fold; rename or remove one"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_file_line_and_fix_are_named(esc50: Path, kind: str) -> None:
    number, change, message = WRONG[kind]
    text = lines(esc50)
    (esc50 / "x.wav").write_bytes((esc50 / "audio" / "1-100-A-0.wav").read_bytes())
    text[number] = ",".join(change(text[number].split(",")))
    write(esc50, "\n".join(text))
    with pytest.raises(DataError, match=f"esc50.csv.*{message}"):
        esc50_folder(esc50)


def test_blank_classes_are_left_out_and_names_merged(esc50: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = lines(esc50)
    for number, name in ((1, ""), (2, "Dog"), (7, "dog ")):
        cells = text[number].split(",")
        text[number] = ",".join([*cells[:3], name, *cells[4:]])
    write(esc50, "\n".join(text))
    clips = esc50_folder(esc50)
    assert len(clips) == 29 and "1-100-A-0" not in clips and set(clips.classes) == {"dog", "rain", "door_wood_knock"}
    assert clips.label("1-100-B-0") == "dog"
    assert "esc50.csv, column category: 1 of 30 rows have no label and are left out" in caplog.text
    # Each clip has the sound of its own file, though a line before it is left out.
    assert len(clips.waveform("1-101-A-1", 8_000)) == 7 * 8_000


def test_two_files_of_one_stem(esc50: Path) -> None:
    (esc50 / "audio" / "more").mkdir()
    shutil.copy(esc50 / "audio" / "1-100-B-0.wav", esc50 / "audio" / "more" / "1-100-A-0.wav")
    write(esc50, "\n".join([*lines(esc50), "more/1-100-A-0.wav,2,0,dog,True,7,A"]))
    clips = esc50_folder(esc50)
    assert len(clips) == 31 and "1-100-B-0" in clips
    assert clips.label("more/1-100-A-0.wav") == clips.label("1-100-A-0.wav") == "dog"

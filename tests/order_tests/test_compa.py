"""CompA's files made small: columns, triplets, files that are missing, odd rows."""

import csv
from pathlib import Path

import numpy as np
import pytest

from support.order_tests import ByPitch, write_sound
from teminal_hf.errors import DataError, NotFoundError
from teminal_hf.order_tests.compa import read_attribute, read_order
from teminal_hf.order_tests.running import run_order_test

COLUMNS = (
    "pair_caption",
    "reversed_pair_caption",
    "pair_file",
    "reversed_pair_file",
    "triplet_caption",
    "triplet_file",
)
ROWS = [
    ("dog then rain", "rain then dog", "1.wav", "1_rev.wav", "dog while rain", "1_trip.wav"),
    ("cat then wind", "wind then cat", "2.wav", "2_rev.wav", "-", "-"),
]
CAPTIONS = {
    "dog then rain": (100.0, 200.0),
    "rain then dog": (200.0, 100.0),
    "dog while rain": (300.0, 300.0),
    "cat then wind": (400.0, 500.0),
    "wind then cat": (500.0, 400.0),
}


def write(folder: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...] = COLUMNS, sounds: str = "order") -> Path:
    with (folder / "benchmark.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    names = ("1.wav", "1_rev.wav", "1_trip.wav", "2.wav", "2_rev.wav")
    for name, pitches in zip(names, [CAPTIONS[c] for c in list(CAPTIONS)], strict=True):
        write_sound(folder / f"CompA_{sounds}_files" / name, *pitches)
    return folder


def test_pairs_and_triplets_are_asked_for_three_scores_each(tmp_path: Path) -> None:
    test = read_order(write(tmp_path, ROWS))
    assert (len(test.recordings), len(test.captions), test.left_out) == (5, 5, {})
    report = run_order_test(test, ByPitch(CAPTIONS))
    assert {row: (r["accuracy"], r["n"]) for row, r in report.results.items()} == {
        "text": (1, 2),
        "audio": (1, 2),
        "group": (1, 2),
        "text of three": (1, 1),
        "audio of three": (1, 1),
        "group of three": (1, 1),
    }
    chance = {row: r["chance"] for row, r in report.results.items()}
    assert (
        chance["text"] == chance["audio"] == 1 / 4 and chance["group"] == 1 / 6 and chance["group of three"] == 1 / 60
    )


def test_text_and_audio_scores_are_those_of_the_published_script(tmp_path: Path) -> None:
    """Its conditions, written out for similarities that are drawn: rows are audio, columns captions."""
    test = read_order(write(tmp_path, ROWS))
    drawn = np.random.default_rng(0).normal(size=(50, 5, 5))
    recording = {path.name: i for i, (path,) in enumerate(test.recordings)}
    for similarity in drawn:
        answers = test.answers(similarity)
        for i, (caption, other, file, other_file, *_) in enumerate(ROWS):
            s00 = similarity[recording[file], test.captions.index(caption)]
            s01 = similarity[recording[other_file], test.captions.index(caption)]  # caption 0 with audio 1
            s10 = similarity[recording[file], test.captions.index(other)]
            s11 = similarity[recording[other_file], test.captions.index(other)]
            text, audio = s00 > s10 and s11 > s01, s00 > s01 and s11 > s10
            assert [answers[row].values[i] for row in ("text", "audio", "group")] == [text, audio, text and audio]


def test_missing_files_and_odd_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    odd = [
        ("a then b", "b then a", "1.wav", "gone.wav", "-", "-"),
        ("a then b", "", "1.wav", "1_rev.wav", "-", "-"),
        ("a then b", "a then b", "1.wav", "1_rev.wav", "-", "-"),
        ("a then b", "b then a", "1.wav", "1.wav", "-", "-"),
        ("a then b", "b then a", "2.wav", "2_rev.wav", "a while b", "gone.wav"),
        ("c then d", "d then c", "2.wav", "2_rev.wav", "-", "1.wav"),
    ]
    test = read_order(write(tmp_path, [*ROWS, *odd]))
    assert test.left_out == {
        "rows whose sound file is not there": 1,
        "rows without a caption": 1,
        "rows with one caption or file twice": 2,
        "triplets whose sound file is not there": 1,
        "triplets without a caption": 1,
    }
    assert len([q for q in test.questions if q.row == "group"]) == 4  # the pairs of the last two are asked
    assert len([q for q in test.questions if q.row == "group of three"]) == 1


@pytest.mark.parametrize("files", [("pair_file.1", "reversed_pair_file.1"), ("pair_file", "reversed_pair_file")])
def test_attributes_have_their_files_in_the_second_columns(tmp_path: Path, files: tuple[str, str]) -> None:
    """Written with the name that pandas gives a second column, or with the name twice."""
    rows = [("dog then rain", "rain then dog", "youtube_1", "youtube_2", "1.wav", "1_rev.wav")]
    columns = (*COLUMNS[:4], *files)
    test = read_attribute(write(tmp_path, rows, columns, "attribute"))
    assert [path.name for (path,) in test.recordings] == ["1.wav", "1_rev.wav"]
    assert list(run_order_test(test, ByPitch(CAPTIONS)).results) == ["text", "audio", "group"]


def test_what_is_no_compa_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no folder"):
        read_order(tmp_path / "none")
    with pytest.raises(NotFoundError, match=r"has no \*\.csv, CompA-order's table"):
        read_order(tmp_path)
    folder = write(tmp_path, ROWS)
    with pytest.raises(DataError, match=r"has no column pair_file\.1, reversed_pair_file\.1, but pair_caption"):
        read_attribute(folder)
    (folder / "._benchmark.csv").write_bytes(b"\0")  # as archives of macOS hold
    assert read_order(folder).left_out == {}
    (folder / "other.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"several files that may be CompA-order's table: benchmark\.csv, other\.csv"):
        read_order(folder)


def test_nothing_to_ask_says_what_was_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path, [(*ROWS[0][:2], "x.wav", "y.wav", "-", "-")])
    with pytest.raises(DataError, match=r"can be asked; left out: rows whose sound file is not there \(1\)"):
        read_order(folder)
    with pytest.raises(DataError, match="leads out of"):
        read_order(write(tmp_path, [(*ROWS[0][:2], "../x.wav", "y.wav", "-", "-")]))

"""TACOS's files made small: relations of intervals by hand and against a timeline, odd rows, splits."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from support.order_tests import write_sound
from teminal_hf.errors import ConfigError, DataError, NotFoundError
from teminal_hf.order_tests.tacos import Stretch, read, relation

PART, NEAR = "pairs that overlap in part", "pairs nearer than the margin"


def write(folder: Path, annotations: Sequence[Sequence[object]], split: Sequence[str] = ("1.wav",)) -> Path:
    tables = {
        "annotations_strong.csv": [("filename", "text", "onset", "offset"), *annotations],
        "test_split.csv": [("filename",), *((name,) for name in split)],
        "development_split.csv": [("filename",), ("9.wav",)],
        "metadata.csv": [("filename", "license"), ("1.wav", "CC0")],
    }
    for name, rows in tables.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    write_sound(folder / "audio" / "1.wav", 100.0, 200.0)
    write_sound(folder / "audio" / "2.wav", 300.0)
    return folder


@pytest.mark.parametrize(
    ("first", "second", "margin", "found"),
    [
        ((0, 2), (3, 4), 0.5, "before"),
        ((0, 2), (2.5, 4), 0.5, "before"),
        ((0, 2), (2.4, 4), 0.5, NEAR),
        ((0, 2), (2.4, 4), 0.0, "before"),
        ((0, 2), (1.9, 4), 0.0, PART),
        ((0, 2), (2, 4), 0.5, NEAR),
        ((0, 9), (3, 4), 0.5, "while"),
        ((0, 9), (0, 9), 0.5, "while"),
        ((0, 9), (3, 9.4), 0.5, "while"),
        ((0, 9), (3, 9.6), 0.5, PART),
        ((0, 5), (0.3, 9), 0.5, "while"),  # the first lies within the second, to within the margin
        ((0, 5), (0.3, 9), 0.0, PART),
        ((0, 9), (8.7, 9.3), 0.5, PART),  # together for no longer than the margin
    ],
)
def test_relations_by_hand(first: tuple[float, float], second: tuple[float, float], margin: float, found: str) -> None:
    assert relation(Stretch("a", *first), Stretch("b", *second), margin) == found


def test_without_a_margin_relations_are_those_of_a_timeline() -> None:
    """Whole seconds as sets: apart, one within the other, or neither."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        spans = sorted(tuple(map(int, rng.choice(8, size=2, replace=False).tolist())) for _ in "ab")
        (a, b), (c, d) = sorted(tuple(sorted(span)) for span in spans)
        first, second = set(range(a, b)), set(range(c, d))
        expected = PART
        if not first & second:
            expected = "before"
        elif first <= second or second <= first:
            expected = "while"
        assert relation(Stretch("a", a, b), Stretch("b", c, d), 0.0) == expected


def test_questions_say_before_and_after_in_turns(tmp_path: Path) -> None:
    rows = [
        ("1.wav", "A dog barks.", 0, 1),
        ("1.wav", "Rain falls.", 2, 3),
        ("1.wav", "AC hums", 5, 9),
        ("1.wav", "A door slams.", 6, 7),
        ("9.wav", "Not in the test split.", 0, 1),
        ("9.wav", "Nor is this.", 2, 3),
    ]
    test = read(write(tmp_path, rows))
    asked = {row: [[test.captions[c] for c in q.captions] for q in test.questions if q.row == row] for row in test.rows}
    assert asked["order"][:2] == [
        ["a dog barks before rain falls", "rain falls before a dog barks"],
        ["AC hums after a dog barks", "a dog barks after AC hums"],
    ]
    assert asked["sequence"][1] == [*asked["order"][1], "a dog barks while AC hums"]
    assert asked["overlap"] == [
        ["AC hums while a door slams", "AC hums before a door slams", "a door slams before AC hums"]
    ]
    assert len(asked["order"]) == len(asked["sequence"]) == 5 and test.left_out == {}
    answers = test.answers(np.zeros((1, len(test.captions))))
    assert {row: round(a.chance, 3) for row, a in answers.items()} == {
        "order": 0.5,
        "sequence": 0.333,
        "overlap": 0.333,
    }
    assert set(answers["order"].groups) == {"1.wav"}


def test_what_cannot_be_asked_is_counted(tmp_path: Path) -> None:
    rows = [
        ("1.wav", "a", 0, 1),
        ("1.wav", "b", 5, 8),
        ("1.wav", "c", 7, 10),  # overlaps b in part
        ("1.wav", "d", 10.2, 11),  # nearer than the margin to c
        ("1.wav", "", 0, 1),
        ("1.wav", "?!", 0, 1),
        ("1.wav", "e", "x", 1),
        ("1.wav", "f", 3, 3),
        ("2.wav", "g", 0, 1),
        ("2.wav", "G,", 3, 4),
        ("2.wav", "h", 2, 2.2),  # between two of one text, but for how it is written
    ]
    folder = write(tmp_path, rows, split=("1.wav", "2.wav", "gone.wav", "9.wav", "1.wav"))
    write_sound(folder / "audio" / "9.wav", 100.0)
    test = read(folder)
    assert test.left_out == {
        "captions without words, or without an onset before an offset": 4,
        PART: 1,
        NEAR: 1,
        "pairs with a caption that the recording has twice": 3,
        "recordings whose sound file is not there": 1,
        "recordings of which annotations_strong.csv says nothing": 1,
    }
    assert sum(question.row == "order" for question in test.questions) == 4


def test_a_wider_margin_asks_less(tmp_path: Path) -> None:
    folder = write(tmp_path, [("1.wav", "a", 0, 1), ("1.wav", "b", 2, 3), ("1.wav", "c", 9, 10)])
    n = [sum(question.row == "order" for question in read(folder, margin).questions) for margin in (0.0, 1.0, 1.5)]
    assert n == [3, 3, 2]


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    folder = write(tmp_path, [("1.wav", "a", 0, 1), ("1.wav", "b", 2, 3)])
    for margin in (-1.0, float("nan")):
        with pytest.raises(ConfigError, match="margin must be 0 seconds or more"):
            read(folder, margin)
    (folder / "test_split.csv").unlink()
    with pytest.raises(NotFoundError, match=r"has no test_split\.csv, TACOS's test split"):
        read(folder)
    (folder / "test_split.csv").write_text("file\n1.wav\n")
    with pytest.raises(DataError, match="has no column filename, but file"):
        read(folder)

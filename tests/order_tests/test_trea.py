"""TREA's order.csv made small, with its two spellings of a class, and rows that cannot be asked."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.order_tests import write_sound
from teminal_hf.errors import DataError, NotFoundError
from teminal_hf.order_tests.trea import read, spelt

COLUMNS = ("id", "question", "audio_path", "optionA", "optionB", "optionC", "optionD", "correct")
ROWS = [
    (0, "Which sound event occurs after rooster sound?", "audios/0.wav", "Door, wood creaks", "Mouse click", "airplane",
     "Fireworks", "C"),
    (1, "Which sound event occurs first?", "audios/1.wav", "Drinking, sipping", "Keyboard typing", "Rooster", "cow",
     "D"),
    (2, "Which sound event occurs fourth?", "audios/2.wav", "keyboard_typing", "Crow", "Door knock", "Cow", "A"),
]  # fmt: skip


def write(folder: Path, rows: Sequence[Sequence[object]]) -> Path:
    with (folder / "order.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    for i in range(3):
        write_sound(folder / "audios" / f"{i}.wav", 100.0, 200.0)
    return folder


def test_options_are_put_as_captions_that_answer_the_right_one_first(tmp_path: Path) -> None:
    test = read(write(tmp_path, ROWS))
    assert [[test.captions[c] for c in question.captions] for question in test.questions] == [
        [f"{x} after rooster" for x in ("airplane", "door wood creaks", "mouse click", "fireworks")],
        [f"the first sound is {x}" for x in ("cow", "drinking sipping", "keyboard typing", "rooster")],
        [f"the fourth sound is {x}" for x in ("keyboard typing", "crow", "door wood knock", "cow")],
    ]
    assert [question.row for question in test.questions] == ["after", "place", "place"]
    assert {question.chance for question in test.questions} == {1 / 4} and test.left_out == {}
    assert [path.name for (path,) in test.recordings] == ["0.wav", "1.wav", "2.wav"]


def test_the_spelling_does_not_give_the_answer_away() -> None:
    written = {"Door, wood creaks": "door_wood_creaks", "Insects (flying)": "insects", "Door knock": "door_wood_knock"}
    written |= {"Drinking, sipping": "drinking_sipping", "Can opening": "can_opening", "airplane": "airplane"}
    assert [spelt(option) for option in written] == [spelt(name) for name in written.values()]


def test_letters_beyond_english_tell_options_apart() -> None:
    assert spelt("Hund é") != spelt("Hund ö") and spelt("Hund_é") == spelt("hund É!")


def test_rows_that_cannot_be_asked_are_counted(tmp_path: Path) -> None:
    first = "Which sound event occurs first?"
    odd = [
        (3, first, "audios/gone.wav", "a", "b", "c", "d", "A"),
        (4, first, "audios/0.wav", "drinking_sipping", "Drinking, sipping", "c", "d", "A"),  # as upstream's row 20
        (5, "Which sound is the longest?", "audios/0.wav", "a", "b", "c", "d", "A"),
        (6, first, "audios/0.wav", "a", "b", "c", "d", "E"),
        (7, first, "audios/0.wav", "a", "b", "c", "", "A"),
        (8, first, "audios/0.wav", "a", "b", "c", "d", ""),
        (9, first, "audios/0.wav", "a", "b", "B", "d", "A"),  # two wrong ones alike: three are left
    ]
    test = read(write(tmp_path, [*ROWS, *odd, *ROWS[:1]]))
    assert test.left_out == {
        "questions whose sound file is not there": 1,
        "questions with an option that says the same as the right one": 1,
        "questions that were asked before, word for word": 1,
        "questions of another form, without four options, or whose answer is not one of A to D": 4,
    }
    assert len(test.questions) == 4 and test.questions[-1].chance == 1 / 3


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"has no order\.csv, TREA's questions about order"):
        read(tmp_path)
    (tmp_path / "order.csv").write_text("id,question\n0,what?\n")
    with pytest.raises(DataError, match="has no column audio_path, optionA"):
        read(tmp_path)

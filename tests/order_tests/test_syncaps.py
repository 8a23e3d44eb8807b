"""SynCaps's files made small: reversals, replacements that say the same, clips put together, odd items."""

import json
import re
from pathlib import Path

import pytest

from support.order_tests import ByPitch, write_sound
from teminal_hf.errors import DataError, NotFoundError
from teminal_hf.order_tests.report import results_table
from teminal_hf.order_tests.running import run_order_test
from teminal_hf.order_tests.syncaps import read

TAIL = "pitch_shift_librosa_adjust_volume_librosa_True.wav"
A, B, C = "1-100-A-1", "4-200-B-2", "3-300-A-3"
PITCHES = {A: 100.0, B: 200.0, C: 300.0}
ITEMS = {  # id: its caption, the reversed, the replaced one; `order` in the id is the clip that is heard first
    f"{A}_{B}_future_before_1_12_{TAIL}": ("A before b", "B before a", "A after b"),
    f"{A}_{C}_past_preceded_by_2_21_{TAIL}": ("A preceded by c", "C preceded by a", "A followed by c"),
    f"{B}_{C}_future_then_1_12_{TAIL}": ("B then c", "C then b", "B before c"),  # which still says the same
}
HEARD = [(A, B), (C, A), (B, C)]


def write(folder: Path, items: dict[str, tuple[str, str, str]] = ITEMS, *, made: bool = False) -> Path:
    for i, name in enumerate(("test", "test_reverse", "test_replaced")):
        data = [
            {"caption": texts[i], "id": key, "audio": f"/machine/{key}", "duration": 10.0}
            for key, texts in items.items()
            if texts[i]
        ]
        (folder / f"{name}.json").write_text(json.dumps({"num_captions_per_audio": 1, "data": data}))
    if made:
        for key, clips in zip(ITEMS, HEARD, strict=True):
            write_sound(folder / "joint_audios" / key, *(PITCHES[clip] for clip in clips))
    else:
        for clip, pitch in PITCHES.items():
            write_sound(folder / "audio" / f"{clip}.wav", pitch)
    return folder


def captions() -> dict[str, tuple[float, float]]:
    """What each says, by hand."""
    names = {"a": 100.0, "b": 200.0, "c": 300.0}
    means = {
        "a before b": "ab",
        "b before a": "ba",
        "a after b": "ba",
        "a preceded by c": "ca",
        "c preceded by a": "ac",
    }
    means |= {"a followed by c": "ac", "b then c": "bc", "c then b": "cb", "b before c": "bc"}
    return {text.capitalize(): (names[pair[0]], names[pair[1]]) for text, pair in means.items()}


@pytest.mark.parametrize("made", [True, False])
def test_who_hears_order_finds_captions_and_not_their_reversals(tmp_path: Path, made: bool) -> None:
    test = read(write(tmp_path, made=made))
    assert test.left_out == {"replacements that do not say the opposite": 1}
    rows = {row: (r["accuracy"], r["n"]) for row, r in run_order_test(test, ByPitch(captions())).results.items()}
    assert rows["order"] == (1, 3) and rows["connective"] == (1, 2)
    for side in ("audio to text", "text to audio"):
        assert rows[f"{side} R@1"] == (1, 3) and rows[f"{side} R@1 reversed"] == (0, 3)
        assert rows[f"{side} R@1 replaced"][0] == pytest.approx(1 / 3)  # the one that says the same
        assert rows[f"reversal gap, {side}"] == (1, 3)


def test_who_hears_no_order_has_no_gap(tmp_path: Path) -> None:
    test = read(write(tmp_path))
    report = run_order_test(test, ByPitch(captions(), deaf=True))
    rows = report.results
    assert rows["order"]["accuracy"] == rows["connective"]["accuracy"] == 0  # ties
    assert rows["audio to text R@1"]["accuracy"] == rows["audio to text R@1 reversed"]["accuracy"] == 1
    assert rows["reversal gap, audio to text"]["accuracy"] == 0
    text = results_table(test, report).markdown()
    assert "| reversal gap, audio to text |  | 3 | +0.0 [+0.0, +0.0] |" in text
    assert "3 recordings were put together here from ESC-50's clips" in text


def test_clips_are_heard_in_the_order_that_the_id_gives(tmp_path: Path) -> None:
    test = read(write(tmp_path))
    assert [tuple(path.stem for path in recording) for recording in test.recordings] == HEARD
    made = read(write(tmp_path, made=True))
    assert [path.name for (path,) in made.recordings] == list(ITEMS)
    assert [question.group for question in made.questions] == [question.group for question in test.questions]


@pytest.mark.parametrize(
    ("key", "caption", "heard"),
    [  # of the published test.json
        ("1-39937-A-28_4-205526-B-23_past_preceded_by_1_21_pitch_shift_librosa_adjust_volume_librosa_True.wav",
         "Person breathing preceded by person snoring", ("1-39937-A-28", "4-205526-B-23")),
        ("3-151255-A-28_1-88409-B-45_past_after_2_21_return_identical_adjust_volume_librosa_False.wav",
         "Person snoring after train passing by", ("1-88409-B-45", "3-151255-A-28")),
        ("3-124958-A-28_2-110011-A-5_future_followed_by_2_12_time_stretch_librosa_return_identical_False.wav",
         "Cat meowing followed by person snoring", ("2-110011-A-5", "3-124958-A-28")),
    ],
)  # fmt: skip
def test_published_ids_and_captions_agree(tmp_path: Path, key: str, caption: str, heard: tuple[str, str]) -> None:
    """Classes 28, 23, 45 and 5 of ESC-50 are snoring, breathing, train and cat."""
    x, y = re.split(" preceded by | after | followed by ", caption)
    connective = caption.removeprefix(x).removesuffix(y)
    other = {" followed by ": " preceded by ", " preceded by ": " followed by ", " after ": " before "}[connective]
    folder = write(tmp_path, {key: (caption, f"{y.capitalize()}{connective}{x.lower()}", f"{x}{other}{y}")})
    for clip in heard:
        write_sound(folder / "audio" / f"{clip}.wav", 100.0)
    test = read(folder)
    assert [path.stem for path in test.recordings[0]] == list(heard) and test.left_out == {}
    first, second = (y, x) if connective in (" preceded by ", " after ") else (x, y)
    names = {"28": "person snoring", "23": "person breathing", "45": "train passing by", "5": "cat meowing"}
    assert [names[clip.rpartition("-")[2]] for clip in heard] == [first.lower(), second.lower()]


def test_items_that_lack_something_are_counted(tmp_path: Path) -> None:
    odd = {
        f"{A}_9-999-A-9_future_before_1_12_{TAIL}": ("A before z", "Z before a", "A after z"),
        "no id.wav": ("A before b", "B before a", "A after b"),
        f"{B}_{A}_future_before_1_12_{TAIL}": ("B and a", "A and b", "B or a"),
        f"{B}_{A}_future_then_1_12_{TAIL}": ("B then a", "B then a", "B before a"),
        f"{C}_{A}_future_then_1_12_{TAIL}": ("C then a", "", "C before a"),
        f"{C}_{B}_future_then_1_12_{TAIL}": ("C then b", "B then c", ""),
    }
    test = read(write(tmp_path, ITEMS | odd))
    assert test.left_out == {
        "replacements that do not say the opposite": 1,
        "items whose sound file is not there": 2,
        "items whose caption has no connective, no reversal or no replacement": 4,
    }
    assert len(test.recordings) == 3


def test_errors_name_the_file(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "test_reverse.json").unlink()
    with pytest.raises(NotFoundError, match=r"has no test_reverse\.json, SynCaps's other captions"):
        read(folder)
    (folder / "test_reverse.json").write_text('{"data": [{"caption": 3}]}')
    with pytest.raises(DataError, match=r"test_reverse\.json .*caption is int 3"):
        read(folder)
    twice = json.loads((folder / "test.json").read_text())
    (folder / "test_reverse.json").write_text(json.dumps({"data": twice["data"] * 2}))
    with pytest.raises(DataError, match="has 6 items, but 3 different ids"):
        read(folder)

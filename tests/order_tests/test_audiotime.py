"""AudioTime's JSON made small: labels, orders, captions in a list, recordings that cannot be asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.order_tests import ByPitch, write_sound
from teminal_hf.errors import DataError, NotFoundError
from teminal_hf.order_tests.audiotime import read
from teminal_hf.order_tests.running import run_order_test

ITEMS = {
    "syn_1": {
        "event": {"Buzzer": [[0.871, 1.637]], "Busy signal": [[4.32, 5.297], [5.654, 6.631]]},
        "caption": "A buzzer sounds, followed by a busy signal repeating twice.",
    },
    "syn_2": {  # the later event first, and a caption as the training part has it
        "event": {"Medium engine (mid frequency)": [[6.41, 10.0]], "Baby cry, infant cry": [[1.8, 4.7]]},
        "caption": ["A baby cries, then an engine runs.", "Yes."],
    },
}


def write(folder: Path, items: dict[str, Any] = ITEMS, name: str = "test500_ordering_captions.json") -> Path:
    (folder / name).write_text(json.dumps(items))
    write_sound(folder / "audio" / "syn_1.wav", 100.0, 200.0)
    write_sound(folder / "audio" / "syn_2.wav", 300.0, 400.0)
    return folder


@pytest.mark.parametrize("name", ["ordering_caption.json", "ordering_captions.json", "test500_ordering_captions.json"])
def test_labels_in_both_orders_and_the_written_captions(tmp_path: Path, name: str) -> None:
    test = read(write(tmp_path, name=name))
    assert [[test.captions[c] for c in question.captions] for question in test.questions] == [
        ["buzzer before busy signal", "busy signal before buzzer"],
        ["medium engine after baby cry", "baby cry after medium engine"],
    ]
    captions = {
        "buzzer before busy signal": (100.0, 200.0),
        "busy signal before buzzer": (200.0, 100.0),
        "medium engine after baby cry": (300.0, 400.0),
        "baby cry after medium engine": (400.0, 300.0),
        ITEMS["syn_1"]["caption"]: (100.0, 200.0),
        ITEMS["syn_2"]["caption"][0]: (300.0, 400.0),
    }
    results = run_order_test(test, ByPitch(captions)).results  # type: ignore[arg-type]
    assert {row: (r["accuracy"], r["chance"], r["n"]) for row, r in results.items()} == {
        row: (1, 1 / 2, 2) for row in ("order", "audio to text R@1", "text to audio R@1")
    }


def test_recordings_that_cannot_be_asked_are_counted(tmp_path: Path) -> None:
    def events(**spans: list[list[float]]) -> dict[str, Any]:
        return {"event": spans, "caption": "Something is heard."}

    odd = {
        "gone": events(a=[[0, 1]], b=[[2, 3]]),
        "one": events(a=[[0, 1]]),
        "three": events(a=[[0, 1]], b=[[2, 3]], c=[[4, 5]]),
        "turns": events(a=[[0, 1], [4, 5]], b=[[2, 3]]),
        "overlap": events(a=[[0, 2]], b=[[1, 3]]),
        "odd": events(a=[[0, 1, 2]], b=[[3, 4]]),
        "empty": events(a=[], b=[[3, 4]]),
        "back": events(a=[[2, 1]], b=[[3, 4]]),
        "silence": events(Silence=[[0, 1]], b=[[2, 3]]),
        "wordless": events(a=[[0, 1]], b=[[2, 3]]) | {"caption": []},
    }
    for name in set(odd) - {"gone"}:
        write_sound(tmp_path / "audio" / f"{name}.wav", 500.0)
    test = read(write(tmp_path, ITEMS | odd))
    assert test.left_out == {
        "recordings whose sound file is not there": 1,
        "recordings of other than two events, one after the other": 7,
        "recordings with silence as an event, or without a caption": 2,
    }
    assert len(test.questions) == len(test.recordings) == 2


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"has no \*ordering_caption\*\.json"):
        read(tmp_path)
    folder = write(tmp_path, {"syn_1": {"caption": "No event."}})
    with pytest.raises(DataError, match="it lacks 'event'"):
        read(folder)
    write(folder, {"gone": ITEMS["syn_1"]})
    with pytest.raises(DataError, match=r"left out: recordings whose sound file is not there \(1\)"):
        read(folder)

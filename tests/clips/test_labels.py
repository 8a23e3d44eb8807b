"""What is a class: cells that are names, and those that are none."""

import logging
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, List

from support.clips import tone
from teminal_hf.clips.labels import class_labels
from teminal_hf.clips.sources import from_dataset
from teminal_hf.data.groups import plan
from teminal_hf.errors import DataError

NAMES = ClassLabel(names=["Dog", "Rain", "Water"])


@pytest.mark.parametrize(
    "empty", [None, "", "  ", "-", "?", "nan", "None", "n/a", "#N/A", "#REF!", "\\N", float("nan"), "\ufeff", []]
)
def test_unlabelled_rows_are_left_out_with_a_count(empty: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert class_labels(["Dog", empty, "Rain", empty], "here") == ["Dog", None, "Rain", None]
    assert [r.getMessage() for r in caplog.records] == ["here: 2 of 4 rows have no label and are left out"]


def test_class_labels_of_minus_one_are_unlabelled() -> None:
    assert class_labels([0, -1, 2, None], "here", NAMES) == ["Dog", None, "Water", None]
    with pytest.raises(DataError, match="here, row 1: label 3 is none of the 3 classes"):
        class_labels([0, 3], "here", NAMES)


@pytest.mark.parametrize("number", [2, 2.0, True, "2", " 17", "3.5", np.int64(4), [0, 1, 0]])
def test_numbers_need_names(number: Any) -> None:
    with pytest.raises(DataError, match=r"here, row 1: the label .* is a number.*ClassLabel\(names=.*--label_column"):
        class_labels(["Dog", number], "here")
    with pytest.raises(DataError, match="is a number"):  # what ClassLabel(num_classes=3) calls its classes
        class_labels([0, 1], "here", ClassLabel(num_classes=3))


@pytest.mark.parametrize("label", ["True", "false", "1e3", "class_2", "Label 3", "/m/09x0r"])
def test_what_tells_classes_apart_and_is_no_name(label: str) -> None:
    with pytest.raises(
        DataError, match=r"here, row 1: the label .* is (a truth value|a number|an id of AudioSet's), and"
    ):
        class_labels(["Dog", label], "here")


@pytest.mark.parametrize("other", [{"name": "Dog"}, b"Dog", object()])
def test_what_is_no_name_at_all(other: Any) -> None:
    with pytest.raises(DataError, match=rf"row 0: a label is the name of a class, found a {type(other).__name__}"):
        class_labels([other, "Rain"], "here")


def test_what_is_spoken_alike_is_one_class(caplog: pytest.LogCaptureFixture) -> None:
    cells = ["dog", "dog ", "Dog", "door_knock", "Door  Knock", "caf\u00e9", "cafe\u0301", "dog\u200b", "wind"]
    labels = class_labels(cells, "here")
    assert labels == ["dog", "dog", "dog", "door_knock", "door_knock", "caf\u00e9", "caf\u00e9", "dog", "wind"]
    assert "here: names that are spoken alike are one class: 'Dog' = 'dog'" in caplog.text
    assert class_labels(["Dog", "dog", "Dog"], "here") == ["Dog"] * 3  # the commonest form
    assert class_labels(["'dog'", "dog", "dog."], "here") == ["dog"] * 3
    assert len(set(class_labels(["air-conditioner", "air_conditioner", "Air conditioner"], "here"))) == 1
    assert class_labels(["C", "C#"], "here") == ["C", "C#"]  # notes are told apart


SEVERAL: list[tuple[list[Any], Any, list[str | None]]] = [
    ([["Rain"], ["Rain", "Water"], [], ["Dog"]], None, ["Rain", None, None, "Dog"]),
    ([[1], [1, 2], [], [0]], List(NAMES), ["Rain", None, None, "Dog"]),
    (["Rain", "Rain,Water", "", "Dog"], None, ["Rain", None, None, "Dog"]),
    (["Rain", "Rain, Water", None, "Dog"], None, ["Rain", None, None, "Dog"]),
    (["Rain", "Wind;Water", "", "Dog"], None, ["Rain", None, None, "Dog"]),
    (["Rain", "Wind|Water", "", "Dog"], None, ["Rain", None, None, "Dog"]),
    (["['Rain']", "['Rain', 'Water']", "[]", "Dog"], None, ["Rain", None, None, "Dog"]),
    (["Rain", ("Rain", "Dog"), [], "Dog"], None, ["Rain", None, None, "Dog"]),
    (["Rain", "Water / Rain", "", "Dog"], None, ["Rain", None, None, "Dog"]),
    ([["rain", "Rain "], ["Rain", "Dog"], [None], ["Dog"]], None, ["Rain", None, None, "Dog"]),
]


@pytest.mark.parametrize(("cells", "feature", "labels"), SEVERAL)
def test_rows_with_several_labels_are_left_out_with_a_count(
    cells: list[Any], feature: Any, labels: list[str | None], caplog: pytest.LogCaptureFixture
) -> None:
    assert [label and label.title() for label in class_labels(cells, "here", feature)] == labels
    assert "here: 1 of 4 rows have several labels and are left out (row 1:" in caplog.text
    assert "here: 1 of 4 rows have no label" in caplog.text


def test_no_row_with_one_label() -> None:
    with pytest.raises(DataError, match=r"no row with exactly one label \(2 hold several, row 0:.*dataset.filter"):
        class_labels([["Rain", "Water"], ["Rain", "Dog"]], "here")
    with pytest.raises(DataError, match=r"no row with exactly one label \(all are empty\)"):
        class_labels([None, ""], "here")


def test_names_with_commas_stay_whole() -> None:
    cells = [
        "Child speech, kid speaking",
        "Inside, small room",
        "Inside, large room or hall",
        "Walk, footsteps",
        "AC/DC",
    ]
    assert class_labels(cells, "here") == cells


@pytest.mark.parametrize("feature", [None, NAMES, List(NAMES)])
def test_no_caption_speaks_of_a_class_that_is_none(feature: Any) -> None:
    """Every class of the groups is one that was named, whatever else is in the column."""
    cells: list[Any] = ["Dog", "dog ", None, "Rain", "Water", "Rain,Water", ""] * 4
    if feature is NAMES:
        cells = [0, -1, 1, None, 2, 1, 0] * 4
    elif feature is not None:
        cells = [[0], [], [1], [1, 2], [2], [0, 1], None] * 4
    audio = [{"array": tone(200 + i, 0.2, 8_000), "sampling_rate": 8_000} for i in range(28)]
    data = Dataset.from_dict({"audio": audio, "category": cells, "fold": [1, 2] * 14})
    clips = from_dataset(data if feature is None else data.cast_column("category", feature))
    assert {label.lower() for label in clips.classes} == {"dog", "rain", "water"}
    said = {row["forward_caption"] for row in plan("stage_b", clips, 60, 0)}
    assert all(a != b for a, b in (caption.lower().replace("after", "before").split(" before ") for caption in said))
    truth = [i for i, c in enumerate(cells) if c in ("Dog", "dog ", "Rain", "Water", 0, 1, 2, [0], [1], [2])]
    assert [int(clip_id) for clip_id in clips.ids] == truth
    for clip_id in clips.ids:  # a clip keeps its own sound
        samples = clips.waveform(clip_id, 8_000, trim=False)
        np.testing.assert_allclose(samples, tone(200 + int(clip_id), 0.2, 8_000), atol=1e-4)


def test_the_count_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        class_labels(["Dog", "Rain", *[None] * 50], "here")
    assert len(caplog.records) == 1

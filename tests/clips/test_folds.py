"""Folds that a data set brings along, and those that are made."""

import logging
from collections import defaultdict

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from support.clips import tone
from teminal_hf.clips.folds import split_folds
from teminal_hf.clips.sources import from_dataset
from teminal_hf.errors import DataError

RATE = 8_000


def part(n: int, **columns: list) -> Dataset:
    """`n` clips of three classes by turns."""
    audio = [{"array": tone(200 + i, 0.1, RATE), "sampling_rate": RATE} for i in range(n)]
    return Dataset.from_dict({"audio": audio, "category": [("dog", "cat", "cow")[i % 3] for i in range(n)]} | columns)


def origin(sizes: dict[str, int]) -> dict[int, str]:
    """Which split each clip of a data set with splits of these sizes comes from."""
    names = [name for name, n in sizes.items() for _ in range(n)]
    return dict(enumerate(names))


THREE = {"train": "train", "validation": "validation", "test": "test"}


@pytest.mark.parametrize(
    "roles",
    [
        THREE,
        {"test": "test", "valid": "validation", "train": "train"},
        {"dev": "train", "eval": "test", "val": "validation"},
        {"development": "train", "validation": "validation", "evaluation": "test"},
        {"train.clean.100": "train", "validation.clean": "validation", "test.clean": "test", "test.other": "test"},
        {"train": "train", "test": "test"},
        {"train": "train", "validation": "validation"},
        {"train_1": "train", "dev": "validation"},
    ],
    ids=lambda roles: " ".join(roles),
)
def test_a_data_sets_own_splits_are_its_folds(roles: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        clips = from_dataset(DatasetDict({name: part(30) for name in roles}))
    where = origin(dict.fromkeys(roles, 30))
    split_of = {fold: split for split, folds in split_folds(clips).items() for fold in folds}
    assert set(split_of.values()) == set(THREE)
    held_out = set(THREE) - set(roles.values())
    for clip_id, fold in zip(clips.ids, clips.folds, strict=True):
        official, given = roles[where[int(clip_id)]], split_of[fold]
        assert given == official or (official == "train" and given in held_out)
    for split in held_out:
        kept = [label for label, fold in zip(clips.labels, clips.folds, strict=True) if split_of[fold] == split]
        assert {label: kept.count(label) for label in kept} == {"dog": 2, "cat": 2, "cow": 2}
    said = [record.getMessage() for record in caplog.records if "splits are its folds" in record.getMessage()]
    assert len(said) == 1 and all(f"{name} = fold" in said[0] for name in roles)
    assert ("kept apart" in said[0]) == bool(held_out)


def test_what_is_held_out_of_train_is_of_other_recordings() -> None:
    recordings = [f"r{i // 6}" for i in range(60)]
    clips = from_dataset(DatasetDict(train=part(60, src_file=recordings), test=part(9, src_file=["t"] * 9)))
    folds = defaultdict(set)
    for recording, fold in zip(recordings, clips.folds, strict=False):
        folds[recording].add(fold)
    assert all(len(found) == 1 for found in folds.values()) and {2} in folds.values()


def test_splits_by_number_and_by_names_unknown() -> None:
    clips = from_dataset(DatasetDict({f"fold{i}": part(6) for i in (3, 1, 2)}))
    assert clips.folds == (3,) * 6 + (1,) * 6 + (2,) * 6
    with pytest.raises(
        DataError, match=r"not known as train, validation or test: train, extra\. Rename .*--fold_column"
    ):
        from_dataset(DatasetDict(train=part(6), extra=part(6)))


def test_a_fold_column_is_above_the_splits(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        clips = from_dataset(DatasetDict(train=part(6, fold=[1, 2] * 3), test=part(6, fold=[3, 4] * 3)))
    assert clips.folds == (1, 2) * 3 + (3, 4) * 3
    assert "folds are those of column 'fold', not the data set's own splits" in caplog.text
    named = from_dataset(part(6, split=["train", "test", "dev"] * 2), fold_column="split")
    assert named.folds == (1, 3, 2) * 2


def test_a_column_of_another_letter_case_tells_folds_and_splits_too() -> None:
    """A spreadsheet's: dealt anew, its test rows would be trained on."""
    assert from_dataset(part(6, Fold=[1, 2] * 3)).folds == (1, 2) * 3
    assert from_dataset(part(6, Fold=[1, 2] * 3, fold=[2, 3] * 3)).folds == (2, 3) * 3
    assert from_dataset(part(6, Split=["train", "test", "dev"] * 2)).folds == (1, 3, 2) * 2
    clips = from_dataset(part(60, SRC_FILE=[f"r{i // 6}" for i in range(60)]))
    assert all(len(set(clips.folds[i : i + 6])) == 1 for i in range(0, 60, 6))


@pytest.mark.parametrize(
    "folds",
    [
        [1.0, 2.0, 1.5],
        [False, False, True],
        ["train", "test", ""],
        [1, 2, None],
        [1.0, 2.0, float("nan")],
        ["1", "2", "one"],
        ["1", "2", ""],
        [[1], [2], [1, 2]],
    ],
)
def test_folds_that_are_no_numbers(folds: list) -> None:
    row = 0 if isinstance(folds[0], list | bool) else 2
    with pytest.raises(DataError, match=f"column 'fold', row {row}: a fold must be a whole number, found"):
        from_dataset(part(3, fold=folds))


@pytest.mark.parametrize("column", ["split", "subset"])
def test_splits_that_are_a_column_are_folds(column: str, caplog: pytest.LogCaptureFixture) -> None:
    names = ["train", "train", "train", "validation", "test"] * 6
    with caplog.at_level(logging.INFO):
        clips = from_dataset(part(30, **{column: names}))
    split_of = {fold: split for split, folds in split_folds(clips).items() for fold in folds}
    assert [split_of[fold] for fold in clips.folds] == names and "own splits are its folds" in caplog.text
    words = from_dataset(part(30, **{column: ["easy", "hard"] * 15}))  # no names of splits
    assert set(split_folds(words)) == set(THREE) and len(set(words.folds)) == 5


def test_a_split_without_labels_is_no_fold(caplog: pytest.LogCaptureFixture) -> None:
    names = ClassLabel(names=["cat", "cow", "dog"])
    hidden = part(6).remove_columns("category").add_column("category", [-1] * 6).cast_column("category", names)
    clips = from_dataset(DatasetDict(train=part(30).cast_column("category", names), test=hidden))
    assert len(clips) == 30 and "6 of 36 rows have no label" in caplog.text
    assert set(split_folds(clips)) == set(THREE)  # dealt, as for one split


def test_splits_of_other_columns() -> None:
    more = part(6, note=["x"] * 6)
    assert len(from_dataset(DatasetDict(train=part(6), test=more))) == 12
    wrong = part(6).cast_column("category", ClassLabel(names=["cat", "cow", "dog"]))
    with pytest.raises(DataError, match=r"the splits train, test are not of the same columns and types .*dataset.cast"):
        from_dataset(DatasetDict(train=part(6), test=wrong))


@pytest.mark.parametrize("column", ["src_file", "fsID", "freesound_id", "mine"])
def test_clips_of_one_recording_stay_together(column: str, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    recordings = rng.integers(0, 20, 90).tolist()
    data = part(90, **{column: recordings})
    clips = from_dataset(data, group_column="mine" if column == "mine" else None)
    folds = defaultdict(set)
    for recording, fold in zip(recordings, clips.folds, strict=True):
        folds[recording].add(fold)
    assert all(len(found) == 1 for found in folds.values())
    assert set(clips.folds) == {1, 2, 3, 4, 5}
    assert f"in blocks; rows of one {column} stay together" in caplog.text
    assert clips.folds == from_dataset(data, group_column="mine" if column == "mine" else None).folds


def test_recordings_in_several_folds_are_said(caplog: pytest.LogCaptureFixture) -> None:
    from_dataset(part(6, fold=[1, 2, 1, 2, 3, 3], src_file=["a", "a", "b", "c", "c", "d"]))
    assert "clips of one src_file are in several folds, 2 times" in caplog.text
    caplog.clear()
    from_dataset(DatasetDict(train=part(30, mine=[0] * 30), test=part(3, mine=[0] * 3)), group_column="mine")
    assert "clips of one mine are in several folds" in caplog.text
    caplog.clear()
    from_dataset(part(6, fold=[1, 2, 1, 2, 3, 3], src_file=["a", "b", "a", "b", "c", "d"]))
    assert not caplog.records


def test_recordings_that_are_not_named_are_recordings_of_their_own() -> None:
    clips = from_dataset(part(30, src_file=[None] * 29 + ["a"]))
    assert sorted(set(clips.folds)) == [1, 2, 3, 4, 5]


def test_blocks_are_dealt_not_turns() -> None:
    clips = from_dataset(part(75))
    for label in clips.classes:
        folds = [fold for fold, name in zip(clips.folds, clips.labels, strict=True) if name == label]
        assert folds == sorted(folds) and [folds.count(fold) for fold in range(1, 6)] == [5] * 5


def test_columns_that_are_asked_for_must_be_there() -> None:
    for flag in ("group_column", "fold_column", "label_column", "audio_column"):
        with pytest.raises(DataError, match=rf"no column mine; present: audio, category\. Name yours by --{flag}$"):
            from_dataset(part(6), **{flag: "mine"})

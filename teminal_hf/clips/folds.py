"""Folds: which clips train, validate and test."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from teminal_hf.clips.table import ClipTable
from teminal_hf.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

N_FOLDS = 5  # given to data sets that come without folds
TRAIN, VALIDATION, TEST = 1, 2, 3  # the splits of a data set, as folds: the order in which `split_folds` takes them

_SPLIT_WORDS = {"train": TRAIN, "training": TRAIN, "development": TRAIN}
_SPLIT_WORDS |= dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION)
_SPLIT_WORDS |= dict.fromkeys(("test", "testing", "eval", "evaluation", "holdout", "heldout"), TEST)


def split_folds(
    clips: ClipTable,
    train: tuple[int, ...] | None = None,
    validation: tuple[int, ...] | None = None,
    test: tuple[int, ...] | None = None,
) -> dict[str, tuple[int, ...]]:
    """Folds of each split: what is given; else test = the last fold not named, validation the last but one, train the
    rest; of two folds none is left for validation.

    Raises:
        ValueError: a fold in two splits, no train fold left, or folds that do not exist.
    """
    present = sorted(set(clips.folds))
    if test is None:
        test = tuple(f for f in present if f not in {*(train or ()), *(validation or ())})[-1:]
    if validation is None and train is None and len(set(present) - {*test}) == 1:
        validation = ()  # the one that is left is trained on
    if validation is None:
        validation = tuple(f for f in present if f not in {*test, *(train or ())})[-1:]
    if train is None:
        train = tuple(f for f in present if f not in {*test, *validation})
    chosen = {"train": tuple(train), "validation": tuple(validation), "test": tuple(test)}
    used = [fold for folds in chosen.values() for fold in folds]
    twice = sorted({fold for fold in used if used.count(fold) > 1})
    if twice:
        raise ConfigError(
            f"fold(s) {twice} are in two splits: {chosen}; clips of one recording share a fold, keep them apart"
        )
    missing = sorted(set(used) - set(present))
    if missing:
        raise DataError(f"no clips in fold(s) {missing}; the source has folds {present}")
    if not train:
        fix = "name fewer of them"
        if len(present) == 1:
            fix = "name a column of several folds by --fold_column (in a YAML file, null deals new ones)"
        raise DataError(
            f"no train fold left: the source has folds {present}, validation takes {list(validation)}, "
            f"test {list(test)}; {fix}"
        )
    return {name: folds for name, folds in chosen.items() if folds}


def fold_numbers(values: Iterable[Any], where: str, at: Callable[[int], str] = "row {}".format) -> list[int]:
    """Folds as whole numbers; `where` they stand, and `at` which row, is for the message. Names of splits, if there are
    several, are numbers too."""
    values = list(values)
    for row, value in enumerate(values):
        if value in (None, ""):
            _fold_number(value, f"{where}, {at(row)}")  # not what stands beside it, which may be the name of a split
    words = set(values) if all(isinstance(value, str) for value in values) else set()
    if len(words) > 1 and (numbers := _split_numbers(words)) is not None:
        return [numbers[value] for value in values]
    return [_fold_number(value, f"{where}, {at(row)}") for row, value in enumerate(values)]


def _fold_number(value: Any, where: str) -> int:
    try:
        number = float(value)
        if number.is_integer() and not isinstance(value, bool):
            return int(number)
    except (TypeError, ValueError):
        pass
    raise DataError(f"{where}: a fold must be a whole number, found {value!r}")


def folds_of_splits(splits: Sequence[str], labels: Sequence[str], recordings: Sequence[Hashable]) -> list[int]:
    """The splits that a data set comes with, as folds that `split_folds` takes for train, validation and test.

    A validation or test split that it lacks is held out of its train split: the last fifth of each class's recordings.
    One log line says what was done.

    Args:
        splits: of each clip, several in all.
        labels: of each clip.
        recordings: of each clip, what it was cut from; clips of one recording stay together.

    Raises:
        DataError: a split that is neither of the three, by its name.
    """
    names = list(dict.fromkeys(splits))
    numbers = _split_numbers(names)
    if numbers is None:
        raise DataError(
            f"the data set has splits that are not known as train, validation or test: {', '.join(names)}. Rename "
            "them, or say by a column of numbers which clips belong together (--fold_column)"
        )
    folds = [numbers[split] for split in splits]
    made = ", ".join(f"{name} = fold {numbers[name]}" for name in names)
    lacking = [fold for fold in (VALIDATION, TEST) if fold not in folds]
    if set(folds) == {TRAIN}:
        return dealt_folds(labels, recordings)
    if not lacking or TRAIN not in folds or set(folds) - {TRAIN, VALIDATION, TEST}:
        logger.info("the data set's own splits are its folds: %s", made)
        return folds
    train = [row for row, fold in enumerate(folds) if fold == TRAIN]
    blocks, classes = _blocks([labels[row] for row in train], [recordings[row] for row in train])
    last: dict[str, int] = {}
    for block, label in zip(blocks, classes, strict=True):
        last[label] = max(block, last.get(label, 0))
    held_out = [row for row, b, label in zip(train, blocks, classes, strict=True) if b == last[label] > 0]
    for row in held_out:
        folds[row] = lacking[0]
    logger.warning(
        "the data set's own splits are its folds: %s; it has none for %s: %d of %d clips of train are kept apart for "
        "it, as fold %d",
        made,
        "test" if lacking[0] == TEST else "validation",
        len(held_out),
        len(train),
        lacking[0],
    )
    return folds


def dealt_folds(labels: Sequence[str], recordings: Sequence[Hashable]) -> list[int]:
    """Five folds for clips that come with none: of each class the recordings, in their order, in blocks."""
    return [block + 1 for block in _blocks(labels, recordings)[0]]


def _blocks(labels: Sequence[str], recordings: Sequence[Hashable]) -> tuple[list[int], list[str]]:
    """For each clip the block, from 0 on, of its recording among those of its class, and that class: the one of the
    recording's first clip, whatever else is in it. Blocks hold about equally many clips."""
    sizes = Counter(recordings)
    classes: dict[Hashable, str] = {}
    for recording, label in zip(recordings, labels, strict=True):
        classes.setdefault(recording, label)
    totals: Counter[str] = Counter()
    for recording, label in classes.items():
        totals[label] += sizes[recording]
    before: Counter[str] = Counter()
    blocks: dict[Hashable, int] = {}
    for recording, label in classes.items():
        blocks[recording] = before[label] * N_FOLDS // totals[label]
        before[label] += sizes[recording]
    return [blocks[recording] for recording in recordings], [classes[recording] for recording in recordings]


def splits_of(cells: Sequence[Any]) -> list[str] | None:
    """The cells of a column if they are names of train, validation and test splits, at least two of them."""
    are_names = all(isinstance(cell, str) and is_split(cell) for cell in cells)
    return list(cells) if are_names and len(set(cells)) > 1 else None


def not_trained_on(splits: Iterable[str]) -> list[str]:
    """Those of the names of splits that are for validation or test, sorted."""
    return sorted(name for name, fold in (_split_numbers(set(splits)) or {}).items() if fold != TRAIN)


def is_split(name: str) -> bool:
    """Whether train, validation and test splits are named so."""
    return _first_word(name) in _SPLIT_WORDS


def _first_word(name: str) -> str:
    return re.split(r"[^a-z]+", name.lower())[0]


def _split_numbers(names: Iterable[str]) -> dict[str, int] | None:
    """The fold of each split by its name: what it is called ("train", "validation.clean"), or its number ("fold3")."""
    names = list(names)
    words = {name: _first_word(name) for name in names}
    numbers = {name: re.fullmatch(r"(?:fold|split|part)?[ _-]?(\d+)", name.lower()) for name in names}
    if all(numbers.values()):
        return {name: int(match[1]) for name, match in numbers.items() if match}
    if not all(word in _SPLIT_WORDS for word in words.values()):
        return None
    found = {name: _SPLIT_WORDS[word] for name, word in words.items()}
    if TRAIN not in found.values():  # "dev" beside "eval" is what others call train
        found |= {name: TRAIN for name, word in words.items() if word == "dev"}
    return found

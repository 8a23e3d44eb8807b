"""Folds: which clips train, validate and test."""

from collections.abc import Iterable
from typing import Any

from teminal_hf.clips.table import ClipTable
from teminal_hf.errors import ConfigError, DataError


def split_folds(
    clips: ClipTable,
    train: tuple[int, ...] | None = None,
    validation: tuple[int, ...] | None = None,
    test: tuple[int, ...] | None = None,
) -> dict[str, tuple[int, ...]]:
    """Folds of each split: what is given; else test = the last fold not named, validation the last but one, train the
    rest.

    Raises:
        ValueError: a fold in two splits, no train fold left, or folds that do not exist.
    """
    present = sorted(set(clips.folds))
    if test is None:
        test = tuple(f for f in present if f not in {*(train or ()), *(validation or ())})[-1:]
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
        raise DataError(
            f"no train fold left: the source has folds {present}, validation takes {list(validation)}, "
            f"test {list(test)}; name fewer of them"
        )
    return {name: folds for name, folds in chosen.items() if folds}


def fold_numbers(values: Iterable[Any], where: str) -> list[int]:
    """Folds as whole numbers; `where` they stand is for the message."""
    try:
        return [int(value) for value in values]
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: a fold must be a whole number ({error})") from error

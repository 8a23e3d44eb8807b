"""Class labels: cells checked where they enter, and one class for what is spoken alike."""

import logging
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from datasets import ClassLabel

from teminal_hf.errors import DataError

logger = logging.getLogger(__name__)

# As they are exported where a cell is empty; of spreadsheets also what stands for a formula that failed.
UNLABELLED = {"none", "nan", "nat", "null", "nil", "n/a", "n.a.", "na", "<na>", "<null>", "\\n", "undefined"}
UNLABELLED |= {"#n/a", "#ref!", "#value!", "#name?", "#div/0!", "#null!", "#num!"}
_NO_NAMES = {  # what tells classes apart, and is nothing to say
    "a truth value": re.compile(r"true|false"),
    "a number": re.compile(r"[+-]?\d+(\.\d*)?e[+-]?\d+|(class|label|category)[ _-]*\d+"),
    "an id of AudioSet's": re.compile(r"/[mtg]/\w+"),
}
_SEPARATOR = re.compile(r"[,;|/+&]")
_LIST_IN_A_CELL = re.compile(r"[;|]|,(?=[^\s\d])")  # no name is written so; "Child speech, kid speaking" is one
_HYPHEN = re.compile(r"[-\u2010-\u2015]")
_AROUND = " .,;:!?'\"`\u00b4\u2018\u2019\u201c\u201d"  # punctuation, which nobody says
_WRITTEN_LIST = re.compile(r"[\[({](.*)[\])}]", re.DOTALL)
_ONE_LABEL = "give each row one label (dataset.filter keeps those that have one), or name another column"


def spoken(label: str) -> str:
    """A class name as words: `door_wood_knock` -> "door wood knock"."""
    return " ".join(label.replace("_", " ").split())


def class_labels(
    cells: Sequence[Any], where: str, feature: Any = None, at: Callable[[int], str] = "row {}".format
) -> list[str | None]:
    """The class of each cell, None for rows to leave out: those without a label and those with several are counted in
    a warning each.

    Names that are spoken alike (letter case, spaces, underscores, hyphens and marks around them apart) are one class,
    under the commonest of them.

    Args:
        cells: None, a name, a number of a `ClassLabel`, or a list of them.
        where: the column, for the messages.
        feature: of the column, if it is one of a `datasets` data set.
        at: row number -> where a person finds it.

    Raises:
        DataError: numbers without names, cells that are no names at all, or no row with exactly one label.
    """

    def names(row: int) -> list[str]:
        try:
            found = _names(cells[row], feature)
        except DataError as error:
            raise DataError(f"{where}, {at(row)}: {error}") from error
        return list({_key(name): name for name in found}.values())

    labels = _split_lists([names(row) for row in range(len(cells))])
    several = [row for row, found in enumerate(labels) if len(found) > 1]
    if cells and not any(len(found) == 1 for found in labels):
        found = f"{len(several)} hold several, {at(several[0])}: {labels[several[0]]}" if several else "all are empty"
        raise DataError(f"{where} has no row with exactly one label ({found}); {_ONE_LABEL}")
    if unlabelled := sum(not found for found in labels):
        logger.warning("%s: %d of %d rows have no label and are left out", where, unlabelled, len(labels))
    if several:
        logger.warning(
            "%s: %d of %d rows have several labels and are left out (%s: %s): pairs need clips of one class",
            where,
            len(several),
            len(labels),
            at(several[0]),
            ", ".join(labels[several[0]]),
        )
    return _one_name_each([found[0] if len(found) == 1 else None for found in labels], where)


def _names(cell: Any, feature: Any) -> list[str]:
    """The names in a cell; none if it is empty."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return []
    if hasattr(cell, "tolist"):  # of numpy or torch
        cell = cell.tolist()
    if isinstance(cell, list | tuple):
        inner = getattr(feature, "feature", None)
        return [name for part in cell for name in _names(part, inner)]
    if isinstance(feature, ClassLabel) and isinstance(cell, int):
        if cell == -1:
            return []
        if not 0 <= cell < feature.num_classes:
            raise DataError(f"label {cell} is none of the {feature.num_classes} classes of the column")
        cell = feature.names[cell]
    if isinstance(cell, int | float):
        raise DataError(_needs_name(cell, "a number"))
    if not isinstance(cell, str):
        raise DataError(f"a label is the name of a class, found a {type(cell).__name__}; name another --label_column")
    return _text_names(cell)


def _text_names(text: str) -> list[str]:
    name = _clean(text)
    if written := _WRITTEN_LIST.fullmatch(name):  # "['Rain', 'Water']"
        parts = [part.strip(" '\"") for part in _SEPARATOR.split(written[1])]
        return [label for part in parts for label in _text_names(part)]
    if name.casefold() in UNLABELLED:
        return []
    if not any(character.isalpha() for character in name):
        if any(character.isdigit() for character in name):
            raise DataError(_needs_name(name, "a number"))
        return []  # "", "-", "?"
    for what, pattern in _NO_NAMES.items():
        if pattern.fullmatch(name.casefold()):
            raise DataError(_needs_name(name, what))
    return [name]


def _needs_name(label: object, what: str) -> str:
    return (
        f"the label {label!r} is {what}, and captions need a name to speak of. Give the column names by "
        "dataset.cast_column(column, ClassLabel(names=[...])), or name the column that holds them by --label_column"
    )


def _split_lists(labels: list[list[str]]) -> list[list[str]]:
    """Names that are lists ("Rain,Water", or "Rain, Water" where there are such classes) taken apart."""
    parts = {name: _parts(name) for found in labels for name in found}
    whole = {_key(name) for name in parts}
    within: dict[str, set[str]] = defaultdict(set)
    for name, pieces in parts.items():
        for piece in pieces:
            within[_key(piece)].add(_key(name))

    def is_list(name: str, pieces: list[str]) -> bool:
        keys = [_key(piece) for piece in pieces]
        return len(set(keys)) > 1 and (
            bool(_LIST_IN_A_CELL.search(name))
            or any(key in whole for key in keys)
            or all(len(within[key]) > 1 for key in keys)
        )

    lists = {name: pieces for name, pieces in parts.items() if is_list(name, pieces)}
    return [[part for name in found for part in lists.get(name, [name])] for found in labels]


def _parts(name: str) -> list[str]:
    return [part.strip() for part in _SEPARATOR.split(name) if part.strip()]


def _one_name_each(labels: list[str | None], where: str) -> list[str | None]:
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for label in labels:
        if label is not None:
            forms[_key(label)][label] += 1
    chosen = {
        key: max(counts, key=lambda name: (counts[name], name == name.strip(_AROUND))) for key, counts in forms.items()
    }
    merged = [f"{' = '.join(map(repr, sorted(counts)))}" for counts in forms.values() if len(counts) > 1]
    if merged:
        logger.warning("%s: names that are spoken alike are one class: %s", where, "; ".join(sorted(merged)[:5]))
    return [None if label is None else chosen[_key(label)] for label in labels]


def _clean(text: str) -> str:
    """Composed, without marks that nobody sees, and with single spaces."""
    seen = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf")
    return " ".join(seen.split())


def _key(label: str) -> str:
    return spoken(_HYPHEN.sub(" ", unicodedata.normalize("NFKC", _clean(label))).strip(_AROUND)).casefold()

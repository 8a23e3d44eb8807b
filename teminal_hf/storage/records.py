"""JSON files that were written earlier, read as what may have been cut, edited or written by others since."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from teminal_hf.errors import DataError

NUMBER = int | float
# What a value must be: a type; a union of types; [shape] for a list of it, [shape, shape] for one of that length;
# {name: shape} for an object whose names, where it has them, hold that; {"*": shape} for one that holds it everywhere.
Shape = type | UnionType | list[Any] | Mapping[str, Any]


class Facts(dict[str, Any]):
    """An object of a JSON file; what it lacks is a DataError that names the file."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, name: str) -> Any:
        raise damaged(self.path, f"it lacks {name!r}")


def read_json(path: Path, shape: Shape) -> Facts:
    """The object in the file, and in those all others, as `Facts`.

    Raises:
        NotFoundError: no such file.
        DataError: no JSON, no object, or a value that does not fit `shape`; the message names file and value.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"), object_hook=partial(Facts, path))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is no JSON: {error}") from error
    if not isinstance(facts, Facts):
        raise damaged(path, f"it holds {_named(facts)}, and no object")
    if wrong := _misfit(facts, shape, ""):
        raise damaged(path, wrong)
    return facts


def damaged(path: Path, why: str) -> DataError:
    """What is said of a file that cannot be believed."""
    return DataError(
        f"{path} is damaged, or not written by this package: {why}. Put a whole copy in its place, or move it away"
    )


def _misfit(value: Any, shape: Shape, where: str) -> str:
    """What does not fit, and where; "" if all does."""
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return f"{where} is {_named(value)}, not an object"
        fields = [
            (name, shape["*"] if "*" in shape else shape[name]) for name in value if name in shape or "*" in shape
        ]
        found = (_misfit(value[name], inner, f"{where}.{name}".lstrip(".")) for name, inner in fields)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is {_named(value)}, not a list"
        if len(shape) > 1 and len(value) != len(shape):
            return f"{where} has {len(value)} values, not {len(shape)}"
        found = (_misfit(inner, shape[0], f"{where}[{i}]") for i, inner in enumerate(value))
    else:
        fits = isinstance(value, shape) and (not isinstance(value, bool) or shape is bool)
        return "" if fits else f"{where} is {_named(value)}"
    return next((wrong for wrong in found if wrong), "")


def _named(value: Any) -> str:
    return "null" if isinstance(value, NoneType) else f"{type(value).__name__} {value!r:.40}"

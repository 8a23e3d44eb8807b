"""JSON files that may have been cut, edited or written by others."""

import json
from pathlib import Path
from typing import Any

import pytest

from teminal_hf.errors import DataError
from teminal_hf.storage.records import NUMBER, read_json

SHAPE = {"name": str, "count": int, "share": NUMBER, "of": str | None, "rows": {"*": {"ci": [NUMBER, NUMBER]}}}
WHOLE = {"name": "a", "count": 2, "share": 1, "of": None, "rows": {"x": {"ci": [0.1, 2]}}, "other": [{}]}


def write(folder: Path, value: Any) -> Path:
    path = folder / "x.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_what_fits_is_read_and_what_is_missing_is_named_when_it_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    facts = read_json(path, SHAPE)
    assert facts == WHOLE and facts.get("absent") is None
    for lacking in (facts, facts["rows"]["x"], facts["other"][0]):
        with pytest.raises(DataError, match=r"x\.json is damaged, or not written by this package: it lacks 'absent'"):
            lacking["absent"]


@pytest.mark.parametrize("n", range(len(json.dumps(WHOLE))))
def test_every_cut_is_found(tmp_path: Path, n: int) -> None:
    with pytest.raises(DataError, match=r"x\.json is damaged"):
        read_json(write(tmp_path, json.dumps(WHOLE)[:n]), SHAPE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 5}, "name is int 5"),
        ({"count": 2.5}, "count is float 2.5"),
        ({"count": True}, "count is bool True"),
        ({"share": "1"}, "share is str '1'"),
        ({"of": 1}, "of is int 1"),
        ({"rows": []}, r"rows is list \[\], not an object"),
        ({"rows": {"x": None}}, r"rows\.x is null, not an object"),
        ({"rows": {"x": {"ci": 1}}}, r"rows\.x\.ci is int 1, not a list"),
        ({"rows": {"x": {"ci": [1]}}}, r"rows\.x\.ci has 1 values, not 2"),
        ({"rows": {"x": {"ci": [1, "2"]}}}, r"rows\.x\.ci\[1\] is str '2'"),
    ],
)
def test_a_wrong_type_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"not written by this package: {message}. Put a whole copy"):
        read_json(write(tmp_path, WHOLE | change), SHAPE)


def test_other_things_than_an_object_are_refused(tmp_path: Path) -> None:
    for text in ("[]", "5", "null", '"x"', "<html>", "[" * 5000):
        with pytest.raises(DataError, match=r"x\.json is damaged"):
            read_json(write(tmp_path, text), SHAPE)
    assert read_json(write(tmp_path, "\ufeff{}"), {}) == {}  # a mark at the beginning, as some editors write it
    (tmp_path / "x.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match="it is no JSON"):
        read_json(tmp_path / "x.json", SHAPE)

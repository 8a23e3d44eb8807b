"""`recipes/scenes.py`: what its tables say is what is heard, and TACOS's reader and training take it."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile
from transformers import ClapFeatureExtractor

from support.recipes import recipe_function
from teminal_hf.errors import ConfigError
from teminal_hf.order_tests import tacos
from teminal_hf.order_tests.tacos_training import SceneGroups


@pytest.fixture(scope="module")
def make() -> Callable[[Sequence[str]], None]:
    return cast(Callable[[Sequence[str]], None], recipe_function("scenes", "main"))


@pytest.fixture(scope="module")
def folder(make: Callable[[Sequence[str]], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes") / "made"
    make([str(path), "--scenes", "12", "--clips_per_class", "2"])
    return path


def test_sound_is_where_the_table_says_and_nowhere_else(folder: Path) -> None:
    with (folder / "annotations_strong.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["filename"] for row in rows}) == 15 and len(rows) == 45
    for name in {row["filename"] for row in rows}:
        sound, rate = soundfile.read(folder / "audio" / name)
        assert len(sound) == 10 * rate
        spans = [
            (round(float(r["onset"]) * rate), round(float(r["offset"]) * rate)) for r in rows if r["filename"] == name
        ]
        silent = np.ones(len(sound), bool)
        for start, stop in spans:
            assert np.sqrt(np.mean(sound[start:stop] ** 2)) > 0.01
            silent[start:stop] = False
        assert np.abs(sound[silent]).max() < 1e-4
        assert len({r["text"] for r in rows if r["filename"] == name}) == 3


def test_tacos_reads_it(folder: Path) -> None:
    test = tacos.read(folder)
    assert len(test.recordings) == 3 and not test.left_out
    groups = SceneGroups(
        folder, ClapFeatureExtractor(sampling_rate=16_000, max_length_s=10, feature_size=16, frequency_max=8000)
    )
    assert len(groups) == 24 and groups.left_out == {}


def test_the_seed_fixes_all_of_it(make: Callable[[Sequence[str]], None], folder: Path, tmp_path: Path) -> None:
    for seed in ("0", "1"):
        make([str(tmp_path / seed), "--scenes", "12", "--clips_per_class", "2", "--seed", seed])
    truth, same, other = (
        {path.name: path.read_bytes() for path in sorted(where.rglob("*.*"))}
        for where in (folder, tmp_path / "0", tmp_path / "1")
    )
    assert truth == same and truth.keys() == other.keys() and truth != other
    with pytest.raises(ConfigError, match="made is there already; name a new folder"):
        make([str(folder)])

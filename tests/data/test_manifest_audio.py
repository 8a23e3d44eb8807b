"""`render`: manifests from anywhere, given the clips, sound as those of the in-package builder, to the last sample."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Audio, Dataset, DatasetDict, IterableDataset, IterableDatasetDict, Value, load_dataset

from support.clips import ESC50_CLASSES, write_esc50
from teminal_hf.clips import audio_column as audio_cells
from teminal_hf.clips import esc50 as esc50_clips
from teminal_hf.clips import sources
from teminal_hf.clips.sources import from_dataset, sound_bank
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.groups import plan
from teminal_hf.data.manifest_audio import render
from teminal_hf.data.rendering import RenderSettings
from teminal_hf.errors import DataError

NAME = "teminal/esc50-temporal"
RATE = 16_000
STAGES = ("stage_a", "stage_b", "zste")


def load(stage: str, **options: Any) -> Any:
    """The builder's rows, which it renders itself."""
    return load_dataset(NAME, stage, **{"clips_per_class": 2, "n_groups": 3, "sampling_rate": RATE} | options)


def assert_same(ours: Iterable[Any], theirs: Iterable[Any]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_equal(one, other)


@pytest.fixture(scope="module")
def bank() -> ClipTable:
    return sound_bank(2)


@pytest.fixture(scope="module")
def esc50_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_esc50(tmp_path_factory.mktemp("esc50"))


def as_data_set(root: Path, **columns: Any) -> Dataset:
    """The folder's clips in the columns of ashraq/esc50, of the Hub."""
    names = sorted(path.name for path in (root / "audio").iterdir())
    parts = [name.removesuffix(".wav").split("-") for name in names]  # fold, recording, take, class
    rows = {"filename": names, "fold": [int(p[0]) for p in parts], "target": [int(p[3]) for p in parts]}
    rows |= {"category": [ESC50_CLASSES[int(p[3])] for p in parts], "esc10": [p[3] == "0" for p in parts]}
    rows |= {"src_file": [int(p[1]) for p in parts], "take": [p[2] for p in parts]}
    audio = [{"bytes": (root / "audio" / name).read_bytes(), "path": name} for name in names]
    return Dataset.from_dict(rows | {"audio": audio} | columns).cast_column("audio", Audio(decode=False))


# Which manifests


@pytest.mark.parametrize("stage", STAGES)
def test_every_kind_of_data_set(stage: str, bank: ClipTable) -> None:
    ours = load(stage)
    manifest = ours.with_format(None)
    splits = render(manifest, bank, RenderSettings(sampling_rate=RATE))
    assert isinstance(splits, DatasetDict) and set(splits) == {"train", "validation", "test"}
    for split in splits:
        assert_same(splits[split], ours[split])
    assert splits["train"].features == manifest["train"].features  # nothing rendered is stored
    alone = render(manifest["test"], bank, RenderSettings(sampling_rate=RATE))
    assert isinstance(alone, Dataset)
    assert_same(alone, ours["test"])
    stream = render(manifest["test"].to_iterable_dataset(), bank, RenderSettings(sampling_rate=RATE))
    assert isinstance(stream, IterableDataset) and stream.features == load(stage, streaming=True)["test"].features
    assert_same(stream, ours["test"])
    streams = IterableDatasetDict(test=manifest["test"].to_iterable_dataset())
    streams = render(streams, bank, RenderSettings(sampling_rate=RATE))
    assert isinstance(streams, IterableDatasetDict)
    assert_same(streams["test"], ours["test"])


def test_rows_that_are_rendered_already_and_streams_of_unknown_columns(bank: ClipTable) -> None:
    ours = load("stage_b")["test"]
    assert_same(render(ours, bank, RenderSettings(sampling_rate=RATE)), ours)
    unknown = ours.with_format(None).to_iterable_dataset().map(lambda row: row)
    assert unknown.features is None
    assert_same(render(unknown, bank, RenderSettings(sampling_rate=RATE)), ours)


def test_settings_of_the_sound(bank: ClipTable) -> None:
    manifest = load("stage_b")["test"].with_format(None)
    for settings in ({"gap": 0.5}, {"crossfade": 0.2}, {"window": 6.0}):
        expected = load("stage_b", **settings)["test"]
        assert_same(render(manifest, bank, RenderSettings(sampling_rate=RATE, **settings)), expected)
    row = render(manifest, bank)[0]
    assert row["forward"]["array"].shape == (480_000,) and row["forward"]["sampling_rate"] == 48_000
    with pytest.raises(ValueError, match="gap must not be negative"):
        render(manifest, bank, RenderSettings(gap=-1.0))


# Which clips


@pytest.mark.parametrize("kind", ["folder", "path", "data set", "splits", "by name", "undecoded struct"])
def test_a_manifest_of_esc50_renders_from_any_copy_of_its_clips(kind: str, esc50_once: Path, tmp_path: Path) -> None:
    clips: Any = {"folder": str(esc50_once), "path": esc50_once}.get(kind) or as_data_set(esc50_once)
    if kind == "splits":
        clips = DatasetDict(train=clips.select(range(20)), test=clips.select(range(20, 30)))
    elif kind == "by name":
        clips.to_parquet(tmp_path / "clips" / "train.parquet")
        clips = str(tmp_path / "clips")
    elif kind == "undecoded struct":
        clips = clips.cast_column("audio", {"bytes": Value("binary"), "path": Value("string")})
    for stage in STAGES:
        ours = load(stage, data_dir=str(esc50_once))["test"]
        assert_same(render(ours.with_format(None), clips, RenderSettings(sampling_rate=RATE)), ours)


def test_only_the_folds_that_are_named_are_decoded(esc50: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    original = esc50_clips.decode
    monkeypatch.setattr(
        esc50_clips, "decode", lambda path, rate: decoded.append(Path(path).name) or original(path, rate)
    )
    manifest = load("stage_a", data_dir=str(esc50))["test"].with_format(None)
    decoded.clear()
    render(manifest, esc50, RenderSettings(sampling_rate=12_000))
    assert len(decoded) == 6 and {name[0] for name in decoded} == {"5"}
    render(manifest.select([]), esc50, RenderSettings(sampling_rate=11_025))  # no row, no clip
    assert len(decoded) == 6


def test_clips_that_the_manifest_does_not_name_need_not_be_good(esc50: Path) -> None:
    ours = load("stage_a", data_dir=str(esc50))["test"]
    row, manifest = ours[0], ours.with_format(None)
    for path in (esc50 / "audio").glob("5-*"):
        if path.stem not in (row["clip_a"], row["clip_b"]):
            path.write_bytes(b"")
    assert_same(render(manifest.select([0]), esc50, RenderSettings(sampling_rate=RATE)), [row])
    other = manifest.map(
        lambda name: {"clip_a": "5-502-B-2" if name != "5-502-B-2" else "5-500-B-0"}, input_columns="clip_a"
    )
    with pytest.raises(ValueError, match=r"clip '5-50\d-B-\d' cannot be decoded as audio"):
        render(other.select([0]), esc50, RenderSettings(sampling_rate=RATE))


# What is missing


def test_columns_that_are_missing_are_named(bank: ClipTable) -> None:
    for stage, column in (("stage_a", "double_view"), ("stage_b", "clip_a"), ("zste", "views")):
        manifest = load(stage)["test"].with_format(None).remove_columns(column)
        for rows in (manifest, manifest.to_iterable_dataset(), manifest.to_iterable_dataset().map(lambda row: row)):
            with pytest.raises(
                ValueError, match=rf"the manifest \(of {stage}\) has no column {column}; present: group_"
            ):
                render(rows, bank)
    other = Dataset.from_dict({"text": ["x"]})
    with pytest.raises(ValueError, match="has no column clip_a, clip_b, double_view, group_id, seed; present: text"):
        render(other, bank)


def test_clips_that_are_missing_are_named(bank: ClipTable, esc50_once: Path) -> None:
    of_bank = load("stage_b")["test"].with_format(None)
    of_esc50 = load("stage_b", data_dir=str(esc50_once), n_groups=40)["test"].with_format(None)
    own = of_bank.map(lambda a: {"clip_a": a.replace("soundbank/", "")}, input_columns="clip_a")
    few = as_data_set(esc50_once).filter(lambda name: name == "5-500-A-0.wav", input_columns="filename")
    with pytest.raises(
        ValueError, match=r"names \d+ clip\(s\) that are not among the 1 given: '5-50\d-.*give the ESC-50 f"
    ):
        render(of_esc50, few)
    with pytest.raises(ValueError, match=r"not among the 30 given: 'soundbank/4/.*clips_per_class=\.\.\."):
        render(of_bank, esc50_once)
    with pytest.raises(
        ValueError, match=r"not among the 192 given: '4/.*give the clips that the manifest was made from"
    ):
        render(own, bank)
    stream = render(of_esc50.to_iterable_dataset(), bank, RenderSettings(sampling_rate=RATE))
    with pytest.raises(ValueError, match=r"the manifest names 2 clip\(s\) that are not among the 192 given"):
        next(iter(stream))


def test_clips_that_are_others_under_the_same_numbers_are_refused(esc50_once: Path) -> None:
    clips = as_data_set(esc50_once).remove_columns("filename")  # so that they are numbered
    rows = list(plan("stage_b", from_dataset(clips), 4, 0))
    manifest = Dataset.from_list(rows)
    settings = RenderSettings(sampling_rate=RATE)
    assert len(render(manifest, clips, settings)[0]["forward"]["array"])
    for each in (manifest, manifest.to_iterable_dataset()):
        with pytest.raises(
            DataError, match=r"clip '0000\d\d' is '\w+' in the manifest, and '\w+' among the clips given"
        ):
            next(iter(render(each, clips.shuffle(seed=1), settings)))


def test_a_stream_of_clips_is_refused(bank: ClipTable, esc50_once: Path) -> None:
    manifest = load("stage_a")["test"].with_format(None)
    with pytest.raises(ValueError, match="load them without streaming=True"):
        render(manifest, as_data_set(esc50_once).to_iterable_dataset())
    with pytest.raises(FileNotFoundError, match="nowhere is no ESC-50 folder"):
        render(manifest, Path("nowhere"))


# The names of the clips of a data set


def test_ids_are_the_file_names_of_a_data_set_where_they_are_unique(esc50_once: Path) -> None:
    data = as_data_set(esc50_once)
    clips = sources.from_dataset(data)
    folder = sources.esc50_folder(esc50_once)
    assert sorted(clips.ids) == sorted(folder.ids)
    assert {(i, clips.label(i)) for i in clips.ids} == {(i, folder.label(i)) for i in folder.ids}
    numbers = tuple(f"{i:06d}" for i in range(30))
    for names in (["x.wav"] * 30, [f"a{i}.wav" if i else None for i in range(30)], list(range(30))):
        assert sources.from_dataset(data.remove_columns("filename").add_column("filename", names)).ids == numbers
    twice = [f"{i}/{i % 29}.wav" for i in range(30)]  # paths differ, stems do not
    assert sources.from_dataset(data.remove_columns("filename").add_column("filename", twice)).ids == numbers
    assert sources.from_dataset(data.remove_columns("filename")).ids == numbers
    assert audio_cells.read_audio_value(data[0]["audio"], RATE).shape == (RATE,)

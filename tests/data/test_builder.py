"""`load_dataset("teminal/esc50-temporal", ...)`: offline, from an empty folder, map-style and streaming."""

import csv
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import Dataset, IterableDataset, load_dataset
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from teminal_hf.clips import esc50 as esc50_clips
from teminal_hf.clips import sources
from teminal_hf.clips.folds import split_folds
from teminal_hf.clips.sources import esc50_folder, sound_bank
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.groups import plan
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.views import SCENES
from teminal_hf.data.zste_items import RETRIEVAL, ZSTE_TASKS, plan_zste
from teminal_hf.integrations import load_by_name as hooks

NAME = "teminal/esc50-temporal"
RATE = 16_000
VIEWS = {"stage_a": ("single", "double"), "stage_b": ("single", "forward", "reversed", "overlay")}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


def load(stage: str = "stage_b", **options: Any) -> Any:
    return load_dataset(NAME, stage, **{"clips_per_class": 2, "n_groups": 20, "sampling_rate": RATE} | options)


def ids(rows: Iterable[dict[str, Any]]) -> list[int]:
    return [row["group_id"] for row in rows]


def assert_same_rows(ours: Iterable[Any], theirs: Iterable[Any]) -> None:
    """Equal to the last sample."""
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_equal(one, other)


def test_the_network_is_out_of_reach() -> None:
    with pytest.raises(RuntimeError, match="a test tried to connect"), socket.socket() as connection:
        connection.connect(("192.0.2.1", 80))


@pytest.mark.parametrize("stage", ["stage_a", "stage_b"])
def test_stages(stage: str) -> None:
    splits = load(stage)
    assert {name: len(split) for name, split in splits.items()} == {"train": 20, "validation": 2, "test": 2}
    clips = sound_bank(2).usable(RATE)
    renderer = Renderer(clips, RenderSettings(RATE))
    for row in (splits["train"][0], splits["test"][-1]):
        assert clips.label(row["clip_a"]) == row["label_a"] != row["label_b"] == clips.label(row["clip_b"])
        truth = renderer.views(row["clip_a"], row["clip_b"], row["seed"], row["group_id"])
        for view in VIEWS[stage]:
            assert row[view]["sampling_rate"] == RATE
            source = row["double_view"] if view == "double" else view
            np.testing.assert_array_equal(row[view]["array"], truth[source])
            assert row[f"{view}_caption"].startswith("the sound of ") == (view in ("single", "double"))


def test_zste() -> None:
    splits = load("zste", n_groups=5)
    clips = sound_bank(2).in_folds([4]).usable(RATE)
    renderer = Renderer(clips, RenderSettings(RATE))
    items = plan_zste(clips, n_groups=5, tasks=[task for task in ZSTE_TASKS if task not in RETRIEVAL])
    assert len(splits["test"]) == len(items) == 5 * 18
    for item, row in zip(items, splits["test"], strict=True):
        assert (row["task"], row["group_id"], row["wording"]) == (item.task, item.group_id, item.wording)
        assert (tuple(row["candidates"]), tuple(row["references"])) == (item.candidates, item.right)
        truth = renderer.views(item.clip_a, item.clip_b, 0, item.group_id)
        clip = clips.waveform(item.clip_a, RATE, trim=False)  # task 1: the clip as it is
        truth["clip"] = np.pad(clip, (0, 10 * RATE - len(clip)))
        truth |= {view: renderer.scene(view, item.clips, 0, item.group_id) for view in item.views if view in SCENES}
        for view, sound in zip(item.views, row["audio"], strict=True):
            np.testing.assert_array_equal(sound["array"], truth[view])


def test_zste_asks_for_no_more_groups_than_there_are_clips() -> None:
    assert len(load("zste", n_groups=1000, clips_per_class=1)["test"]) == 24 * 18


def test_defaults_of_the_sound() -> None:
    row = load_dataset(NAME, "stage_b", split="train", n_groups=1, source="soundbank", clips_per_class=2)[0]
    assert row["forward"]["array"].shape == (480_000,) and row["forward"]["sampling_rate"] == 48_000


def folds_of(splits: Any, separator: str = "/", part: int = 1) -> dict[str, set[str]]:
    clips = {name: split.select_columns(["clip_a", "clip_b"])[:] for name, split in splits.items()}
    return {name: {c.split(separator)[part] for column in c.values() for c in column} for name, c in clips.items()}


def test_splits_hold_the_clips_of_disjoint_folds() -> None:
    assert folds_of(load(n_groups=400)) == {"train": {"1", "2"}, "validation": {"3"}, "test": {"4"}}
    chosen = load(train_folds=(4,), validation_folds=(), test_folds=(2, 3), n_groups=400)
    assert folds_of(chosen) == {"train": {"4"}, "test": {"2", "3"}}


def test_an_esc50_folder(esc50: Path) -> None:
    splits = load(data_dir=str(esc50))
    assert folds_of(splits, "-", 0) == {"train": {"1", "2", "3"}, "validation": {"4"}, "test": {"5"}}
    row = splits["train"][0]
    truth = Renderer(esc50_folder(esc50).usable(RATE), RenderSettings(RATE)).views(row["clip_a"], row["clip_b"], 0, 0)
    np.testing.assert_array_equal(row["overlay"]["array"], truth["overlay"])


def test_a_bad_clip_is_named_and_left_out_until_it_is_repaired(esc50: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The manifest is then that of the clips which a recipe would use."""
    path, name = esc50 / "audio" / "2-200-A-0.wav", "2-200-A-0"
    sound = path.read_bytes()
    path.write_bytes(b"")
    for _ in range(2):  # decoding, and from what is remembered
        caplog.clear()
        train = load(data_dir=str(esc50), n_groups=100)["train"]
        assert f"left out: clip {name!r} cannot be decoded as audio" in caplog.text
        clips = esc50_folder(esc50).usable(RATE)
        assert name not in clips.ids
        rows = train.with_format(None)[:]
        assert list(plan("stage_b", clips.in_folds([1, 2, 3]), 100, 0)) == [
            dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)
        ]
    path.write_bytes(sound)
    assert name in load(data_dir=str(esc50), n_groups=100, split="train").with_format(None)["clip_a"][:]
    for path in (esc50 / "audio").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="30 of 30 clips cannot be used"):
        load(data_dir=str(esc50))


def test_clips_are_found_once_and_only_in_the_folds_asked_for(esc50: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    find = sources.esc50_folder
    monkeypatch.setattr(sources, "esc50_folder", lambda data_dir: found.append(data_dir) or find(data_dir))
    decoded: list[str] = []
    decode = esc50_clips.decode
    monkeypatch.setattr(esc50_clips, "decode", lambda path, rate: decoded.append(path) or decode(path, rate))
    options = {"data_dir": str(esc50), "train_folds": (1,), "validation_folds": (), "test_folds": (4,)}
    splits = load(**options)
    assert [row["group_id"] for row in splits["train"]] == list(range(20))
    assert len(found) == 1
    assert {Path(path).name[0] for path in decoded} == {"1", "4"} and len(decoded) == 12
    list(load(**options, streaming=True)["test"])
    assert len(found) == 2 and len(decoded) == 12


def test_only_the_manifest_is_on_disk(tmp_path: Path) -> None:
    train = load(cache_dir=str(tmp_path / "cache"), n_groups=500)["train"]
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "cache").rglob("*.arrow")}
    assert len(sizes) == 3 and sum(sizes.values()) < 640_000  # one rendered view of one group
    assert set(train.features) == {
        *("group_id", "seed", "clip_a", "clip_b", "label_a", "label_b", "double_view"),
        *(f"{view}_caption" for view in (*VIEWS["stage_b"], "double")),
    }


def test_slices_and_iteration() -> None:
    train = load()["train"]
    rows = [train[i] for i in range(4)]
    columns = train[:4]
    assert_same_rows(rows, [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)])
    assert_same_rows(rows, train.take(4))
    assert_same_rows(rows[::-1], train.select([3, 2, 1, 0]))
    assert ids(train.shuffle(seed=0)) != list(range(20))


def test_columns_alone_need_no_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    train = load()["train"]
    labels = [train[i]["label_a"] for i in range(20)]
    monkeypatch.setattr(Renderer, "views", lambda *_: pytest.fail("rendered"))
    assert train.select_columns("label_a")[:] == {"label_a": labels}
    assert set(train.select_columns(["clip_a", "forward_caption"])[0]) == {"clip_a", "forward_caption"}
    assert len(train.filter(lambda group: group < 3, input_columns="group_id")) == 3
    assert train[[]]["group_id"] == []
    assert train.with_format(None)[0].keys() == train.features.keys()


def test_data_loader_with_workers() -> None:
    train = load()["train"]
    loader = DataLoader(train, batch_size=None, num_workers=2)
    for worked, row in zip(loader, train, strict=True):
        assert worked["group_id"] == row["group_id"]
        np.testing.assert_array_equal(worked["overlay"]["array"], row["overlay"]["array"])


# Streaming


@pytest.mark.parametrize("stage", ["stage_a", "stage_b", "zste"])
def test_a_stream_gives_the_same_rows(stage: str) -> None:
    mapped, streamed = load(stage, n_groups=4), load(stage, n_groups=4, streaming=True)
    assert set(mapped) == set(streamed) and isinstance(streamed["train"], IterableDataset)
    for split in mapped:
        assert_same_rows(mapped[split], streamed[split])
    assert set(streamed["train"].features) == set(mapped["train"][0])


def test_a_single_split_streams_arrays_not_lists() -> None:
    row = next(iter(load(split="train", streaming=True)))
    for view in VIEWS["stage_b"]:
        assert isinstance(row[view]["array"], np.ndarray) and row[view]["array"].dtype == np.float32


@pytest.mark.parametrize("n_groups", [1, 20, 37])
def test_nodes_share_a_stream_without_overlap(n_groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = load(split="train", streaming=True, n_groups=n_groups)
    first, second = (split_dataset_by_node(stream, rank, 2) for rank in (0, 1))
    rendered: list[int] = []
    original = Renderer.views
    monkeypatch.setattr(Renderer, "views", lambda *a: rendered.append(a[4]) or original(*a))
    assert sorted(ids(first) + ids(second)) == list(range(n_groups))
    # Each node renders its own shards only (one lone group is skipped after the rendering).
    assert n_groups == 1 or sorted(rendered) == list(range(n_groups))


def test_every_group_comes_once_however_it_is_read() -> None:
    """The folds of a split are no shards: `datasets` would deal them to workers and repeat every group."""
    stream = load(split="train", streaming=True)
    assert ids(stream) == list(range(20)) and stream.num_shards == 16
    assert sorted(ids(DataLoader(stream, batch_size=None, num_workers=2))) == list(range(20))
    assert load(split="train", num_proc=2, seed=7)["group_id"][:] == list(range(20))


def test_a_stream_resumes() -> None:
    stream = load(split="train", streaming=True)
    whole = list(stream)
    rows = iter(stream)
    head = [next(rows) for _ in range(7)]
    state = stream.state_dict()
    again = load(split="train", streaming=True)
    again.load_state_dict(state)
    assert_same_rows(whole, [*head, *again])


# The cache


def rows_of(**options: Any) -> list[dict[str, Any]]:
    return load(split="train", **options).with_format(None)[:]


def test_another_seed_or_size_is_not_answered_from_the_cache() -> None:
    base = rows_of()
    assert rows_of() == base
    assert rows_of(seed=1) != base
    longer = rows_of(n_groups=30)
    assert {name: values[:20] for name, values in longer.items()} == base
    assert rows_of(clips_per_class=1) != base


def test_a_changed_folder_is_not_answered_from_the_cache(esc50: Path) -> None:
    before = rows_of(data_dir=str(esc50))
    assert rows_of(data_dir=str(esc50)) == before
    path = esc50 / "meta" / "esc50.csv"
    path.write_text(path.read_text().replace(",dog,", ",wolf,"))
    assert "wolf" in {*rows_of(data_dir=str(esc50))["label_a"]}
    with path.open(newline="") as file:
        table = list(csv.reader(file))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([table[0], *([*row[:1], 6 - int(row[1]), *row[2:]] for row in table[1:])])
    assert {c.split("-")[0] for c in rows_of(data_dir=str(esc50))["clip_a"][:]} == {"3", "4", "5"}


# What is left to `datasets`, and errors


def test_other_calls_are_passed_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.load, "dataset_module_factory", lambda *args, **kwargs: (args, kwargs))
    hooks._wrap(datasets.load, wrapper=hooks.find_dataset)
    resolve = datasets.load.dataset_module_factory
    assert resolve(NAME, revision="v1", cache_dir="x") == ((NAME, "v1"), {"data_files": None, "cache_dir": "x"})
    assert resolve(NAME, data_files="a.parquet") == ((NAME, None), {"data_files": "a.parquet"})
    for name in ("teminal/other", "esc50-temporal", f"./{NAME}"):
        assert resolve(name) == ((name, None), {"data_files": None})
    assert resolve(NAME, data_dir="somewhere").module_path == "teminal_hf.data.builder"


def test_the_published_manifests_are_reached_by_data_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # `datasets` tries the Hub again and again, ever slower
    Dataset.from_dict({"x": [1, 2]}).to_parquet(tmp_path / "part.parquet")
    assert load_dataset(str(tmp_path), data_files="part.parquet", split="train")["x"][:] == [1, 2]
    # Offline, `datasets` looks the name up on the Hub and says so: not this package's builder.
    for options in ({"revision": "main"}, {"data_files": "part.parquet"}):
        with pytest.raises((ConnectionError, FileNotFoundError)):
            load_dataset(NAME, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"stage": "stage_c"},
            ValueError,
            r"'stage_c' not found. Available: \['stage_a', 'stage_b', 'zste'\]",
        ),
        ({"n_group": 3}, (TypeError, ValueError), "n_group"),
        ({"n_groups": 0}, ValueError, "n_groups must be at least 1, got 0"),
        ({"gap": -1.0}, ValueError, "gap must not be negative"),
        ({"data_dir": "nowhere"}, FileNotFoundError, "nowhere is no ESC-50 folder"),
        ({"data_dir": "nowhere", "source": "soundbank"}, ValueError, "give either data_dir"),
        ({"test_folds": (9,)}, ValueError, r"no clips in fold\(s\) \[9\]; the source has folds \[1, 2, 3, 4\]"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        load(**options)


# Which folds


def folded(*folds: int) -> ClipTable:
    n = len(folds)
    names = tuple(map(str, range(n)))
    return ClipTable(names, ("x",) * n, folds, tuple(range(n)), names, lambda row, rate: np.zeros(1))


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, {"train": (1, 2, 3), "validation": (4,), "test": (5,)}),
        ({"test": (1,)}, {"train": (2, 3, 4), "validation": (5,), "test": (1,)}),
        ({"train": (1, 2)}, {"train": (1, 2), "validation": (4,), "test": (5,)}),
        ({"train": (4, 5)}, {"train": (4, 5), "validation": (2,), "test": (3,)}),
        ({"validation": (5,)}, {"train": (1, 2, 3), "validation": (5,), "test": (4,)}),
        ({"train": (1, 2, 3, 4)}, {"train": (1, 2, 3, 4), "test": (5,)}),
        ({"validation": (), "test": ()}, {"train": (1, 2, 3, 4, 5)}),
    ],
)
def test_default_folds(given: dict[str, tuple[int, ...]], chosen: dict[str, tuple[int, ...]]) -> None:
    assert split_folds(folded(5, 4, 3, 2, 1, 1), **given) == chosen


def test_fold_errors() -> None:
    with pytest.raises(ValueError, match=r"fold\(s\) \[2\] are in two splits: .* clips of one recording share a fold"):
        split_folds(folded(1, 2, 3), train=(1, 2), test=(2,))
    with pytest.raises(ValueError, match=r"no clips in fold\(s\) \[7\]; the source has folds \[1, 2, 3\]"):
        split_folds(folded(1, 2, 3), train=(1, 7))
    assert split_folds(folded(1, 2)) == {"train": (1,), "test": (2,)}
    with pytest.raises(ValueError, match=r"no train fold left: the source has folds \[1, 2\], validation takes \[1\]"):
        split_folds(folded(1, 2), validation=(1,))
    with pytest.raises(ValueError, match=r"no train fold left: the source has folds \[1\].*--fold_column"):
        split_folds(folded(1))

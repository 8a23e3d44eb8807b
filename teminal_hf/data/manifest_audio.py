"""The sound of manifests: `render` for those from anywhere, and what the in-package builder shares with it."""

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from datasets import Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict, List, Value

from teminal_hf.clips.audio_column import need_columns
from teminal_hf.clips.labels import spoken
from teminal_hf.clips.licences import kind_of_clips
from teminal_hf.clips.sources import from_dataset, load_clips
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.rendering import Renderer, RenderSettings, render_row
from teminal_hf.data.views import STAGE_VIEWS
from teminal_hf.errors import DataError

_GROUP = {"group_id", "seed", "clip_a", "clip_b"}
_NEEDED = {"stage_a": _GROUP | {"double_view"}, "stage_b": _GROUP | {"double_view"}, "zste": _GROUP | {"views"}}
_SOUND = {"array": List(Value("float32")), "sampling_rate": Value("int64")}

Manifests = TypeVar("Manifests", Dataset, DatasetDict, IterableDataset, IterableDatasetDict)


def render(
    dataset: Manifests,
    clips: ClipTable | Dataset | DatasetDict | str | Path,
    settings: RenderSettings | None = None,
) -> Manifests:
    """Give the rows of a manifest their sound, as `load_dataset("teminal/esc50-temporal")` of this package does.

    Args:
        dataset: rows of one config of a manifest, such as those published at teminal/esc50-temporal. A column `task`
            makes them ZSTE items, `forward_caption` stage B, anything else stage A. A format set before is replaced.
        clips: what the rows name: a `ClipTable`, a data set of clips (as `load_clips` takes it), the path of an ESC-50
            folder, or the name of a Hub or local data set, such as "ashraq/esc50".
        settings: rate, window, gap and levels of the rendered audio (default: 48 kHz, 10 s).

    Returns:
        `dataset`, of the same kind, with a column for each view (`single`, `double`; in stage B `forward`, `reversed`,
        `overlay` too), each cell `{"array": (samples,) float32, "sampling_rate": Hz}`; for ZSTE a column `audio` with a
        list of them. Rendered when a row is asked for; nothing is stored but the decoded clips.

    Raises:
        DataError: columns that rendering needs are missing, or `clips` lacks some that the rows name or cannot read
            them; of a stream, the latter when its row is reached.
    """
    table = _clip_table(clips)
    settings = settings or RenderSettings()
    if isinstance(dataset, DatasetDict):
        return DatasetDict({split: _render(part, table, settings) for split, part in dataset.items()})
    if isinstance(dataset, IterableDatasetDict):
        return IterableDatasetDict({split: _render(part, table, settings) for split, part in dataset.items()})
    return _render(dataset, table, settings)


def _render(dataset: Any, table: ClipTable, settings: RenderSettings) -> Any:
    if isinstance(dataset, Dataset):
        dataset = dataset.with_format(None)
        stage = _stage_of(dataset.column_names)
        named = {clip for column in ("clip_a", "clip_b") for clip in dataset[column][:]}
        _need_clips(named, table)
        for side in ("a", "b"):
            if (label := f"label_{side}") in dataset.column_names:
                _need_labels(dict(zip(dataset[f"clip_{side}"][:], dataset[label][:], strict=True)), table)
        # Whole folds, so that they are decoded once for all splits and for the builder.
        folds = {fold for clip, fold in zip(table.ids, table.folds, strict=True) if clip in named}
        table = table.in_folds(folds).decoded(settings.sampling_rate) if named else table
        for clip in sorted(named):
            table.content(clip)  # says so if it cannot be read
        return with_audio(dataset, stage, Renderer(table, settings))
    stage = _stage_of(dataset.column_names or next(iter(dataset), {}))
    return with_audio(dataset, stage, Renderer(table.decoded(settings.sampling_rate), settings))


def _clip_table(clips: ClipTable | Dataset | DatasetDict | str | Path) -> ClipTable:
    if isinstance(clips, ClipTable):
        return clips
    if isinstance(clips, Dataset | DatasetDict):
        return from_dataset(clips)
    if isinstance(clips, IterableDataset | IterableDatasetDict):
        raise DataError("clips are read in any order, which a stream does not allow; load them without streaming=True")
    if (Path(clips) / "meta").is_dir() or isinstance(clips, Path):
        return load_clips(data_dir=str(clips))
    return load_clips(clips)


def _stage_of(columns: Collection[str]) -> str:
    stage = "zste" if "task" in columns else "stage_b" if "forward_caption" in columns else "stage_a"
    need_columns(_NEEDED[stage], columns, f"the manifest (of {stage})")
    return stage


_GIVE = {
    "esc50": "they are named as ESC-50's files are: give the ESC-50 folder, or a data set of its clips with a column "
    "`filename`, such as ashraq/esc50",
    "soundbank": 'they are of the sound bank: give load_clips("soundbank", clips_per_class=...), with as many clips as '
    "the manifest was made from",
    "own": "give the clips that the manifest was made from, under the same names",
}


def _need_clips(named: Iterable[str], table: ClipTable) -> None:
    missing = sorted(clip for clip in set(named) if clip not in table)
    if missing:
        some = ", ".join(map(repr, missing[:3])) + (" ..." if len(missing) > 3 else "")
        raise DataError(
            f"the manifest names {len(missing)} clip(s) that are not among the {len(table)} given: {some}; "
            + _GIVE[kind_of_clips(missing)]
        )


def _need_labels(labels: Mapping[str, str], table: ClipTable) -> None:
    """Clips that are numbered, for want of names, may be others than those that the manifest means."""
    for clip, label in labels.items():
        if spoken(table.label(clip)).casefold() != spoken(label).casefold():
            raise DataError(
                f"clip {clip!r} is {label!r} in the manifest, and {table.label(clip)!r} among the clips given: they "
                "are others, or in another order; give those that the manifest was made from"
            )


def with_audio(manifests: Any, stage: str, renderer: Renderer) -> Any:
    """`manifests`, of any of the four kinds, with the audio of `stage` rendered as their rows are asked for."""
    if isinstance(manifests, Dataset | DatasetDict):
        return manifests.with_transform(partial(_render_columns, renderer, stage))
    if isinstance(manifests, IterableDatasetDict):
        return IterableDatasetDict({name: with_audio(part, stage, renderer) for name, part in manifests.items()})
    features = manifests.features and Features(manifests.features | _rendered_features(stage))
    return manifests.map(partial(_render_row, renderer, stage), features=features)


def _render_row(renderer: Renderer, stage: str, row: dict[str, Any]) -> dict[str, Any]:
    _need_clips(_clips_of(row), renderer.clips)
    _need_labels({row[f"clip_{s}"]: row[f"label_{s}"] for s in ("a", "b") if f"label_{s}" in row}, renderer.clips)
    if stage == "zste":
        return row | {"audio": _render_item(renderer, row)}
    return row | render_row(renderer, row, STAGE_VIEWS[stage])


def _clips_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Two, or three where the row has a third."""
    return (row["clip_a"], row["clip_b"], *filter(None, [row.get("clip_c")]))


def _render_item(renderer: Renderer, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The recordings of a ZSTE item: one, or two for task G."""
    sounds = renderer.sounds(_clips_of(row), row["seed"], row["group_id"], row["views"])
    return [{"array": sounds[view], "sampling_rate": renderer.settings.sampling_rate} for view in row["views"]]


def _render_columns(renderer: Renderer, stage: str, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    names = list(columns)
    if not (_NEEDED[stage] <= set(names) and columns["seed"]):
        return columns  # a few columns, asked for by name, or no row at all
    rows = [_render_row(renderer, stage, dict(zip(names, v, strict=True))) for v in zip(*columns.values(), strict=True)]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _rendered_features(stage: str) -> dict[str, Any]:
    return {"audio": List(_SOUND)} if stage == "zste" else {view: _SOUND for view in STAGE_VIEWS[stage]}

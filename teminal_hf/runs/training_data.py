"""Data of a run: groups or caption pairs to train on, and the clips that it is judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accelerate import PartialState
from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError
from transformers import ClapFeatureExtractor

from teminal_hf.clips.licences import licence_of_clips
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.caption_pairs import CaptionPairs
from teminal_hf.data.groups import GroupDataset, plan
from teminal_hf.data.mixing import GroupsWithPairs
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.views import PAIR
from teminal_hf.errors import ConfigError, DataError
from teminal_hf.hub.offline import fetching_data, saying_what_to_fetch
from teminal_hf.runs.arguments import Config, DataArguments


@dataclass(frozen=True)
class TrainingData:
    """Rows to train and validate on, and the clips that ZSTE is made of; `licence` is the clips', None if unknown."""

    train: Any
    validation: Any = None
    validation_clips: ClipTable | None = None
    test_clips: ClipTable | None = None
    folds: Mapping[str, Sequence[int]] = field(default_factory=dict)
    settings: RenderSettings | None = None
    licence: str | None = None


def group_data(
    config: Config, clips: ClipTable, folds: Mapping[str, Sequence[int]], extractor: ClapFeatureExtractor
) -> TrainingData:
    """Groups of both stages, made of the clips of each split's folds."""
    data = config.data
    chosen_clips = clips.in_folds(fold for chosen in folds.values() for fold in chosen)
    with PartialState().local_main_process_first():  # the others read what it has decoded
        usable = chosen_clips.usable(extractor.sampling_rate)
    tables = {name: usable.in_folds(chosen) for name, chosen in folds.items()}
    if config.validates and "validation" not in tables:
        raise ConfigError(
            f"eval_strategy needs validation folds, and there are none (folds: {dict(folds)}); set it to no"
        )
    settings = RenderSettings.of_extractor(extractor, gap=data.gap, crossfade=data.crossfade)
    renderer, views = Renderer(usable, settings), [view for view in config.training.views if view != PAIR]
    sizes = {"train": data.n_groups} | ({"validation": max(2, data.n_groups // 8)} if config.validates else {})
    groups = {
        split: GroupDataset(
            list(plan(config.stage, tables[split], n_groups, data.groups_seed, data.connectives)), renderer, views
        )
        for split, n_groups in sizes.items()
    }
    rows = _with_pairs(data, groups, extractor) if data.pairs else groups
    return TrainingData(
        rows["train"],
        rows.get("validation"),
        tables["validation"] if config.validates else None,
        tables.get("test"),
        folds,
        settings,
        None if data.pairs else licence_of_clips(clips.ids),
    )


def caption_pair_data(config: Config, extractor: ClapFeatureExtractor) -> TrainingData:
    """A user's own recordings and captions, alone."""
    data = config.data
    if config.validates:
        raise ConfigError("plain pairs have no validation split; set eval_strategy to no")
    if data.source is None and data.data_dir is None:
        raise ConfigError("plain pairs need --source: a Hub or local data set with an audio and a text column")
    pairs = _load_pairs(data.source or "audiofolder", data.data_dir)
    return TrainingData(CaptionPairs(pairs, data.audio_column, data.text_column, extractor))


def _with_pairs(
    data: DataArguments, groups: Mapping[str, GroupDataset], extractor: ClapFeatureExtractor
) -> dict[str, GroupsWithPairs]:
    """The user's own pairs dealt out to the groups; an eighth of them is kept for validation, where there is one."""
    splits = {"train": _load_pairs(str(data.pairs))}
    if "validation" in groups:
        parts = splits["train"].train_test_split(test_size=max(2, len(splits["train"]) // 8), seed=data.groups_seed)
        splits = {"train": parts["train"], "validation": parts["test"]}
    pairs = {k: CaptionPairs(v, data.pairs_audio_column, data.text_column, extractor) for k, v in splits.items()}
    return {split: GroupsWithPairs(rows, pairs[split], data.groups_seed) for split, rows in groups.items()}


def _load_pairs(source: str, data_dir: str | None = None) -> Dataset:
    try:
        with saying_what_to_fetch(source, fetching_data(source)):
            splits = load_dataset(source, data_dir=data_dir)
    except DatasetGenerationError as error:  # it names the cause in its cause alone
        raise DataError(
            f"{data_dir or source} cannot be read as a data set: {error.__cause__ or error}. (A folder of audio files "
            "with a metadata.csv needs torchcodec; parquet files with the columns audio and text do not)"
        ) from error
    if "train" not in splits:
        raise DataError(f"the data set has no train split; it has {', '.join(splits)}")
    return splits["train"]

"""Data of a run: groups or caption pairs to train on, the clips that it is judged by, and what its base knows."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import nn

from teminal_hf.clips.folds import not_trained_on
from teminal_hf.clips.labels import spoken
from teminal_hf.clips.licences import licence_of_clips
from teminal_hf.clips.recordings import load_rows
from teminal_hf.clips.soundbank import SOUND_BANK
from teminal_hf.clips.sources import own_splits, unlabelled_clips
from teminal_hf.clips.streams import open_stream
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.caption_pairs import CaptionPairs, CaptionStream
from teminal_hf.data.captions import warn_of_held_out
from teminal_hf.data.groups import GroupDataset, plan
from teminal_hf.data.mixing import GroupsWithPairs
from teminal_hf.data.reference import ReferenceRecordings
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.views import PAIR
from teminal_hf.errors import ConfigError, DataError
from teminal_hf.models.checkpoint import load_checkpoint
from teminal_hf.models.tokenizer import warn_of_cut
from teminal_hf.order_tests.tacos import TACOS
from teminal_hf.order_tests.tacos_training import SceneGroups
from teminal_hf.runs.arguments import Config, DataArguments
from teminal_hf.training.retention import Reference

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Rows to train and validate on, the clips that they and ZSTE are made of; `licence` is the clips', None if
    unknown."""

    train: Any
    validation: Any = None
    pairs: CaptionStream | None = None  # beside the training rows
    train_clips: ClipTable | None = None
    reference_clips: ClipTable | None = None  # what the reference set is made of, the training's clips beside it
    validation_clips: ClipTable | None = None
    test_clips: ClipTable | None = None
    folds: Mapping[str, Sequence[int]] = field(default_factory=dict)
    settings: RenderSettings | None = None
    licence: str | None = None


def group_data(config: Config, clips: ClipTable, folds: Mapping[str, Sequence[int]], extractor: Any) -> TrainingData:
    """Groups of both stages, made of the clips of each split's folds."""
    data = config.data
    chosen_clips = clips.in_folds(fold for chosen in folds.values() for fold in chosen)
    with PartialState().local_main_process_first():  # the others read what it has decoded
        usable = chosen_clips.usable(extractor.sampling_rate)
    tables = {name: usable.in_folds(chosen) for name, chosen in folds.items()}
    tables |= {name: _without(tables[name], data.left_out_classes) for name in tables if name != "test"}
    if config.validates and "validation" not in tables:
        raise ConfigError(
            f"eval_strategy needs validation folds, and there are none (folds: {dict(folds)}); set it to no"
        )
    settings = RenderSettings.of_extractor(extractor, gap=data.gap, crossfade=data.crossfade)
    # What judges, in training or after it, is never augmented.
    renderers = {
        "train": Renderer(usable, replace(settings, augment=data.augment)),
        "validation": Renderer(usable, settings),
    }
    views = [view for view in config.training.views if view != PAIR]
    sizes = {"train": data.n_groups} | ({"validation": max(2, data.n_groups // 8)} if config.validates else {})
    groups = {
        split: GroupDataset(
            list(
                plan(
                    config.stage,
                    tables[split],
                    n_groups,
                    data.groups_seed,
                    data.connectives,
                    overlap_connectives=data.overlap_connectives,
                    leave_out=data.leave_out,
                    positions=data.positions,
                )
            ),
            renderers[split],
            views,
        )
        for split, n_groups in sizes.items()
    }
    if config.stage == "stage_b":
        warn_of_held_out({row[f"{view}_caption"] for row in groups["train"].manifest for view in views})
    stream = _stream(config, str(data.pairs), extractor) if data.pairs and data.streaming else None
    rows = _with_pairs(data, groups, extractor) if data.pairs and stream is None else groups
    return TrainingData(
        rows["train"],
        rows.get("validation"),
        stream,
        tables["train"],
        _reference_clips(config, extractor, tables["train"]),
        tables["validation"] if config.validates else None,
        tables.get("test"),
        folds,
        settings,
        None if data.pairs else licence_of_clips(clips.ids),
    )


def _reference_clips(config: Config, extractor: Any, own: ClipTable | None = None) -> ClipTable | None:
    """Those that are named, or the training's own clips. What is held of a user's own pairs would not be learned of
    them: they are held by the sound bank, as far from them as from anything (docs/post-train.md has figures)."""
    source = config.data.reference or (SOUND_BANK if own is None else None)
    if source is None or not (config.training.retention or config.training.mixture):
        return own
    with PartialState().local_main_process_first():  # the others read what it has decoded
        return unlabelled_clips(source, extractor.sampling_rate)


def _without(clips: ClipTable, classes: Sequence[str]) -> ClipTable:
    kept = clips.select(i for i, label in enumerate(clips.labels) if label not in classes)
    if len(kept.classes) < 2:
        raise ConfigError(
            f"left_out_classes leaves {len(kept.classes)} of {len(clips.classes)} classes; pairs need two"
        )
    return kept


def caption_pair_data(config: Config, extractor: Any) -> TrainingData:
    """A user's own recordings and captions, alone; or TACOS's scenes."""
    return TrainingData(_pairs_alone(config, extractor), reference_clips=_reference_clips(config, extractor))


def _pairs_alone(config: Config, extractor: Any) -> SceneGroups | CaptionStream | CaptionPairs:
    data = config.data
    if config.validates:
        raise ConfigError("plain pairs have no validation split; set eval_strategy to no")
    if data.source is None and data.data_dir is None:
        raise ConfigError("plain pairs need --source: a Hub or local data set with an audio and a text column")
    if data.source == TACOS:
        return SceneGroups(Path(str(data.data_dir)), extractor, margin=data.margin, seed=config.training.seed)
    if data.source is not None and data.data_dir is not None:
        raise ConfigError(f"give either data_dir ({data.data_dir!r}) or source ({data.source!r}), not both")
    source = str(data.source or data.data_dir)
    if data.streaming:
        return _stream(config, source, extractor)
    return _load_pairs(data, source, data.audio_column, extractor)


def _stream(config: Config, source: str, extractor: Any) -> CaptionStream:
    data, args, plain = config.data, config.training, config.stage == "plain_pairs"
    column, flag = (data.audio_column, "--audio_column") if plain else (data.pairs_audio_column, "--pairs_audio_column")
    stream = open_stream(source, column, [data.text_column], audio_flag=flag)
    readers = args.world_size * max(1, args.dataloader_num_workers)
    if not stream.deals_shards(readers):
        logger.warning(
            "%d shard(s) for %d readers (processes x dataloader_num_workers): each reads them all and keeps one row of "
            "%d. A number of shards that %d divides would be read once",
            stream.n_shards,
            readers,
            readers,
            readers,
        )
    return CaptionStream(stream, data.text_column, extractor, args.seed, data.shuffle_buffer)


def with_length(config: Config, data: TrainingData) -> Config:
    """`config` with the `max_steps` that its epochs come to, where the data is a stream; said in one line.

    Raises:
        ConfigError: neither the steps are given nor is the number of rows known.
    """
    args, pairs = config.training, data.train
    if not isinstance(pairs, CaptionStream) or args.max_steps > 0:
        return config
    if pairs.stream.n_rows is None:
        raise ConfigError(
            "how many rows the stream has is not known without reading it, so num_train_epochs says nothing: set "
            "max_steps (rows x epochs / rows in a batch of all processes)"
        )
    batch = args.per_device_train_batch_size * args.world_size
    steps = math.ceil(math.ceil(pairs.stream.n_rows / batch) * args.num_train_epochs / args.gradient_accumulation_steps)
    logger.info("%d rows: %d steps are %g epoch(s)", pairs.stream.n_rows, steps, args.num_train_epochs)
    return replace(config, training=replace(args, max_steps=steps))


def _with_pairs(data: DataArguments, groups: Mapping[str, GroupDataset], extractor: Any) -> dict[str, GroupsWithPairs]:
    """The user's own pairs dealt out to the groups; an eighth of them is kept for validation, where there is one."""
    pairs = _load_pairs(data, str(data.pairs), data.pairs_audio_column, extractor, "--pairs_audio_column")
    splits = {"train": pairs}
    if "validation" in groups:
        train, validation = pairs.split(max(2, len(pairs) // 8), data.groups_seed)
        splits = {"train": train, "validation": validation}
    return {split: GroupsWithPairs(rows, splits[split], data.groups_seed) for split, rows in groups.items()}


def _load_pairs(
    data: DataArguments,
    source: str,
    audio_column: str,
    extractor: Any,
    audio_flag: str = "--audio_column",
) -> CaptionPairs:
    rows = load_rows(source, audio_column, data.label_column)
    if "train" not in rows.splits:
        raise DataError(f"the data set has no train split; it has {', '.join(rows.splits)}")
    pairs = rows.splits["train"]
    others = [name for name in rows.splits if name != "train"]
    if not others and (splits := own_splits(pairs)):
        others = not_trained_on(splits)
        pairs = pairs.select([row for row, name in enumerate(splits) if name not in others])
    if others:
        logger.info("%s: pairs of the split train; %s are left for evaluation", source, ", ".join(others))
    return CaptionPairs(pairs, audio_column, data.text_column, extractor, base=rows.base, audio_flag=audio_flag)


def warn_of_long_captions(data: TrainingData, processor: Any) -> None:
    """As `warn_of_cut`; not of a stream."""
    if isinstance(data.train, CaptionStream):
        return
    names = ("forward_caption", f"{PAIR}_caption")
    captions = {row[name] for row in data.train.manifest for name in names if name in row}
    captions |= set(getattr(data.train, "captions", ()))
    warn_of_cut(processor, captions)


def reference_of(
    config: Config, known_by: str, model: nn.Module, processor: Any, data: TrainingData
) -> Reference | None:
    """The reference set of a training and what the checkpoint `known_by` says of it, to be filled; None where nothing
    asks for it."""
    args = config.training
    if not (args.retention or args.mixture):
        return None
    assert data.reference_clips is not None
    settings, clips = RenderSettings.of_extractor(processor.feature_extractor), data.train_clips
    start, _ = load_checkpoint(known_by)
    for each in (start, model):
        nn.Module.to(each, args.device)
    return Reference(
        start,
        model,
        config.run.policy().split_point,
        processor,
        None if clips is None else ReferenceRecordings.alone(clips, settings),
        ReferenceRecordings.around(data.reference_clips, settings, config.data.reference_size),
        [] if clips is None else [spoken(label) for label in clips.classes],
        seed=args.seed,
        dtype=config.run.cache_dtype,
    )

"""The builder of `load_dataset("teminal/esc50-temporal", "stage_b")`: temporal pairs as a `datasets` data set.

Only the manifest is on disk; indexing, or streaming, renders the sound. Loading scripts are gone from `datasets` 4, so
the builder is found through `teminal_hf.register`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar

import datasets
from datasets import Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict, List, Split, Value

from teminal_hf.clips.folds import split_folds
from teminal_hf.clips.sources import ClipSource
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.groups import plan
from teminal_hf.data.manifest_audio import with_audio
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.zste_items import RETRIEVAL, ZSTE_TASKS, plan_zste
from teminal_hf.errors import ConfigError

STAGES = ("stage_a", "stage_b", "zste")
SPLITS = {"train": Split.TRAIN, "validation": Split.VALIDATION, "test": Split.TEST}

_GROUP = {"group_id": Value("int64"), "seed": Value("int64")} | {
    name: Value("string") for name in ("clip_a", "clip_b", "label_a", "label_b")
}
_CAPTIONS = {
    "stage_a": ("double_view", "single_caption", "double_caption"),
    "stage_b": (
        "double_view",
        "single_caption",
        "double_caption",
        "forward_caption",
        "reversed_caption",
        "overlay_caption",
    ),
}
ROW_TASKS = [task for task in ZSTE_TASKS if task not in RETRIEVAL]
MAX_SHARDS = 16  # of a stream, for the workers and processes that read it
MANIFEST = {stage: Features(_GROUP | {c: Value("string") for c in names}) for stage, names in _CAPTIONS.items()} | {
    "zste": Features(
        _GROUP
        | {
            "clip_c": Value("string"),
            "task": Value("string"),
            "wording": Value("string"),
            "views": List(Value("string")),
        }
        | {"candidates": List(Value("string")), "references": List(Value("int64"))}
    )
}


@dataclass
class TemporalConfig(datasets.BuilderConfig):
    """Arguments of `load_dataset("teminal/esc50-temporal", name, ...)`.

    Args:
        data_dir: an ESC-50 folder; or
        source: "soundbank" (the default), or a Hub or local data set with audio, label and, perhaps, fold columns.
        seed: fixes, with the index, every group.
        n_groups: groups of the train split; validation and test have an eighth each. "zste": groups per split.
        train_folds, validation_folds, test_folds: by default the last fold is test, the last but one validation.
        sampling_rate, window, gap, crossfade: of the rendered audio, in Hz and seconds.
        audio_column, label_column, fold_column, group_column: of a data set, as in `ClipSource`.
        clips_per_class: of the sound bank, per fold.
    """

    source: str | None = None
    seed: int = 0
    n_groups: int = 2000
    train_folds: tuple[int, ...] | None = None
    validation_folds: tuple[int, ...] | None = None
    test_folds: tuple[int, ...] | None = None
    audio_column: str = "audio"
    label_column: str = "category"
    fold_column: str | None = "fold"
    group_column: str | None = None
    clips_per_class: int = 12
    sampling_rate: int = 48_000
    window: float = 10.0
    gap: float = 0.0
    crossfade: float = 0.0

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Features | None = None) -> str:
        # Every builder asks once, when its configuration is complete; the splits and the renderer use what is found.
        clips = ClipSource.of(self).load()
        self.folds = split_folds(clips, self.train_folds, self.validation_folds, self.test_folds)
        clips = clips.in_folds(fold for chosen in self.folds.values() for fold in chosen)
        self.clips = clips.usable(self.sampling_rate)
        # A folder whose clips changed since, or are no longer bad, must not be answered from the cache.
        return super().create_config_id({**config_kwargs, "_clips": self.clips.fingerprint}, custom_features)


class TemporalPairs(datasets.GeneratorBasedBuilder):
    """Builder of the manifests; `as_dataset` and `as_streaming_dataset` add the rendering.

    `datasets` renders whole rows even for `ds["label_a"][:]`; `ds.select_columns("label_a")[:]` renders nothing.
    """

    BUILDER_CONFIG_CLASS = TemporalConfig
    BUILDER_CONFIGS: ClassVar = [TemporalConfig(name=stage, version=datasets.Version("1.0.0")) for stage in STAGES]
    config: TemporalConfig

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Pairs of labelled sounds, before, after or while one another, rendered on the fly",
            features=MANIFEST[self.config.name],
            citation="arXiv:2408.09269",
            license="ESC-50's clips are CC BY-NC 3.0; the manifest Apache-2.0",
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        c = self.config
        if c.n_groups < 1:
            raise ConfigError(f"n_groups must be at least 1, got {c.n_groups}")
        splits = []
        for name, folds in c.folds.items():
            n_groups = c.n_groups if name == "train" or c.name == "zste" else max(1, c.n_groups // 8)
            n_shards = 1 if c.name == "zste" else min(MAX_SHARDS, n_groups)
            # `datasets` deals a list, and only a list, out to workers: the folds of a split must not be one.
            shards = list(pairwise(n_groups * i // n_shards for i in range(n_shards + 1)))
            clips = c.clips.in_folds(folds)
            splits.append(datasets.SplitGenerator(name=SPLITS[name], gen_kwargs={"clips": clips, "shards": shards}))
        return splits

    def _generate_examples(
        self, clips: ClipTable, shards: list[tuple[int, int]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        c = self.config
        if c.name == "zste":
            n_groups = min(c.n_groups, len(clips))
            for number, item in enumerate(plan_zste(clips, n_groups=n_groups, seed=c.seed, tasks=ROW_TASKS)):
                row = asdict(item)
                row["references"] = list(row.pop("right"))
                del row["family"], row["gallery"]  # no family is asked apart, and no row holds a gallery
                row |= {"seed": c.seed, "label_a": clips.label(item.clip_a), "label_b": clips.label(item.clip_b)}
                yield number, row
            return
        for start, stop in shards:
            yield from ((row["group_id"], row) for row in plan(c.name, clips, stop, c.seed, start=start))

    def as_dataset(self, *args: Any, **kwargs: Any) -> Dataset | DatasetDict:
        return with_audio(super().as_dataset(*args, **kwargs), self.config.name, self._renderer())

    def as_streaming_dataset(self, *args: Any, **kwargs: Any) -> IterableDataset | IterableDatasetDict:
        return with_audio(super().as_streaming_dataset(*args, **kwargs), self.config.name, self._renderer())

    def _renderer(self) -> Renderer:
        c = self.config
        return Renderer(c.clips, RenderSettings(c.sampling_rate, c.window, c.gap, c.crossfade))

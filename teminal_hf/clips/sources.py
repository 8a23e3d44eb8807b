"""Sources of labelled clips: an ESC-50 folder, any `datasets` data set, or the built-in sound bank.

All three become one `ClipTable`: clip id, class label, fold, and a reader of the clip's waveform.
"""

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Value, concatenate_datasets

from teminal_hf.audio.waveform import Waveform, resample
from teminal_hf.clips import esc50, soundbank, soundbank_voices
from teminal_hf.clips.audio_column import AudioColumn, is_text, need_columns
from teminal_hf.clips.esc50 import esc50_folder
from teminal_hf.clips.folds import N_FOLDS, dealt_folds, fold_numbers, folds_of_splits, splits_of
from teminal_hf.clips.labels import class_labels
from teminal_hf.clips.recordings import holds_recordings, load_rows
from teminal_hf.clips.soundbank import SOUND_BANK
from teminal_hf.clips.table import ClipTable, Reader
from teminal_hf.errors import ConfigError, DataError
from teminal_hf.storage.cache import code_id

logger = logging.getLogger(__name__)

FOLD_COLUMN = "fold"
SPLIT_COLUMNS = ("split", "subset", "partition", "set")  # of train, validation and test, where all lies in one table
# Columns by which data sets say from which recording a clip was cut, in the order in which they are believed.
GROUP_COLUMNS = ("src_file", "fsID", "fsid", "freesound_id", "source_file", "recording_id", "recording")


def _field(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ClipSource:
    """Where labelled clips come from: a folder, a data set by its name and columns, or the sound bank.

    A data set is one of the Hub or what `load_rows` reads of a disk: tables of files, folders of sounds, saved ones.

    Every field is also a flag of the commands, a key of the recipes' YAML files, and a keyword of `load_clips` and of
    `load_dataset("teminal/esc50-temporal")`.
    """

    data_dir: str | None = _field(None, "ESC-50 folder, with audio/ and meta/, or another folder of sounds")
    source: str | None = _field(None, '"soundbank" (default without data_dir), or a Hub or local data set')
    audio_column: str = _field("audio", "audio column of a data set")
    label_column: str = _field("category", "label column of a data set")
    fold_column: str | None = _field(FOLD_COLUMN, "fold column of a data set, if it has one")
    group_column: str | None = _field(None, "column that tells which recording a clip is of (default: src_file ...)")
    clips_per_class: int = _field(12, "clips per class and fold of the sound bank")

    @classmethod
    def of(cls, options: object) -> "ClipSource":
        """From anything that has these fields among its attributes."""
        return ClipSource(**{f.name: getattr(options, f.name) for f in fields(ClipSource)})

    @property
    def name(self) -> str:
        """The source in one word: a path, a data set's name, or "soundbank"."""
        return self.data_dir or self.source or SOUND_BANK

    def load(self) -> ClipTable:
        """Find the clips; nothing is decoded.

        Raises:
            ValueError: both a folder and a source, columns that are missing, folds that are no numbers.
            OSError: nothing there, or not downloaded yet while offline.
        """
        if self.data_dir is not None and self.source is not None:
            raise ConfigError(f"give either data_dir ({self.data_dir!r}) or source ({self.source!r}), not both")
        if self.data_dir is not None and not self.data_dir.strip():  # a variable that is not set
            raise ConfigError("data_dir is empty; name a folder, or leave it out for the sound bank (. is here)")
        if self.data_dir is not None and not holds_recordings(self.data_dir):
            return esc50_folder(self.data_dir)
        source = self.data_dir or self.source
        if source in (None, SOUND_BANK):
            return sound_bank(self.clips_per_class)
        if (Path(str(source)) / esc50.TABLE).is_file():
            return esc50_folder(str(source))
        rows = load_rows(str(source), self.audio_column, self.label_column)
        return from_dataset(
            rows.splits,
            audio_column=self.audio_column,
            label_column=self.label_column,
            fold_column=self.fold_column,
            group_column=self.group_column,
            base=rows.base,
        )


def load_clips(source: str | Path | None = None, data_dir: str | Path | None = None, **options: Any) -> ClipTable:
    """Find clips: `data_dir` is an ESC-50 folder; `source` is "soundbank" (the default) or a Hub or local data set;
    `options` are the other fields of `ClipSource`, and errors are those of its `load`."""
    folder, name = (None if given is None else str(given) for given in (data_dir, source))
    return ClipSource(data_dir=folder, source=name, **options).load()


def _table(ids: list[str], labels: list[str], folds: list[int], origins: list[str], reader: Reader) -> ClipTable:
    return ClipTable(tuple(ids), tuple(labels), tuple(folds), tuple(range(len(ids))), tuple(origins), reader)


def unlabelled_clips(source: str, sampling_rate: int, audio_column: str = "audio") -> ClipTable:
    """The usable recordings of a data set, decoded; whatever it says of their classes is not read.

    Args:
        source: "soundbank", a folder in the form of ESC-50, or what `load_rows` reads.

    Raises:
        DataError: more than 5 % of the recordings cannot be used, or there is none.
    """
    if source == SOUND_BANK or (Path(source) / esc50.TABLE).is_file():
        table = ClipSource(source=source).load()
    else:
        rows = load_rows(source, audio_column, label_column=None)
        dataset, _ = one_table(rows.splits)
        need_columns({audio_column: "--audio_column"}, dataset.column_names, source, {audio_column: "--audio_column"})
        audio, n = AudioColumn(dataset, audio_column, rows.base), len(dataset)
        table = _table([f"{i:06d}" for i in range(n)], [""] * n, [1] * n, audio.origins, audio.read)
    if not len(table):
        raise DataError(f"{source} holds no recording; name another data set by --reference")
    return table.audible(sampling_rate)


def sound_bank(clips_per_class: int = 12) -> ClipTable:
    """The embedded default: classes of ESC-50 synthesised in numpy, for demo and tests. Folds 1-4, fold 4 from other
    parameter ranges than the rest."""
    ids = soundbank.clip_ids(clips_per_class)
    parsed = [soundbank.parse_clip_id(clip_id) for clip_id in ids]
    version = code_id(soundbank, soundbank_voices)
    origins = [f"{clip_id} of sound bank {version}" for clip_id in ids]
    return _table(ids, [p[1] for p in parsed], [p[0] for p in parsed], origins, partial(_read_sound_bank, ids))


def _read_sound_bank(ids: list[str], row: int, sampling_rate: int) -> Waveform:
    return resample(soundbank.synthesise(ids[row]), soundbank.SAMPLING_RATE, sampling_rate)


def from_dataset(
    dataset: Dataset | DatasetDict,
    *,
    audio_column: str = "audio",
    label_column: str = "category",
    fold_column: str | None = "fold",
    group_column: str | None = None,
    base: Path | None = None,
) -> ClipTable:
    """Clips of a `datasets` data set (all its splits) with an audio and a label column.

    The audio column may be whatever `AudioColumn` reads; paths in it start from the folder `base`. Labels are checked
    by `class_labels`, and rows without exactly one are left out. Folds are those of the fold column; without one (or
    with `fold_column=None`) the data set's own splits, which may be a column `split` or the like; without splits five
    blocks of each class. Where folds are made
    here, rows of one recording, which the group column (or `src_file`, `fsID` and the like) tells, stay together.

    Where a column `filename` names every row differently, its stems are the clips' ids, as they are for an ESC-50
    folder: a manifest made from one fits a data set of the same files. Otherwise rows are numbered.

    Raises:
        DataError: a column is missing (the message lists those present), or holds what cannot be used.
    """
    dataset, splits = one_table(dataset)
    if dataset.format["type"] != "custom":
        dataset = dataset.with_format(None)
    columns = dataset.column_names
    wanted = {audio_column: "--audio_column", label_column: "--label_column"}
    wanted |= {} if group_column is None else {group_column: "--group_column"}
    wanted |= {} if fold_column in (None, FOLD_COLUMN) else {str(fold_column): "--fold_column"}
    need_columns(wanted, columns, "the data set", wanted)
    ids = _clip_ids(dataset)
    labels = class_labels(dataset[label_column][:], f"column {label_column!r}", dataset.features[label_column])
    keep = [row for row, label in enumerate(labels) if label is not None]
    if len(keep) < len(ids):
        dataset = dataset.select(keep)
    kept = [label for label in labels if label is not None]
    folds = _folds(dataset, kept, [splits[row] for row in keep], fold_column, group_column)
    audio = AudioColumn(dataset, audio_column, base)
    return _table([ids[row] for row in keep], kept, folds, audio.origins, audio.read)


def one_table(dataset: Dataset | DatasetDict) -> tuple[Dataset, list[str]]:
    """The rows of all splits, and of each row its split."""
    if not isinstance(dataset, DatasetDict):
        return dataset, [""] * len(dataset)
    names = [name for name, part in dataset.items() for _ in range(len(part))]
    parts = [part if part.format["type"] == "custom" else part.with_format(None) for part in dataset.values()]
    common = set.intersection(*(set(part.column_names) for part in parts))
    parts = [part.select_columns([name for name in part.column_names if name in common]) for part in parts]
    try:
        return concatenate_datasets(parts), names
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the splits {', '.join(dataset)} are not of the same columns and types ({error}); give them the same by "
            "dataset.cast(features)"
        ) from error


def own_splits(dataset: Dataset) -> list[str] | None:
    """Of each row its split, where a column `split` or the like tells it; None where none does."""
    for name in SPLIT_COLUMNS:
        column = column_named(dataset.column_names, name)
        if column and is_text(dataset.features[column]) and (splits := splits_of(dataset[column][:])):
            return splits
    return None


def column_named(columns: Sequence[str], name: str) -> str | None:
    """The column of that name, or the first that differs from it in letter case alone: a spreadsheet's "Fold"."""
    alike = [column for column in columns if column.casefold() == name.casefold()]
    return name if name in alike else next(iter(alike), None)


def _folds(
    dataset: Dataset, labels: list[str], splits: list[str], fold_column: str | None, group_column: str | None
) -> list[int]:
    named = filter(None, (column_named(dataset.column_names, name) for name in GROUP_COLUMNS))
    simple = (name for name in named if isinstance(dataset.features[name], Value))  # "recording" may be the sound
    group_column = group_column or next(simple, None)
    recordings: list[Hashable] = list(range(len(dataset)))
    if group_column is not None:
        cells = dataset[group_column][:]
        recordings = [row if cell in (None, "") or cell != cell else str(cell) for row, cell in enumerate(cells)]
    column = None if fold_column is None else column_named(dataset.column_names, fold_column)
    if column is not None:
        if len(set(splits)) > 1:
            logger.info("folds are those of column %r, not the data set's own splits", column)
        folds = fold_numbers(dataset[column][:], f"column {column!r}")
        return _say_what_is_shared(folds, recordings, group_column)
    if len(set(splits)) < 2:
        splits = own_splits(dataset) or splits
    if len(set(splits)) > 1:
        return _say_what_is_shared(folds_of_splits(splits, labels, recordings), recordings, group_column)
    kept_together = "recordings cut from one source may be in several (--group_column tells which)"
    if group_column is not None:
        kept_together = f"rows of one {group_column} stay together"
    logger.warning(
        "no fold column%s: each class is dealt into %d folds, in blocks; %s",
        "" if fold_column is None else f" {fold_column!r}",
        N_FOLDS,
        kept_together,
    )
    return dealt_folds(labels, recordings)


def _say_what_is_shared(folds: list[int], recordings: list[Hashable], group_column: str | None) -> list[int]:
    several = len(set(zip(recordings, folds, strict=True))) - len(set(recordings))
    if several:
        logger.warning(
            "clips of one %s are in several folds, %d times: what is tested on was in part trained on. "
            "--fold_column takes folds of your own",
            group_column,
            several,
        )
    return folds


def _clip_ids(dataset: Dataset) -> list[str]:
    for column in ("filename", "file_name"):
        if is_text(dataset.features.get(column)):
            stems = [Path(name or "").stem for name in dataset[column][:]]
            if all(stems) and len(set(stems)) == len(stems):
                return stems
    return [f"{i:06d}" for i in range(len(dataset))]

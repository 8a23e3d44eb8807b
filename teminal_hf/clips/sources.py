"""Sources of labelled clips: an ESC-50 folder, any `datasets` data set, or the built-in sound bank.

All three become one `ClipTable`: clip id, class label, fold, and a reader of the clip's waveform.
"""

import csv
import logging
from collections import Counter
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Value, concatenate_datasets, load_dataset

from teminal_hf.audio.waveform import Waveform, decode, resample
from teminal_hf.clips import soundbank, soundbank_voices
from teminal_hf.clips.audio_column import file_state, need_columns, read_audio_value, row_origins, undecoded
from teminal_hf.clips.folds import fold_numbers
from teminal_hf.clips.soundbank import SOUND_BANK
from teminal_hf.clips.table import ClipTable, Reader
from teminal_hf.errors import ConfigError, DataError, NotFoundError
from teminal_hf.hub.offline import fetching_data, saying_what_to_fetch
from teminal_hf.storage.cache import code_id

logger = logging.getLogger(__name__)

N_FOLDS = 5  # given to data sets that come without folds


def _field(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ClipSource:
    """Where labelled clips come from: a folder, a data set by its name and columns, or the sound bank.

    Every field is also a flag of the commands, a key of the recipes' YAML files, and a keyword of `load_clips` and of
    `load_dataset("teminal/esc50-temporal")`.
    """

    data_dir: str | None = _field(None, "ESC-50 folder, with audio/ and meta/")
    source: str | None = _field(None, '"soundbank" (default without data_dir), or a Hub or local data set')
    audio_column: str = _field("audio", "audio column of a data set")
    label_column: str = _field("category", "label column of a data set")
    fold_column: str | None = _field("fold", "fold column of a data set, if it has one")
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
        if self.data_dir is not None:
            if self.source is not None:
                raise ConfigError(f"give either data_dir ({self.data_dir!r}) or source ({self.source!r}), not both")
            return esc50_folder(self.data_dir)
        if self.source in (None, SOUND_BANK):
            return sound_bank(self.clips_per_class)
        with saying_what_to_fetch(str(self.source), fetching_data(str(self.source))):
            dataset = load_dataset(self.source)
        return from_dataset(
            dataset, audio_column=self.audio_column, label_column=self.label_column, fold_column=self.fold_column
        )


def load_clips(source: str | None = None, data_dir: str | None = None, **options: Any) -> ClipTable:
    """Find clips: `data_dir` is an ESC-50 folder; `source` is "soundbank" (the default) or a Hub or local data set;
    `options` are the other fields of `ClipSource`, and errors are those of its `load`."""
    return ClipSource(data_dir=data_dir, source=source, **options).load()


def _table(ids: list[str], labels: list[str], folds: list[int], origins: list[str], reader: Reader) -> ClipTable:
    return ClipTable(tuple(ids), tuple(labels), tuple(folds), tuple(range(len(ids))), tuple(origins), reader)


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


def esc50_folder(data_dir: str | Path) -> ClipTable:
    """ESC-50 as distributed: `meta/esc50.csv` (columns filename, fold, category) and `audio/`.

    Raises:
        NotFoundError: folder, table or a listed file missing.
        ValueError: columns missing, or a fold that is no number.
    """
    root = Path(data_dir)
    table, audio = root / "meta" / "esc50.csv", root / "audio"
    if not table.is_file():
        found = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else "nothing: no such folder"
        raise NotFoundError(
            f"{root} is no ESC-50 folder: meta/esc50.csv is missing (found {found or 'an empty folder'}). Give the "
            "folder that holds audio/ and meta/, as unpacked from https://github.com/karolpiczak/ESC-50"
        )
    with table.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        need_columns({"filename", "fold", "category"}, columns, str(table))
        rows = list(reader)
    if not rows:
        raise DataError(f"{table} lists no clip")
    paths = [audio / row["filename"] for row in rows]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise NotFoundError(
            f"{table} names {len(missing)} file(s) that are not in {audio}: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. Complete the folder or remove these lines"
        )
    ids = [Path(row["filename"]).stem for row in rows]
    labels, folds = [row["category"] for row in rows], fold_numbers((row["fold"] for row in rows), str(table))
    origins = [file_state(path) for path in paths]
    return _table(ids, labels, folds, origins, partial(_read_path, [str(path) for path in paths]))


def _read_path(paths: list[str], row: int, sampling_rate: int) -> Waveform:
    return decode(paths[row], sampling_rate)


def from_dataset(
    dataset: Dataset | DatasetDict,
    *,
    audio_column: str = "audio",
    label_column: str = "category",
    fold_column: str | None = "fold",
) -> ClipTable:
    """Clips of a `datasets` data set (all its splits) with an audio and a label column.

    The audio column may be an `Audio` feature, or structs of `bytes`/`path`, or of `array`/`sampling_rate`. Without
    the fold column (or with `fold_column=None`) each class is dealt into five folds in a fixed order; recordings cut
    from one source may then land in different folds.

    Where a column `filename` names every row differently, its stems are the clips' ids, as they are for an ESC-50
    folder: a manifest made from one fits a data set of the same files. Otherwise rows are numbered.

    Raises:
        ValueError: a column is missing; the message lists those present.
    """
    if isinstance(dataset, DatasetDict):
        dataset = concatenate_datasets(list(dataset.values()))
    need_columns({audio_column, label_column}, dataset.column_names, "the data set")
    dataset = undecoded(dataset, audio_column)
    feature, values = dataset.features[label_column], dataset[label_column][:]
    labels = [feature.int2str(v) if isinstance(feature, ClassLabel) else str(v) for v in values]
    if fold_column is not None and fold_column in dataset.column_names:
        folds = fold_numbers(dataset[fold_column][:], f"column {fold_column!r}")
    else:
        logger.warning(
            "no fold column%s: each class is dealt into %d folds; recordings cut from one source may be in several",
            "" if fold_column is None else f" {fold_column!r}",
            N_FOLDS,
        )
        seen: Counter[str] = Counter()
        folds = []
        for label in labels:
            folds.append(seen[label] % N_FOLDS + 1)
            seen[label] += 1
    audio = dataset.select_columns([audio_column])
    origins = row_origins(audio, audio_column)
    return _table(_clip_ids(dataset), labels, folds, origins, partial(_read_row, audio, audio_column))


def _clip_ids(dataset: Dataset) -> list[str]:
    if dataset.features.get("filename") == Value("string"):
        stems = [Path(name or "").stem for name in dataset["filename"][:]]
        if all(stems) and len(set(stems)) == len(stems):
            return stems
    return [f"{i:06d}" for i in range(len(dataset))]


def _read_row(dataset: Dataset, column: str, row: int, sampling_rate: int) -> Waveform:
    return read_audio_value(dataset[row][column], sampling_rate)

"""Where labelled clips come from: an ESC-50 folder, any `datasets` data set, or the built-in sound bank.

All three become one `ClipTable`: clip id, class label, fold, and a reader of the clip's waveform.
"""

import csv
import hashlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Audio, ClassLabel, Dataset, DatasetDict, concatenate_datasets, load_dataset
from tqdm.auto import tqdm

from teminal_hf import soundbank
from teminal_hf.audio import BadClipError, Waveform, decode, resample, trim_silence

logger = logging.getLogger(__name__)

SOUND_BANK = "soundbank"
N_FOLDS = 5  # given to data sets that come without folds
MAX_BAD_SHARE = 0.05
CACHE_BYTES = 1 << 30

Reader = Callable[[int, int], Waveform]  # (row, sampling rate) -> waveform


class _Decoded:
    """The most recently decoded clips, as 16-bit integers, up to 1 GiB a process."""

    def __init__(self) -> None:
        self._clips: OrderedDict[tuple[str, int, bool], tuple[np.ndarray, float]] = OrderedDict()
        self._bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        # Fingerprints and worker processes pickle the table: decoded audio is not part of what it is.
        return {"_clips": OrderedDict(), "_bytes": 0}

    def __contains__(self, key: tuple[str, int, bool]) -> bool:
        return key in self._clips

    def put(self, key: tuple[str, int, bool], waveform: Waveform) -> None:
        peak = float(np.abs(waveform).max(initial=1e-9))
        stored = np.round(waveform * (32767 / peak)).astype(np.int16)
        self._clips[key] = (stored, peak / 32767)
        self._bytes += stored.nbytes
        while self._bytes > CACHE_BYTES and len(self._clips) > 1:
            self._bytes -= self._clips.popitem(last=False)[1][0].nbytes

    def get(self, key: tuple[str, int, bool]) -> Waveform:
        self._clips.move_to_end(key)
        stored, step = self._clips[key]
        return stored.astype(np.float32) * np.float32(step)


@dataclass
class ClipTable:
    """Labelled clips. `ids`, `labels`, `folds`, `rows` are parallel; `reader(row, sampling_rate)` gives the sound."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    folds: tuple[int, ...]
    rows: tuple[int, ...]
    reader: Reader = field(repr=False)
    decoded: "_Decoded" = field(default_factory=lambda: _Decoded(), repr=False, compare=False)

    def __post_init__(self) -> None:
        self._position = {clip_id: i for i, clip_id in enumerate(self.ids)}
        if len(self._position) != len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise ValueError(f"clip ids must be unique; {twice!r} occurs more than once")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> list[str]:
        """Sorted class labels."""
        return sorted(set(self.labels))

    @property
    def fingerprint(self) -> str:
        """Hash of ids, labels and folds: the same table gives the same groups."""
        rows = "\n".join(
            f"{i}\t{label}\t{fold}" for i, label, fold in zip(self.ids, self.labels, self.folds, strict=True)
        )
        return hashlib.sha256(rows.encode()).hexdigest()[:16]

    def select(self, keep: Iterable[int]) -> "ClipTable":
        """The clips at these positions."""
        keep = list(keep)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in keep),
            labels=tuple(self.labels[i] for i in keep),
            folds=tuple(self.folds[i] for i in keep),
            rows=tuple(self.rows[i] for i in keep),
        )

    def in_folds(self, folds: Iterable[int]) -> "ClipTable":
        """The clips of these folds.

        Raises:
            ValueError: no clip left; the message lists the folds that exist.
        """
        wanted = set(folds)
        chosen = self.select(i for i, fold in enumerate(self.folds) if fold in wanted)
        if not len(chosen):
            raise ValueError(f"no clip in fold(s) {sorted(wanted)}; the source has folds {sorted(set(self.folds))}")
        return chosen

    def label(self, clip_id: str) -> str:
        return self.labels[self._position[clip_id]]

    def waveform(self, clip_id: str, sampling_rate: int, *, trim: bool = True) -> Waveform:
        """Mono float32 (samples,) at `sampling_rate` Hz, silence at both ends trimmed unless `trim=False`.

        Raises:
            BadClipError: unreadable, empty, silent or too short; the message names the clip.
        """
        key = (clip_id, sampling_rate, trim)
        if key not in self.decoded:
            try:
                waveform = self.reader(self.rows[self._position[clip_id]], sampling_rate)
                waveform = trim_silence(waveform, sampling_rate) if trim else waveform
            except BadClipError as error:
                raise BadClipError(f"clip {clip_id!r} {error}") from error
            self.decoded.put(key, waveform)
        return self.decoded.get(key)

    def usable(self, sampling_rate: int) -> "ClipTable":
        """This table without the clips that cannot be used; each is named in a warning.

        Raises:
            ValueError: more than 5 % of the clips are bad, or a class is left with a single clip.
        """
        good = self.select(screen(len(self), lambda i: self.waveform(self.ids[i], sampling_rate)))
        for label, count in sorted(Counter(good.labels).items()):
            if count < 2:
                raise ValueError(f"class {label!r} has a single clip; give it at least two or remove the class")
        if len(good.classes) < 2:
            raise ValueError(f"pairs need two classes; the source has {good.classes}")
        return good


def screen(n: int, read: Callable[[int], Any]) -> list[int]:
    """The numbers below `n` that `read` takes without a `BadClipError`; the others are named in warnings.

    Raises:
        ValueError: more than 5 % are bad.
    """
    bad: dict[int, str] = {}
    for i in tqdm(range(n), desc="reading clips", unit="clip", leave=False):
        try:
            read(i)
        except BadClipError as error:
            bad[i] = str(error)
    for message in bad.values():
        logger.warning("left out: %s", message)
    if bad:
        logger.warning("%d of %d clips left out", len(bad), n)
    if len(bad) > MAX_BAD_SHARE * n:
        raise ValueError(
            f"{len(bad)} of {n} clips cannot be used (at most {MAX_BAD_SHARE:.0%} are tolerated); "
            f"the first: {next(iter(bad.values()))}. Repair or remove them and run again"
        )
    return [i for i in range(n) if i not in bad]


def _table(ids: list[str], labels: list[str], folds: list[int], reader: Reader) -> ClipTable:
    return ClipTable(tuple(ids), tuple(labels), tuple(folds), tuple(range(len(ids))), reader)


def sound_bank(clips_per_class: int = 12) -> ClipTable:
    """The embedded default: classes of ESC-50 synthesised in numpy, for demo and tests. Folds 1-4, fold 4 from other
    parameter ranges than the rest."""
    ids = soundbank.clip_ids(clips_per_class)
    parsed = [soundbank.parse_clip_id(clip_id) for clip_id in ids]
    return _table(ids, [p[1] for p in parsed], [p[0] for p in parsed], partial(_read_sound_bank, ids))


def _read_sound_bank(ids: list[str], row: int, sampling_rate: int) -> Waveform:
    return resample(soundbank.synthesise(ids[row]), soundbank.SAMPLING_RATE, sampling_rate)


def esc50_folder(data_dir: str | Path) -> ClipTable:
    """ESC-50 as distributed: `meta/esc50.csv` (columns filename, fold, category) and `audio/`.

    Raises:
        FileNotFoundError: folder, table or a listed file missing.
        ValueError: columns missing, or a fold that is no number.
    """
    root = Path(data_dir)
    table, audio = root / "meta" / "esc50.csv", root / "audio"
    if not table.is_file():
        found = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else "nothing: no such folder"
        raise FileNotFoundError(
            f"{root} is no ESC-50 folder: meta/esc50.csv is missing (found {found or 'an empty folder'}). Give the "
            "folder that holds audio/ and meta/, as unpacked from https://github.com/karolpiczak/ESC-50"
        )
    with table.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        need_columns({"filename", "fold", "category"}, columns, str(table))
        rows = list(reader)
    if not rows:
        raise ValueError(f"{table} lists no clip")
    paths = [audio / row["filename"] for row in rows]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{table} names {len(missing)} file(s) that are not in {audio}: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. Complete the folder or remove these lines"
        )
    ids = [Path(row["filename"]).stem for row in rows]
    labels, folds = [row["category"] for row in rows], _fold_numbers((row["fold"] for row in rows), str(table))
    return _table(ids, labels, folds, partial(_read_path, [str(path) for path in paths]))


def _fold_numbers(values: Iterable[Any], where: str) -> list[int]:
    try:
        return [int(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: a fold must be a whole number ({error})") from error


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
        folds = _fold_numbers(dataset[fold_column][:], f"column {fold_column!r}")
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
    ids = [f"{i:06d}" for i in range(len(dataset))]
    return _table(ids, labels, folds, partial(_read_row, dataset.select_columns([audio_column]), audio_column))


def undecoded(dataset: Dataset, column: str) -> Dataset:
    """The data set with the audio `column` as it is stored, for `read_audio_value`: decoding is ours, `datasets` would
    need torchcodec and ffmpeg (huggingface/datasets#7707)."""
    is_audio = isinstance(dataset.features[column], Audio)
    return dataset.cast_column(column, Audio(decode=False)) if is_audio else dataset


def read_audio_value(value: Any, sampling_rate: int) -> Waveform:
    """An audio cell of a data set, `{"bytes", "path"}` or `{"array", "sampling_rate"}`, as a mono waveform."""
    if not isinstance(value, dict):
        raise BadClipError(f"has no audio: the cell is a {type(value).__name__}")
    if value.get("array") is not None:
        array = np.asarray(value["array"], dtype=np.float32)
        return resample(array if array.ndim == 1 else array.mean(axis=0), value["sampling_rate"], sampling_rate)
    if value.get("bytes") is None and value.get("path") is None:
        raise BadClipError(f"has no audio: the cell holds {sorted(value)}, all empty")
    return decode(value["bytes"] if value.get("bytes") is not None else value["path"], sampling_rate)


def _read_row(dataset: Dataset, column: str, row: int, sampling_rate: int) -> Waveform:
    return read_audio_value(dataset[row][column], sampling_rate)


def load_clips(
    source: str | None = None,
    data_dir: str | None = None,
    *,
    audio_column: str = "audio",
    label_column: str = "category",
    fold_column: str | None = "fold",
    clips_per_class: int = 12,
) -> ClipTable:
    """Find clips: `data_dir` is an ESC-50 folder; `source` is "soundbank" (the default) or a Hub or local data set."""
    if data_dir is not None:
        if source is not None:
            raise ValueError(f"give either data_dir ({data_dir!r}) or source ({source!r}), not both")
        return esc50_folder(data_dir)
    if source in (None, SOUND_BANK):
        return sound_bank(clips_per_class)
    return from_dataset(
        load_dataset(source), audio_column=audio_column, label_column=label_column, fold_column=fold_column
    )


def need_columns(wanted: set[str], present: Iterable[str], where: str) -> None:
    """Raise a ValueError that lists the columns present if one of `wanted` is missing."""
    present = list(present)
    missing = sorted(wanted - set(present))
    if missing:
        raise ValueError(f"{where} has no column {', '.join(missing)}; present: {', '.join(present)}")

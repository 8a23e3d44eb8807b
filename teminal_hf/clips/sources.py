"""Where labelled clips come from: an ESC-50 folder, any `datasets` data set, or the built-in sound bank.

All three become one `ClipTable`: clip id, class label, fold, and a reader of the clip's waveform.
"""

import csv
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Value, concatenate_datasets, load_dataset
from tqdm.auto import tqdm

from teminal_hf.audio.waveform import BadClipError, Waveform, decode, resample, trim_silence
from teminal_hf.clips import soundbank, soundbank_voices
from teminal_hf.clips.audio_column import file_state, read_audio_value, row_origins, undecoded
from teminal_hf.clips.store import ClipStore, open_store
from teminal_hf.hub.offline import fetching_data, saying_what_to_fetch
from teminal_hf.storage.cache import code_id

logger = logging.getLogger(__name__)

SOUND_BANK = "soundbank"
N_FOLDS = 5  # given to data sets that come without folds
MAX_BAD_SHARE = 0.05

Reader = Callable[[int, int], Waveform]  # (row, sampling rate) -> waveform


@dataclass
class ClipTable:
    """Labelled clips. `ids`, `labels`, `folds`, `rows`, `origins` are parallel; `reader(row, sampling_rate)` gives the
    sound, and two clips of one origin (such as a file's path, size and time) have the same.

    A `usable` table reads from clip stores: `places` (store, number) are parallel, too.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    folds: tuple[int, ...]
    rows: tuple[int, ...]
    origins: tuple[str, ...] = field(repr=False)
    reader: Reader = field(repr=False)
    places: tuple[tuple[ClipStore, int], ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        self._position = {clip_id: i for i, clip_id in enumerate(self.ids)}
        if len(self._position) != len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise ValueError(f"clip ids must be unique; {twice!r} occurs more than once")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._position

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
            origins=tuple(self.origins[i] for i in keep),
            places=tuple(self.places[i] for i in keep) if self.places else (),
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

        A table that is `usable` at this rate reads it from disk, in 16 bits; any other decodes it at every call.

        Raises:
            BadClipError: unreadable, empty, silent or too short; the message names the clip.
        """
        i = self._position[clip_id]
        with _naming(clip_id):
            if self._stored_at(sampling_rate):
                store, number = self.places[i]
                return store.waveform(number, trim=trim)
            waveform = self.reader(self.rows[i], sampling_rate)
            return trim_silence(waveform, sampling_rate) if trim else waveform

    def content(self, clip_id: str) -> str:
        """Hash of the clip's sound at the table's rate; of `usable` tables alone."""
        if not self.places:
            raise ValueError("a clip's content is known once it is decoded: ask the table that usable() returns")
        store, number = self.places[self._position[clip_id]]
        with _naming(clip_id):
            return store.content(number)

    def usable(self, sampling_rate: int) -> "ClipTable":
        """This table without the clips that cannot be used, each of which is named in a warning; it reads from stores
        of decoded clips, one for each fold, which are written first where they are missing.

        Raises:
            ValueError: more than 5 % of the clips are bad, or a class is left with a single clip.
            OSError: the disk is full.
        """
        stored = self.decoded(sampling_rate)
        good = stored.select(screen(len(self), lambda i: stored.content(self.ids[i])))
        for label, count in sorted(Counter(good.labels).items()):
            if count < 2:
                raise ValueError(f"class {label!r} has a single clip; give it at least two or remove the class")
        if len(good.classes) < 2:
            raise ValueError(f"pairs need two classes; the source has {good.classes}")
        return good

    def decoded(self, sampling_rate: int) -> "ClipTable":
        """This table, reading from clip stores as a `usable` one does; bad clips stay in it and raise when read."""
        return self if self._stored_at(sampling_rate) else self._stored(sampling_rate)

    def _stored_at(self, sampling_rate: int) -> bool:
        return bool(self.places) and self.places[0][0].sampling_rate == sampling_rate

    def _stored(self, sampling_rate: int) -> "ClipTable":
        places: dict[int, tuple[ClipStore, int]] = {}
        for fold in sorted(set(self.folds)):
            clips = [i for i in range(len(self)) if self.folds[i] == fold]
            what = f"{len(clips)} clips of fold {fold} at {sampling_rate} Hz, from {self.origins[clips[0]]} on"
            read = partial(self._read, [self.rows[i] for i in clips], sampling_rate)
            store = open_store(what, [self.origins[i] for i in clips], sampling_rate, read)
            places |= {i: (store, number) for number, i in enumerate(clips)}
        return replace(self, places=tuple(places[i] for i in range(len(self))))

    def _read(self, rows: Sequence[int], sampling_rate: int, number: int) -> Waveform:
        return self.reader(rows[number], sampling_rate)


@contextmanager
def _naming(clip_id: str) -> Iterator[None]:
    try:
        yield
    except BadClipError as error:
        raise BadClipError(f"clip {clip_id!r} {error}") from error


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
    origins = [file_state(path) for path in paths]
    return _table(ids, labels, folds, origins, partial(_read_path, [str(path) for path in paths]))


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
    with saying_what_to_fetch(str(source), fetching_data(str(source))):
        dataset = load_dataset(source)
    return from_dataset(dataset, audio_column=audio_column, label_column=label_column, fold_column=fold_column)


def need_columns(wanted: set[str], present: Iterable[str], where: str) -> None:
    """Raise a ValueError that lists the columns present if one of `wanted` is missing."""
    present = list(present)
    missing = sorted(wanted - set(present))
    if missing:
        raise ValueError(f"{where} has no column {', '.join(missing)}; present: {', '.join(present)}")

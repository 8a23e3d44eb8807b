"""Rows of a data set read in passing, shard by shard: nothing is fetched or decoded before the first of them."""

import logging
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from datasets import Audio, IterableDataset, Value, load_dataset_builder
from datasets.distributed import split_dataset_by_node
from datasets.exceptions import DatasetNotFoundError, DatasetsError

from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.audio_column import from_base, is_text, need_columns, read_audio_value, sample_type
from teminal_hf.clips.folds import is_split, not_trained_on
from teminal_hf.clips.recordings import data_folder
from teminal_hf.clips.sources import SPLIT_COLUMNS, column_named
from teminal_hf.errors import DataError, NotFoundError, TeminalError
from teminal_hf.hub.offline import fetching_data, saying_what_to_fetch

logger = logging.getLogger(__name__)

_BUILDERS = {".parquet": "parquet", ".tar": "webdataset"}
_STREAMED = {*_BUILDERS.values(), "arrow"}
_NAMES = ("__key__", "id", "file_name", "filename")  # columns that tell a person which row it is
# The last three are of `datasets`' readers, where a shard is not of the types of the others.
_UNREADABLE = (
    DatasetsError, OSError, ValueError, RuntimeError, tarfile.TarError, pyarrow.ArrowException,
    TypeError, AttributeError, KeyError,
)  # fmt: skip
# Of several shards at once `datasets` 5.2 holds a row group each, and waits 5 s for its threads at the end of a pass.
_ONE = {name: 1 for name in ("max_buffer_input_shards",) if name in signature(IterableDataset.shuffle).parameters}
_EVEN = 16  # shards a reader, from which on it matters little that one reader has one more than another


@dataclass(frozen=True)
class RowStream:
    """The split `train` of a data set, undecoded, in shards.

    Args:
        source: its name.
        rows: its rows.
        audio_column: holds what `AudioColumn` reads.
        samples: the type of samples of a column of arrays.
        base: the folder that relative paths start from.
        n_rows: how many there are, those left out too, where the data set says so; None where only reading it tells.
        split_column: names each row's split; those for validation and test are left out.
    """

    source: str
    rows: IterableDataset
    audio_column: str
    samples: str | None = None
    base: Path | None = None
    n_rows: int | None = None
    split_column: str | None = None

    @property
    def n_shards(self) -> int:
        return int(self.rows.num_shards)

    def deals_shards(self, readers: int) -> bool:
        """Whether each reader has shards of its own. With few shards that do not divide evenly each reads all of them,
        and keeps every `readers`-th row."""
        return self.n_shards % readers == 0 or self.n_shards >= _EVEN * readers

    def share(
        self, reader: int, readers: int, *, seed: int, passing: int, buffer: int, skip: int = 0
    ) -> Iterator[dict[str, Any]]:
        """The rows of one of `readers`, who have every row once between them.

        Shards, and rows among the next `buffer` of them, come in an order that `seed` and the number of the pass fix;
        with a buffer of 0, in that of the data set. The first `skip` are read and passed over.

        Raises:
            DataError: a shard that cannot be read.
        """
        rows = self.rows
        dealt = self.n_shards % readers and self.deals_shards(readers)
        if dealt:
            rows = rows.shard(num_shards=readers, index=reader)
        if buffer:
            rows = rows.shuffle(seed=seed, buffer_size=buffer, **_ONE)
        if readers > 1 and not dealt:
            rows = split_dataset_by_node(rows, rank=reader, world_size=readers)
        if buffer:
            rows.set_epoch(passing)  # of this data set alone: what is made of it begins at 0
        row: dict[str, Any] = {}
        try:
            for row in islice(filter(self._is_trained_on, rows), skip, None):
                yield row
        except _UNREADABLE as error:
            last = self.name(row)
            after = "" if last is None else f" after {last!r}"
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise DataError(f"{self.source} cannot be read on{after} ({what})") from error

    def _is_trained_on(self, row: dict[str, Any]) -> bool:
        """Not on what is held out beside "train": whether there is such a split only reading all rows would tell."""
        split = None if self.split_column is None else row[self.split_column]
        return not (isinstance(split, str) and is_split(split) and split in not_trained_on(["train", split]))

    def waveform(self, row: dict[str, Any], sampling_rate: int) -> Waveform:
        """The recording of a row, mono, at `sampling_rate` Hz.

        Raises:
            BadClipError: nothing that can be used.
        """
        return read_audio_value(from_base(row[self.audio_column], self.base), sampling_rate, self.samples)

    @property
    def has_none(self) -> str:
        """What to say where no row has come."""
        beside, column = "", self.split_column
        if column is not None:
            beside = (
                f" beside those that its column {column!r} names for validation or test; rename it to read them all"
            )
        return f"{self.source} has no rows{beside}"

    def name(self, row: dict[str, Any]) -> str | None:
        """By what a person finds the row; None where nothing tells."""
        cell = row.get(self.audio_column)
        path = cell.get("path") if isinstance(cell, dict) else cell if isinstance(cell, str) else None
        found = next((row[name] for name in _NAMES if row.get(name) not in (None, "")), path)
        return None if found is None else str(found)


def open_stream(
    source: str, audio_column: str, others: Sequence[str] = (), *, audio_flag: str = "--audio_column"
) -> RowStream:
    """The stream of a data set of the Hub, a folder of parquet or tar (webdataset) files, or one such file.

    Args:
        others: columns to read beside the recording; "json.text" is the field `text` of the column `json`.

    Raises:
        NotFoundError: nothing there.
        DataError: it cannot be read in passing, has no split train, or lacks a column.
        OfflineError: not on this machine, and the Hub may not be asked.
    """
    path = Path(source)
    try:
        if path.is_file():
            if path.suffix not in _BUILDERS:
                raise DataError(f"{source} cannot be streamed: of files, those in {' and '.join(_BUILDERS)} can")
            builder = load_dataset_builder(_BUILDERS[path.suffix], data_files={"train": [str(path.resolve())]})
        elif path.exists():
            _check_one_kind(path)
            builder = load_dataset_builder(str(path.resolve()))
        else:
            with saying_what_to_fetch(source, fetching_data(source)):
                builder = load_dataset_builder(source)
        splits = builder.as_streaming_dataset()
    except DatasetNotFoundError as error:
        raise NotFoundError(f"there is no folder, file or data set of the Hub {source!r} ({error})") from error
    except TeminalError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{source} holds no parquet and no tar files, which can be streamed: {error}") from error
    except _UNREADABLE as error:
        raise DataError(
            f"{source} cannot be streamed ({type(error).__name__}: {' '.join(str(error).split())}); is a shard empty, "
            "or of other columns than the rest?"
        ) from error
    if "train" not in splits:
        raise DataError(f"the data set has no train split; it has {', '.join(splits)}")
    rows = splits["train"]
    if rows.features is None or builder.name not in _STREAMED:
        raise DataError(
            f"{source} is neither parquet nor webdataset, which say of which columns they are, so it cannot be "
            "streamed; store it as parquet, or leave out --streaming"
        )
    needed = {audio_column: audio_flag} | {name.partition(".")[0]: "--text_column" for name in others}
    need_columns(needed, rows.features, source, needed)
    for name in others:
        _need_field(name, rows.features, source)
    names = filter(None, (column_named(list(rows.features), name) for name in SPLIT_COLUMNS))
    split_column = next((name for name in names if is_text(rows.features[name]) and name not in needed), None)
    others = [*_NAMES, *([] if split_column is None else [split_column])]
    kept = [*needed, *(name for name in others if name in rows.features and name not in needed)]
    feature = rows.features[audio_column]
    samples = sample_type(feature, f"column {audio_column!r}", audio_flag)
    rows = rows.select_columns(kept)
    if builder.name == "webdataset":
        rows.info.features = None  # they are guessed of five rows; cast to them, a list of captions becomes a text
    elif isinstance(feature, Audio):
        # Not `Audio(decode=False)`, which encodes what tars hold once more, by torchcodec.
        rows = rows.cast_column(audio_column, {"bytes": Value("binary"), "path": Value("string")})
    files = [Path(str(file)) for file in (builder.config.data_files or {}).get("train", [])]
    for file in files:
        if file.suffix == ".tar" and file.is_file():
            _check_end(file)
    n_rows = _count(files, builder)
    if n_rows == 0:
        raise DataError(f"{source} has no rows")
    if split_column is not None:
        logger.info("%s: rows that its column %r names for validation or test are left out", source, split_column)
    return RowStream(source, rows, audio_column, samples, _base(path), n_rows, split_column)


def _check_one_kind(folder: Path) -> None:
    """`datasets` reads the commoner kind, and says nothing of the other."""
    kinds = sorted({file.suffix for file in folder.rglob("*.*")} & set(_BUILDERS))
    if len(kinds) > 1:
        raise DataError(f"{folder} holds {' and '.join(kinds)} files; stream a folder of one kind")


def _base(path: Path) -> Path | None:
    if not path.exists():
        return None
    return path.parent if path.is_file() else data_folder(path)


def _need_field(name: str, features: Mapping[str, Any], source: str) -> None:
    """Of tars they are those of the first rows, where a column that 95 % of all rows must have is seen."""
    column, *fields = name.split(".")
    within, found = column, features[column]
    for part in fields:
        if not isinstance(found, dict) or part not in found:
            has = f"its fields: {', '.join(map(str, found))}" if isinstance(found, dict) else "it has no fields"
            raise DataError(f"{source} has no field {part!r} in {within!r}; {has}. Name yours by --text_column")
        within, found = f"{within}.{part}", found[part]


def _check_end(tar: Path) -> None:
    """`tarfile` takes what was cut between two of its members for the end."""
    with tar.open("rb") as file:
        file.seek(max(0, tar.stat().st_size - tarfile.BLOCKSIZE))
        if file.read() != bytes(tarfile.BLOCKSIZE):
            raise DataError(f"{tar} was cut: it does not end as a tar file does. Write or fetch it again")


def _count(files: Sequence[Path], builder: Any) -> int | None:
    """Rows of the split train, where something says so without reading them: the ends of parquet files, or its card."""
    if files and all(file.suffix == ".parquet" and file.is_file() for file in files):
        return sum(map(_rows_of, files))
    said = (builder.info.splits or {}).get("train")
    return int(said.num_examples) if said is not None and said.num_examples else None


def _rows_of(file: Path) -> int:
    try:
        return int(pyarrow.parquet.read_metadata(file).num_rows)
    except pyarrow.ArrowException as error:
        raise DataError(f"{file} cannot be read as parquet ({' '.join(str(error).split())})") from error

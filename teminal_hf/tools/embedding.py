"""Data sets as folders of embeddings: parquet files of so many rows each, by several processes, after a kill too."""

import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env
from datasets import Dataset, Features, Value
from pyarrow import parquet
from tqdm import tqdm

from teminal_hf.clips.audio_column import need_columns, row_origins, sample_type, undecoded
from teminal_hf.clips.recordings import load_rows
from teminal_hf.clips.sources import one_table
from teminal_hf.errors import ConfigError, DataError, TakenError
from teminal_hf.integrations.batch_embedder import BatchEmbedder
from teminal_hf.storage.atomic import remove_drafts, write_json, written_whole
from teminal_hf.storage.cache import digest
from teminal_hf.storage.records import Shape, read_json

SHARD_ROWS = 1000  # what each process that is killed has to do again
NAMES = ("id", "filename", "file_name")  # of columns that tell rows apart
_RECORD: Shape = {"source": str, "rows": str, "audio_column": str, "model": str, "shard_rows": int, "sounds": str}
_OWN = ".embed"  # in the folder; what reads parquet passes over hidden folders: the record, and files that are written
_WAIT = timedelta(days=30)  # processes wait for the slowest, which may have hour-long recordings


class Embedded(NamedTuple):
    """What a folder holds: rows, in how many files, those without an embedding, the first of them with the reason; and
    what this call has done of it, by all processes, in seconds."""

    rows: int
    files: int
    bad: int
    first_bad: tuple[tuple[str, str], ...]
    done: int
    seconds: float


class _Source(NamedTuple):
    """Rows that are embedded; `facts` tell them from others."""

    rows: Dataset
    base: Path | None
    samples: str | None
    id_column: str | None
    facts: dict[str, Any]


def embed_source(
    source: str,
    folder: str | Path,
    model: str,
    *,
    audio_column: str = "audio",
    text_column: str | None = None,
    id_column: str | None = None,
    batch_size: int = 32,
    shard_rows: int | None = None,
    progress: bool = True,
) -> Embedded | None:
    """Write `row` (its number), `id` and what `BatchEmbedder` adds of each row of `source` to `folder`, as
    `part-NNNNNN.parquet`; None in all processes but the main one.

    A file has the same rows whoever writes it, and is there whole or not at all. So processes, which take turns at the
    files that are missing, and a later call with any number of them, never write a row twice. Memory does not grow with
    the rows of a data set: `datasets` maps them from the disk.

    Args:
        source: a folder of sounds, a table of them, or a data set of the Hub or on disk (see `load_rows`).
        id_column: what to call rows (default: the first of `NAMES` that there is, else their number).
        batch_size: rows that are read at a time.
        shard_rows: rows of a file (default: as the folder was begun, or 1000).

    Raises:
        TakenError: the folder holds something else, or was begun with another model, source or column.
        DataError: a column is missing or of another kind; no row could be embedded.
        ConfigError: sizes that are none.
        others: as of `load_rows` and `load_encoder`.
    """
    for name, size in (("batch_size", batch_size), ("shard_rows", shard_rows)):
        if size is not None and size < 1:
            raise ConfigError(f"{name} must be at least 1, got {size}")
    # Told so, several processes on the CPU are several; else accelerate takes each for the only one.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    folder, state = Path(folder), PartialState(cpu=on_cpu, timeout=_WAIT)
    if state.is_main_process:
        _check_folder(folder)
    with state.local_main_process_first():  # the others read what `datasets` has made of it
        found = _source(source, audio_column, text_column, id_column)
    embedder = BatchEmbedder(
        model,
        audio_column=audio_column,
        text_column=text_column,
        base=found.base,
        samples=found.samples,
        device=str(state.device),
    )
    n = len(found.rows)
    # Of one process's making: the others may see files that are being written, and would deal the rest otherwise.
    plan: list[Any] = [None, None]
    if state.is_main_process:
        plan[0] = _begin(folder, found.facts | {"model": embedder.model_hash, "shard_rows": shard_rows})
        plan[1] = [start for start in range(0, n, plan[0]) if not _part(folder, start, plan[0]).is_file()]
    size, missing = broadcast_object_list(plan) if state.num_processes > 1 else plan
    began, mine = time.monotonic(), missing[state.process_index :: state.num_processes]
    todo = [min(size, n - start) for start in mine]
    with tqdm(
        total=sum(todo), desc="rows", unit="row", disable=not (progress and mine and state.is_main_process)
    ) as bar:
        for start, rows in zip(mine, todo, strict=True):
            batches = _batches(found, start, start + rows, batch_size, bar)
            _write(folder, _part(folder, start, size).name, embedder, batches)
    state.wait_for_everyone()
    if not state.is_main_process:
        return None
    done = sum(min(size, n - start) for start in missing)
    embedded = _summary(folder, done, time.monotonic() - began)
    if embedded.bad == embedded.rows:
        raise DataError(f"none of the {n} rows of {source} can be embedded; {embedded.first_bad[0][1]}")
    return embedded


def _source(source: str, audio_column: str, text_column: str | None, id_column: str | None) -> _Source:
    splits, base = (rows := load_rows(source, audio_column, None)).splits, rows.base
    dataset, _ = one_table(splits)
    named = {audio_column: "--audio_column"}
    named |= {} if text_column is None else {text_column: "--text_column"}
    named |= {} if id_column is None else {id_column: "--id_column"}
    need_columns(named, dataset.column_names, source, named)
    if not len(dataset):
        raise DataError(f"{source} holds no row")
    id_column = id_column or next((name for name in NAMES if name in dataset.column_names), None)
    facts = {
        "source": str(Path(source).resolve()) if Path(source).exists() else source,
        "rows": f"{len(dataset)} of fingerprint {dataset._fingerprint}",
        "audio_column": audio_column,
        "text_column": text_column,
        "id_column": id_column,
    }
    wanted = dict.fromkeys(name for name in (audio_column, text_column, id_column) if name is not None)
    dataset = undecoded(dataset, audio_column).select_columns(list(wanted))
    origins = row_origins(dataset.select_columns([audio_column]), audio_column, base)
    facts["sounds"] = f"in the state {digest(origins)[:16]}"  # sizes and times of files
    samples = sample_type(dataset.features[audio_column], f"column {audio_column!r}", "--audio_column")
    return _Source(dataset, base, samples, id_column, facts)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise TakenError(f"{folder} is a file, and no folder for embeddings; name another one by --to")
    if folder.is_dir() and not (folder / _OWN).is_dir() and (others := sorted(path.name for path in folder.iterdir())):
        raise TakenError(f"{folder} holds other things ({', '.join(others[:4])}); name another folder by --to")


def _begin(folder: Path, facts: dict[str, Any]) -> int:
    """Begin the folder, or go on with it; the rows of a file in it."""
    record = folder / _OWN / "record.json"
    if record.is_file():
        begun = read_json(record, _RECORD)
        facts["shard_rows"] = facts["shard_rows"] or begun["shard_rows"]
        for name, value in facts.items():
            if begun[name] != value:
                raise TakenError(
                    f"{folder} was begun with {name} {begun[name]}, and this is {value}; name another folder by --to, "
                    "or go on with what it was begun with"
                )
    else:
        facts["shard_rows"] = facts["shard_rows"] or SHARD_ROWS
        record.parent.mkdir(parents=True, exist_ok=True)
        write_json(record, facts)
    remove_drafts(record.parent)
    return facts["shard_rows"]


def _part(folder: Path, start: int, shard_rows: int) -> Path:
    return folder / f"part-{start // shard_rows:06d}.parquet"


def _batches(source: _Source, start: int, stop: int, size: int, bar: tqdm) -> Iterator[tuple[dict, dict]]:
    """Of a few rows at a time what they are called, and what is in them."""
    for first in range(start, stop, size):
        numbers = range(first, min(first + size, stop))
        batch = source.rows[numbers.start : numbers.stop]
        names = [None] * len(numbers) if source.id_column is None else batch[source.id_column]
        ids = [f"{row:06d}" if name is None else str(name) for row, name in zip(numbers, names, strict=True)]
        yield {"row": list(numbers), "id": ids}, batch
        bar.update(len(numbers))


def _write(folder: Path, name: str, embedder: BatchEmbedder, batches: Iterator[tuple[dict, dict]]) -> None:
    """Batch by batch, where nobody looks, and then under its name."""
    schema = Features({"row": Value("int64"), "id": Value("string"), **embedder.features}).arrow_schema
    written = folder / _OWN / name
    with written_whole(written) as draft, parquet.ParquetWriter(draft, schema) as writer:
        for called, batch in batches:
            writer.write_table(pyarrow.table(called | embedder(batch), schema=schema))
    with suppress(FileNotFoundError):  # a process that has outlived its launcher wrote the same, and has moved it
        written.replace(folder / name)


def _summary(folder: Path, done: int, seconds: float) -> Embedded:
    files = sorted(folder.glob("part-*.parquet"))
    rows = sum(parquet.read_metadata(file).num_rows for file in files)
    columns, said = ["id", "reason"], ("reason", "!=", "")
    bad = itertools.chain.from_iterable(
        parquet.read_table(file, columns=columns, filters=[said]).to_pylist() for file in files
    )
    first = tuple((row["id"], row["reason"]) for row in itertools.islice(bad, 3))
    n_bad = len(first) + sum(1 for _ in bad)
    return Embedded(rows, len(files), n_bad, first, done, seconds)

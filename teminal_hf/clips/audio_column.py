"""The audio column of a `datasets` data set: cells as they are stored, and what is in them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Audio, Dataset

from teminal_hf.audio.waveform import Waveform, decode, resample
from teminal_hf.errors import BadClipError, DataError


def row_origins(audio: Dataset, column: str) -> list[str]:
    """The fingerprint of the data set stands for what is in it, the state of a file for what a bare path leads to."""
    cells = audio.with_format(None).flatten()  # with a format kept from before, `datasets` 5.2 loses the new columns
    paths = cells[f"{column}.path"][:] if f"{column}.path" in cells.column_names else [None] * len(audio)
    files = [file_state(Path(path)) if path and Path(path).is_file() else "" for path in paths]
    return [f"data set {audio._fingerprint} column {column} row {row} {file}" for row, file in enumerate(files)]


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


def file_state(path: Path) -> str:
    """Which file it is, and whether it has been written since."""
    state = path.stat()
    return f"{path.resolve()} ({state.st_size} bytes of {state.st_mtime_ns})"


def need_columns(wanted: set[str], present: Iterable[str], where: str) -> None:
    """Raise a ValueError that lists the columns present if one of `wanted` is missing."""
    present = list(present)
    missing = sorted(wanted - set(present))
    if missing:
        raise DataError(f"{where} has no column {', '.join(missing)}; present: {', '.join(present)}")

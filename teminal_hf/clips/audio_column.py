"""The audio column of a `datasets` data set: cells as they are stored, and what is in them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Audio, Dataset, Value
from numpy.typing import NDArray

from teminal_hf.audio.waveform import MAX_PEAK, MAX_RATE, MAX_SECONDS, MIN_RATE, Waveform, decode, resample
from teminal_hf.errors import BadClipError, DataError, NotFoundError

logger = logging.getLogger(__name__)

MAX_CHANNELS = 32
_PEEKED = 16  # rows that are looked at for it
_TEXT, _BYTES = ("string", "large_string"), ("binary", "large_binary")
_WANTED = (
    'an Audio feature, the paths of files, their bytes, or {"array": samples, "sampling_rate": Hz}; name another by '
)


class AudioColumn:
    """The recordings of a data set, by row.

    A cell holds an encoded file (an `Audio` feature, a struct of `bytes` and `path`, bare bytes, or a path as text), or
    `{"array", "sampling_rate"}` with (samples,), (channels, samples) or (samples, channels).

    Args:
        dataset: where they are.
        column: in which column.
        base: the folder that relative paths start from.
        flag: of the commands, that names another column.

    Raises:
        DataError: a column that holds something else; the message says how to store it.
        NotFoundError: text cells that name no files.
    """

    def __init__(self, dataset: Dataset, column: str, base: Path | None = None, flag: str = "--audio_column") -> None:
        where = f"column {column!r}"
        self._cells, self._column = undecoded(dataset, column).select_columns([column]), column
        feature = self._cells.features[column]
        self._samples = sample_type(feature, where, flag)
        self._files: list[Path] | None = None
        if is_text(feature):
            self._files = _files(self._cells[column][:], base, where)
        self._base = base
        if self._samples is not None and self._samples.startswith("float"):
            self._warn_if_beyond(where)

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def origins(self) -> list[str]:
        """Of each row, what its sound depends on."""
        if self._files is not None:
            return [file_state(path) for path in self._files]
        return row_origins(self._cells, self._column, self._base)

    def read(self, row: int, sampling_rate: int) -> Waveform:
        """The recording, mono, at `sampling_rate` Hz.

        Raises:
            BadClipError: nothing that can be used.
        """
        value = from_base(self._cells[row][self._column], self._base) if self._files is None else str(self._files[row])
        return read_audio_value(value, sampling_rate, self._samples)

    def _warn_if_beyond(self, where: str) -> None:
        rows = range(0, len(self._cells), max(1, len(self._cells) // _PEEKED))
        arrays = [cell["array"] for row in rows if isinstance(cell := self._cells[row][self._column], dict)]
        peak = max((_peak(array) for array in arrays if array is not None), default=0.0)
        if peak > MAX_PEAK:
            logger.warning(
                "%s holds floats up to %.4g, and full scale is 1: if they were integers once, divide them by their "
                "range (32768 for 16 bits)",
                where,
                peak,
            )


def row_origins(audio: Dataset, column: str, base: Path | None = None) -> list[str]:
    """The fingerprint of the data set stands for what is in it, the state of a file for what a bare path leads to."""
    cells = audio.with_format(None).flatten()  # with a format kept from before, `datasets` 5.2 loses the new columns
    named = next((name for name in (f"{column}.path", column) if is_text(cells.features.get(name))), None)
    paths = [None] * len(audio) if named is None else cells[named][:]
    found = [None if path is None else (base or Path()) / path for path in paths]
    files = [file_state(path) if path and _is_file(path) else "" for path in found]
    return [f"data set {audio._fingerprint} column {column} row {row} {file}" for row, file in enumerate(files)]


def undecoded(dataset: Dataset, column: str) -> Dataset:
    """The data set with the audio `column` as it is stored, for `read_audio_value`: decoding is ours, `datasets` would
    need torchcodec and ffmpeg (huggingface/datasets#7707). A format of numpy, torch or the like is taken off."""
    if dataset.format["type"] != "custom":
        dataset = dataset.with_format(None)
    is_audio = isinstance(dataset.features[column], Audio)
    return dataset.cast_column(column, Audio(decode=False)) if is_audio else dataset


def read_audio_value(value: Any, sampling_rate: int, samples: str | None = None) -> Waveform:
    """An audio cell of a data set, `{"bytes", "path"}`, `{"array", "sampling_rate"}`, bytes or a path, as a mono
    waveform. `samples` is the type that the data set gives its arrays, which lists of numbers have lost."""
    if isinstance(value, bytes):
        return decode(value, sampling_rate)
    if isinstance(value, str):
        return _decode_file(value, sampling_rate)
    if not isinstance(value, dict):
        raise BadClipError(f"has no audio: the cell is a {type(value).__name__}")
    if value.get("array") is not None:
        return _resampled(_mono(_array(value["array"], samples)), value.get("sampling_rate"), sampling_rate)
    if value.get("bytes") is not None:
        return decode(value["bytes"], sampling_rate)
    if value.get("path") is None:
        raise BadClipError(f"has no audio: the cell holds {sorted(value)}, all empty")
    return _decode_file(value["path"], sampling_rate)


def from_base(value: Any, base: Path | None) -> Any:
    """An audio cell, in which a path without bytes starts from the folder `base`."""
    if base is not None and isinstance(value, str) and value:
        return str(base / value)
    if base is not None and isinstance(value, dict) and value.get("path") and value.get("bytes") is None:
        return value | {"path": str(base / value["path"])}
    return value


def _resampled(waveform: NDArray[np.float32], rate: Any, sampling_rate: int) -> Waveform:
    if isinstance(rate, str | bool) or rate is None or not MIN_RATE <= rate <= MAX_RATE:
        raise BadClipError(
            f"has an array and the sampling_rate {rate!r}: store the rate in Hz ({MIN_RATE} to {MAX_RATE}), a number, "
            'as "sampling_rate"'
        )
    if len(waveform) > MAX_SECONDS * rate:
        raise BadClipError(f"lasts {len(waveform) / rate:.0f} s; cut it to {MAX_SECONDS:.0f} s or less")
    return resample(waveform, int(rate), sampling_rate)


def _decode_file(path: str, sampling_rate: int) -> Waveform:
    if not Path(path).is_file():
        raise BadClipError(f"is to be in {path}, and there is no such file")
    return decode(path, sampling_rate)


def _array(value: Any, samples: str | None) -> NDArray[np.float32]:
    """Samples as floats, integers scaled so that their range is +-1."""
    try:
        array = np.asarray(value) if samples is None else np.asarray(value, dtype=samples)
    except (TypeError, ValueError) as error:
        raise BadClipError(f"holds no array of samples ({error})") from error
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind not in "iu":
        raise BadClipError(f"holds samples of type {array.dtype}, expected floats or integers")
    bits = 8 * array.dtype.itemsize
    if bits == 64:  # what Python's own numbers become, whatever they were
        bits = 16
        if array.size and not -32768 <= array.min() <= array.max() <= 32767:
            raise BadClipError(
                f"holds 64-bit integers up to {max(abs(int(array.min())), abs(int(array.max())))}, whose full scale is "
                "not known; store them as int32, or as floats up to 1"
            )
        if array.size and array.min() >= 0 and array.max() > 0:
            raise BadClipError(
                f"holds 64-bit integers from {array.min()} to {array.max()}, none below 0, as unsigned samples are: "
                "store them in their own type (uint8, uint16), or as floats from -1 to 1"
            )
        return (array / 32768).astype(np.float32)
    if array.dtype == np.int32 and array.size:
        loudest = max(abs(int(array.min())), abs(int(array.max())))
        # 48 dB below full scale at most, and with all 32 bits in use: they are of 24 or 16 bits, not shifted up.
        if 0 < loudest <= 2**23 and (array % 256).any():
            bits = 16 if loudest <= 2**15 else 24
            raise BadClipError(
                f"holds 32-bit integers up to {loudest}, as samples of {bits} bits are: {2 ** (32 - bits)} times too "
                f"quiet. Multiply them by that, or store them as floats from -1 to 1 (divided by {2 ** (bits - 1)})"
            )
    half = 2.0 ** (bits - 1)
    return ((array - half if array.dtype.kind == "u" else array) / half).astype(np.float32)


def _mono(array: NDArray[np.float32]) -> NDArray[np.float32]:
    if array.ndim == 1 or not array.size:
        return array.ravel()
    channels = min(array.shape, default=0)
    if array.ndim != 2 or channels > MAX_CHANNELS:
        raise BadClipError(
            f"holds an array of shape {array.shape}, which is no waveform: (samples,), or with up to {MAX_CHANNELS} "
            "channels before or after"
        )
    return array.mean(axis=array.shape.index(channels))


def sample_type(feature: Any, where: str, flag: str) -> str | None:
    """The type of the samples of a column of arrays, None of one of encoded files.

    Raises:
        DataError: a column that holds neither.
    """
    if isinstance(feature, Audio) or (isinstance(feature, Value) and feature.dtype in (*_TEXT, *_BYTES)):
        return None
    if isinstance(feature, dict) and "array" in feature:
        if "sampling_rate" not in feature:
            raise DataError(
                f'{where} holds arrays without a sampling_rate; store {{"array": samples, "sampling_rate": Hz}} in each'
                " row"
            )
        return _leaf(feature["array"])
    if isinstance(feature, dict) and {"bytes", "path"} & set(feature):
        return None
    if hasattr(feature, "feature") or hasattr(feature, "shape"):
        raise DataError(
            f'{where} holds bare arrays, whose rate is not known; store {{"array": samples, "sampling_rate": Hz}} in '
            "each row"
        )
    found = f"structs of {', '.join(feature)}" if isinstance(feature, dict) else getattr(feature, "dtype", feature)
    raise DataError(f"{where} holds no audio but {found}; expected {_WANTED}{flag}")


def _leaf(feature: Any) -> str | None:
    while (inner := getattr(feature, "feature", None)) is not None:
        feature = inner
    dtype = getattr(feature, "dtype", None)
    return dtype if isinstance(dtype, str) and dtype != "null" else None


def _peak(array: Any) -> float:
    try:
        return float(np.abs(np.asarray(array, dtype=np.float64)).max(initial=0.0))
    except (TypeError, ValueError):
        return 0.0  # reading it says what is wrong


def _files(cells: Sequence[Any], base: Path | None, where: str) -> list[Path]:
    paths = [None if not cell else (base or Path()) / str(cell) for cell in cells]
    missing = [_short(cell) for cell, path in zip(cells, paths, strict=True) if path is None or not _is_file(path)]
    if missing:
        raise NotFoundError(
            f"{where} names {len(missing)} of {len(cells)} file(s) that are not there: {', '.join(missing[:3])}"
            f"{' ...' if len(missing) > 3 else ''}, looked for in {(base or Path()).resolve()}. Paths start from the "
            "folder of the file that holds them; correct them, or store the sounds by the Audio feature"
        )
    return [path for path in paths if path is not None]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name of a file: too long, or with a zero byte
        return False


def _short(cell: Any) -> str:
    return repr(cell) if len(str(cell)) <= 80 else f"{str(cell)[:80]!r} ..."


def is_text(feature: Any) -> bool:
    """Whether the cells of a column with this feature are text."""
    return isinstance(feature, Value) and feature.dtype in _TEXT


def file_state(path: Path) -> str:
    """Which file it is, and whether it has been written since."""
    state = path.stat()
    return f"{path.resolve()} ({state.st_size} bytes of {state.st_mtime_ns})"


def need_columns(
    wanted: Iterable[str], present: Iterable[str], where: str, flags: Mapping[str, str] | None = None
) -> None:
    """Raise a DataError that lists the columns present, and the flag that names another, if one of `wanted` is
    missing. `flags` are by column."""
    present = list(present)
    missing = sorted(set(wanted) - set(present))
    if missing:
        ways = [flags[name] for name in missing if name in flags] if flags else []
        fix = f". Name yours by {' and '.join(ways)}" if ways else ""
        raise DataError(f"{where} has no column {', '.join(missing)}; present: {', '.join(present)}{fix}")

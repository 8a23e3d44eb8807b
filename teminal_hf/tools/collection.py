"""Folders of recordings: embedded in batches, kept on disk, searched and ranked."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow
from numpy.typing import NDArray
from pyarrow import parquet
from tqdm import tqdm

from teminal_hf.audio.sound_file import read_sound
from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.recordings import SOUNDS
from teminal_hf.errors import DataError, NotFoundError, TakenError
from teminal_hf.evaluation.ranking import AT_ONCE, Ranking, check_captions, ranking, window_embeds
from teminal_hf.models.encoder import Encoder, identity, text_embeds
from teminal_hf.storage.atomic import check_writable, written_whole
from teminal_hf.storage.cache import digest, entry_folder

WRITTEN_AFTER = 1000  # files: what a run that is stopped has to do again
_COLUMNS = ("file", "size", "mtime_ns", "start", "end", "embedding")
_OF = ("model", "folder")

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """A recording that fits a caption: its best window, in seconds, and the similarity there."""

    file: Path
    start: float
    end: float
    similarity: float


class _File(NamedTuple):
    """A recording's file as it was when it was embedded."""

    file: str
    size: int
    mtime_ns: int


_Windows = list[tuple[float, float, NDArray[np.float32]]]  # start, end, embedding


@dataclass(frozen=True)
class Collection:
    """The recordings of a folder, embedded window by window as `rank` hears them.

    Attributes:
        folder: of the files.
        files: of each window, relative to the folder; a file's windows are together.
        spans: (start, end) of each window, in seconds.
        embeds: (windows, D), of length 1.
        left_out: files that could not be heard, with the reason.
    """

    folder: Path
    files: tuple[str, ...]
    spans: tuple[tuple[float, float], ...]
    embeds: NDArray[np.float32]
    left_out: dict[str, str]

    def rank(self, encoder: Encoder, captions: Sequence[str]) -> dict[Path, Ranking]:
        """`rank` of each file, in the order of their names."""
        check_captions(captions)
        similarity = self.embeds @ text_embeds(encoder, captions).T
        rows: dict[str, list[int]] = {}
        for row, file in enumerate(self.files):
            rows.setdefault(file, []).append(row)
        return {
            self.folder / file: ranking(captions, similarity[which].mean(axis=0).tolist(), len(which))
            for file, which in rows.items()
        }

    def search(self, encoder: Encoder, caption: str, top: int = 10) -> list[Found]:
        """The files that fit a caption best by their best window, best first."""
        check_captions([caption])
        similarity = self.embeds @ text_embeds(encoder, [caption])[0]
        best: dict[str, int] = {}
        for row, file in enumerate(self.files):
            if file not in best or similarity[row] > similarity[best[file]]:
                best[file] = row
        rows = sorted(best.values(), key=lambda row: (-similarity[row], self.files[row]))[:top]
        return [Found(self.folder / self.files[row], *self.spans[row], float(similarity[row])) for row in rows]


def embedded(encoder: Encoder, folder: str | Path, index: Path | None = None, *, progress: bool = True) -> Collection:
    """The recordings of a folder and of those in it (wav, flac, ogg, mp3), embedded in batches, whatever their lengths.

    What is there already is read: embeddings are kept in one parquet file, and those of a file are made anew where its
    size or its time of change differ. One that cannot be heard is left out, and said.

    Args:
        index: the parquet file (default: one in the cache, by folder and model).

    Raises:
        NotFoundError: no folder, or no such file in it.
        TakenError: `index` is something else, or of another folder or model.
        DataError: nothing in it can be heard.
        ConfigError: the encoder has no weights to know its embeddings by (see `identity`).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}; give one of wav, flac, ogg or mp3 files")
    left_out: dict[str, str] = {}
    files = list(_files(folder, left_out))
    if not files and not left_out:
        raise NotFoundError(f"{folder} holds no wav, flac, ogg or mp3 file")
    model, of = identity(encoder), str(folder.resolve())
    if index is not None:
        check_writable(index)
        kept = _read(index, model, of)
    else:
        device = next(iter(encoder.model.state_dict().values())).device.type  # type: ignore[attr-defined]  # it has one
        index = entry_folder("sounds", digest(of, model, device), f"embeddings of {of}") / "embeddings.parquet"
        try:
            kept = _read(index, model, of)
        except TakenError as error:
            logger.warning("%s; it is made anew", error)
            kept = {}
    rows = {file: kept[file] for file in files if file in kept}
    missing = [file for file in files if file not in kept]
    with tqdm(total=len(missing), desc="recordings", unit="file", disable=not progress or not missing) as bar:
        for start in range(0, len(missing), WRITTEN_AFTER):
            rows |= _embedded(encoder, folder, missing[start : start + WRITTEN_AFTER], left_out, bar)
            if rows:
                _write(index, model, of, rows)
    for why in left_out.values():
        logger.warning("left out: %s", why)
    windows = [(file.file, *window) for file in files if file in rows for window in rows[file]]
    if not windows:
        raise DataError(f"none of the {len(left_out)} files can be heard; {next(iter(left_out.values()))}")
    names, starts, ends, embeds = zip(*windows, strict=True)
    return Collection(folder, names, tuple(zip(starts, ends, strict=True)), np.stack(embeds), left_out)


def _embedded(
    encoder: Encoder, folder: Path, files: Sequence[_File], left_out: dict[str, str], bar: tqdm
) -> dict[_File, _Windows]:
    """Each file with its windows; windows of several files share a batch."""
    heard: list[_File] = []

    def sounds() -> Iterator[Waveform]:
        for file in files:
            bar.update()
            try:
                waveform = read_sound(folder / file.file, encoder.sampling_rate)
            except (DataError, OSError) as error:
                left_out[file.file] = f"{folder / file.file}: {error}" if isinstance(error, OSError) else str(error)
                continue
            heard.append(file)
            yield waveform

    return {
        heard[n]: [(*span, embed) for span, embed in zip(spans, embeds.astype(np.float32), strict=True)]
        for n, (spans, embeds) in enumerate(window_embeds(encoder, sounds(), AT_ONCE))
    }


def _files(folder: Path, left_out: dict[str, str]) -> Iterator[_File]:
    """The sound files, but for hidden ones, as macOS leaves them; what cannot be one is put into `left_out`."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        name = relative.as_posix()
        if path.suffix.lower() not in SOUNDS or any(part.startswith(".") for part in relative.parts):
            continue
        if not path.is_file():
            left_out[name] = f"{path} is no file, or a link to none"
        elif name != name.encode(errors="replace").decode():
            left_out[name] = f"{str(path)!r}: its name is not UTF-8; rename it"
        else:
            status = path.stat()
            yield _File(name, status.st_size, status.st_mtime_ns)


def _read(index: Path, model: str, folder: str) -> dict[_File, _Windows]:
    """What is kept of this folder's and this model's.

    Raises:
        TakenError: the file is something else.
    """
    if not index.is_file():
        return {}
    try:
        table = parquet.read_table(index, columns=[*_COLUMNS, *_OF]).to_pydict()
    except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
        raise TakenError(f"{index} is no index of this command, or damaged ({error}); name another file") from error
    for what, value in (("model", model), ("folder", folder)):
        if others := {*table[what]} - {value}:
            raise TakenError(f"{index} is of another {what} ({', '.join(sorted(others))}); name another file")
    kept: dict[_File, _Windows] = {}
    for name, size, mtime_ns, start, end, embed in zip(*(table[column] for column in _COLUMNS), strict=True):
        kept.setdefault(_File(name, size, mtime_ns), []).append((start, end, np.array(embed, dtype=np.float32)))
    return kept


def _write(index: Path, model: str, folder: str, rows: dict[_File, _Windows]) -> None:
    windows = [(*file, *window, model, folder) for file, windows in rows.items() for window in windows]
    columns = dict(zip((*_COLUMNS, *_OF), map(list, zip(*windows, strict=True)), strict=True))
    index.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(index) as draft:
        parquet.write_table(pyarrow.table(columns), draft)

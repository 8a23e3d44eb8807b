"""Decoded clips on disk: decoded and resampled once, then mapped by every process and every run that needs them."""

import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm.auto import tqdm
from xxhash import xxh3_128

from teminal_hf.audio.resampling import resampler
from teminal_hf.audio.waveform import Waveform, trim_bounds
from teminal_hf.errors import BadClipError
from teminal_hf.storage.atomic import no_full_disk, written_whole
from teminal_hf.storage.cache import digest, entry_folder

# Clips are decoded anew when the decoder (or `resampler`) is another one. The first number is to be raised when what we
# do with their output, or what we store of it, changes.
FORMAT = (4, soundfile.__libsndfile_version__)
SAMPLES, INDEX = "samples.int16", "index.json"
MAX_THREADS = 8  # each holds a clip or two in memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Clip:
    """A clip of `length` samples from `offset` on, in units of `step`; from `start` to `stop` it sounds."""

    offset: int
    length: int
    step: float
    start: int
    stop: int
    content: str


_Decoded = tuple[_Clip | str, NDArray[np.int16]]  # with its samples; or what is bad about it, and none


class ClipStore:
    """The clips of one entry, by number: 16-bit integers mapped into memory, which all processes share.

    A bad clip is remembered: asking for it raises its `BadClipError` again.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self._folder = folder
        self.sampling_rate: int = index["sampling_rate"]
        self._clips = [_Clip(**clip) if isinstance(clip, dict) else str(clip) for clip in index["clips"]]
        empty = index["n_bytes"] == 0  # every clip is bad; an empty file cannot be mapped
        self._samples = np.zeros(0, np.int16) if empty else np.memmap(folder / SAMPLES, np.int16, "r").view(np.ndarray)

    def __reduce__(self) -> tuple[Any, ...]:
        return ClipStore, (self._folder,)  # worker processes map the file themselves

    def __len__(self) -> int:
        return len(self._clips)

    def is_sound(self) -> bool:
        """Whether every clip's samples are those that its content was computed of; 28 GB/s on a core of today."""
        clips = [clip for clip in self._clips if isinstance(clip, _Clip)]
        return len(self._samples) == sum(clip.length for clip in clips) and all(
            clip.content == _content(samples, self.sampling_rate, clip.step, clip.start, clip.stop)
            for clip in clips
            for samples in [self._samples[clip.offset : clip.offset + clip.length]]
        )

    def waveform(self, number: int, *, trim: bool) -> Waveform:
        """Mono float32 (samples,), rounded to 1/32767 of its peak; whole, or what `trim_silence` leaves of it."""
        clip = self._clip(number)
        start, stop = (clip.start, clip.stop) if trim else (0, clip.length)
        return self._samples[clip.offset + start : clip.offset + stop] * np.float32(clip.step)

    def content(self, number: int) -> str:
        """Hash of the clip's samples: the same sound, wherever it was read from, has the same."""
        return self._clip(number).content

    def _clip(self, number: int) -> _Clip:
        clip = self._clips[number]
        if isinstance(clip, str):
            raise BadClipError(clip)
        return clip


def open_store(what: str, origins: Sequence[str], sampling_rate: int, read: Callable[[int], Waveform]) -> ClipStore:
    """The store of these clips, written first if there is none.

    Args:
        what: says to a person which clips they are.
        origins: of each clip, what its sound depends on; with the rate and the resampler they are the entry's key.
        sampling_rate: Hz.
        read: clip number -> waveform at `sampling_rate`, or a `BadClipError`; called by several threads.

    Raises:
        StorageError: the disk is full; the message says what to do.
    """
    by = resampler()
    folder = entry_folder("clips", digest(FORMAT, by, sampling_rate, list(origins)), f"{what} ({by})")
    store = _found(folder, len(origins))
    if store is None:
        _write(folder, len(origins), sampling_rate, read)
        store = ClipStore(folder)
    return store


def _found(folder: Path, n: int) -> ClipStore | None:
    """The store in `folder`, if it is there (the index is written last) and holds the samples that were written."""
    if not (folder / INDEX).exists():
        return None
    try:
        store = ClipStore(folder)
        damaged = None if len(store) == n and store.is_sound() else "samples"
    except (OSError, ValueError, TypeError, KeyError):
        damaged = "index"
    if damaged is None:
        return store
    logger.warning("the %s of the decoded clips in %s are damaged; they are decoded anew", damaged, folder)
    for name in (INDEX, SAMPLES):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)  # nothing of ours
    (folder / INDEX).unlink(missing_ok=True)  # first: without it the samples are not read
    return None


def _write(folder: Path, n: int, sampling_rate: int, read: Callable[[int], Waveform]) -> None:
    clips: list[dict[str, Any] | str] = []
    n_samples = 0

    def how_far() -> str:
        needed = f", all need about {2 * n_samples * n / len(clips) / 2**20:.0f} MiB" if clips else ""
        return f"; {len(clips)} of {n} decoded clips are written{needed}"

    with no_full_disk(folder, how_far):
        with written_whole(folder / SAMPLES) as draft, draft.open("wb") as file:
            decoded = _in_order(partial(_decode, read, sampling_rate), n)
            for clip, samples in tqdm(decoded, desc="decoding clips", total=n, unit="clip", leave=False):
                clips.append(clip if isinstance(clip, str) else asdict(replace(clip, offset=n_samples)))
                file.write(samples.data)
                n_samples += len(samples)
        with written_whole(folder / INDEX) as draft:
            index = {"sampling_rate": sampling_rate, "n_bytes": 2 * n_samples, "clips": clips}
            draft.write_text(json.dumps(index), encoding="utf-8")


def _in_order(read: Callable[[int], _Decoded], n: int) -> Iterator[_Decoded]:
    """`read` of 0 to n - 1 by several threads (decoding lets others run), never far ahead of the writing."""
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    ahead: deque[Future[_Decoded]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for number in range(n):
            ahead.append(pool.submit(read, number))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _content(samples: NDArray[np.int16], sampling_rate: int, step: float, start: int, stop: int) -> str:
    """Hash of all that a clip is."""
    facts = json.dumps([sampling_rate, step, start, stop])
    hashed = xxh3_128(np.ascontiguousarray(samples).data)
    hashed.update(facts.encode())
    return hashed.hexdigest()


def _decode(read: Callable[[int], Waveform], sampling_rate: int, number: int) -> _Decoded:
    try:
        waveform = read(number)
        start, stop = trim_bounds(waveform, sampling_rate)
    except BadClipError as error:
        return str(error), np.zeros(0, np.int16)
    peak = float(np.abs(waveform).max())
    samples, step = np.round(waveform * (32767 / peak)).astype(np.int16), peak / 32767
    return _Clip(0, len(samples), step, start, stop, _content(samples, sampling_rate, step, start, stop)), samples

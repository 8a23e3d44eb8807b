"""Operations on waveforms: decode, trim, level, crop, join, loop, pad.

Every waveform is a mono `float32` array of shape `(samples,)`. Nothing here draws random numbers: positions and
levels are arguments, so that whoever composes owns the seed.
"""

import io
import re
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from teminal_hf.audio import resampling
from teminal_hf.errors import BadClipError

Waveform = NDArray[np.float32]

FADE_SECONDS = 0.01
MIN_SECONDS = 0.05  # what is left of a clip after trimming; ESC-50's shortest mouse clicks are just above it
SILENCE_PEAK = 1e-4  # -80 dBFS: below it a clip holds nothing to hear
TRIM_DB = -50.0  # of the loudest frame: quieter ends are padding or the tail of a fade
TRIM_FRAME_SECONDS = 0.01
MAX_SECONDS = 3600.0
MAX_PEAK = 8.0  # no float waveform is so far beyond full scale; integers that became floats are
MIN_RATE, MAX_RATE, MAX_CHANNELS = 1_000, 768_000, 64
_BLOCK = 1 << 16  # frames decoded at a time
_STREAMED = (1 << 31) - 4096  # bytes and more are what a WAV file claims that was written to a pipe
_UNKNOWN = 1 << 62  # frames and more are what libsndfile says of a FLAC file that was streamed


def decode(source: str | Path | bytes, sampling_rate: int, max_seconds: float = MAX_SECONDS) -> Waveform:
    """Read any file soundfile can read (wav, flac, ogg, mp3), mix to mono and resample to `sampling_rate` (Hz).

    Raises:
        BadClipError: no audio, empty, cut, with samples that are not finite or far beyond full scale, longer than
            `max_seconds`, or of a rate or a number of channels that no recording has.
        OSError: the file cannot be read, which says nothing of the clip in it.
    """
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            _check_header(file, max_seconds)
            # Block by block: a file of many channels, or a well compressed one, takes the memory of its mix alone. Not
            # by `blocks`, which gives the block before once more, and again, where a file ends too soon.
            blocks = []
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block.mean(axis=1))
            rate = file.samplerate
            _check_whole(file, sum(map(len, blocks)))
    except soundfile.LibsndfileError as error:
        raise BadClipError(f"cannot be decoded as audio ({error.error_string.rstrip('.')})") from error
    waveform = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if waveform.size and np.isfinite(peak := np.abs(waveform).max()) and peak > MAX_PEAK:
        raise BadClipError(
            f"holds floats up to {peak:.4g}, and full scale is 1; divide what were integers by their range (32768 for "
            "16 bits)"
        )
    return resample(waveform, rate, sampling_rate)


def _check_header(file: soundfile.SoundFile, max_seconds: float) -> None:
    """Before anything is decoded: what a small file claims to hold may fill the memory."""
    if not MIN_RATE <= file.samplerate <= MAX_RATE:
        raise BadClipError(f"claims a rate of {file.samplerate} Hz ({MIN_RATE} to {MAX_RATE} are read)")
    if file.channels > MAX_CHANNELS:
        raise BadClipError(f"claims {file.channels} channels (at most {MAX_CHANNELS} are read)")
    if file.frames >= _UNKNOWN:
        raise BadClipError("cannot be decoded as audio (a stream, whose header does not say how long it is)")
    if file.frames > max_seconds * file.samplerate:
        raise BadClipError(f"lasts {file.frames / file.samplerate:.0f} s; cut it to {max_seconds:.0f} s or less")


def _check_whole(file: soundfile.SoundFile, frames: int) -> None:
    """A file that was cut is not a short one; of an MP3 that has no header of its own the length is an estimate."""
    claim = re.search(r"data : (\d+) \(should be (\d+)\)", file.extra_info)  # of WAV files
    claimed, there = map(int, claim.groups()) if claim else (0, 0)
    if there < claimed < _STREAMED:
        raise BadClipError(f"was cut: {there} of {claimed} bytes of sound are there")
    if frames < file.frames - file.samplerate / 10:
        raise BadClipError(
            f"was cut: {frames / file.samplerate:.1f} of {file.frames / file.samplerate:.1f} s are there, or its "
            "header is wrong; fetch it again, or convert it to WAV"
        )


def resample(waveform: NDArray[np.floating], rate: int, sampling_rate: int) -> Waveform:
    """`waveform` (samples,) from `rate` to `sampling_rate` Hz, checked to be non-empty and finite."""
    if waveform.size == 0:
        raise BadClipError("is empty (0 samples)")
    if not np.isfinite(waveform).all():
        raise BadClipError("holds NaN or infinite samples")
    waveform = np.asarray(waveform, dtype=np.float32)
    if rate == sampling_rate:
        return waveform
    # Where a constant offset begins and ends a filter rings, and the offset would be one no more.
    offset = _offset(waveform, rate)
    return resampling.resample(waveform - offset, rate, sampling_rate) + offset


def trim_silence(waveform: Waveform, sampling_rate: int) -> Waveform:
    """Cut what lies more than 50 dB under the loudest 10-ms frame off both ends (the inside stays as it is).

    ESC-50 pads short recordings with silence; left in, the place of the silence alone would betray the order of a pair.

    Raises:
        BadClipError: silent, or less than 50 ms of sound.
    """
    start, stop = trim_bounds(waveform, sampling_rate)
    return waveform[start:stop]


def trim_bounds(waveform: Waveform, sampling_rate: int) -> tuple[int, int]:
    """First sample and end of what `trim_silence` leaves; raises as it does."""
    waveform = _without_offset(waveform, sampling_rate)
    peak = float(np.abs(waveform).max(initial=0.0))
    if peak < SILENCE_PEAK:
        raise BadClipError(f"is silent (peak {peak:.1e} of full scale)")
    start, stop = _sounding_bounds(waveform, sampling_rate)
    if stop - start < MIN_SECONDS * sampling_rate:
        raise BadClipError(f"holds only {1000 * (stop - start) / sampling_rate:.0f} ms of sound (50 ms needed)")
    return start, stop


def sounding(waveform: Waveform, sampling_rate: int) -> Waveform:
    """From the first to the last 10-ms frame within 50 dB of the loudest."""
    start, stop = _sounding_bounds(waveform, sampling_rate)
    return waveform[start:stop]


def _without_offset(waveform: Waveform, sampling_rate: int) -> Waveform:
    """A constant offset is nothing to hear. It is taken off for resampling and trimming alone."""
    offset = _offset(waveform, sampling_rate)
    return waveform - offset if offset else waveform


def _offset(waveform: Waveform, sampling_rate: int) -> np.float32:
    """A constant offset where it alone would stop the trimming: where even the quietest frame is loud, and nearly
    constant. 0 elsewhere."""
    frame = max(1, round(TRIM_FRAME_SECONDS * sampling_rate))
    whole = len(waveform) // frame
    if not whole:
        return np.float32(0)
    frames = waveform[: whole * frame].reshape(whole, frame)
    power = np.einsum("ij,ij->i", frames, frames, dtype=np.float64)
    if not power.min() > power.max() * 10 ** (TRIM_DB / 10):
        return np.float32(0)
    means = frames.mean(axis=1, dtype=np.float64)
    steady = frame * means**2 / power  # the share of a frame's power that is constant
    # The quietest frame, or where the sound swings below the offset the steadiest: no wave that is heard has one so.
    for at, least in ((int(power.argmin()), 0.99), (int(steady.argmax()), 0.9999)):
        if steady[at] >= least:
            return np.float32(means[at])
    return np.float32(0)


def _sounding_bounds(waveform: Waveform, sampling_rate: int) -> tuple[int, int]:
    frame = max(1, round(TRIM_FRAME_SECONDS * sampling_rate))
    whole = len(waveform) // frame
    frames = waveform[: whole * frame].reshape(whole, frame)
    # A last frame that is cut short counts as padded with silence.
    power = np.append(np.einsum("ij,ij->i", frames, frames, dtype=np.float64), energy(waveform[whole * frame :]))
    loud = np.flatnonzero(power >= power.max() * 10 ** (TRIM_DB / 10))
    return int(loud[0]) * frame, min((int(loud[-1]) + 1) * frame, len(waveform))


def energy(waveform: Waveform) -> float:
    """Sum of squares, in double precision."""
    return float(np.einsum("i,i->", waveform, waveform, dtype=np.float64))  # in one pass, and without BLAS's threads


def rms(waveform: Waveform) -> float:
    """Root mean square over the whole array (0 for an empty one)."""
    return float(np.sqrt(energy(waveform) / waveform.size)) if waveform.size else 0.0


def level_gain(waveform: Waveform, decibels: float) -> float:
    """The factor that brings `waveform` to an RMS of `decibels` dBFS."""
    return 10 ** (decibels / 20) / rms(waveform)


def level_to(waveform: Waveform, decibels: float) -> Waveform:
    """Scale to an RMS of `decibels` dBFS (may exceed full scale; the renderer limits what it composes)."""
    return (waveform * level_gain(waveform, decibels)).astype(np.float32, copy=False)


def crop(waveform: Waveform, samples: int, position: float) -> Waveform:
    """At most `samples` samples, at relative `position` in [0, 1] among the places where there is enough to hear.

    Enough is half the mean power of the clip; some place always has it. Without this rule a pause between two barks
    could stand for the dog.
    """
    if len(waveform) <= samples:
        return waveform
    left, entered = (np.square(part, dtype=np.float64) for part in (waveform[:-samples], waveform[samples:]))
    energies = energy(waveform[:samples]) + np.concatenate([[0.0], np.cumsum(entered - left)])  # from each place on
    starts = np.flatnonzero(energies >= 0.499 * samples * energy(waveform) / len(waveform))
    start = starts[round(position * (len(starts) - 1))]
    return waveform[start : start + samples]


def fade_ends(waveform: Waveform, sampling_rate: int) -> Waveform:
    """Raised-cosine fades of 10 ms (at most a quarter of the clip) at both ends, so that joins do not click."""
    faded = waveform.copy()
    fade_end(faded[::-1], sampling_rate)
    fade_end(faded, sampling_rate)
    return faded


def fade_end(waveform: Waveform, sampling_rate: int) -> None:
    """Fade the end of `waveform` as `fade_ends` does, in place."""
    n = min(round(FADE_SECONDS * sampling_rate), len(waveform) // 4)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / max(n, 1))).astype(np.float32)
    waveform[len(waveform) - n :] *= ramp[::-1]


def join(first: Waveform, second: Waveform, gap: int = 0, crossfade: int = 0) -> Waveform:
    """`first` then `second`: `gap` samples of silence between them, or `crossfade` samples of overlap."""
    if gap and crossfade:
        raise ValueError(f"a gap ({gap} samples) and a cross-fade ({crossfade} samples) exclude each other")
    overlap = min(crossfade, len(first) // 2, len(second) // 2)
    out = np.zeros(len(first) + gap + len(second) - overlap, dtype=np.float32)
    down = np.cos(np.linspace(0, np.pi / 2, overlap, dtype=np.float32))  # equal power
    out[: len(first)] = first
    out[len(first) - overlap : len(first)] *= down
    tail = second.copy()
    tail[:overlap] *= down[::-1]
    out[len(out) - len(second) :] += tail
    return out


def loop_to(waveform: Waveform, samples: int, sampling_rate: int) -> Waveform:
    """Repeat to exactly `samples` samples; where the last repetition is cut it is faded out."""
    looped = np.resize(waveform, samples)
    if samples % len(waveform):
        fade_end(looped, sampling_rate)
    return looped


def pad_to_window(waveform: Waveform, samples: int, position: float) -> Waveform:
    """Put `waveform` at relative `position` in [0, 1] of a silent window of `samples` samples; never crops."""
    assert len(waveform) <= samples, f"composed audio of {len(waveform)} samples in a window of {samples}"
    start = round(position * (samples - len(waveform)))
    window = np.zeros(samples, dtype=np.float32)
    window[start : start + len(waveform)] = waveform
    return window

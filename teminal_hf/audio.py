"""Waveforms in, waveforms out: decode, trim, level, cut, join, overlay.

Every waveform is a mono `float32` array of shape `(samples,)`. Nothing here draws random numbers: positions and
levels are arguments, so that whoever composes owns the seed.
"""

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

Waveform = NDArray[np.float32]

FADE_SECONDS = 0.01
MIN_SECONDS = 0.05  # what is left of a clip after trimming; ESC-50's shortest mouse clicks are just above it
SILENCE_PEAK = 1e-4  # -80 dBFS: below it a clip holds nothing to hear
TRIM_DB = -50.0  # of the loudest frame: quieter ends are padding or the tail of a fade
TRIM_FRAME_SECONDS = 0.01


class BadClipError(ValueError):
    """A clip that cannot be used; the message says why."""


def decode(source: str | Path | bytes, sampling_rate: int) -> Waveform:
    """Read any file soundfile can read (wav, flac, ogg, mp3), mix to mono and resample to `sampling_rate` (Hz).

    Raises:
        BadClipError: unreadable, empty, or with samples that are not finite.
    """
    try:
        samples, rate = soundfile.read(
            io.BytesIO(source) if isinstance(source, bytes) else str(source), dtype="float32", always_2d=True
        )
    except (soundfile.LibsndfileError, OSError) as error:
        raise BadClipError(f"cannot be decoded as audio ({error})") from error
    return resample(samples.mean(axis=1), rate, sampling_rate)


def resample(waveform: NDArray[np.floating], rate: int, sampling_rate: int) -> Waveform:
    """`waveform` (samples,) from `rate` to `sampling_rate` Hz, checked to be non-empty and finite."""
    if waveform.size == 0:
        raise BadClipError("is empty (0 samples)")
    if not np.isfinite(waveform).all():
        raise BadClipError("holds NaN or infinite samples")
    waveform = np.asarray(waveform, dtype=np.float32)
    return waveform if rate == sampling_rate else soxr.resample(waveform, rate, sampling_rate)


def trim_silence(waveform: Waveform, sampling_rate: int) -> Waveform:
    """Cut what lies more than 50 dB under the loudest 10-ms frame off both ends (the inside stays as it is).

    ESC-50 pads short recordings with silence; left in, the place of the silence alone would betray the order of a pair.

    Raises:
        BadClipError: silent, or less than 50 ms of sound.
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    if peak < SILENCE_PEAK:
        raise BadClipError(f"is silent (peak {peak:.1e} of full scale)")
    trimmed = sounding(waveform, sampling_rate)
    if len(trimmed) < MIN_SECONDS * sampling_rate:
        raise BadClipError(f"holds only {1000 * len(trimmed) / sampling_rate:.0f} ms of sound (50 ms needed)")
    return trimmed


def sounding(waveform: Waveform, sampling_rate: int) -> Waveform:
    """From the first to the last 10-ms frame within 50 dB of the loudest."""
    frame = max(1, round(TRIM_FRAME_SECONDS * sampling_rate))
    padded = np.pad(waveform, (0, -len(waveform) % frame))
    level = np.sqrt(np.mean(padded.reshape(-1, frame).astype(np.float64) ** 2, axis=1))
    loud = np.flatnonzero(level >= level.max() * 10 ** (TRIM_DB / 20))
    return waveform[loud[0] * frame : (loud[-1] + 1) * frame]


def rms(waveform: Waveform) -> float:
    """Root mean square over the whole array (0 for an empty one)."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if waveform.size else 0.0


def level_to(waveform: Waveform, decibels: float) -> Waveform:
    """Scale to an RMS of `decibels` dBFS (may exceed full scale; `finish` limits the composed result)."""
    return (waveform * (10 ** (decibels / 20) / rms(waveform))).astype(np.float32)


def cut(waveform: Waveform, samples: int, position: float) -> Waveform:
    """At most `samples` samples, at relative `position` in [0, 1] among the places where there is enough to hear.

    Enough is half the mean power of the clip; some place always has it. Without this rule a pause between two barks
    could stand for the dog.
    """
    if len(waveform) <= samples:
        return waveform
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    starts = np.flatnonzero(energy[samples:] - energy[:-samples] >= 0.499 * samples * energy[-1] / len(waveform))
    start = starts[round(position * (len(starts) - 1))]
    return waveform[start : start + samples]


def fade_ends(waveform: Waveform, sampling_rate: int, *, start: bool = True) -> Waveform:
    """Raised-cosine fades of 10 ms (at most a quarter of the clip), so that joins do not click.

    At both ends, or with `start=False` at the end alone.
    """
    n = min(round(FADE_SECONDS * sampling_rate), len(waveform) // 4)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / max(n, 1))).astype(np.float32)
    faded = waveform.copy()
    if start:
        faded[:n] *= ramp
    faded[len(faded) - n :] *= ramp[::-1]
    return faded


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
    return fade_ends(looped, sampling_rate, start=False) if samples % len(waveform) else looped


def place(waveform: Waveform, samples: int, position: float) -> Waveform:
    """Put `waveform` at relative `position` in [0, 1] of a silent window of `samples` samples; never crops."""
    assert len(waveform) <= samples, f"composed audio of {len(waveform)} samples in a window of {samples}"
    start = round(position * (samples - len(waveform)))
    return np.pad(waveform, (start, samples - len(waveform) - start))

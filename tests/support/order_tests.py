"""Encoders that can be told what to hear, and short sound files for tests of order."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from support.clips import tone
from teminal_hf.audio.waveform import Waveform

RATE = 8_000


def write_sound(path: Path, *pitches: float, seconds: float = 0.25) -> Path:
    """Tones one after the other, of a quarter of a second each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate([tone(pitch, seconds, RATE) for pitch in pitches]), RATE)
    return path


class ByPitch:
    """Hears the pitch of the first and of the last part of a recording, and reads it from a table of captions.

    `captions` gives each caption's pair of pitches; what is not in it is at right angles to all. One that is `deaf`
    hears no order.
    """

    sampling_rate, logit_scale = RATE, 1.0

    def __init__(
        self, captions: Mapping[str, tuple[float, float]], max_seconds: float | None = None, deaf: bool = False
    ) -> None:
        self.captions, self.max_seconds, self.deaf = dict(captions), max_seconds, deaf
        self.heard: list[int] = []
        self.batches: list[int] = []

    def embed_audio(self, waveforms: Sequence[Waveform]) -> np.ndarray:
        self.heard += [len(waveform) for waveform in waveforms]
        self.batches.append(len(waveforms))
        return np.stack([self._vector(_pitch(w[: RATE // 8]), _pitch(w[-RATE // 8 :])) for w in waveforms])

    def embed_text(self, captions: Sequence[str]) -> np.ndarray:
        other = np.eye(65)[64]
        return np.stack([self._vector(*self.captions[c]) if c in self.captions else other for c in captions])

    def _vector(self, first: float, last: float) -> np.ndarray:
        """One of 64 places for each pair of pitches of 100 to 800 Hz; both orders share one place if deaf."""
        if self.deaf:
            first, last = sorted((first, last))
        return np.eye(65)[8 * (round(first / 100) - 1) + round(last / 100) - 1]


def _pitch(part: Waveform) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(part))) * RATE / len(part))

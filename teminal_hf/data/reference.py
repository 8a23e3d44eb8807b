"""Recordings that are not trained on, for the starting model to say what it knows of them: clips as they are, repeated,
changed and mixed; made when they are asked for."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator

from teminal_hf.audio import augmentation, resampling, waveform
from teminal_hf.audio.augmentation import change_speed, equalise
from teminal_hf.audio.resampling import resampler
from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.table import ClipTable
from teminal_hf.data import rendering
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.storage.cache import code_id, digest

PER_CLIP, AT_MOST = 3, 3_600  # recordings of a reference set, unless told otherwise
_REFERENCE = 2  # a random stream of its own (see rendering.py)
_KINDS = ("as it is", "changed", "changed")  # in turns


@dataclass(frozen=True)
class ReferenceRecordings(Sequence[Waveform]):
    """`rows` of (how, number): the clip of that number "as it is" or "repeated", or the number-th that is "changed".

    A changed recording is a clip at another speed (half an octave), its colour changed half the time (9 dB), its level
    by -12 to 3 dB; two in five have a second one under them, two in five are repeated; each lies anywhere in the
    window.
    """

    clips: ClipTable
    settings: RenderSettings
    rows: tuple[tuple[str, int], ...]
    seed: int = 0

    @classmethod
    def alone(cls, clips: ClipTable, settings: RenderSettings) -> "ReferenceRecordings":
        """Every clip, repeated to fill the window."""
        return cls(clips, settings, tuple(("repeated", i) for i in range(len(clips))))

    @classmethod
    def around(
        cls, clips: ClipTable, settings: RenderSettings, n: int | None = None, seed: int = 0
    ) -> "ReferenceRecordings":
        """`n` recordings (three for each clip, 3,600 at most): one in three as it is, the others changed."""
        n = min(PER_CLIP * len(clips), AT_MOST) if n is None else n
        order = np.random.default_rng([seed, len(clips), _REFERENCE]).permutation(len(clips)).tolist()
        kinds = [_KINDS[i % len(_KINDS)] for i in range(n)]
        numbers = [i if kind == "changed" else order[i // len(_KINDS) % len(order)] for i, kind in enumerate(kinds)]
        return cls(clips, settings, tuple(zip(kinds, numbers, strict=True)), seed)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Waveform:  # type: ignore[override]
        kind, number = self.rows[row]
        if kind == "changed":
            return self._changed(np.random.default_rng([self.seed, number, _REFERENCE]))
        return Renderer(self.clips, self.settings).clip(self.clips.ids[number], tiled=kind == "repeated")

    @property
    def recordings_id(self) -> str:
        """Hash of all that the recordings depend on."""
        content = [self.clips.content(clip) for clip in self.clips.ids]
        code = code_id(waveform, augmentation, resampling, rendering, sys.modules[__name__])
        return digest(content, self.rows, self.seed, asdict(self.settings), code, resampler())

    def _changed(self, rng: Generator) -> Waveform:
        samples = self.settings.samples
        sound = self._some(rng)
        if rng.random() < 0.4:
            other = self._some(rng)
            length = max(len(sound), len(other))
            quieter = np.float32(10 ** (rng.uniform(-15, 0) / 20))
            sound = np.pad(sound, (0, length - len(sound))) + quieter * np.pad(other, (0, length - len(other)))
        sound = sound[:samples]
        if rng.random() < 0.4:
            sound = np.tile(sound, samples // len(sound))
        before = round(rng.random() * (samples - len(sound)))
        return np.pad(sound, (before, samples - len(sound) - before)) / max(np.float32(1), np.abs(sound).max())

    def _some(self, rng: Generator) -> Waveform:
        clip = self.clips.ids[int(rng.integers(len(self.clips)))]
        sound = self.clips.waveform(clip, self.settings.sampling_rate, trim=bool(rng.random() < 0.5))
        sound = change_speed(sound[: self.settings.samples], rng, 0.5)
        if rng.random() < 0.5:
            sound = equalise(sound, rng, 9)
        return sound * np.float32(10 ** (rng.uniform(-12, 3) / 20))

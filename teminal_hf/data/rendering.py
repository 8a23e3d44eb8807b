"""The sound of a group: its views composed of two clips, on the fly; nothing rendered is ever stored."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator

from teminal_hf.audio import augmentation, resampling, waveform
from teminal_hf.audio.augmentation import varied
from teminal_hf.audio.features import WINDOW, window_samples
from teminal_hf.audio.resampling import resampler
from teminal_hf.audio.waveform import (
    MIN_SECONDS,
    Waveform,
    crop,
    fade_ends,
    join,
    level_gain,
    level_to,
    loop_to,
    pad_to_window,
    sounding,
)
from teminal_hf.clips.table import ClipTable
from teminal_hf.data import views
from teminal_hf.data.bounds import check_finite_numbers
from teminal_hf.data.views import RENDERED_VIEWS, SCENES
from teminal_hf.errors import ConfigError
from teminal_hf.storage.cache import code_id, digest

# Random streams of their own (`data.reference` has the third): drawing one more number for a caption must not move the
# audio, and what is varied lies where it would lie otherwise.
_RENDER, _VARY, _SCENE = 1, 3, 4
LONG, SHORT = 0.6, 0.2  # shares of the window, of two sounds that differ in how long they last


class Hearing(Protocol):
    """What is to be known of a model to compose for it; `models.encoder.Encoder` has it."""

    @property
    def sampling_rate(self) -> int: ...

    @property
    def max_seconds(self) -> float | None: ...


@dataclass(frozen=True)
class RenderSettings:
    """How the views of a group are composed. Times in seconds, levels in dB.

    Args:
        sampling_rate: Hz of the rendered audio; the model's.
        window: length of the rendered audio; the model's window.
        gap: silence between the two sounds of a sequence.
        crossfade: overlap of the two sounds of a sequence, at most half of the shorter; excludes `gap`.
        level_range: each clip's RMS is drawn within +- this many dB of the other's nominal level.
        level: RMS of every view, in dBFS over its sounding part; lowered for the whole group where a peak would clip.
        augment: vary each clip (see `augmentation.varied`), and give three in five of them less than a slot (35 % of it
            or more). All views of a group hold the same two varied clips.
        trim: leave out the silence around each clip's sound. Kept, it tells what was composed: for controls alone.
    """

    sampling_rate: int = 48_000
    window: float = WINDOW
    gap: float = 0.0
    crossfade: float = 0.0
    level_range: float = 3.0
    level: float = -20.0
    augment: bool = False
    trim: bool = True

    def __post_init__(self) -> None:
        check_finite_numbers(vars(self))
        if self.sampling_rate != int(self.sampling_rate):
            raise ConfigError(f"sampling_rate must be a whole number of Hz, got {self.sampling_rate}")
        if self.sampling_rate <= 0:
            raise ConfigError(f"sampling_rate must be positive, got {self.sampling_rate}")
        for name in ("gap", "crossfade", "level_range"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.gap and self.crossfade:
            raise ConfigError(f"gap ({self.gap} s) and crossfade ({self.crossfade} s) exclude each other")
        if self.slot < 2 * MIN_SECONDS:
            raise ConfigError(
                f"a window of {self.window} s with a gap of {self.gap} s leaves {self.slot:.2f} s for each sound "
                f"({2 * MIN_SECONDS} s needed): the model's window is shorter than the pair; shorten the gap"
            )

    @classmethod
    def of(cls, encoder: Hearing, **options: Any) -> "RenderSettings":
        """At the rate and in the window of a model, `WINDOW` for one that has none; `options` are the other fields."""
        return cls(sampling_rate=encoder.sampling_rate, window=encoder.max_seconds or WINDOW, **options)

    @classmethod
    def of_extractor(cls, extractor: Any, **options: Any) -> "RenderSettings":
        """At the rate and in the window of the model that `extractor` feeds; `options` are the other fields."""
        window = window_samples(extractor) / extractor.sampling_rate
        return cls(sampling_rate=extractor.sampling_rate, window=window, **options)

    @property
    def slot(self) -> float:
        """Longest part of one clip, in seconds: two slots and the gap fill the window."""
        return (self.window - self.gap) / 2

    @property
    def samples(self) -> int:
        return round(self.window * self.sampling_rate)


class Renderer:
    """Turns rows of a manifest into audio: `renderer.views(clip_a, clip_b, seed, index)` -> {view: (samples,)}."""

    def __init__(self, clips: ClipTable, settings: RenderSettings) -> None:
        self.clips = clips
        self.settings = settings

    def views(
        self, clip_a: str, clip_b: str, seed: int, index: int, names: Sequence[str] = RENDERED_VIEWS
    ) -> dict[str, Waveform]:
        """Every view has the same total duration, place in the window and RMS; "reversed" swaps the clips.

        "single" (clip `a` alone) and "overlay" loop their clips to the length of the sequence: otherwise half the
        duration, or 3 dB more level, would tell the relation without listening.
        """
        s = self.settings
        rng = np.random.default_rng([seed, index, _RENDER])
        levels = s.level + rng.uniform(-s.level_range, s.level_range, 2)
        positions, start = rng.uniform(size=2), rng.uniform()
        vary = np.random.default_rng([seed, index, _VARY]) if s.augment else None
        a, b = (
            self._event(clip, level, position, s.slot, vary)
            for clip, level, position in zip((clip_a, clip_b), levels, positions, strict=True)
        )
        gap, crossfade = (round(t * s.sampling_rate) for t in (s.gap, s.crossfade))
        forward = join(a, b, gap, crossfade)
        length = len(forward)
        single = loop_to(a, length, s.sampling_rate)
        composed = {
            "single": single,
            "forward": forward,
            "reversed": join(b, a, gap, crossfade),
            # As the forward view, it begins with the beginning of `a` and ends with the end of `b` (looped from there
            # backwards): a pause or a cut-off sound at its end would betray it.
            "overlay": single + loop_to(b[::-1], length, s.sampling_rate)[::-1],
        }
        gains = {name: np.float32(level_gain(view, s.level)) for name, view in composed.items()}
        # One limit for all views, whichever are asked for: a limiter on one view alone would betray it by its level.
        peaks = [gains[name] * max(view.max(), -view.min()) for name, view in composed.items()]
        limit = np.float32(min(1.0, 0.99 / max(map(float, peaks))))
        sounds = {name: pad_to_window(composed[name], s.samples, start) for name in names}
        for name, sound in sounds.items():
            sound *= gains[name]
            if limit < 1:
                sound *= limit
        return sounds

    def scene(self, name: str, clips: Sequence[str], seed: int, index: int) -> Waveform:
        """Three clips: "three", one after another in a third of the window each; or "nested", the first in one half and
        the other two at once in the other, which is the second half where `alone_first` says so. Or two, "duration":
        one looped to six tenths of the window, the other to two, the first the longer where `long_first` says so."""
        s = self.settings
        rng = np.random.default_rng([seed, index, _SCENE, SCENES.index(name)])
        levels = s.level + rng.uniform(-s.level_range, s.level_range, 3)
        positions, start = rng.uniform(size=3), rng.uniform()
        lasts = [share * s.window for share in (LONG, SHORT)]
        slots = [(s.window - 2 * s.gap) / 3 if name == "three" else s.slot] * 3
        if name == "duration":
            slots = lasts if long_first(index) else lasts[::-1]
        a, b, *rest = (
            self._event(clip, level, position, slot, None)
            for clip, level, position, slot in zip(clips, levels, positions, slots, strict=False)
        )
        gap, crossfade = (round(t * s.sampling_rate) for t in (s.gap, s.crossfade))
        if name == "three":
            sound = join(join(a, b, gap, crossfade), rest[0], gap, crossfade)
        elif name == "duration":
            rate = s.sampling_rate  # a looped sound is cut off at its end, the other is not: both fade once more
            a, b = (fade_ends(loop_to(x, int(t * rate), rate), rate) for x, t in zip((a, b), slots, strict=True))
            sound = join(a, b, gap, crossfade)
        else:
            c = rest[0]
            length = max(len(b), len(c))
            both = loop_to(b, length, s.sampling_rate) + loop_to(c[::-1], length, s.sampling_rate)[::-1]
            both = level_to(both, float(levels[1]))
            sound = join(*((a, both) if alone_first(index) else (both, a)), gap, crossfade)
        gain = np.float32(level_gain(sound, s.level))
        sound = pad_to_window(sound, s.samples, start) * gain
        return sound * np.float32(min(1.0, 0.99 / np.abs(sound).max()))

    def sounds(self, clips: Sequence[str], seed: int, index: int, names: Sequence[str]) -> dict[str, Waveform]:
        """As `views` of the first two clips, and besides "clip" and "tiled", the first as it is, padded or repeated
        (see `clip`), and scenes of three (see `scene`)."""
        composed = [name for name in names if name in RENDERED_VIEWS]
        sounds = self.views(clips[0], clips[1], seed, index, composed) if composed else {}
        sounds |= {name: self.scene(name, clips, seed, index) for name in names if name in SCENES}
        return sounds | {name: self.clip(clips[0], tiled=name == "tiled") for name in names if name not in sounds}

    def clip(self, clip_id: str, *, tiled: bool = False) -> Waveform:
        """One clip as it is, neither trimmed nor levelled, from the window's start; padded with silence, or repeated
        whole as often as it fits (`padding="repeatpad"`). What is longer than the window is cut off."""
        samples = self.settings.samples
        clip = self.clips.waveform(clip_id, self.settings.sampling_rate, trim=False)[:samples]
        if tiled:
            clip = np.tile(clip, samples // len(clip))
        return np.pad(clip, (0, samples - len(clip)))

    def recordings_id(self, groups: Iterable[tuple[Sequence[str], int, int]], *names: str) -> str:
        """Hash of all that the views `names` of these groups (clips, seed, index) depend on, the clips' own samples
        included."""
        groups = list(groups)
        content = {clip: self.clips.content(clip) for clips, _, _ in groups for clip in clips}
        return digest(
            groups,
            content,
            asdict(self.settings),
            names,
            code_id(waveform, augmentation, resampling, views, sys.modules[__name__]),
            resampler(),
        )

    def _event(self, clip_id: str, level: float, position: float, slot: float, vary: Generator | None) -> Waveform:
        s = self.settings
        clip = self.clips.waveform(clip_id, s.sampling_rate, trim=s.trim)
        if vary is not None:
            clip = varied(clip, vary)
            slot = max(2 * MIN_SECONDS, slot * vary.uniform(0.35, 1.0)) if vary.random() < 0.6 else slot
        part = crop(clip, int(slot * s.sampling_rate), position)
        part = sounding(part, s.sampling_rate) if s.trim else part
        return level_to(fade_ends(part, s.sampling_rate), level)


def alone_first(index: int) -> bool:
    """Whether of a nested scene the sound that is alone comes first: in two of four groups, whichever their wording."""
    return index // 2 % 2 == 0


def long_first(index: int) -> bool:
    """Whether of a scene of durations the first sound is the long one: in two of four groups, of either wording one."""
    return index // 2 % 2 == 1


def render_row(renderer: Renderer, row: Mapping[str, Any], views: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The views of a manifest row as `{"array": (samples,) float32, "sampling_rate": Hz}`."""
    sources = {view: row["double_view"] if view == "double" else view for view in views}
    rendered = renderer.views(row["clip_a"], row["clip_b"], row["seed"], row["group_id"], sorted(set(sources.values())))
    rate = renderer.settings.sampling_rate
    return {view: {"array": rendered[name], "sampling_rate": rate} for view, name in sources.items()}

"""The sound bank: the package's embedded default data, for the demo and the tests.

Synthetic stand-ins for 24 of ESC-50's classes (Piczak 2015), made from a few formulas: no file, no download,
no licence. They are caricatures, good for trying every step of the pipeline and for testing it; a score on
them says nothing about real recordings.

A clip is named `soundbank/<fold>/<label>/<index>` and that name alone decides every sample. Folds 1 to 3 draw
their parameters (pitch, rate, band ...) from each class's training ranges, fold 4 from disjoint test ranges:
a model is scored there on sounds of the same classes that lie outside all it has heard.

    >>> from teminal_hf.clips.soundbank import clip_ids, parse_clip_id, synthesise
    >>> waveform = synthesise("soundbank/3/rain/007")  # (samples,) float32, mono, 16 kHz
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from teminal_hf.clips.soundbank_voices import SAMPLING_RATE, VOICES, shaped_noise
from teminal_hf.errors import ConfigError

__all__ = [
    "CLASSES",
    "FOLDS",
    "SAMPLING_RATE",
    "SOUND_BANK",
    "clip_ids",
    "draw_parameters",
    "parameter_ranges",
    "parse_clip_id",
    "synthesise",
]

Range = tuple[float, float]

SOUND_BANK: Final = "soundbank"
"""The name of this source."""

FOLDS: Final = (1, 2, 3, 4)
"""The folds; clips of the last are drawn from the test ranges."""

_TEST_FOLD: Final = 4
_CLIP_ID: Final = re.compile(r"soundbank/([0-9]+)/([a-z_]+)/([0-9]{3})")
_MAX_CLIPS: Final = 1000
_DURATION_SECONDS: Final = (1.5, 4.0)
_PEAK: Final = (0.4, 0.95)
_ROOM_DB: Final = (-60.0, -48.0)
_FADE_SECONDS: Final = 0.002

# label -> parameter -> (training range, test range), in Hz: pitches, band centres, events per second.
_RANGES: Final[Mapping[str, Mapping[str, tuple[Range, Range]]]] = {
    "car_horn": {
        "fundamental": ((330.0, 400.0), (405.0, 440.0)),
        "honk_rate": ((1.0, 1.4), (1.45, 1.7)),
    },
    "cat": {
        "fundamental": ((580.0, 700.0), (710.0, 790.0)),
        "meow_rate": ((1.0, 1.4), (0.8, 0.97)),
    },
    "chirping_birds": {
        "pitch": ((2500.0, 3100.0), (3150.0, 3500.0)),
        "note_rate": ((5.5, 7.5), (4.5, 5.3)),
    },
    "church_bells": {
        "pitch": ((230.0, 320.0), (325.0, 370.0)),
        "strike_rate": ((1.2, 1.7), (1.75, 2.0)),
    },
    "clapping": {
        "centre": ((1000.0, 1350.0), (1370.0, 1550.0)),
        "clap_rate": ((7.0, 10.0), (6.0, 6.8)),
    },
    "clock_alarm": {
        "pitch": ((1800.0, 2200.0), (2210.0, 2350.0)),
        "beep_rate": ((4.0, 5.5), (5.6, 6.5)),
    },
    "clock_tick": {
        "body": ((2700.0, 3300.0), (3320.0, 3600.0)),
        "tick_rate": ((2.5, 3.5), (3.6, 4.2)),
    },
    "cow": {
        "fundamental": ((110.0, 145.0), (148.0, 170.0)),
        "moo_rate": ((0.7, 1.0), (0.6, 0.68)),
    },
    "crickets": {
        "pitch": ((4300.0, 4900.0), (4950.0, 5300.0)),
        "chirp_rate": ((2.2, 3.0), (3.05, 3.5)),
        "pulse_rate": ((24.0, 30.0), (30.5, 34.0)),
    },
    "crow": {
        "formant": ((1100.0, 1350.0), (1360.0, 1470.0)),
        "caw_rate": ((1.7, 2.3), (2.35, 2.7)),
    },
    "dog": {
        "fundamental": ((400.0, 520.0), (525.0, 590.0)),
        "bark_rate": ((1.9, 2.6), (2.65, 3.0)),
    },
    "door_wood_knock": {
        "body": ((260.0, 340.0), (345.0, 390.0)),
        "knock_rate": ((5.0, 7.0), (7.1, 8.0)),
    },
    "engine": {
        "fundamental": ((30.0, 40.0), (40.5, 46.0)),
    },
    "footsteps": {
        "thud": ((95.0, 125.0), (127.0, 145.0)),
        "step_rate": ((1.7, 2.3), (2.35, 2.7)),
    },
    "frog": {
        "throat": ((600.0, 750.0), (760.0, 850.0)),
        "pulse_rate": ((26.0, 34.0), (34.5, 39.0)),
        "croak_rate": ((1.5, 2.1), (1.3, 1.47)),
    },
    "glass_breaking": {
        "centre": ((3600.0, 4200.0), (4250.0, 4600.0)),
        "shard_rate": ((11.0, 15.0), (15.2, 18.0)),
    },
    "hand_saw": {
        "centre": ((2300.0, 2800.0), (2830.0, 3100.0)),
        "stroke_rate": ((2.6, 3.6), (2.1, 2.5)),
    },
    "helicopter": {
        "centre": ((150.0, 200.0), (203.0, 230.0)),
        "blade_rate": ((9.5, 12.0), (12.2, 14.0)),
    },
    "rain": {
        "centre": ((3400.0, 4300.0), (4350.0, 4900.0)),
        "drop_rate": ((120.0, 200.0), (204.0, 250.0)),
    },
    "sea_waves": {
        "centre": ((650.0, 850.0), (870.0, 980.0)),
        "wave_rate": ((0.45, 0.65), (0.66, 0.78)),
    },
    "siren": {
        "centre": ((720.0, 900.0), (910.0, 980.0)),
        "sweep_rate": ((0.6, 0.9), (0.92, 1.1)),
    },
    "vacuum_cleaner": {
        "whine": ((400.0, 500.0), (508.0, 560.0)),
        "centre": ((1300.0, 1650.0), (1680.0, 1880.0)),
    },
    "water_drops": {
        "pitch": ((850.0, 1100.0), (1120.0, 1250.0)),
        "drop_rate": ((2.6, 3.6), (3.65, 4.3)),
    },
    "wind": {
        "centre": ((280.0, 380.0), (385.0, 440.0)),
        "gust_rate": ((0.6, 0.9), (0.92, 1.1)),
    },
}

CLASSES: Final[tuple[str, ...]] = tuple(sorted(_RANGES))
"""The classes, sorted, under their names in ESC-50's own table."""


def parameter_ranges(label: str) -> dict[str, tuple[Range, Range]]:
    """What varies between the clips of one class: `{parameter: (training range, test range)}`.

    Ranges are (low, high) in Hz; the two are disjoint.

    Raises:
        ConfigError: if the label is none of `CLASSES`.
    """
    if label not in _RANGES:
        raise ConfigError(f"the sound bank has no class {label!r}; choose one of {', '.join(CLASSES)}")
    return dict(_RANGES[label])


def draw_parameters(label: str, fold: int, index: int) -> dict[str, float]:
    """The parameters of one clip, `{parameter: Hz}`: in fold 4 from the test, elsewhere the training ranges.

    A pitch or a band is exact. A rate is a target: a clip holds a whole number of events, the first at its
    start and the last at its end, so a slow rate in a short clip comes out up to 40 % off.

    Raises:
        ConfigError: if the label, the fold or the index does not exist.
    """
    rng = _generator(_clip_id(label, fold, index), "parameters")
    split = int(fold == _TEST_FOLD)
    return {name: float(rng.uniform(*ranges[split])) for name, ranges in parameter_ranges(label).items()}


def clip_ids(clips_per_class: int = 12, folds: Sequence[int] = FOLDS) -> list[str]:
    """The names of the first `clips_per_class` (1 to 1000) clips of every class in each of `folds`.

    In order of fold, class and index. A larger number adds clips and leaves the others as they were.

    Raises:
        ConfigError: if a fold does not exist, or the number is out of range.
    """
    if not 1 <= clips_per_class <= _MAX_CLIPS:
        raise ConfigError(f"clips_per_class is {clips_per_class}; choose a number from 1 to {_MAX_CLIPS}")
    return [_clip_id(label, fold, i) for fold in folds for label in CLASSES for i in range(clips_per_class)]


def parse_clip_id(clip_id: str) -> tuple[int, str, int]:
    """The parts of a clip's name: (fold, label, index within class and fold).

    Raises:
        ConfigError: if it is not the name of a clip of the sound bank.
    """
    match = _CLIP_ID.fullmatch(clip_id)
    if match is None:
        raise ConfigError(
            f"{clip_id!r} names no clip of the sound bank; "
            "expected 'soundbank/<fold>/<label>/<three digits>', such as 'soundbank/3/rain/007'"
        )
    fold, label, index = int(match[1]), match[2], int(match[3])
    _check(label, fold, index)
    return fold, label, index


def synthesise(clip_id: str) -> NDArray[np.float32]:
    """The waveform of one clip, `(samples,)` float32, mono, 16 kHz: made at each call, and always the same.

    It lasts 1.5 to 4 s, whatever the class, peaks between 0.4 and 0.95, and is silent at neither end. A faint
    room noise lies under it, so that no stretch is digital silence.

    Raises:
        ConfigError: if `clip_id` is not the name of a clip of the sound bank.
    """
    fold, label, index = parse_clip_id(clip_id)
    rng = _generator(clip_id, "sound")
    n = round(rng.uniform(*_DURATION_SECONDS) * SAMPLING_RATE)
    peak, room_level = rng.uniform(*_PEAK), 10 ** (rng.uniform(*_ROOM_DB) / 20)
    waveform = VOICES[label](draw_parameters(label, fold, index), n, rng)
    waveform /= np.abs(waveform).max()
    waveform += room_level * shaped_noise(rng, n, 400.0, 2.5)
    fade = np.linspace(0.0, 1.0, round(_FADE_SECONDS * SAMPLING_RATE))
    waveform[: fade.size] *= fade
    waveform[-fade.size :] *= fade[::-1]
    return np.asarray(waveform * (peak / np.abs(waveform).max()), dtype=np.float32)


def _check(label: str, fold: int, index: int) -> None:
    if fold not in FOLDS:
        raise ConfigError(f"the sound bank has no fold {fold}; choose among {', '.join(map(str, FOLDS))}")
    parameter_ranges(label)
    if not 0 <= index < _MAX_CLIPS:
        raise ConfigError(f"clip index {index} is out of range; choose one from 0 to {_MAX_CLIPS - 1}")


def _clip_id(label: str, fold: int, index: int) -> str:
    _check(label, fold, index)
    return f"soundbank/{fold}/{label}/{index:03d}"


def _generator(clip_id: str, purpose: str) -> np.random.Generator:
    """A generator of its own for each clip and purpose; Python's `hash` would change with the process."""
    digest = hashlib.sha256(f"{clip_id}#{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))

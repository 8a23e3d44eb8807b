"""The voices of the sound bank: one small synthesizer per class, out of a handful of shared blocks.

A voice takes the parameters of its clip, the number of samples and a generator, and returns `(samples,)`
float64 of any level; `teminal_hf.clips.soundbank` owns the parameter ranges, the durations and the final level.
Every voice is loud within 50 ms of either end. Everything is vectorised over the clip: what happens
inside an event (a bark, a drop) is written as a function of the time since that event's onset.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLING_RATE: Final = 16_000
"""Samples per second of every voice."""

_TABLE_SIZE: Final = 4096
_HIGHEST_HARMONIC_HZ: Final = 7_000.0

Samples = NDArray[np.float64]
Parameters = Mapping[str, float]
Voice = Callable[[Parameters, int, np.random.Generator], Samples]


# ---------------------------------------------------------------- building blocks
def _time(n: int) -> Samples:
    return np.arange(n) / SAMPLING_RATE


def _bump(frequency: Samples, centre: float, octaves: float) -> Samples:
    """A bell of one standard deviation = `octaves` around `centre` Hz, 1 at the top."""
    distance = np.log2(np.maximum(frequency, 1.0) / centre) / octaves
    return np.exp(-0.5 * distance**2)


def shaped_noise(rng: np.random.Generator, n: int, centre: float, octaves: float) -> Samples:
    """`(n,)` Gaussian noise of unit RMS whose spectrum is a bell around `centre` Hz."""
    # Drawn in the frequency domain: one FFT, of a size that is always fast.
    size = 1 << (n - 1).bit_length()
    frequency = np.linspace(0.0, SAMPLING_RATE / 2, size // 2 + 1)
    draws = rng.standard_normal((2, frequency.size), dtype=np.float32)
    noise = np.fft.irfft((draws[0] + 1j * draws[1]) * _bump(frequency, centre, octaves), size)[:n]
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _tone(f0: Samples, timbre: Callable[[Samples], Samples]) -> Samples:
    """A harmonic tone along the track `f0` (Hz per sample); `timbre` maps harmonic frequency to amplitude."""
    # One period in a table, read at the running phase: the cost does not grow with the number of harmonics.
    count = min(int(_HIGHEST_HARMONIC_HZ / f0.max()), _TABLE_SIZE // 8)
    spectrum = np.zeros(_TABLE_SIZE // 2 + 1, dtype=np.complex128)
    harmonics = np.arange(1, count + 1)
    # Quadratic phases spread the energy over the period; aligned ones would make a click train.
    spectrum[1 : count + 1] = timbre(harmonics * f0.mean()) * np.exp(1j * np.pi * harmonics**2 / count)
    table = np.fft.irfft(spectrum)
    table /= np.sqrt(np.mean(table**2))
    phase = np.cumsum(f0) / SAMPLING_RATE * _TABLE_SIZE
    whole = phase.astype(np.int64)
    here, following = table[whole % _TABLE_SIZE], table[(whole + 1) % _TABLE_SIZE]
    return np.asarray(here + (phase - whole) * (following - here))


def _formants(*centres: float, octaves: float = 0.4) -> Callable[[Samples], Samples]:
    return lambda frequency: sum((_bump(frequency, c, octaves) for c in centres), 0.02 / np.sqrt(frequency))


def _sine(f0: Samples) -> Samples:
    return np.asarray(np.sin(2 * np.pi * np.cumsum(f0) / SAMPLING_RATE))


def _onsets(rng: np.random.Generator, n: int, rate: float, hold: float, jitter: float = 0.0) -> Samples:
    """Onset times in seconds, about `rate` a second: the first at 0, the last `hold` seconds before the end.

    `jitter` (0 to 1) moves the onsets between by up to that fraction of half the interval.
    """
    last = n / SAMPLING_RATE - hold
    times = np.linspace(0.0, last, round(last * rate) + 1)
    times[1:-1] += rng.uniform(-0.5, 0.5, max(0, times.size - 2)) * jitter * times[1:2]
    return times


def _since(onsets: Samples, n: int) -> tuple[Samples, NDArray[np.int64]]:
    """For each sample: the seconds since the latest onset, and which onset that was."""
    starts = np.round(onsets * SAMPLING_RATE).astype(np.int64)
    event = np.repeat(np.arange(starts.size), np.diff(starts, append=n))
    return (np.arange(n) - starts[event]) / SAMPLING_RATE, event


def _phrases(
    rng: np.random.Generator, n: int, rate: float, share: float, jitter: float = 0.0
) -> tuple[Samples, NDArray[np.int64], float]:
    """Long events that fill the clip, about `rate` a second: `_since` for each, and their length (s).

    An event takes `share` of its interval; the first begins and the last ends with the clip.
    """
    duration = n / SAMPLING_RATE
    intervals = max(1, round(duration * rate + 1 - share)) - 1 + share
    length = share * duration / intervals
    return *_since(_onsets(rng, n, intervals / duration, length, jitter), n), length


def _arch(since: Samples, length: float, sharpness: float = 0.5) -> Samples:
    """An event's envelope: half a sine of `length` seconds to the power `sharpness`, then nothing."""
    half_sine = np.sin(np.pi * np.clip(since / length, 0.0, 1.0))
    return np.asarray(np.maximum(half_sine, 0.0) ** sharpness)  # sin(pi) is not quite 0


def _strike(since: Samples, decay: float, attack: float = 0.001) -> Samples:
    """An event's envelope: up within `attack`, then down by 1/e every `decay` seconds."""
    return np.minimum(since / attack, 1.0) * np.exp(-since / decay)


def _loudness(rng: np.random.Generator, event: NDArray[np.int64]) -> Samples:
    """A loudness for each event, spread over its samples."""
    return np.asarray(rng.uniform(0.65, 1.0, event[-1] + 1)[event])


def _rung(onsets: Samples, n: int, gains: Samples, partials: Samples, decays: Samples) -> Samples:
    """Overlapping strikes of one body: each onset rings all `partials` (Hz) with their `decays` (s)."""
    time = _time(min(n, int(5 * decays.max() * SAMPLING_RATE)))[:, None]
    kernel = np.sum(np.sin(2 * np.pi * partials * time) * np.exp(-time / decays), axis=1)
    strikes = np.zeros(n)
    np.add.at(strikes, np.round(onsets * SAMPLING_RATE).astype(np.int64), gains)
    size = 1 << (n + kernel.size - 2).bit_length()
    return np.asarray(np.fft.irfft(np.fft.rfft(strikes, size) * np.fft.rfft(kernel, size), size)[:n])


def _swing(rng: np.random.Generator, n: int, rate: float) -> Samples:
    """A slow sine between 0 and 1, `rate` Hz, with a random phase."""
    return np.asarray(0.5 + 0.5 * np.sin(2 * np.pi * (rate * _time(n) + rng.uniform())))


# ---------------------------------------------------------------- steady sounds
def _rain(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event = _since(_onsets(rng, n, p["drop_rate"], 0.004, jitter=1.0), n)
    drops: Samples = _strike(since, 0.003) * rng.exponential(1.0, event[-1] + 1)[event]
    return shaped_noise(rng, n, p["centre"], 0.9) * (0.5 + drops)


def _wind(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    gust = _swing(rng, n, p["gust_rate"])
    low, high = shaped_noise(rng, n, p["centre"], 0.25), shaped_noise(rng, n, 1.6 * p["centre"], 0.25)
    return ((1 - gust) * low + gust * high) * (0.4 + 0.6 * gust)


def _sea_waves(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    swell = _swing(rng, n, p["wave_rate"])
    return shaped_noise(rng, n, p["centre"], 1.6) * (0.08 + swell**2)


def _vacuum_cleaner(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    whine = _tone(np.full(n, p["whine"]), lambda frequency: (p["whine"] / frequency) ** 0.7)
    return shaped_noise(rng, n, p["centre"], 0.8) + 1.2 * whine


def _engine(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    f0 = p["fundamental"] * (1 + 0.03 * _swing(rng, n, 2.0))
    throb = 1 + 0.5 * _sine(f0 / 2)
    return _tone(f0, lambda f: _bump(f, 90.0, 0.8) + 0.15 * _bump(f, 700.0, 0.7)) * throb


def _helicopter(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, _ = _since(_onsets(rng, n, p["blade_rate"], 0.03), n)
    return shaped_noise(rng, n, p["centre"], 0.9) * (0.08 + _strike(since, 0.022, attack=0.006))


def _siren(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    f0 = p["centre"] * 2.0 ** (_swing(rng, n, p["sweep_rate"]) - 0.5)
    return _tone(f0, lambda frequency: (p["centre"] / frequency) ** 1.5)


def _car_horn(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, _, length = _phrases(rng, n, p["honk_rate"], 0.8)
    timbre = _formants(1_000.0, 2_600.0, octaves=0.7)
    chord = _tone(np.full(n, p["fundamental"]), timbre) + _tone(np.full(n, 1.26 * p["fundamental"]), timbre)
    return chord * _arch(since, length, sharpness=0.15)


# ---------------------------------------------------------------- struck and stepped sounds
def _hand_saw(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event, length = _phrases(rng, n, p["stroke_rate"], 0.9, jitter=0.2)
    push, pull = shaped_noise(rng, n, p["centre"], 0.3), shaped_noise(rng, n, 1.7 * p["centre"], 0.3)
    return np.where(event % 2, 0.7 * pull, push) * _arch(since, length, sharpness=1.5)


def _clapping(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event = _since(_onsets(rng, n, p["clap_rate"], 0.04, jitter=0.8), n)
    return shaped_noise(rng, n, p["centre"], 0.5) * _strike(since, 0.018) * _loudness(rng, event)


def _footsteps(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event = _since(_onsets(rng, n, p["step_rate"], 0.12, jitter=0.15), n)
    heel = shaped_noise(rng, n, p["thud"], 0.5) * _strike(since, 0.035)
    sole = 0.25 * shaped_noise(rng, n, 3_000.0, 0.6) * _arch(since - 0.05, 0.09, sharpness=1.0)
    return (heel + sole) * _loudness(rng, event)


def _door_wood_knock(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    onsets = _onsets(rng, n, p["knock_rate"], 0.06, jitter=0.1)
    # Three knocks and a pause; counted from the end, so that the clip still ends with a knock.
    onsets = np.append(0.0, onsets[1:][np.arange(onsets.size - 1, 0, -1) % 4 != 0])
    body = p["body"] * np.array([1.0, 2.3, 3.9])
    return _rung(onsets, n, rng.uniform(0.7, 1.0, onsets.size), body, np.array([0.025, 0.015, 0.006]))


def _clock_tick(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    onsets = _onsets(rng, n, p["tick_rate"], 0.03)
    gains = np.where(np.arange(onsets.size) % 2, 0.7, 1.0)
    body = p["body"] * np.array([0.31, 1.0, 1.47, 2.09])  # the case, then the works
    return _rung(onsets, n, gains, body, np.array([0.025, 0.012, 0.006, 0.004]))


def _clock_alarm(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event, length = _phrases(rng, n, p["beep_rate"], 0.55)
    beep = _tone(p["pitch"] * np.where(event % 2, 1.26, 1.0), lambda frequency: (p["pitch"] / frequency) ** 2)
    return beep * _arch(since, length, sharpness=0.15)


def _church_bells(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    onsets = _onsets(rng, n, p["strike_rate"], 0.4, jitter=0.2)
    ratios = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.67, 4.0])
    return _rung(onsets, n, rng.uniform(0.6, 1.0, onsets.size), p["pitch"] * ratios, 0.4 / ratios**0.6)


def _glass_breaking(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    onsets = _onsets(rng, n, p["shard_rate"], 0.06, jitter=1.0)
    gains = rng.exponential(0.5, onsets.size)
    gains[[0, -1]] = 1.5, 1.0
    shards = p["centre"] * rng.uniform(0.75, 1.6, 14)
    crash = _strike(_since(onsets[:1], n)[0], 0.05) * shaped_noise(rng, n, p["centre"], 0.6)
    return 2.5 * crash + _rung(onsets, n, gains, shards, rng.uniform(0.02, 0.07, 14))


def _water_drops(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event = _since(_onsets(rng, n, p["drop_rate"], 0.1, jitter=0.5), n)
    pitch = p["pitch"] * rng.uniform(0.85, 1.15, event[-1] + 1)[event]
    return _sine(pitch * 2.0 ** np.minimum(since / 0.08, 1.2)) * _strike(since, 0.04) * _loudness(rng, event)


# ---------------------------------------------------------------- animals
def _crickets(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, _, length = _phrases(rng, n, p["chirp_rate"], 0.6)
    pulses = 0.5 - 0.5 * np.cos(2 * np.pi * p["pulse_rate"] * since)
    return _sine(np.full(n, p["pitch"])) * pulses * _arch(since, length)


def _chirping_birds(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event, length = _phrases(rng, n, p["note_rate"], 0.7, jitter=0.3)
    slope = (rng.choice([-1.0, 1.0], event[-1] + 1) * rng.uniform(0.4, 0.9, event[-1] + 1))[event]
    return _sine(p["pitch"] * 2.0 ** (slope * (since / length - 0.5).clip(-0.5, 0.5))) * _arch(since, length)


def _dog(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event = _since(_onsets(rng, n, p["bark_rate"], 0.17, jitter=0.3), n)
    f0 = p["fundamental"] * (0.65 + 0.5 * _arch(since, 0.17))
    voice = _tone(f0, _formants(900.0, 1_900.0)) + 0.35 * shaped_noise(rng, n, 1_200.0, 0.7)
    return voice * _arch(since, 0.17, sharpness=0.7) * _loudness(rng, event)


def _cat(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event, length = _phrases(rng, n, p["meow_rate"], 0.85, jitter=0.1)
    f0 = p["fundamental"] * (0.75 + 0.35 * _arch(since, length, sharpness=1.0))
    return _tone(f0, _formants(1_500.0, 3_400.0)) * _arch(since, length) * _loudness(rng, event)


def _cow(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, _, length = _phrases(rng, n, p["moo_rate"], 0.9)
    f0 = p["fundamental"] * (0.85 + 0.2 * _arch(since, length, sharpness=1.0))
    return _tone(f0, _formants(380.0, 850.0, octaves=0.3)) * _arch(since, length, sharpness=0.4)


def _crow(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event = _since(_onsets(rng, n, p["caw_rate"], 0.28, jitter=0.2), n)
    rasp = 0.6 + 0.4 * np.sin(2 * np.pi * 75.0 * since)
    voice = shaped_noise(rng, n, p["formant"], 0.15) + 0.6 * shaped_noise(rng, n, 2.1 * p["formant"], 0.15)
    return voice * rasp * _arch(since, 0.28) * _loudness(rng, event)


def _frog(p: Parameters, n: int, rng: np.random.Generator) -> Samples:
    since, event, length = _phrases(rng, n, p["croak_rate"], 0.6, jitter=0.2)
    pulse = (since * p["pulse_rate"]) % 1.0 / p["pulse_rate"]
    ring = np.sin(2 * np.pi * p["throat"] * pulse) + 0.5 * np.sin(2 * np.pi * 2.3 * p["throat"] * pulse)
    return ring * _strike(pulse, 0.007) * _arch(since, length) * _loudness(rng, event)


VOICES: Final[Mapping[str, Voice]] = {
    "car_horn": _car_horn,
    "cat": _cat,
    "chirping_birds": _chirping_birds,
    "church_bells": _church_bells,
    "clapping": _clapping,
    "clock_alarm": _clock_alarm,
    "clock_tick": _clock_tick,
    "cow": _cow,
    "crickets": _crickets,
    "crow": _crow,
    "dog": _dog,
    "door_wood_knock": _door_wood_knock,
    "engine": _engine,
    "footsteps": _footsteps,
    "frog": _frog,
    "glass_breaking": _glass_breaking,
    "hand_saw": _hand_saw,
    "helicopter": _helicopter,
    "rain": _rain,
    "sea_waves": _sea_waves,
    "siren": _siren,
    "vacuum_cleaner": _vacuum_cleaner,
    "water_drops": _water_drops,
    "wind": _wind,
}
"""The voice of each class."""

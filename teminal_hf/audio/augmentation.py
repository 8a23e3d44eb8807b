"""Changes of a recording that leave it the same sound: speed, colour, noise. Each is drawn from the generator given."""

import numpy as np
from numpy.random import Generator

from teminal_hf.audio.resampling import resample_by_soxr
from teminal_hf.audio.waveform import Waveform

_NODES = 7  # of the equaliser's curve, from 0 to the Nyquist frequency
_RINGS = 1024  # samples, after which nothing is left of what such a curve adds to a click


def change_speed(waveform: Waveform, rng: Generator, octaves: float) -> Waveform:
    """(samples,) -> (samples / speed,): faster and higher or slower and lower, by at most so many octaves."""
    speed = 2 ** rng.uniform(-octaves, octaves)
    rate = 48_000  # any: it is the ratio that counts
    return resample_by_soxr(waveform, round(rate * speed), rate)


def equalise(waveform: Waveform, rng: Generator, decibels: float) -> Waveform:
    """(samples,) -> (samples,): a random curve over frequency within +- so many dB, without delay."""
    # To a power of two: the transform of a length with a large prime factor takes ten times as long. Without silence
    # beyond the end, what rings there would be heard at the beginning.
    length = 1 << (len(waveform) + _RINGS).bit_length()
    spectrum = np.fft.rfft(waveform, length)
    curve = rng.uniform(-decibels, decibels, _NODES)
    gains = 10 ** (np.interp(np.linspace(0, 1, len(spectrum)), np.linspace(0, 1, _NODES), curve) / 20)
    return np.fft.irfft(spectrum * gains.astype(np.float32), length)[: len(waveform)].astype(np.float32)


def add_noise(waveform: Waveform, rng: Generator, from_db: float, to_db: float) -> Waveform:
    """(samples,) -> (samples,): white noise, so many dB below the sound's RMS."""
    level = np.sqrt(np.mean(np.square(waveform, dtype=np.float64))) * 10 ** (-rng.uniform(from_db, to_db) / 20)
    return waveform + (level * rng.standard_normal(len(waveform))).astype(np.float32)


def varied(waveform: Waveform, rng: Generator) -> Waveform:
    """(samples,) -> (about as many,): as another recording of the sound might be. Three in five at another speed (0.4
    octaves), three in five in another colour (8 dB), three in ten with noise (10 to 30 dB below)."""
    if rng.random() < 0.6:
        waveform = change_speed(waveform, rng, 0.4)
    if rng.random() < 0.6:
        waveform = equalise(waveform, rng, 8)
    if rng.random() < 0.3:
        waveform = add_noise(waveform, rng, 10, 30)
    return waveform

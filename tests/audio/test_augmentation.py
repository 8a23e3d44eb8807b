"""Changes of a recording that leave it the same sound: what they change, by how much, and nothing else."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator

from support.clips import tone
from teminal_hf.audio.augmentation import add_noise, change_speed, equalise, varied
from teminal_hf.audio.waveform import Waveform, rms

RATE = 16_000
SOUND = tone(1000, 1.0, RATE)
CHANGES: dict[str, Callable[[Waveform, Generator], Waveform]] = {
    "speed": lambda waveform, rng: change_speed(waveform, rng, 0.4),
    "colour": lambda waveform, rng: equalise(waveform, rng, 8),
    "noise": lambda waveform, rng: add_noise(waveform, rng, 10, 30),
    "all": varied,
}


def times() -> list[Generator]:
    return [np.random.default_rng(seed) for seed in range(40)]


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("samples", [800, 801, 16_000])
def test_a_change_is_fixed_by_its_generator_and_leaves_its_argument_alone(name: str, samples: int) -> None:
    sound = SOUND[:samples].copy()
    first, second = ([CHANGES[name](sound, rng) for rng in times()[:5]] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.float32 and one.ndim == 1 and np.isfinite(one).all()
    assert any(one.shape != first[0].shape or (one != first[0]).any() for one in first[1:])
    np.testing.assert_array_equal(sound, SOUND[:samples])


def test_speed_moves_length_and_pitch_together() -> None:
    speeds = []
    for rng in times():
        fast = change_speed(SOUND, rng, 0.4)
        speed = len(SOUND) / len(fast)
        pitch = np.abs(np.fft.rfft(fast)).argmax() * RATE / len(fast)
        assert pitch == pytest.approx(1000 * speed, rel=0.01)
        speeds.append(np.log2(speed))
    assert -0.401 < min(speeds) < -0.3 and 0.3 < max(speeds) < 0.401


def test_an_equaliser_is_a_curve_within_its_bounds_and_moves_nothing_in_time() -> None:
    click = np.zeros(RATE, np.float32)
    click[4000] = 1
    for rng in times()[:10]:
        coloured = equalise(click, rng, 8)
        gains = 20 * np.log10(np.abs(np.fft.rfft(coloured)))
        assert gains.min() > -8.01 and gains.max() < 8.01 and np.ptp(gains) > 1
        assert len(coloured) == len(click) and np.abs(coloured).argmax() == 4000


@pytest.mark.parametrize("length", [8191, 8192])
def test_an_equaliser_lets_nothing_of_the_end_be_heard_at_the_beginning(length: int) -> None:
    click = np.zeros(length, np.float32)
    click[-1] = 1
    coloured = equalise(click, np.random.default_rng(3), 8)
    assert np.abs(coloured[:4000]).max() < 1e-4 * np.abs(coloured).max()


def test_noise_is_as_far_below_the_sound_as_was_asked() -> None:
    ratios = [20 * np.log10(rms(SOUND) / rms(add_noise(SOUND, rng, 10, 30) - SOUND)) for rng in times()]
    assert 9.7 < min(ratios) < 13 and 27 < max(ratios) < 30.3


def test_some_recordings_stay_as_they_are() -> None:
    """0.4 x 0.4 x 0.7 of them, 11 %."""
    same = sum(varied(SOUND, np.random.default_rng(seed)) is SOUND for seed in range(300))
    assert 15 < same < 60

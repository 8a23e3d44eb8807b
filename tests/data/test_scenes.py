"""What scenes sound like: three sounds, and a long one beside a short one."""

import numpy as np
import pytest
from scipy.stats import binomtest

from support.clips import table, tone
from support.sounding import probe, span
from teminal_hf.audio import waveform as audio
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.groups import plan
from teminal_hf.data.rendering import Renderer, RenderSettings

RATE = 16_000
LOW, HIGH = 500, 2000


# Scenes of three


def pitches(wave: np.ndarray) -> list[set[int]]:
    """The frequencies heard in each 0.1 s of the sounding part, in turns, each set once."""
    start, stop = span(wave)
    frames = wave[start : start + (stop - start) // 1600 * 1600].reshape(-1, 1600)
    spectra = np.abs(np.fft.rfft(frames, axis=1)) / 800
    found = [{f for f in (LOW, HIGH, MIDDLE) if s[f // 10 - 1 : f // 10 + 2].max() > 0.01} for s in spectra]
    return [each for i, each in enumerate(found) if each and (i == 0 or each != found[i - 1])]


MIDDLE = 1000


@pytest.mark.parametrize("index", range(8))
def test_scenes_of_three_are_in_their_order_at_one_level(index: int) -> None:
    sounds = {"a": tone(LOW, 4.0, RATE), "b": tone(HIGH, 2.0, RATE, 0.05), "c": tone(MIDDLE, 5.0, RATE, 0.3)}
    renderer = Renderer(table(sounds, "xyz"), RenderSettings(RATE, gap=0.2 * (index % 2)))
    scenes = renderer.sounds(("a", "b", "c"), 0, index, ["three", "nested", "clip", "forward"])
    assert set(scenes) == {"three", "nested", "clip", "forward"}
    # Where two frames of 0.1 s meet inside one, both sounds are heard.
    assert [each for each in pitches(scenes["three"]) if len(each) == 1] == [{LOW}, {HIGH}, {MIDDLE}]
    nested = [each for each in pitches(scenes["nested"]) if len(each) < 3]
    assert nested == ([{LOW}, {HIGH, MIDDLE}] if index % 4 < 2 else [{HIGH, MIDDLE}, {LOW}])
    for name in ("three", "nested"):
        assert len(scenes[name]) == 10 * RATE and np.abs(scenes[name]).max() <= 0.99
        start, stop = span(scenes[name])
        assert 20 * np.log10(np.sqrt(np.mean(scenes[name][start : stop + 1] ** 2))) == pytest.approx(-20, abs=1)
    np.testing.assert_array_equal(scenes["forward"], renderer.views("a", "b", 0, index)["forward"])
    again = renderer.sounds(("a", "b", "c"), 0, index, ["three"])["three"]
    np.testing.assert_array_equal(scenes["three"], again)


def test_the_third_clip_is_part_of_what_a_recording_is() -> None:
    sounds = {name: tone(LOW, 1.0, RATE) for name in "abc"} | {"d": tone(HIGH, 1.0, RATE)}
    renderer = Renderer(table(sounds, "xxyy").usable(RATE), RenderSettings(RATE))
    ids = {renderer.recordings_id([((*"ab", *third), 0, 0)], "three") for third in ("", "c", "d")}
    assert len(ids) == 3


# A long sound and a short one


@pytest.mark.parametrize("index", range(8))
def test_one_sound_lasts_three_times_as_long_as_the_other(index: int) -> None:
    """Whatever the clips last themselves: 6 s and 2 s of the window's 10."""
    sounds = {"a": tone(LOW, 0.7, RATE), "b": tone(HIGH, 7.0, RATE, 0.05)}
    wave = Renderer(table(sounds, "xy"), RenderSettings(RATE)).sounds("ab", 0, index, ["duration"])["duration"]
    assert [each for each in pitches(wave) if len(each) == 1] == [{LOW}, {HIGH}]
    start, stop = span(wave)
    assert (stop - start) / RATE == pytest.approx(8, abs=0.01)
    frames = np.abs(np.fft.rfft(wave[start : start + 79 * 1600].reshape(79, 1600), axis=1))
    low = int((frames[:, LOW // 10] > frames[:, HIGH // 10]).sum())
    assert low == pytest.approx(60 if index % 4 > 1 else 20, abs=1)
    assert 20 * np.log10(np.sqrt(np.mean(wave[start : stop + 1] ** 2))) == pytest.approx(-20, abs=0.5)


def test_a_probe_of_durations_and_level_does_not_tell_which_of_the_two_is_long(clips: ClipTable) -> None:
    """Nor which recording holds one sound alone: see the test of views that share length, place and level."""
    renderer = Renderer(clips, RenderSettings(RATE))
    features: dict[bool, list[list[float]]] = {True: [], False: []}
    for row in plan("stage_b", clips, 240, 0):
        wave = renderer.scene("duration", (row["clip_a"], row["clip_b"]), row["seed"], row["group_id"])
        start, stop = span(wave)
        features[row["group_id"] % 4 > 1].append([start, stop, stop - start, audio.rms(wave)])
    long, short = (np.array(features[kind]) for kind in (True, False))
    for feature in range(4):
        right = probe(long[:, feature], short[:, feature])
        assert binomtest(right, 120, 0.5).pvalue > 0.01, (feature, right)

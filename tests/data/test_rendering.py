"""What the rendered views of a group sound like.

Pure tones stand for the clips, so that a spectrum tells which of them is heard where. "forward", "reversed" and
"overlay" share total duration, place in the window and RMS exactly; peaks differ (two tones add up), and nothing here
asks them not to.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from support.clips import table, tone
from support.sounding import probe, span
from teminal_hf.audio import waveform as audio
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.groups import GroupDataset, plan
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.views import RENDERED_VIEWS as VIEWS

RATE = 16_000


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gap": -0.1}, "gap must not be negative, got -0.1"),
        ({"crossfade": -1}, "crossfade must not be negative, got -1"),
        ({"level_range": -3}, "level_range must not be negative, got -3"),
        ({"sampling_rate": 0}, "sampling_rate must be positive, got 0"),
        ({"gap": 0.5, "crossfade": 0.2}, r"gap \(0.5 s\) and crossfade \(0.2 s\) exclude each other"),
        ({"gap": 9.9}, r"window of 10.0 s with a gap of 9.9 s leaves 0.05 s for each sound \(0.1 s needed\)"),
        ({"window": 0.1}, "the model's window is shorter than the pair; shorten the gap"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RenderSettings(**settings)


# Sound: a is 500 Hz, b 2000 Hz

LOW, HIGH = 500, 2000


def tones(seconds_a: float = 1.5, seconds_b: float = 2.0) -> ClipTable:
    return table({"a": tone(LOW, seconds_a, RATE), "b": tone(HIGH, seconds_b, RATE, 0.05)}, "xy")


def render(
    clips: ClipTable, seed: int = 0, index: int = 0, names: Sequence[str] = VIEWS, **how: Any
) -> dict[str, np.ndarray]:
    return Renderer(clips, RenderSettings(RATE, **how)).views(*clips.ids[:2], seed, index, names)


def heard(wave: np.ndarray) -> list[str]:
    """Which of the tones each 0.1 s of the sounding part holds: "a", "b", "ab" or ""."""
    start, stop = span(wave)
    frames = wave[start : start + (stop - start) // 1600 * 1600].reshape(-1, 1600)
    spectra = np.abs(np.fft.rfft(frames, axis=1)) / 800  # bins of 10 Hz
    return [
        "".join(n for n, f in (("a", LOW), ("b", HIGH)) if s[f // 10 - 1 : f // 10 + 2].max() > 0.01) for s in spectra
    ]


def pattern(wave: np.ndarray) -> str:
    """`heard` with repetitions and the frames that touch a boundary ("ab" for an instant) left out."""
    frames = heard(wave)
    steady = [x for x, y in pairwise(frames) if x == y]
    return " ".join(x or "-" for i, x in enumerate(steady) if i == 0 or steady[i - 1] != x)


@pytest.mark.parametrize("index", range(4))
def test_who_is_heard_when(index: int) -> None:
    views = render(tones(), index=index)
    assert {name: pattern(wave) for name, wave in views.items()} == {
        "single": "a",
        "forward": "a b",
        "reversed": "b a",
        "overlay": "ab",
    }
    assert set(heard(views["single"])) == {"a"} and set(heard(views["overlay"])) == {"ab"}


def test_gap_and_crossfade() -> None:
    for how, pause in (({"gap": 0.5}, 8000), ({"crossfade": 0.25}, -4000)):
        views = render(tones(), **how)
        spans = [span(wave) for wave in views.values()]
        lengths = [stop - start for start, stop in spans]
        assert max(abs(length - (3.5 * RATE + pause)) for length in lengths) < 40
    assert pattern(render(tones(), gap=0.5)["forward"]) == "a - b"
    assert "ab" in heard(render(tones(), crossfade=0.5)["forward"])[14:16]


@pytest.mark.parametrize("how", [{}, {"gap": 0.3}, {"crossfade": 0.3}, {"window": 4.0}])
def test_views_share_length_place_and_level(how: dict[str, float]) -> None:
    """Nothing but the sounds themselves tells the views of a group apart."""
    for index in range(5):
        waves = render(tones(), index=index, **how)
        settings = RenderSettings(RATE, **how)
        assert {len(wave) for wave in waves.values()} == {settings.samples}
        starts, stops = zip(*(span(wave) for wave in waves.values()), strict=True)
        # A fade's first samples, or a sine's zero crossing, may be below `span`'s threshold: 1 ms.
        assert max(starts) - min(starts) <= 16 and max(stops) - min(stops) <= 16
        levels = [audio.rms(wave) for wave in waves.values()]
        np.testing.assert_allclose(levels, levels[0], rtol=1e-5)
        length = {"gap": 0.3, "crossfade": -0.3}.get(next(iter(how), ""), 0) + 3.5
        sounding = [audio.rms(wave) * np.sqrt(settings.window / length) for wave in waves.values()]
        np.testing.assert_allclose(20 * np.log10(sounding), -20, atol=0.01)


@pytest.mark.parametrize("augment", [False, True])
def test_real_sounds_share_level_exactly_and_a_probe_of_durations_is_at_chance(augment: bool, clips: ClipTable) -> None:
    """The control: onset, offset, sounding duration and RMS, told apart by the best threshold of a training half."""
    renderer = Renderer(clips, RenderSettings(RATE, augment=augment))
    features: dict[str, list[list[float]]] = {view: [] for view in ("forward", "reversed", "overlay")}
    for row in plan("stage_b", clips, 120, 0):
        waves = renderer.views(row["clip_a"], row["clip_b"], row["seed"], row["group_id"])
        levels = [audio.rms(wave) for wave in waves.values()]
        np.testing.assert_allclose(levels, levels[0], rtol=1e-5)
        for view, values in features.items():
            wave = waves[view]
            frames = np.sqrt(np.mean(wave[: len(wave) // 160 * 160].reshape(-1, 160) ** 2, axis=1))
            loud = np.flatnonzero(frames > frames.max() * 10 ** (-50 / 20))
            values.append([loud[0], loud[-1], loud[-1] - loud[0], audio.rms(wave)])
    table = {view: np.array(values) for view, values in features.items()}
    for one, other in (("forward", "reversed"), ("forward", "overlay"), ("reversed", "overlay")):
        for feature in range(3):
            right = probe(table[one][:, feature], table[other][:, feature])
            assert binomtest(right, 120, 0.5).pvalue > 0.01, (one, other, feature, right)


def test_views_of_varied_clips_share_length_place_and_level() -> None:
    """As of clean ones; all views hold the same two varied clips, each wholly in its part of the sequence."""
    for index in range(10):
        waves = render(tones(7.0, 7.0), index=index, augment=True)
        starts, stops = zip(*(span(wave) for wave in waves.values()), strict=True)
        assert max(starts) - min(starts) <= 16 and max(stops) - min(stops) <= 16
        levels = [audio.rms(wave) for wave in waves.values()]
        np.testing.assert_allclose(levels, levels[0], rtol=1e-5)
        # The same samples in another order, their fades included.
        forward, backward = (np.sort(waves[name]) for name in ("forward", "reversed"))
        np.testing.assert_allclose(forward, backward, atol=1e-6)


def test_varied_clips_are_fixed_by_seed_and_index_and_differ_from_group_to_group() -> None:
    clips = tones(7.0, 7.0)
    every, lengths = [render(clips, index=index, augment=True) for index in range(40)], []
    for index, views in enumerate(every):
        alone = render(clips, index=index, augment=True, names=["overlay"])
        np.testing.assert_array_equal(alone["overlay"], views["overlay"])
        start, stop = span(views["forward"])
        lengths.append((stop - start) / RATE)
    assert 3.5 < min(lengths) < 6 and 9 < max(lengths) <= 10  # two slots of 5 s, or 35 % of them and more
    clean = [render(clips, index=index)["forward"] for index in range(10)]
    assert sum(np.array_equal(one, views["forward"]) for one, views in zip(clean, every[:10], strict=True)) < 5


def test_clips_may_be_too_short_for_any_part_of_a_slot() -> None:
    short = tones(0.06, 0.06)
    for index in range(20):
        waves = render(short, index=index, window=0.3, augment=True)
        assert all(np.isfinite(wave).all() and np.abs(wave).max() > 0.01 for wave in waves.values())


def test_the_probe_finds_what_is_there() -> None:
    rng = np.random.default_rng(0)
    assert probe(rng.normal(0, 1, 120), rng.normal(2, 1, 120)) > 80


def test_nothing_is_ever_cropped() -> None:
    """7-s clips are cut to their slots, shorter ones not at all; the whole of the sequence is in the window."""
    for seconds, window, gap in ((7.0, 10.0, 0.0), (7.0, 10.0, 0.7), (7.0, 3.3, 0.1), (2.0, 10.0, 0.0)):
        slot = min(seconds, (window - gap) / 2)
        for index in range(3):
            forward = render(tones(seconds, seconds), index=index, window=window, gap=gap)["forward"]
            start, stop = span(forward)
            assert abs(stop - start - (2 * slot + gap) * RATE) < 400  # trimming and cutting are in 10-ms frames
            frames = heard(forward)
            for name in "ab":
                assert abs(sum(name in frame for frame in frames) - 10 * slot) <= 1.5


@pytest.mark.parametrize("rate", [7999, 8000, 11_025, 44_100])
@pytest.mark.parametrize("gap", [0.0, 0.1, 0.33333, 1.00005])
@pytest.mark.parametrize("window", [1.7, 3.00007, 5.0])
def test_two_slots_and_the_gap_always_fit(rate: int, gap: float, window: float) -> None:
    clips = table({"a": tone(LOW, 6.0, rate), "b": tone(HIGH, 6.0, rate)}, "xy")
    settings = RenderSettings(rate, window, gap)
    wave = Renderer(clips, settings).views("a", "b", 0, 0, ["forward"])["forward"]
    assert len(wave) == settings.samples == round(window * rate)


def test_position_in_the_window_is_jittered() -> None:
    starts = [span(render(tones(), index=i)["forward"])[0] for i in range(40)]
    assert min(starts) < 0.25 * 6.5 * RATE and max(starts) > 0.75 * 6.5 * RATE


def test_levels_of_the_clips_differ_within_the_range() -> None:
    ratios = []
    for index in range(40):
        wave = render(tones(2.0, 2.0), index=index)["forward"]
        start, stop = span(wave)
        middle = (start + stop) // 2
        ratios.append(20 * np.log10(audio.rms(wave[start:middle]) / audio.rms(wave[middle:stop])))
    assert -6.1 < min(ratios) < -2 and 2 < max(ratios) < 6.1
    wave = render(tones(2.0, 2.0), level_range=0.0)["forward"]
    start, stop = span(wave)
    middle = (start + stop) // 2
    assert audio.rms(wave[start:middle]) == pytest.approx(audio.rms(wave[middle:stop]), rel=1e-2)


def test_peaks_stay_below_full_scale_by_one_gain_for_all_views() -> None:
    rng = np.random.default_rng(0)
    clicks = {name: np.where(rng.random(16_000) < 0.002, 1.0, 0.001).astype(np.float32) for name in "ab"}
    waves = render(table(clicks, "xy"), level=-6.0)
    peaks = [float(np.abs(wave).max()) for wave in waves.values()]
    assert max(peaks) == pytest.approx(0.99, rel=1e-3)
    for name, wave in waves.items():  # whichever views are asked for
        np.testing.assert_array_equal(render(table(clicks, "xy"), level=-6.0, names=[name])[name], wave)
    levels = [audio.rms(wave) for wave in waves.values()]
    np.testing.assert_allclose(levels, levels[0], rtol=1e-5)


def test_a_pause_never_stands_for_a_sound() -> None:
    """Two short sounds 6 s apart, slots of 2 s: whatever the seed, each event sounds, from its start to its end."""
    sparse = np.zeros(7 * RATE, np.float32)
    for start in (0, 6 * RATE):
        sparse[start : start + 3200] = tone(LOW, 0.2, RATE)
    clips = table({"a": sparse, "b": tone(HIGH, 2.0, RATE)}, "xy")
    for index in range(10):
        waves = render(clips, index=index, window=4.0)
        assert all(np.isfinite(wave).all() for wave in waves.values())
        assert "a" in heard(waves["forward"])[0] and "a" in heard(waves["reversed"][::-1])[0]
        assert pattern(waves["single"]) == "a"


def test_pauses_do_not_shorten_an_overlay() -> None:
    """Looped from its start to 3.5 s, either clip would stop in a pause: the overlay ends as the sequence does."""
    silence = np.zeros(RATE, np.float32)
    a = np.concatenate([tone(LOW, 0.5, RATE), silence, tone(LOW, 0.5, RATE)])
    b = np.concatenate([tone(HIGH, 0.3, RATE), silence[: round(0.9 * RATE)], tone(HIGH, 0.3, RATE)])
    for clips in (table({"a": a, "b": b}, "xy"), table({"b": b, "a": a}, "yx")):
        spans = [span(wave) for name, wave in render(clips).items() if name != "single"]
        assert max(start for start, _ in spans) - min(start for start, _ in spans) <= 16
        assert max(stop for _, stop in spans) - min(stop for _, stop in spans) <= 16


def test_rendering_is_fixed_by_seed_and_index_whatever_is_asked() -> None:
    clips = tones()
    every = render(clips, 1, 2)
    for name in VIEWS:
        alone = render(clips, 1, 2, [name])
        assert list(alone) == [name]
        np.testing.assert_array_equal(alone[name], every[name])
    for seed, index in ((1, 3), (2, 2)):
        assert not np.array_equal(render(clips, seed, index, ["forward"])["forward"], every["forward"])


def test_group_dataset_renders_the_rows_of_both_stages(clips: ClipTable) -> None:
    renderer = Renderer(clips, RenderSettings(RATE))
    for stage, views in (("stage_a", ("single", "double")), ("stage_b", VIEWS)):
        rows = list(plan(stage, clips, 3, 0))
        groups = GroupDataset(rows, renderer, views)
        assert len(groups) == 3
        for row, group in zip(rows, groups, strict=True):
            truth = renderer.views(row["clip_a"], row["clip_b"], 0, row["group_id"])
            assert {k: group[k] for k in row} == row and set(group) == {*row, *views}
            for view in views:
                assert group[view]["sampling_rate"] == RATE
                source = row["double_view"] if view == "double" else view
                np.testing.assert_array_equal(group[view]["array"], truth[source])


def test_a_bad_clip_is_named(clips: ClipTable) -> None:
    with pytest.raises(audio.BadClipError, match=re.escape("clip 'b' is silent")):
        render(table({"a": tone(LOW, 1, RATE), "b": np.zeros(RATE, np.float32)}, "xy"))

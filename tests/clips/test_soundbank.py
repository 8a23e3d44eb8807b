"""The sound bank against what is known without it: ESC-50's names, signal measures, a centroid classifier."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest

from teminal_hf.clips import soundbank
from teminal_hf.clips.soundbank import (
    CLASSES,
    FOLDS,
    SAMPLING_RATE,
    clip_ids,
    draw_parameters,
    parameter_ranges,
    parse_clip_id,
    synthesise,
)
from teminal_hf.clips.soundbank_voices import VOICES

# The `category` column of the data set's own esc50.csv.
# fmt: off
ESC50_NAMES = {
    "airplane", "breathing", "brushing_teeth", "can_opening", "car_horn", "cat", "chainsaw",
    "chirping_birds", "church_bells", "clapping", "clock_alarm", "clock_tick", "coughing", "cow",
    "crackling_fire", "crickets", "crow", "crying_baby", "dog", "door_wood_creaks", "door_wood_knock",
    "drinking_sipping", "engine", "fireworks", "footsteps", "frog", "glass_breaking", "hand_saw",
    "helicopter", "hen", "insects", "keyboard_typing", "laughing", "mouse_click", "pig", "pouring_water",
    "rain", "rooster", "sea_waves", "sheep", "siren", "sneezing", "snoring", "thunderstorm", "toilet_flush",
    "train", "vacuum_cleaner", "washing_machine", "water_drops", "wind",
}
# fmt: on


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    return {clip_id: synthesise(clip_id) for clip_id in clip_ids(5)}


def frame_rms(waveform: np.ndarray, seconds: float) -> np.ndarray:
    size = round(seconds * SAMPLING_RATE)
    frames = waveform[: waveform.size // size * size].reshape(-1, size).astype(np.float64)
    return np.asarray(np.sqrt(np.mean(frames**2, axis=1)))


def band_levels(waveform: np.ndarray) -> np.ndarray:
    """Mean and spread over time of the level in 24 log-spaced bands, in dB above the clip's own mean."""
    size = 512
    frames = waveform[: waveform.size // size * size].reshape(-1, size) * np.hanning(size)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(2, size // 2, 25).astype(int))
    bands = np.add.reduceat(power, edges, axis=1)
    levels = 10 * np.log10(bands + 1e-6 * bands.max())
    return np.concatenate([levels.mean(axis=0) - levels.mean(), levels.std(axis=0)])


# ---------------------------------------------------------------- names
def test_classes_are_sorted_official_names_with_a_voice_each() -> None:
    assert len(ESC50_NAMES) == 50
    assert len(CLASSES) >= 20
    assert list(CLASSES) == sorted(set(CLASSES))
    assert set(CLASSES) <= ESC50_NAMES
    assert set(CLASSES) == set(VOICES)


def test_clip_ids_are_in_order_unique_and_read_back() -> None:
    ids = clip_ids(3)
    assert len(ids) == len(set(ids)) == 3 * len(CLASSES) * len(FOLDS)
    assert ids[:4] == [f"soundbank/1/{CLASSES[0]}/{i:03d}" for i in range(3)] + [f"soundbank/1/{CLASSES[1]}/000"]
    expected = [(fold, label, i) for fold in FOLDS for label in CLASSES for i in range(3)]
    assert [parse_clip_id(clip_id) for clip_id in ids] == expected


def test_clip_ids_of_some_folds_and_of_more_clips() -> None:
    assert {parse_clip_id(clip_id)[0] for clip_id in clip_ids(1, folds=[2, 4])} == {2, 4}
    assert len(clip_ids()) == 12 * len(CLASSES) * len(FOLDS)
    assert set(clip_ids(2)) < set(clip_ids(3))


@pytest.mark.parametrize(
    "clip_id",
    [
        "rain",
        "soundbank/3/rain/7",
        "soundbank/3/rain/0007",
        "soundbank/3/rain/007\n",
        "/soundbank/3/rain/007",
        "",
    ],
)
def test_a_malformed_name_is_refused(clip_id: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(clip_id)) + r" names no clip .* 'soundbank/3/rain/007'"):
        parse_clip_id(clip_id)


def test_names_of_clips_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no fold 5; choose among 1, 2, 3, 4"):
        synthesise("soundbank/5/rain/000")
    with pytest.raises(ValueError, match=r"no class 'reign'; choose one of car_horn, .*, wind"):
        synthesise("soundbank/1/reign/000")
    with pytest.raises(ValueError, match=r"no class 'airplane'"):
        parameter_ranges("airplane")
    with pytest.raises(ValueError, match=r"clip index 1000 is out of range; choose one from 0 to 999"):
        draw_parameters("rain", 1, 1000)
    with pytest.raises(ValueError, match=r"no fold 0"):
        clip_ids(1, folds=[0])


@pytest.mark.parametrize("number", [0, 1001])
def test_a_number_of_clips_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=rf"clips_per_class is {number}; choose a number from 1 to 1000"):
        clip_ids(number)


# ---------------------------------------------------------------- parameters
@pytest.mark.parametrize("label", CLASSES)
def test_training_and_test_ranges_are_disjoint(label: str) -> None:
    ranges = parameter_ranges(label)
    assert ranges
    for name, (train, test) in ranges.items():
        assert 0 < train[0] < train[1], name
        assert 0 < test[0] < test[1], name
        assert train[1] < test[0] or test[1] < train[0], name


@pytest.mark.parametrize("label", CLASSES)
def test_drawn_parameters_fill_the_ranges_of_their_fold(label: str) -> None:
    ranges = parameter_ranges(label)
    for fold in FOLDS:
        drawn = [draw_parameters(label, fold, index) for index in range(40)]
        for name, (train, test) in ranges.items():
            low, high = test if fold == 4 else train
            values = np.array([parameters[name] for parameters in drawn])
            assert low <= values.min() and values.max() <= high
            assert np.ptp(values) > 0.6 * (high - low)


def test_folds_share_no_clip() -> None:
    for label in CLASSES:
        drawn = [tuple(draw_parameters(label, fold, i).values()) for fold in FOLDS for i in range(40)]
        assert len(set(drawn)) == len(drawn)


def test_the_tables_cannot_be_changed_through_what_is_returned() -> None:
    parameter_ranges("rain").clear()
    assert parameter_ranges("rain")


# ---------------------------------------------------------------- sound
def test_synthesis_depends_on_the_name_alone(clips: dict[str, np.ndarray]) -> None:
    for clip_id in list(clips)[::17]:
        np.testing.assert_array_equal(synthesise(clip_id), clips[clip_id])
    digests = {hashlib.sha256(waveform.tobytes()).hexdigest() for waveform in clips.values()}
    assert len(digests) == len(clips)


def test_synthesis_is_the_same_in_another_process() -> None:
    clip_id = "soundbank/2/glass_breaking/004"
    program = (
        "import hashlib; from teminal_hf.clips.soundbank import synthesise; "
        f"print(hashlib.sha256(synthesise({clip_id!r}).tobytes()).hexdigest())"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == hashlib.sha256(synthesise(clip_id).tobytes()).hexdigest()


def test_waveforms_are_mono_float32_finite_and_in_range(clips: dict[str, np.ndarray]) -> None:
    for clip_id, waveform in clips.items():
        assert waveform.dtype == np.float32 and waveform.ndim == 1, clip_id
        assert np.isfinite(waveform).all(), clip_id
        assert 0.399 < np.abs(waveform).max() <= 0.951, clip_id
        assert 1.5 <= waveform.size / SAMPLING_RATE <= 4.0, clip_id
        assert frame_rms(waveform, 1.0).min() > 1e-3, clip_id
        assert abs(waveform.mean()) < 0.01, clip_id


def test_no_clip_begins_or_ends_with_silence(clips: dict[str, np.ndarray]) -> None:
    for clip_id, waveform in clips.items():
        for end in (waveform, waveform[::-1]):
            rms = frame_rms(end, 0.01)
            assert rms[:5].max() > 0.02 * rms.max(), clip_id  # within 50 ms of the end: above -34 dB


def test_duration_and_level_do_not_depend_on_the_class() -> None:
    # A one-way analysis of variance, with the 0.1 % point of F(23, 120) = 2.43 as the bound.
    for measure in (np.size, lambda waveform: np.abs(waveform).max()):
        groups = np.array(
            [[measure(synthesise(f"soundbank/{f}/{c}/{i:03d}")) for f in (1, 4) for i in range(3)] for c in CLASSES]
        ).astype(float)
        between = groups.shape[1] * groups.mean(axis=1).var(ddof=1)
        assert between < 2.43 * groups.var(axis=1, ddof=1).mean()


def test_a_tone_and_a_rate_are_where_the_parameters_say() -> None:
    for fold in FOLDS:
        crickets = synthesise(f"soundbank/{fold}/crickets/000")
        spectrum = np.abs(np.fft.rfft(crickets * np.hanning(crickets.size)))
        pitch = spectrum.argmax() * SAMPLING_RATE / crickets.size
        assert pitch == pytest.approx(draw_parameters("crickets", fold, 0)["pitch"], rel=0.01)

        ticks = synthesise(f"soundbank/{fold}/clock_tick/000")
        loud = frame_rms(ticks, 0.02) > 0.3 * frame_rms(ticks, 0.02).max()
        onsets = np.flatnonzero(np.diff(loud.astype(int), prepend=0) == 1)
        rate = 1 / (0.02 * np.diff(onsets).mean())
        assert rate == pytest.approx(draw_parameters("clock_tick", fold, 0)["tick_rate"], rel=0.15)


def test_a_nearest_centroid_learned_on_folds_1_to_3_knows_the_classes_of_fold_4(
    clips: dict[str, np.ndarray],
) -> None:
    features = np.array([band_levels(waveform) for waveform in clips.values()])
    labels = np.array([parse_clip_id(clip_id)[1] for clip_id in clips])
    test = np.array([parse_clip_id(clip_id)[0] == 4 for clip_id in clips])
    features /= features[~test].std(axis=0)
    centroids = np.array([features[~test & (labels == label)].mean(axis=0) for label in CLASSES])
    nearest = np.linalg.norm(features[test][:, None] - centroids, axis=2).argmin(axis=1)
    right = np.array(CLASSES)[nearest] == labels[test]
    assert right.mean() > 0.8  # chance 0.04
    assert {label for label in CLASSES if not right[labels[test] == label].any()} == set()


def test_public_names() -> None:
    assert soundbank.__all__ == sorted(soundbank.__all__)
    assert all(hasattr(soundbank, name) for name in soundbank.__all__)

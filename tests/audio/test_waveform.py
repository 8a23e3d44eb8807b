"""Waveform operations against sines, impulses and exact sample counts."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from support.clips import tone
from teminal_hf.audio import waveform as audio
from teminal_hf.errors import BadClipError

RATE = 16_000


def encoded(samples: np.ndarray, rate: int = RATE, **how: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **({"format": "WAV", "subtype": "FLOAT"} | how))
    return buffer.getvalue()


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


# decode


@pytest.mark.parametrize(
    ("how", "tolerance"),
    [
        ({"format": "WAV", "subtype": "PCM_16"}, 1e-4),
        ({"format": "WAV", "subtype": "FLOAT"}, 0),
        ({"format": "FLAC", "subtype": "PCM_24"}, 1e-6),
        ({"format": "OGG", "subtype": "VORBIS"}, 0.02),
    ],
)
def test_decodes_files_and_bytes_alike(tmp_path: Path, how: dict[str, str], tolerance: float) -> None:
    wave = tone(440, 0.5, RATE)
    data = encoded(wave, **how)
    path = tmp_path / f"clip.{how['format'].lower()}"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        decoded = audio.decode(source, RATE)
        assert decoded.dtype == np.float32 and decoded.shape == wave.shape
        assert np.abs(decoded - wave).max() <= tolerance


@pytest.mark.parametrize("how", ["PCM_16", "FLOAT", "MP3", "FLAC"])
def test_what_was_cut_is_no_short_recording(how: str) -> None:
    """An MP3's blocks that are missing came as those before them, once more."""
    form = {"subtype": how} if how in ("PCM_16", "FLOAT") else {"format": how, "subtype": None}
    whole = encoded(noise(20 * RATE), **form)
    assert len(audio.decode(whole, RATE)) == pytest.approx(20 * RATE, abs=RATE / 10)
    with pytest.raises(BadClipError, match=r"was cut: |lost sync"):
        audio.decode(whole[: len(whole) // 2], RATE)


@pytest.mark.parametrize("claim", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_files_that_were_written_to_a_pipe_are_read(claim: int) -> None:
    data = bytearray(encoded(noise(RATE), subtype="PCM_16"))
    place = data.index(b"data") + 4
    data[place : place + 4] = claim.to_bytes(4, "little")
    if claim:
        assert len(audio.decode(bytes(data), RATE)) == RATE
    else:  # so it says itself
        with pytest.raises(BadClipError, match="is empty"):
            audio.decode(bytes(data), RATE)


def test_floats_far_beyond_full_scale_are_refused() -> None:
    assert len(audio.decode(encoded(7 * tone(440, 0.5, RATE)), RATE)) == RATE // 2
    with pytest.raises(BadClipError, match=r"holds floats up to 9830, and full scale is 1; divide what were"):
        audio.decode(encoded(32767 * tone(440, 0.5, RATE)), RATE)


def test_mixes_to_mono_by_the_mean() -> None:
    left, right = noise(1000, 1), noise(1000, 2)
    np.testing.assert_allclose(
        audio.decode(encoded(np.stack([left, right], axis=1)), RATE), (left + right) / 2, atol=1e-7
    )


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_pitch_level_and_duration(rate: int) -> None:
    resampled = audio.decode(encoded(tone(1000, 2.0, rate), rate), RATE)
    assert abs(len(resampled) - 2 * RATE) <= 1
    middle = resampled[RATE // 2 : RATE // 2 + RATE]  # 1 s: bin k is k Hz; away from the ends of the filter
    spectrum = np.abs(np.fft.rfft(middle.astype(np.float64))) * 2 / RATE
    assert spectrum.argmax() == 1000
    assert spectrum[1000] == pytest.approx(0.3, rel=1e-3)
    assert np.delete(spectrum, 1000).max() < 3e-4  # -60 dB


def test_the_same_rate_is_left_alone() -> None:
    wave = noise(100)
    assert audio.resample(wave, RATE, RATE) is wave


def test_a_file_that_cannot_be_read_says_nothing_of_the_clip_in_it() -> None:
    with pytest.raises(FileNotFoundError, match=r"no/such/file\.wav"):
        audio.decode("no/such/file.wav", RATE)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "cannot be decoded as audio"),
        (b"this is no audio file", "cannot be decoded as audio"),
        (encoded(tone(440, 0.1, RATE))[:30], "cannot be decoded as audio"),
        (encoded(np.zeros(0, np.float32)), r"is empty \(0 samples\)"),
        (encoded(np.array([0.1, np.nan, 0.1], np.float32)), "holds NaN or infinite samples"),
        (encoded(np.array([0.1, np.inf, 0.1], np.float32)), "holds NaN or infinite samples"),
    ],
    ids=["nothing", "text", "header alone", "empty", "nan", "infinite"],  # not the bytes: libsndfile writes the time
)
def test_bad_files_say_why(source: bytes, message: str) -> None:
    with pytest.raises(BadClipError, match=message):
        audio.decode(source, RATE)


# trim_silence


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1600, 0), (0, 4800), (1600, 4800)])
def test_trims_padding_exactly(before: int, after: int) -> None:
    sound = noise(8000)  # padding and sound in whole 10-ms frames
    np.testing.assert_array_equal(audio.trim_silence(np.pad(sound, (before, after)), RATE), sound)


def test_trims_to_the_frame_elsewhere() -> None:
    trimmed = audio.trim_silence(np.pad(noise(8000), (1234, 777)), RATE)
    assert 8000 <= len(trimmed) < 8000 + 2 * 160


def test_keeps_silence_inside() -> None:
    clip = np.concatenate([noise(1600), np.zeros(16_000, np.float32), noise(1600, 1)])
    np.testing.assert_array_equal(audio.trim_silence(np.pad(clip, 3200), RATE), clip)


@pytest.mark.parametrize(("decibels", "kept"), [(-45, True), (-55, False)])
def test_the_threshold_is_50_db_under_the_loudest_frame(decibels: float, kept: bool) -> None:
    loud, quiet = tone(400, 0.5, RATE), tone(400, 0.5, RATE, 0.3 * 10 ** (decibels / 20))
    assert len(audio.trim_silence(np.concatenate([loud, quiet]), RATE)) == (16_000 if kept else 8000)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros(8000, np.float32), "is silent"),
        (noise(8000) * 1e-5, "is silent"),
        (np.zeros(0, np.float32), "is silent"),
        (np.pad(noise(640), 4000), r"holds only 40 ms of sound \(50 ms needed\)"),
    ],
)
def test_silent_and_short_clips_say_so(clip: np.ndarray, message: str) -> None:
    with pytest.raises(BadClipError, match=message):
        audio.trim_silence(clip, RATE)


def test_50_ms_are_enough() -> None:
    assert len(audio.trim_silence(np.pad(noise(800), 4000), RATE)) == 800


# level, crop, fade


@pytest.mark.parametrize("decibels", [-40.0, -20.0, 6.0])
def test_level_to_sets_the_rms(decibels: float) -> None:
    levelled = audio.level_to(noise(5000), decibels)
    assert levelled.dtype == np.float32
    assert 20 * np.log10(audio.rms(levelled)) == pytest.approx(decibels, abs=1e-4)


def test_rms_of_known_signals() -> None:
    assert audio.rms(np.full(10, -0.5, np.float32)) == 0.5
    assert audio.rms(tone(100, 1.0, RATE)) == pytest.approx(0.3 / 2**0.5, rel=1e-6)
    assert audio.rms(np.zeros(0, np.float32)) == 0


@pytest.mark.parametrize(("position", "start"), [(0.0, 0), (0.5, 35), (1.0, 70)])
def test_cut_takes_the_place_asked_for(position: float, start: int) -> None:
    wave = np.where(np.arange(100) % 2, 0.5, -0.5).astype(np.float32) + np.arange(100, dtype=np.float32) * 1e-6
    np.testing.assert_array_equal(audio.crop(wave, 30, position), wave[start : start + 30])


def test_cut_leaves_shorter_clips_alone() -> None:
    wave = noise(100)
    for samples in (100, 101):
        assert audio.crop(wave, samples, 0.7) is wave


@pytest.mark.parametrize("seed", range(5))
def test_cut_never_takes_a_pause(seed: int) -> None:
    """Short sounds far apart: nearly every place of the clip is digital silence."""
    rng = np.random.default_rng(seed)
    wave = np.zeros(7000, np.float32)
    for start in rng.integers(0, 6900, 2):
        wave[start : start + 100] = rng.normal(0, 0.1, 100)
    for position in np.linspace(0, 1, 21):
        part = audio.crop(wave, 500, position)
        assert len(part) == 500
        assert audio.rms(part) ** 2 >= 0.49 * audio.rms(wave) ** 2


def test_fades_are_10_ms_at_both_ends_or_at_the_end() -> None:
    ones = np.ones(RATE, np.float32)
    both, end = audio.fade_ends(ones, RATE), ones.copy()
    audio.fade_end(end, RATE)
    np.testing.assert_array_equal(both, both[::-1])
    assert (both[160:-160] == 1).all() and both[0] < 1e-3 and 0.999 < both[159] < 1
    assert (np.diff(both[:160]) > 0).all()
    assert (end[:-160] == 1).all()
    np.testing.assert_array_equal(end[-160:], both[-160:])
    assert (ones == 1).all()


@pytest.mark.parametrize("samples", [0, 1, 3, 8])
def test_fades_of_tiny_clips_take_at_most_a_quarter(samples: int) -> None:
    faded = audio.fade_ends(np.ones(samples, np.float32), RATE)
    assert len(faded) == samples and (faded < 1).sum() == 2 * (samples // 4)


# join, loop, pad


@pytest.mark.parametrize("gap", [0, 1, 50])
def test_join_with_a_gap(gap: int) -> None:
    a, b = noise(300, 1), noise(200, 2)
    np.testing.assert_array_equal(audio.join(a, b, gap), np.concatenate([a, np.zeros(gap, np.float32), b]))


def test_join_with_a_crossfade_overlaps_at_equal_power() -> None:
    a, b = np.ones(300, np.float32), np.ones(200, np.float32)
    joined = audio.join(a, b, crossfade=60)
    assert len(joined) == 440
    assert (joined[:240] == 1).all() and (joined[300:] == 1).all()
    only_a = audio.join(a, 0 * b, crossfade=60)[240:300]
    only_b = audio.join(0 * a, b, crossfade=60)[240:300]
    np.testing.assert_allclose(only_a + only_b, joined[240:300], atol=1e-6)
    np.testing.assert_allclose(only_a**2 + only_b**2, 1, atol=1e-6)
    assert only_a[0] == 1 and abs(only_b[0]) < 1e-6


def test_a_crossfade_is_at_most_half_of_the_shorter() -> None:
    assert len(audio.join(np.ones(300, np.float32), np.ones(50, np.float32), crossfade=100)) == 300 + 50 - 25


def test_join_leaves_its_inputs_alone() -> None:
    a, b = noise(300, 1), noise(200, 2)
    audio.join(a, b, crossfade=60)
    np.testing.assert_array_equal(a, noise(300, 1))
    np.testing.assert_array_equal(b, noise(200, 2))


def test_gap_and_crossfade_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"gap \(5 samples\) and a cross-fade \(7 samples\) exclude"):
        audio.join(noise(100), noise(100), 5, 7)


def test_loop_to_repeats_and_fades_a_cut_end() -> None:
    wave = noise(1000)
    np.testing.assert_array_equal(audio.loop_to(wave, 3000, RATE), np.tile(wave, 3))
    looped, truth = audio.loop_to(wave, 2500, RATE), np.tile(wave, 3)[:2500]
    np.testing.assert_array_equal(looped[:2340], np.tile(wave, 3)[:2340])
    audio.fade_end(truth, RATE)
    np.testing.assert_array_equal(looped, truth)


@pytest.mark.parametrize(("position", "start"), [(0.0, 0), (0.5, 100), (1.0, 200)])
def test_place_never_changes_the_sound(position: float, start: int) -> None:
    wave = noise(300)
    placed = audio.pad_to_window(wave, 500, position)
    assert len(placed) == 500
    np.testing.assert_array_equal(placed[start : start + 300], wave)
    assert not placed[:start].any() and not placed[start + 300 :].any()


def test_place_refuses_to_crop() -> None:
    np.testing.assert_array_equal(audio.pad_to_window(noise(500), 500, 0.3), noise(500))
    with pytest.raises(AssertionError, match="501 samples in a window of 500"):
        audio.pad_to_window(noise(501), 500, 0.3)

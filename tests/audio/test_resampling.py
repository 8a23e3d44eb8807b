"""torchaudio, where it is there, resamples as soxr does and agrees with our log-mel; where it is not, soxr resamples.

Without it, or with one that cannot be imported, the first tests run all the same. The others need its Python part: see
`torchaudio`. TEMINAL_REQUIRE_ALL=1 makes an error of the skip.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from torch.utils.data import DataLoader
from transformers import ClapFeatureExtractor

from support.clips import tone
from support.needs import missing
from teminal_hf.audio import resampling
from teminal_hf.audio import waveform as audio
from teminal_hf.audio.log_mel import LogMel
from teminal_hf.clips.sources import esc50_folder
from teminal_hf.storage.cache import cache_root, entries

# `make` puts the wheel into a folder of its own: transformers imports any torchaudio that it finds, and fails with it.
APART = Path(os.environ.get("TEMINAL_TORCHAUDIO", Path(sys.prefix) / "torchaudio"))
MISSING = (
    "no torchaudio that can be imported, nor one set apart for these tests: pip install --no-deps --target "
    f"{APART} torchaudio==2.11.0"
)
RATES = [(44_100, 48_000), (22_050, 48_000), (48_000, 44_100), (44_100, 16_000), (16_000, 48_000), (96_000, 48_000)]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What was found out about torchaudio is forgotten before and after every test."""
    resampling._torchaudio.cache_clear()
    yield
    resampling._torchaudio.cache_clear()


@pytest.fixture(scope="module")
def importable(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """A folder to put on the path; None where torchaudio can be imported anyway.

    Beside a torch without CUDA the compiled extension cannot be loaded. So torchaudio's own files are linked into a
    folder, all but `lib/`, which holds the extension and nothing else; torchaudio takes that for a build without one
    (`_extension/utils.py: _load_lib`). What is tested is its Python part, which is all that we use.
    """
    if importlib.util.find_spec("torchaudio") is not None:
        return None
    package = APART / "torchaudio"
    if not package.is_dir():
        missing(MISSING)
    folder = tmp_path_factory.mktemp("python_part")
    (folder / "torchaudio").mkdir()
    for entry in package.iterdir():
        if entry.name != "lib":
            (folder / "torchaudio" / entry.name).symlink_to(entry.resolve())
    return folder


@pytest.fixture
def torchaudio(importable: Path | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module; for other tests it is as if it had never been there."""
    before = set(sys.modules)
    if importable is not None:
        monkeypatch.setattr(sys, "path", [str(importable), *sys.path])
    yield importlib.import_module("torchaudio")
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "torchaudio":
            del sys.modules[name]


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No torchaudio, whatever is installed."""
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def bursts(rate: int, nyquist: float, *shares: float) -> np.ndarray:
    """A second of tone bursts of Gaussian shape and height 1, at these shares of a frequency, sampled at `rate`: the
    same function of time whatever the rate. They do not overlap, and the ends are silent."""
    time = np.arange(rate) / rate
    centres = np.linspace(0, 1, len(shares) + 2)[1:-1]
    envelopes = np.exp(-0.5 * ((time - centres[:, None]) / 0.012) ** 2)
    phases = 2 * np.pi * nyquist * np.array(shares)[:, None] * (time - centres[:, None]) + centres[:, None]
    return (envelopes * np.sin(phases)).sum(axis=0)


# Without torchaudio


def test_soxr_resamples_where_there_is_no_torchaudio(absent: None, caplog: pytest.LogCaptureFixture) -> None:
    wave = tone(440, 0.3, 44_100)
    with caplog.at_level(logging.DEBUG):
        np.testing.assert_array_equal(audio.resample(wave, 44_100, 48_000), soxr.resample(wave, 44_100, 48_000))
    assert resampling.resampler() == f"soxr {soxr.__libsoxr_version__}"
    assert not [record for record in caplog.records if record.name.startswith("teminal_hf")]


@pytest.mark.parametrize("error", ["OSError", "ImportError", "RuntimeError"])
def test_a_torchaudio_that_cannot_be_imported_means_soxr_and_one_line(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "torchaudio").mkdir()
    code = f"raise {error}('libcudart.so.13: cannot open shared object file')"
    (tmp_path / "torchaudio" / "__init__.py").write_text(code)
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    wave = tone(440, 0.3, 44_100)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            np.testing.assert_array_equal(audio.resample(wave, 44_100, 48_000), soxr.resample(wave, 44_100, 48_000))
    (said,) = [record.getMessage() for record in caplog.records if record.name == "teminal_hf.audio.resampling"]
    why = "libcudart.so.13: cannot open shared object file"
    assert said == f"torchaudio is installed and cannot be imported ({why}): soxr resamples"
    assert resampling.resampler().startswith("soxr ")


# Against soxr


@pytest.mark.parametrize(("rate", "to"), RATES)
def test_resampled_as_by_soxr_and_as_the_sound_is(torchaudio: Any, rate: int, to: int) -> None:
    """The truth is the sound sampled at the new rate. Our filter is flat up to 0.88 of the lower Nyquist frequency, and
    single precision rounds by 6e-8: 1e-6 covers it. soxr's rolls off in the upper half, by 0.01 dB (1.2e-3) at most as
    it is documented; in the lower half it is flat to 1e-5."""
    nyquist = min(rate, to) / 2
    for shares, apart in (((0.01, 0.1, 0.2, 0.3, 0.5), 1e-5), ((0.6, 0.7, 0.75, 0.8, 0.85), 1.2e-3)):
        wave, truth = bursts(rate, nyquist, *shares).astype(np.float32), bursts(to, nyquist, *shares)
        ours, soxrs = audio.resample(wave, rate, to), soxr.resample(wave, rate, to)
        assert ours.dtype == np.float32 and ours.shape == soxrs.shape == truth.shape
        assert np.abs(ours - truth).max() < 1e-6
        assert np.abs(ours - soxrs).max() < apart
        assert np.abs(ours[1:] - truth[:-1]).max() > 0.5  # a delay of one sample would be seen
        np.testing.assert_array_equal(ours, audio.resample(wave, rate, to))


@pytest.mark.parametrize(("rate", "to"), [*RATES, (44_100, 8_000), (11_025, 16_000), (8_000, 44_100)])
def test_as_many_samples_as_soxr(torchaudio: Any, rate: int, to: int) -> None:
    rng = np.random.default_rng(rate + to)
    for samples in [*range(1, 41), *rng.integers(41, 30_000, 40).tolist(), 3 * rate, 5 * rate + 1]:
        wave = rng.uniform(-0.5, 0.5, samples).astype(np.float32)
        assert len(audio.resample(wave, rate, to)) == len(soxr.resample(wave, rate, to)), samples


def test_a_recording_of_minutes_keeps_its_last_samples(torchaudio: Any) -> None:
    """At 19 million samples torchaudio's count, which is in single precision, is one short."""
    short = torch.ceil(torch.as_tensor(48_000 * 17_640_157 / 44_100)).long()
    assert short < round(48_000 * 17_640_157 / 44_100) == 19_200_171  # the control
    wave = np.zeros(17_640_157, np.float32)
    wave[-4_410:] = tone(440, 0.1, 44_100)
    found = audio.resample(wave, 44_100, 48_000)
    assert len(found) == 19_200_171
    np.testing.assert_allclose(found[-2_400:-100], soxr.resample(wave, 44_100, 48_000)[-2_400:-100], atol=1e-4)


def test_what_lies_above_the_new_nyquist_frequency_is_gone(torchaudio: Any) -> None:
    above = tone(9_000, 1.0, 44_100)
    assert np.abs(audio.resample(above, 44_100, 16_000)[2_000:-2_000]).max() < 1e-6


@pytest.mark.parametrize("rate", [44_101, 22_254.5])
def test_odd_rates_are_soxrs(torchaudio: Any, rate: float) -> None:
    wave = tone(440, 0.1, 44_100)
    np.testing.assert_array_equal(audio.resample(wave, rate, 48_000), soxr.resample(wave, rate, 48_000))


def test_autocast_changes_nothing(torchaudio: Any) -> None:
    wave = tone(440, 0.3, 44_100)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = audio.resample(wave, 44_100, 48_000)
    np.testing.assert_array_equal(found, audio.resample(wave, 44_100, 48_000))


def test_on_the_training_device_but_in_a_worker_on_the_cpu(torchaudio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wave, used, make = tone(440, 0.3, 44_100), [], resampling._filter
    monkeypatch.setattr(resampling, "_filter", lambda *which: used.append(which[1]) or make(*which))
    monkeypatch.setattr(resampling, "PartialState", lambda: SimpleNamespace(device=torch.device("cpu", 0)))
    truth = audio.resample(wave, 44_100, 48_000)
    assert used == [torch.device("cpu", 0)]  # as the training device is called here, not "cpu"
    monkeypatch.setattr(resampling, "PartialState", lambda: pytest.fail("a worker asked for the training device"))
    (there,) = DataLoader([wave], batch_size=None, num_workers=1, collate_fn=_to_48_khz)
    np.testing.assert_array_equal(there, truth)


def _to_48_khz(wave: np.ndarray) -> np.ndarray:
    return audio.resample(wave, 44_100, 48_000)


# End to end


def test_a_table_reads_what_torchaudio_resampled_and_never_soxrs(
    torchaudio: Any, esc50: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / "cache"))
    clip = "3-300-A-0"
    with monkeypatch.context() as patched:
        patched.setattr(resampling, "_torchaudio", lambda: None)
        by_soxr = esc50_folder(esc50).usable(48_000).waveform(clip, 48_000, trim=False)
    folders = set((cache_root() / "clips").iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(soxr, "resample", lambda *_: pytest.fail("soxr resampled"))
        clips = esc50_folder(esc50).usable(48_000)
    ours = clips.waveform(clip, 48_000, trim=False)
    made = set((cache_root() / "clips").iterdir()) - folders
    assert len(folders) == len(made) == 5
    names = [entry.what.rpartition(" (")[2] for entry in entries()]
    version = f"torchaudio {torchaudio.__version__} on cpu, odd rates soxr {soxr.__libsoxr_version__})"
    assert sorted(names) == [f"soxr {soxr.__libsoxr_version__})"] * 5 + [version] * 5
    samples = torch.from_numpy(soundfile.read(esc50 / "audio" / f"{clip}.wav")[0])
    settings = {"lowpass_filter_width": 64, "rolloff": 0.9475937167399596, "beta": 14.769656459379492}
    method = "sinc_interp_kaiser"
    truth = torchaudio.functional.resample(samples, 44_100, 48_000, resampling_method=method, **settings).numpy()
    step = np.abs(truth).max() / 32767
    assert len(ours) == len(truth) == 48_000
    assert np.abs(ours - truth).max() < 0.51 * step  # sixteen bits
    assert np.abs(by_soxr - truth).max() > 2 * step  # at the clip's ends, which are abrupt: another filter
    assert np.abs(by_soxr - truth)[2_000:-2_000].max() < 1.5 * step


# The log-mel


def test_the_log_mel_is_that_of_mel_spectrogram(torchaudio: Any) -> None:
    """The same formula in double precision, and only its result rounded: to 4e-6 dB at -100 dB. torchaudio makes its
    filters in the default precision; in single, their feet would be off by 1e-6 of the height."""
    extractor = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, max_length_s=2)
    log_mel = LogMel.from_extractor(extractor)
    assert (log_mel.sampling_rate, log_mel.n_fft, log_mel.hop_length, log_mel.n_mels) == (48_000, 1_024, 480, 64)
    torch.set_default_dtype(torch.float64)
    try:
        mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=48_000,
            n_fft=1_024,
            hop_length=480,
            f_min=50,
            f_max=14_000,
            n_mels=64,
            norm="slaney",
            mel_scale="slaney",
        )
    finally:
        torch.set_default_dtype(torch.float32)
    decibels = torchaudio.transforms.AmplitudeToDB(stype="power")
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 96_000, generator=generator, dtype=torch.float64)
    pitch = torch.from_numpy(tone(1_000, 2.0, 48_000).astype(np.float64))
    stops = pitch * (torch.arange(96_000) < 40_000)
    impulse = torch.zeros(96_000, dtype=torch.float64).index_fill_(0, torch.tensor([0, 50_000]), 1.0)
    waves = torch.stack([0.1 * noise[0], 1e-5 * noise[1], 30 * pitch, stops, impulse, 0 * pitch])
    truth = decibels(mel(waves)).transpose(1, 2).unsqueeze(1)
    found = log_mel(waves)
    assert found.shape == truth.shape == (6, 1, 201, 64)
    assert (found - truth).abs().max() < 1e-5
    assert truth.min() == -100 and truth.max() > 20

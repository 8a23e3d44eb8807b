"""Parity of `LogMel` with the numpy extractor of transformers."""

import doctest
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from transformers import ClapFeatureExtractor

import teminal_hf.audio.log_mel
from teminal_hf.audio.log_mel import LogMel, device_of_features

CONFIGS = {
    "laion": {"frequency_min": 50, "max_length_s": 2},
    "repeatpad": {"padding": "repeatpad", "max_length_s": 1},
    "16 kHz": {
        "sampling_rate": 16_000,
        "hop_length": 160,
        "fft_window_size": 400,
        "feature_size": 40,
        "frequency_max": 8_000,
        "max_length_s": 2,
    },
    "odd": {
        "sampling_rate": 22_051,
        "hop_length": 331,
        "fft_window_size": 1_001,
        "feature_size": 33,
        "frequency_min": 37,
        "frequency_max": 11_000,
        "max_length_s": 1,
    },
    "large fft": {
        "sampling_rate": 44_100,
        "hop_length": 441,
        "fft_window_size": 4_096,
        "feature_size": 128,
        "max_length_s": 1,
    },
    "hop over fft": {
        "sampling_rate": 8_000,
        "hop_length": 300,
        "fft_window_size": 255,
        "feature_size": 16,
        "frequency_max": 4_000,
        "max_length_s": 3,
    },
}


def make_extractor(**config: Any) -> ClapFeatureExtractor:
    return ClapFeatureExtractor(**{"truncation": "rand_trunc", "padding": "pad", **config})


def reference(extractor: ClapFeatureExtractor, waveforms: Tensor) -> Tensor:
    rows = list(waveforms.numpy())
    rate = extractor.sampling_rate
    features = extractor(rows, truncation="rand_trunc", padding="pad", sampling_rate=rate, return_tensors="np")
    return torch.from_numpy(np.asarray(features["input_features"]))


def make_signals(n_samples: int, rate: int) -> Tensor:
    """(B, n_samples): the cases where rounding, the floor or the edges could show."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(n_samples, dtype=torch.float64) / rate
    tone = torch.sin(2 * torch.pi * 1_000 * time)
    noise = torch.randn(n_samples, generator=generator, dtype=torch.float64)
    impulse = torch.zeros(n_samples, dtype=torch.float64)
    impulse[n_samples // 3] = 1.0
    edges = torch.zeros(n_samples, dtype=torch.float64)
    edges[[0, -1]] = 1.0
    signals = [
        0.1 * noise,
        1e-5 * noise,
        tone,
        30 * torch.sin(2 * torch.pi * 440 * time),
        tone * (time < time[-1] / 2),
        tone + 1e-4 * noise,
        impulse,
        edges,
        torch.ones(n_samples, dtype=torch.float64),
        torch.zeros(n_samples, dtype=torch.float64),
    ]
    return torch.stack(signals).to(torch.float32)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("share", [1.0, 0.61], ids=["full window", "padded"])
def test_equals_the_extractor(config: dict[str, Any], share: float) -> None:
    extractor = make_extractor(**config)
    log_mel = LogMel.from_extractor(extractor)
    waveforms = make_signals(int(share * log_mel.n_samples), log_mel.sampling_rate)
    expected = reference(extractor, waveforms)
    found = log_mel(waveforms)
    assert found.shape == expected.shape == (len(waveforms), 1, log_mel.n_frames, log_mel.n_mels)
    assert found.dtype == torch.float32
    error = (found - expected).abs()
    near_peak = expected > expected.amax(dim=(1, 2, 3), keepdim=True) - 80
    assert error.max() < 0.05
    assert error[near_peak].max() < 1e-3
    # What float64 buys; with a float32 transform this is 1.4 dB.
    assert error.max() < 1e-4


def test_window_of_ten_seconds_and_attributes() -> None:
    extractor = make_extractor()
    log_mel = LogMel.from_extractor(extractor)
    attributes = (log_mel.sampling_rate, log_mel.n_samples, log_mel.n_frames, log_mel.n_mels)
    assert attributes == (48_000, 480_000, 1_001, 64)
    waveforms = make_signals(470_001, 48_000)[:2]
    torch.testing.assert_close(log_mel(waveforms), reference(extractor, waveforms), rtol=0, atol=1e-4)


def test_silence_is_the_floor() -> None:
    log_mel = LogMel.from_extractor(make_extractor(max_length_s=1))
    assert torch.equal(log_mel(torch.zeros(2, 7)), torch.full((2, 1, 101, 64), -100.0))


def test_a_row_does_not_depend_on_its_batch() -> None:
    log_mel = LogMel.from_extractor(make_extractor(max_length_s=1))
    waveforms = make_signals(40_000, 48_000)
    together = log_mel(waveforms)
    for row, waveform in enumerate(waveforms):
        assert torch.equal(log_mel(waveform[None])[0], together[row])
    assert torch.equal(log_mel(waveforms.flip(0)), together.flip(0))


def test_a_batch_at_once_as_on_a_gpu_is_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    log_mel = LogMel.from_extractor(make_extractor(max_length_s=1))
    waveforms = make_signals(40_000, 48_000)
    row_by_row = log_mel(waveforms)
    monkeypatch.setattr(teminal_hf.audio.log_mel, "rows_at_once", lambda device: 3)  # 3 does not divide them
    assert len(waveforms) % 3
    torch.testing.assert_close(log_mel(waveforms), row_by_row, atol=1e-4, rtol=0)


def test_no_float64_means_the_cpu() -> None:
    where = {name: device_of_features(torch.device(name)).type for name in ("cpu", "cuda", "mps")}
    assert where == {"cpu": "cpu", "cuda": "cuda", "mps": "cpu"}


def test_autocast_changes_nothing() -> None:
    log_mel = LogMel.from_extractor(make_extractor(max_length_s=1))
    waveforms = make_signals(48_000, 48_000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = log_mel(waveforms)
    assert torch.equal(found, log_mel(waveforms))


def test_pickled_copy_is_equal_and_buffers_stay_out_of_checkpoints() -> None:
    log_mel = LogMel.from_extractor(make_extractor(max_length_s=1))
    copy = pickle.loads(pickle.dumps(log_mel))
    waveforms = make_signals(48_000, 48_000)
    assert torch.equal(copy(waveforms), log_mel(waveforms))
    assert log_mel.state_dict() == {}


class Collate:
    def __init__(self, log_mel: LogMel) -> None:
        self.log_mel = log_mel

    def __call__(self, rows: list[tuple[Tensor]]) -> Tensor:
        return self.log_mel.forward(torch.stack([row[0] for row in rows]))


def test_works_in_a_data_loader_worker() -> None:
    log_mel = LogMel.from_extractor(make_extractor(max_length_s=1))
    waveforms = make_signals(48_000, 48_000)
    loader: DataLoader[Any] = DataLoader(
        TensorDataset(waveforms), batch_size=4, collate_fn=Collate(log_mel), num_workers=1
    )
    assert torch.equal(torch.cat(list(loader)), log_mel(waveforms))


def test_buffers_follow_the_device() -> None:
    log_mel = LogMel.from_extractor(make_extractor(max_length_s=1)).to("meta")
    found = log_mel(torch.zeros(40, 48_000, device="meta"))
    assert found.device.type == "meta"
    assert found.shape == (40, 1, 101, 64)


def test_longer_input_is_refused_not_cropped() -> None:
    log_mel = LogMel.from_extractor(make_extractor(max_length_s=2))
    message = r"hears 2 s \(96000 samples at 48000 Hz\), found 2\.5 s \(120000 samples\)\. Shorten"
    with pytest.raises(ValueError, match=message):
        log_mel(torch.zeros(1, 120_000))
    assert log_mel(torch.zeros(1, 96_000)).shape == (1, 1, 201, 64)


@pytest.mark.parametrize(
    ("waveforms", "message"),
    [
        (torch.zeros(480), r"\(batch, samples\) floating-point tensor, found shape \(480,\)"),
        (torch.zeros(2, 480, dtype=torch.int16), r"found shape \(2, 480\) and dtype torch\.int16"),
    ],
)
def test_wrong_rank_or_dtype_is_refused(waveforms: Tensor, message: str) -> None:
    log_mel = LogMel.from_extractor(make_extractor(max_length_s=1))
    with pytest.raises(ValueError, match=message):
        log_mel(waveforms)


def test_of_a_fused_extractor_the_first_of_its_four_spectrograms() -> None:
    """They are one for what fits the window; and not those of an unfused one, whose filters are others."""
    fused, unfused = (ClapFeatureExtractor(truncation=how, padding="pad") for how in ("fusion", "rand_trunc"))
    waveforms = np.random.default_rng(0).standard_normal((2, 90_000)).astype(np.float32)
    truth = fused(list(waveforms), sampling_rate=48_000, return_tensors="pt")["input_features"].float()
    ours = LogMel.from_extractor(fused)(torch.from_numpy(waveforms))
    assert torch.equal(truth[:, 0], truth[:, 3])
    torch.testing.assert_close(ours, truth[:, :1], atol=1e-4, rtol=0)
    assert (ours - LogMel.from_extractor(unfused)(torch.from_numpy(waveforms))).abs().max() > 1


def test_docstring_examples() -> None:
    results = doctest.testmod(teminal_hf.audio.log_mel)
    assert results.attempted > 0
    assert results.failed == 0

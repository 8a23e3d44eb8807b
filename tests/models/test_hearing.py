"""How a checkpoint hears, against plain transformers: its extractor's spectrograms and its audio tower."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import ClapFeatureExtractor

from support.tiny import RATE, SAMPLES, tiny_clap, tiny_processor
from teminal_hf.models.checkpoint import CLAP_MINI, load_clap
from teminal_hf.models.hearing import hearing, time_steps

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * SAMPLES)


def extractor_with(**settings: str) -> ClapFeatureExtractor:
    extractor = tiny_processor().feature_extractor
    for name, value in settings.items():
        setattr(extractor, name, value)
    return extractor


def spectrogram(extractor: ClapFeatureExtractor, samples: int, **options: Any) -> np.ndarray:
    """(channels, frames, mels) of so much noise."""
    given = extractor(NOISE[:samples], sampling_rate=RATE, return_tensors="np", **options)
    return np.asarray(given["input_features"][0])


def test_rate_and_window() -> None:
    heard = hearing(tiny_clap().config, tiny_processor().feature_extractor)
    assert (heard.sampling_rate, heard.seconds, heard.fused) == (8000, 1.0, False)


@pytest.mark.parametrize("fused", [True, False])
def test_fused_weights_are_known_by_their_fusion_layers(fused: bool) -> None:
    model = tiny_clap(fused=fused)
    assert any("fusion_model" in name for name in model.state_dict()) == fused
    assert hearing(model.config, extractor_with()).fused == fused


def test_the_kind_of_fusion_may_be_unsaid() -> None:  # as in laion/clap-htsat-fused
    config = tiny_clap(fused=True).config
    config.audio_config.fusion_type = None
    model = type(tiny_clap())(config)
    assert any("fusion_model" in name for name in model.state_dict()) and hearing(config, extractor_with()).fused


@pytest.mark.parametrize("padding", ["pad", "repeat", "repeatpad"])
@pytest.mark.parametrize("samples", [1_000, 4_000, 4_001, 7_900, SAMPLES])
def test_what_is_repeated(padding: str, samples: int) -> None:
    extractor = extractor_with(padding=padding)
    followed_by_silence = spectrogram(extractor, samples, padding="pad")
    repeated = not np.array_equal(spectrogram(extractor, samples), followed_by_silence)
    up_to = hearing(tiny_clap().config, extractor).tiled_up_to
    assert repeated == (samples / RATE <= up_to and samples < SAMPLES)


@pytest.mark.parametrize(("truncation", "crops", "whole"), [("rand_trunc", 1, 0), ("fusion", 3, 1)])
def test_random_crops_of_a_longer_recording(truncation: str, crops: int, whole: int) -> None:
    extractor = extractor_with(truncation=truncation)
    extractor.feature_size = 64  # the size that transformers shrinks the whole to, whatever the checkpoint's
    extractor = ClapFeatureExtractor(**extractor.to_dict())
    np.random.seed(0)
    one, other = (spectrogram(extractor, 2 * SAMPLES) for _ in range(2))
    differ = [not np.array_equal(a, b) for a, b in zip(one, other, strict=True)]
    assert differ == [False] * whole + [True] * crops
    assert hearing(tiny_clap().config, extractor).random_crops == crops


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
def test_the_mel_filters_that_are_used(truncation: str) -> None:
    extractor = extractor_with(truncation=truncation)
    before = spectrogram(extractor, SAMPLES)
    other = {"htk": "mel_filters_slaney", "slaney": "mel_filters"}[hearing(tiny_clap().config, extractor).mel_scale]
    getattr(extractor, other)[:] = 0
    assert np.array_equal(spectrogram(extractor, SAMPLES), before)


@pytest.mark.parametrize("options", [{}, {"depths": (2,)}, {"depths": (1, 1, 2), "mels": 32, "spec": 64}, {"mels": 8}])
def test_time_steps_are_those_that_plain_transformers_averages(options: dict[str, Any]) -> None:
    model = tiny_clap(**options)
    audio: Any = model.config.audio_config
    features = torch.zeros(1, 1, audio.spec_size * (audio.spec_size // audio.num_mel_bins), audio.num_mel_bins)
    with torch.no_grad():
        averaged = model.audio_model(features).last_hidden_state
    assert time_steps(model.config) == averaged.shape[-1]


def test_the_embedded_base() -> None:
    model, processor = load_clap(CLAP_MINI)
    heard = hearing(model.config, processor.feature_extractor)
    assert (heard.sampling_rate, heard.seconds, heard.tiled_up_to, heard.time_steps) == (16_000, 10.0, 0.0, 8)

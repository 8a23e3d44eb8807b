"""Pictures: where on the mel scale a frequency lies, and what the panels share."""

import numpy as np
import pytest
from transformers.audio_utils import mel_filter_bank

from teminal_hf.evaluation.plotting import MEL_SCALE, Spectrogram, mel_bin, spectrogram_picture


@pytest.mark.parametrize(("rate", "low", "n_mels"), [(16_000, 0.0, 32), (44_100, 0.0, 64), (48_000, 50.0, 64)])
def test_a_tick_stands_at_the_filter_that_hears_it(rate: int, low: float, n_mels: int) -> None:
    n_fft = 16_384
    bank = mel_filter_bank(n_fft // 2 + 1, n_mels, low, rate / 2, rate, norm=None, mel_scale=MEL_SCALE)
    centres = np.linspace(0, rate / 2, n_fft // 2 + 1)[bank.argmax(axis=0)]
    assert mel_bin(centres, (low, rate / 2), n_mels) == pytest.approx(np.arange(n_mels), abs=0.05)


def test_panels_share_time_level_and_ticks() -> None:
    quiet, loud = (np.full((8, 5), level, np.float32) for level in (-60.0, -20.0))
    figure = spectrogram_picture([Spectrogram("a", quiet, 2.0), Spectrogram("b", loud, 2.0)], (0, 3000), size=(4, 3))
    first, second, _ = figure.axes
    assert [axes.images[0].get_array().max() for axes in (first, second)] == [-40, 0]
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["a", "b"]
    for axes in (first, second):
        assert axes.get_xlim() == (0, 2) and axes.images[0].get_clim() == (-80, 0)
        assert [label.get_text() for label in axes.get_yticklabels()] == ["0.5", "1", "2"]

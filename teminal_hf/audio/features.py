"""What a model hears of a waveform: CLAP's log-mel, or the waveform itself."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import ClapFeatureExtractor

from teminal_hf.audio.log_mel import LogMel

WINDOW = 10.0  # seconds, of models that hear any length: CLAP's, so that they are asked the same


class RawWaveform(nn.Module):
    """The waveforms themselves, as `transformers.PeAudioFeatureExtractor` gives them: whole frames, the last one
    mirrored where it is not full. A recording is followed by silence up to the window, never tiled and never cropped.

    Attributes:
        sampling_rate: rate of the waveforms, in Hz.
        n_samples: the longest recording, in samples.
    """

    _somewhere: Tensor

    def __init__(self, *, sampling_rate: int, n_samples: int, hop_length: int) -> None:
        super().__init__()
        self.sampling_rate = sampling_rate
        self.n_samples = n_samples
        self.hop_length = hop_length
        self.register_buffer("_somewhere", torch.empty(0), persistent=False)  # goes along with `.to(device)`

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._somewhere.device

    def extra_repr(self) -> str:
        return f"{self.sampling_rate}, {self.n_samples}, hop_length={self.hop_length}"

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, T) floating point, T <= `n_samples` -> (B, 1, `n_samples` or the whole frames that hold them)."""
        missing = self.n_samples - waveforms.shape[1]
        if missing < 0:
            raise ValueError(
                f"at most {self.n_samples / self.sampling_rate:g} s are heard ({self.n_samples} samples at "
                f"{self.sampling_rate} Hz), found {waveforms.shape[1] / self.sampling_rate:g} s "
                f"({waveforms.shape[1]} samples). Shorten the audio: it is never cropped here."
            )
        padded = nn.functional.pad(waveforms.to(torch.float32), (0, missing))
        return nn.functional.pad(padded[:, None], (0, -self.n_samples % self.hop_length), mode="reflect")


Features = LogMel | RawWaveform


def features_of(extractor: Any) -> Features:
    """What the model that `extractor` feeds hears: batches of waveforms (B, T) in, features (B, 1, ...) out."""
    if isinstance(extractor, ClapFeatureExtractor):
        return LogMel.from_extractor(extractor)
    rate = extractor.sampling_rate
    return RawWaveform(sampling_rate=rate, n_samples=window_samples(extractor), hop_length=extractor.hop_length)


def window_samples(extractor: Any) -> int:
    """Length of what is rendered for a model, in samples: its window, or `WINDOW`."""
    return int(getattr(extractor, "nb_max_samples", round(WINDOW * extractor.sampling_rate)))

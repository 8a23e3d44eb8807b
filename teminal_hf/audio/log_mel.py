"""Log-mel spectrograms of whole batches, equal to those of `transformers.ClapFeatureExtractor`."""

import torch
from torch import Tensor, nn
from transformers import ClapFeatureExtractor


def device_of_features(device: torch.device) -> torch.device:
    """Where log-mels are computed for a model on `device`: there, or on the CPU where it has no float64 (MPS)."""
    return torch.device("cpu") if device.type == "mps" else device


def rows_at_once(device: torch.device) -> int:
    """On a CPU one: twice as fast as many (a row's spectrum stays in the cache). On a GPU many, at 30 MB for one of
    10 s at 48 kHz: the memory does not grow with the batch."""
    return 1 if device.type == "cpu" else 32


class LogMel(nn.Module):
    """Log-mel spectrogram of a batch of waveforms that fit the model's window.

    Equals `ClapFeatureExtractor(..., truncation="rand_trunc", padding="pad")`, and the first of the four of one with
    `truncation="fusion"` (to about 1e-5 dB, three to four times as fast), whatever padding the extractor
    itself is set to: a clip is zero-padded on the right, never tiled and never cropped, since both would change the
    order of the events in it. On a CPU a row does not depend on the rest of its batch, not even in the last bit.

    Build it with [`LogMel.from_extractor`]. It computes in float64, so it cannot run on a device that has none (MPS):
    leave it on the CPU there (`device_of_features`); neither TF32 nor autocast touches it. It is picklable, and its
    buffers (window and mel filters) follow `.to(device)` without entering the state dict.

    Attributes:
        sampling_rate: rate of the waveforms, in Hz.
        n_samples: length of the model's window, in samples.
        n_frames: number of frames of the result.
        n_mels: number of mel bins of the result.

    Example:
        >>> import torch
        >>> from transformers import ClapFeatureExtractor
        >>> from teminal_hf.audio.log_mel import LogMel
        >>> log_mel = LogMel.from_extractor(ClapFeatureExtractor(truncation="rand_trunc"))
        >>> log_mel(torch.zeros(2, 48_000)).shape
        torch.Size([2, 1, 1001, 64])
    """

    window: Tensor
    filters: Tensor

    def __init__(self, *, sampling_rate: int, n_samples: int, hop_length: int, n_fft: int, filters: Tensor) -> None:
        super().__init__()
        self.sampling_rate = sampling_rate
        self.n_samples = n_samples
        self.hop_length = hop_length
        self.n_fft = n_fft
        self.n_mels = filters.shape[1]
        # Centred frames: n_fft // 2 mirrored samples at either end (one sample short where n_fft is odd).
        self.n_frames = 1 + (n_samples + 2 * (n_fft // 2) - n_fft) // hop_length
        # float64 throughout, as in the extractor. Its floor (-100 dB) is up to 130 dB below a full-scale
        # tone, where float32 rounding shows: 0.05 dB off on a 1 kHz tone, 0.4 dB once it stops midway, 1.4 dB
        # at 30 times full scale; with float64, 1e-5 dB on all of them.
        self.register_buffer("window", torch.hann_window(n_fft, dtype=torch.float64), persistent=False)
        # Of the spectrum, only what some filter hears (up to 14 kHz of 24, for laion's extractor).
        audible = filters.any(dim=1).nonzero().flatten().tolist()
        self._audible = slice(audible[0], audible[-1] + 1)
        self.register_buffer("filters", filters[self._audible].to(torch.float64), persistent=False)

    @classmethod
    def from_extractor(cls, feature_extractor: ClapFeatureExtractor) -> "LogMel":
        """Take window, hop, filters and sampling rate from a checkpoint's feature extractor."""
        # A fused checkpoint was trained on another bank of filters; of its four spectrograms, which are one for what
        # fits the window, the first is what its unfused layers hear.
        fused = feature_extractor.truncation == "fusion"
        filters = feature_extractor.mel_filters if fused else feature_extractor.mel_filters_slaney
        return cls(
            sampling_rate=feature_extractor.sampling_rate,
            n_samples=int(feature_extractor.nb_max_samples),
            hop_length=feature_extractor.hop_length,
            n_fft=feature_extractor.fft_window_size,
            filters=torch.from_numpy(filters),
        )

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.window.device

    def extra_repr(self) -> str:
        return f"{self.sampling_rate}, {self.n_samples}, hop_length={self.hop_length}, n_fft={self.n_fft}"

    def forward(self, waveforms: Tensor) -> Tensor:
        """Log-mel spectrograms of mono waveforms.

        Args:
            waveforms: (B, T) floating point, full scale +-1, T <= `n_samples`; zero-padded on the right.

        Returns:
            (B, 1, n_frames, n_mels) float32, in dB from -100 up: the model's `input_features`.

        Raises:
            CheckpointError: if the waveforms are longer than the window, not two-dimensional, or not floating
                point.
        """
        if waveforms.dim() != 2 or not waveforms.is_floating_point():
            raise ValueError(
                "waveforms must be a (batch, samples) floating-point tensor, "
                f"found shape {tuple(waveforms.shape)} and dtype {waveforms.dtype}"
            )
        missing = self.n_samples - waveforms.shape[1]
        if missing < 0:
            raise ValueError(
                f"the model hears {self.n_samples / self.sampling_rate:g} s ({self.n_samples} samples at "
                f"{self.sampling_rate} Hz), found {waveforms.shape[1] / self.sampling_rate:g} s "
                f"({waveforms.shape[1]} samples). Shorten the audio: it is never cropped here."
            )
        padded = nn.functional.pad(waveforms, (0, missing)) if missing else waveforms
        parts = [self._log_mels(rows) for rows in padded.split(rows_at_once(padded.device))]
        return torch.cat(parts).unsqueeze(1)

    def _log_mels(self, waveforms: Tensor) -> Tensor:
        half = self.n_fft // 2
        before, after = waveforms[:, 1 : half + 1].flip(1), waveforms[:, -half - 1 : -1].flip(1)
        frames = torch.cat([before, waveforms, after], dim=1).unfold(1, self.n_fft, self.hop_length)
        spectrum = torch.fft.rfft(frames * self.window)[..., self._audible]  # the window makes them float64
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
        return (10.0 * (power @ self.filters).clamp_min(1e-10).log10()).to(torch.float32)

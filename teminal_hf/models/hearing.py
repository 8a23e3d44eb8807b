"""How a CLAP checkpoint hears: rate, window, and what its stored processor does to recordings of other lengths."""

from dataclasses import dataclass
from typing import Any, Literal

from transformers import ClapConfig, ClapFeatureExtractor


@dataclass(frozen=True)
class Hearing:
    """What plain transformers makes of a recording by a checkpoint's configuration and stored extractor.

    Args:
        sampling_rate: of what it hears, in Hz.
        seconds: its window, the longest recording that is heard whole.
        tiled_up_to: recordings of this many seconds or fewer are repeated until the window is full; 0: none are.
        random_crops: that are taken of a recording longer than the window; of three, all are mixed with the whole.
        fused: the weights have fusion layers, which mix those crops.
        mel_scale: of the filters. The extractor takes "htk" where `truncation` is "fusion" and "slaney" elsewhere, so
            changing the one changes the other.
        time_steps: along the window that are still apart after the last block, before they are averaged.
    """

    sampling_rate: int
    seconds: float
    tiled_up_to: float
    random_crops: int
    fused: bool
    mel_scale: Literal["htk", "slaney"]
    time_steps: int


def hearing(config: ClapConfig, extractor: ClapFeatureExtractor) -> Hearing:
    """How a checkpoint of this configuration hears through its extractor, as stored (`load_clap` mends it)."""
    fusion = extractor.truncation == "fusion"
    seconds = extractor.nb_max_samples / extractor.sampling_rate
    return Hearing(
        sampling_rate=extractor.sampling_rate,
        seconds=seconds,
        tiled_up_to={"repeat": seconds, "repeatpad": seconds / 2}.get(extractor.padding, 0.0),
        random_crops=3 if fusion else 1,
        fused=is_fused(config),
        mel_scale="htk" if fusion else "slaney",
        time_steps=time_steps(config),
    )


def is_fused(config: ClapConfig) -> bool:
    audio: Any = config.audio_config
    return bool(audio.enable_fusion)


def time_steps(config: ClapConfig) -> int:
    """Along the window, of HTS-AT's last stage (arXiv 2202.00874): the spectrogram is folded into a square of
    `spec_size`, cut into patches, and halved after each stage but the last."""
    audio: Any = config.audio_config
    folds = audio.spec_size // audio.num_mel_bins
    return int(folds * (audio.spec_size // audio.patch_stride[0] // 2 ** (len(audio.depths) - 1)))

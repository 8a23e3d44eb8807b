"""Captions ranked by how well they fit a sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn
from transformers import ClapProcessor

from teminal_hf.audio.sound_file import read_sound
from teminal_hf.audio.waveform import Waveform
from teminal_hf.errors import ConfigError, DataError
from teminal_hf.models.embed import embed_audio, embed_text
from teminal_hf.models.split import unwrap_clap


@dataclass(frozen=True)
class Ranking:
    """Captions with their cosine similarity to a sound, best first; `windows`: how many were averaged."""

    captions: tuple[tuple[str, float], ...]
    windows: int


def rank(model: nn.Module, processor: ClapProcessor, sound: str | Path | Waveform, captions: Sequence[str]) -> Ranking:
    """Which caption fits a sound? `sound` is a file, or a mono array at the processor's sampling rate.

    A sound longer than the model's window is heard through evenly spaced windows (the same every time) whose
    similarities are averaged; a shorter one is padded with silence, never tiled: tiling destroys order.

    Raises:
        ConfigError: one string in the place of a list of captions.
        DataError: no captions, or an empty one; a file that cannot be decoded or holds nothing to hear.
        NotFoundError: no such file.
    """
    if isinstance(captions, str):
        raise ConfigError(f"captions must be a list of strings, found the one string {captions!r}; give [{captions!r}]")
    if not captions:
        raise DataError("no caption to rank; give at least one, two to compare")
    if blank := [number for number, caption in enumerate(captions, 1) if not caption.strip()]:
        raise DataError(f"caption {blank[0]} of {len(captions)} is empty; leave it out, or write what may be heard")
    if not isinstance(sound, str | Path) and (sound.ndim != 1 or not len(sound) or not np.isfinite(sound).all()):
        raise DataError(f"the sound must be a mono array of finite samples, found shape {sound.shape}")
    clap = unwrap_clap(model).eval()
    extractor = processor.feature_extractor
    waveform = read_sound(sound, extractor.sampling_rate) if isinstance(sound, str | Path) else sound
    n_windows = -(-len(waveform) // extractor.nb_max_samples)
    starts = np.linspace(0, max(0, len(waveform) - extractor.nb_max_samples), n_windows).astype(int)
    windows = [waveform[start : start + extractor.nb_max_samples] for start in starts]
    audio = embed_audio(clap, processor, windows)
    similarity = (audio @ embed_text(clap, processor, captions).T).mean(dim=0).tolist()
    ranked = sorted(zip(captions, similarity, strict=True), key=lambda pair: -pair[1])
    return Ranking(tuple(ranked), n_windows)

"""Captions ranked by how well they fit a sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from teminal_hf.audio.sound_file import read_sound
from teminal_hf.audio.waveform import Waveform
from teminal_hf.errors import ConfigError, DataError
from teminal_hf.models.encoder import Encoder, audio_embeds, text_embeds


@dataclass(frozen=True)
class Ranking:
    """Captions with their cosine similarity to a sound, best first; `windows`: how many were averaged."""

    captions: tuple[tuple[str, float], ...]
    windows: int


def rank(encoder: Encoder, sound: str | Path | Waveform, captions: Sequence[str]) -> Ranking:
    """Which caption fits a sound? `sound` is a file, or a mono array at the encoder's sampling rate.

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
    waveform = read_sound(sound, encoder.sampling_rate) if isinstance(sound, str | Path) else sound
    windows = evenly_spaced(waveform, encoder)
    similarity = (audio_embeds(encoder, windows) @ text_embeds(encoder, captions).T).mean(axis=0).tolist()
    ranked = sorted(zip(captions, similarity, strict=True), key=lambda row: -row[1])
    return Ranking(tuple(ranked), len(windows))


def evenly_spaced(waveform: Waveform, encoder: Encoder) -> list[Waveform]:
    """A recording (samples,) as the model can hear it: whole, or in as few windows of its own as cover it."""
    if encoder.max_seconds is None:
        return [waveform]
    window = round(encoder.max_seconds * encoder.sampling_rate)
    starts = np.linspace(0, max(0, len(waveform) - window), -(-len(waveform) // window)).astype(int)
    return [waveform[start : start + window] for start in starts]

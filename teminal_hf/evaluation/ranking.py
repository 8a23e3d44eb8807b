"""Captions ranked by how well they fit a sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn
from transformers import ClapProcessor

from teminal_hf.audio.waveform import Waveform, decode
from teminal_hf.errors import BadClipError, ConfigError, DataError, NotFoundError
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
        DataError: no captions, or an empty one; a sound that cannot be decoded.
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
    waveform = _read(sound, extractor.sampling_rate) if isinstance(sound, str | Path) else sound
    n_windows = -(-len(waveform) // extractor.nb_max_samples)
    starts = np.linspace(0, max(0, len(waveform) - extractor.nb_max_samples), n_windows).astype(int)
    windows = [waveform[start : start + extractor.nb_max_samples] for start in starts]
    audio = embed_audio(clap, processor, windows)
    similarity = (audio @ embed_text(clap, processor, captions).T).mean(dim=0).tolist()
    ranked = sorted(zip(captions, similarity, strict=True), key=lambda pair: -pair[1])
    return Ranking(tuple(ranked), n_windows)


def _read(path: str | Path, sampling_rate: int) -> Waveform:
    try:
        return decode(path, sampling_rate)
    except BadClipError as error:
        raise BadClipError(f"{path} {error}") from error
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}; give a wav, flac, ogg or mp3 file") from error
    except IsADirectoryError as error:
        raise NotFoundError(f"{path} is a folder; give one wav, flac, ogg or mp3 file") from error

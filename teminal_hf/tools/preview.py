"""One group to listen to and to look at: a WAV file for each view, and their spectrograms in one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from transformers.audio_utils import mel_filter_bank

from teminal_hf.audio.log_mel import LogMel
from teminal_hf.audio.waveform import Waveform
from teminal_hf.data.views import STAGE_VIEWS as VIEWS
from teminal_hf.evaluation.plotting import MEL_SCALE, Spectrogram, spectrogram_picture

PICTURE = "spectrograms.png"
_MELS, _HOPS_A_SECOND, _WINDOW_SECONDS = 64, 100, 0.04


class Sound(NamedTuple):
    """What one file and one panel show."""

    view: str
    caption: str
    waveform: Waveform
    heading: str


def write_preview(row: dict[str, Any], stage: str, folder: Path) -> list[tuple[Path, str]]:
    """Write the views of a rendered `row` of `stage` to `folder`: WAV files (16-bit PCM) and one picture.

    Returns:
        Their paths, each with what it says.
    """
    sounds, rate = _sounds(row, stage)
    written = []
    for sound in sounds:
        path = folder / f"{sound.view}.wav"
        soundfile.write(path, sound.waveform, rate, subtype="PCM_16")
        written.append((path, sound.caption))
    title = f"{stage}, group {row['group_id']}, seed {row['seed']}" + (f", task {row['task']}" if "task" in row else "")
    clips = "; ".join(f"{x}: {row[f'label_{x}']} ({row[f'clip_{x}']})" for x in "ab")
    plot(sounds, rate, f"{title}\n{clips}", folder / PICTURE)
    return [*written, (folder / PICTURE, title)]


def _sounds(row: dict[str, Any], stage: str) -> tuple[list[Sound], int]:
    if stage == "zste":
        right = [row["candidates"][i] for i in row["references"]] if row["task"] != "G" else row["candidates"]
        captions = right if len(row["views"]) > 1 else [" | ".join(right)]
        sounds = [Sound(v, c, a["array"], v) for v, c, a in zip(row["views"], captions, row["audio"], strict=True)]
        return sounds, row["audio"][0]["sampling_rate"]
    headings = {view: view for view in VIEWS[stage]} | {"double": f"double ({row['double_view']})"}
    sounds = [Sound(view, row[f"{view}_caption"], row[view]["array"], headings[view]) for view in VIEWS[stage]]
    return sounds, row[VIEWS[stage][0]]["sampling_rate"]


def log_mel(waveform: Waveform, rate: int) -> NDArray[np.float32]:
    """(mel bins, frames) in dB, from 0 Hz to half of `rate`, 100 frames a second."""
    n_fft = 2 ** int(np.ceil(np.log2(_WINDOW_SECONDS * rate)))
    filters = mel_filter_bank(n_fft // 2 + 1, _MELS, 0.0, rate / 2, rate, norm=None, mel_scale=MEL_SCALE)
    transform = LogMel(
        sampling_rate=rate,
        n_samples=len(waveform),
        hop_length=rate // _HOPS_A_SECOND,
        n_fft=n_fft,
        filters=torch.from_numpy(filters),
    )
    return transform(torch.from_numpy(waveform)[None])[0, 0].numpy().T


def plot(sounds: Sequence[Sound], rate: int, title: str, path: Path) -> None:
    """One panel per sound as a PNG."""
    panels = [
        Spectrogram(f"{sound.heading}: “{sound.caption}”", log_mel(sound.waveform, rate), len(sound.waveform) / rate)
        for sound in sounds
    ]
    figure = spectrogram_picture(panels, (0.0, rate / 2), size=(9, 1.1 + 1.7 * len(panels)))
    figure.suptitle(title, fontsize="medium")
    figure.savefig(path, dpi=110)

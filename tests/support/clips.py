"""Small clips: tones, tables of arrays, an ESC-50 folder as distributed."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from teminal_hf.clips.table import ClipTable

ESC50_CLASSES = ("dog", "rain", "door_wood_knock")
ESC50_FOLDS = (1, 2, 3, 4, 5)


def table(clips: dict[str, np.ndarray], labels: Sequence[str]) -> ClipTable:
    """Clips given as arrays, whatever the sampling rate asked for, all of fold 1."""
    arrays, n = list(clips.values()), len(clips)
    origins = tuple(hashlib.sha256(array.tobytes()).hexdigest() for array in arrays)
    return ClipTable(tuple(clips), tuple(labels), (1,) * n, tuple(range(n)), origins, lambda row, rate: arrays[row])


def tone(frequency: float, seconds: float, rate: int, level: float = 0.3) -> np.ndarray:
    """A steady sine, (samples,) float32."""
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_esc50(parent: Path) -> Path:
    """An ESC-50 folder as distributed, of 30 short clips: 3 classes (one pitch each) x 5 folds x 2 takes.

    Clips are 1 s at 44.1 kHz but for the first three of fold 1: "dog" take A is stereo, take B at 48 kHz with 0.3 s of
    silence before and 0.7 s after; "rain" take A is 7 s long.
    """
    root = parent / "ESC-50"
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    rows = []
    for fold in ESC50_FOLDS:
        for target, category in enumerate(ESC50_CLASSES):
            for take in "AB":
                rate, samples = 44_100, tone(400 * 2**target, 1.0, 44_100)
                if (fold, category, take) == (1, "dog", "A"):
                    samples = np.stack([samples, 0.5 * samples], axis=1)
                elif (fold, category, take) == (1, "dog", "B"):
                    rate, samples = 48_000, np.pad(tone(400, 1.0, 48_000), (14_400, 33_600))
                elif (fold, category, take) == (1, "rain", "A"):
                    samples = tone(800, 7.0, rate)
                source = 100 * fold + target
                name = f"{fold}-{source}-{take}-{target}.wav"
                quieter = 1 - 0.002 * len(rows)  # no sound is another's copy
                soundfile.write(root / "audio" / name, quieter * samples, rate, subtype="PCM_16")
                rows.append([name, fold, target, category, target == 0, source, take])
    with (root / "meta" / "esc50.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "fold", "target", "category", "esc10", "src_file", "take"], *rows])
    return root

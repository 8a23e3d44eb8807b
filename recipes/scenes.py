"""Scenes in TACOS's layout, composed of labelled clips, to train on and be tested by as on TACOS's own.

    python recipes/scenes.py FOLDER --data_dir ESC50 [--train_folds 1 2 3 --test_folds 4] [--scenes 1000] [--seed 0]
    teminal train plain_pairs --source tacos --data_dir FOLDER --model MODEL --output_dir RUN
    teminal evaluate RUN --base MODEL --test tacos --test_dir FOLDER

A scene of ten seconds holds one sound, a pause, and two others at once, of three classes. TACOS's recordings are real
and its captions are sentences; here a caption is the name of a class, so that figures on these scenes tell whether
the way from intervals to order works, not how well real scenes are understood.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from teminal_hf.audio.waveform import Waveform, crop, fade_ends, level_to
from teminal_hf.clips.folds import split_folds
from teminal_hf.clips.labels import spoken
from teminal_hf.clips.table import ClipTable
from teminal_hf.commands.clips import add_clip_arguments, clip_source
from teminal_hf.commands.door import door
from teminal_hf.errors import ConfigError
from teminal_hf.order_tests.tacos import MARGIN

SECONDS, LONGEST = 10.0, 3.0  # of a scene, and of a sound
_RATE = 48_000
_LEVEL = -26.0  # dBFS of every sound

Row = tuple[str, str, float, float]  # of annotations_strong.csv


def main(argv: Sequence[str]) -> None:
    """Write the scenes of both splits; a quarter as many to be tested by as to train on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="to be made")
    parser.add_argument("--scenes", type=int, default=1000, help="to train on (1000)")
    parser.add_argument("--seed", type=int, default=0)
    for name in ("train", "test"):
        parser.add_argument(f"--{name}_folds", type=int, nargs="+")
    add_clip_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.folder.exists():
        raise ConfigError(f"{arguments.folder} is there already; name a new folder")
    clips = clip_source(arguments).load()
    asked = (arguments.train_folds, arguments.test_folds)
    train, test = (None if folds is None else tuple(folds) for folds in asked)
    folds = split_folds(clips, train, (), test)
    usable = clips.usable(_RATE)
    (arguments.folder / "audio").mkdir(parents=True)
    annotations: list[Row] = []
    for split, fold, n in (("development", "train", arguments.scenes), ("test", "test", arguments.scenes // 4)):
        rng = np.random.default_rng([arguments.seed, len(split)])
        names, those = [f"{split}-{i:05d}.flac" for i in range(n)], usable.in_folds(folds[fold])
        for name in tqdm(names, desc=f"{split} scenes"):
            sound, rows = scene(those, name, rng)
            soundfile.write(arguments.folder / "audio" / name, sound, _RATE)
            annotations += rows
        _write(arguments.folder / f"{split}_split.csv", ("filename",), [(name,) for name in names])
    _write(arguments.folder / "annotations_strong.csv", ("filename", "text", "onset", "offset"), annotations)


def scene(clips: ClipTable, name: str, rng: np.random.Generator) -> tuple[Waveform, list[Row]]:
    """One sound, a pause, and two at once: (samples,) at 48 kHz, and what is heard from when to when, in seconds."""
    classes = rng.choice(clips.classes, 3, replace=False)
    chosen = [str(rng.choice([i for i in clips.ids if clips.label(i) == label])) for label in classes]
    first, second, third = (_sound(clips, clip, rng) for clip in chosen)
    pause = round(rng.uniform(2 * MARGIN, 3 * MARGIN) * _RATE)
    third = third[: len(second)]
    whole = np.zeros(round(SECONDS * _RATE), np.float32)
    begin = round(rng.uniform(0, 1) * (len(whole) - len(first) - pause - len(second)))
    then = begin + len(first) + pause
    rows: list[Row] = []
    for label, sound, start in zip(classes, (first, second, third), (begin, then, then), strict=True):
        whole[start : start + len(sound)] += fade_ends(sound, _RATE)
        rows.append((name, spoken(str(label)), start / _RATE, (start + len(sound)) / _RATE))
    return whole, rows


def _sound(clips: ClipTable, clip: str, rng: np.random.Generator) -> Waveform:
    heard = crop(clips.waveform(clip, _RATE), round(LONGEST * _RATE), rng.uniform(0, 1))
    return np.clip(level_to(heard, _LEVEL), -0.5, 0.5)


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


if __name__ == "__main__":
    with door():
        main(sys.argv[1:])

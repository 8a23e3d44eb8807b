"""`teminal rank`."""

import argparse
import csv
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from teminal_hf.models.encoder import Encoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sound", help="an audio file (wav, flac, ogg or mp3), or a folder of them")
    parser.add_argument("captions", nargs="+", metavar="CAPTION", help="such as 'dog before rain' 'rain before dog'")
    parser.add_argument("--model", default="clap-mini", help="checkpoint folder, Hub id, or clap-mini (default)")
    parser.add_argument("--when", action="store_true", help="where in a long recording: every window's similarities")
    parser.add_argument("--hop", type=float, metavar="SECONDS", help="between windows (default: a quarter of one)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write similarities here, a column each caption")
    parser.add_argument(
        "--threshold", type=float, metavar="X", help='say "none of these" where no caption reaches this similarity'
    )
    parser.set_defaults(run_command=_rank)


def _rank(arguments: argparse.Namespace) -> None:
    from teminal_hf.clips.recordings import SOUNDS
    from teminal_hf.errors import ConfigError
    from teminal_hf.integrations.encoders import load_encoder
    from teminal_hf.storage.atomic import check_writable

    for caption in arguments.captions:
        if os.path.isfile(caption):  # `Path.is_file` raises where a caption is longer than a file's name may be
            raise ConfigError(
                f"{caption} is a file, and stands where a caption is meant: rank hears one sound, or a folder of them, "
                f"teminal rank {arguments.sound} CAPTION [CAPTION ...]; call it once for each"
            )
    if arguments.hop is not None and not arguments.when:
        raise ConfigError("--hop is between the windows of --when; add --when")
    if arguments.threshold is not None and not math.isfinite(arguments.threshold):
        raise ConfigError(f"threshold must be a finite number, got {arguments.threshold}")
    if arguments.when and (arguments.threshold is not None or Path(arguments.sound).is_dir()):
        raise ConfigError("--when is of one recording, and without --threshold; leave the other out")
    if arguments.csv:
        check_writable(arguments.csv)
        if arguments.csv.suffix.lower() in SOUNDS:
            raise ConfigError(f"--csv {arguments.csv} is named as a sound is; name a .csv file")
    encoder = load_encoder(arguments.model)
    if arguments.when:
        _when(arguments, encoder)
    elif Path(arguments.sound).is_dir():
        _folder(arguments, encoder)
    else:
        _sound(arguments, encoder)


def _sound(arguments: argparse.Namespace, encoder: "Encoder") -> None:
    from teminal_hf.evaluation.ranking import rank

    ranking = rank(encoder, arguments.sound, arguments.captions)
    if ranking.windows > 1:
        print(
            f"longer than {encoder.max_seconds:g} s: heard through {ranking.windows} evenly spaced windows, averaged; "
            "--when says where"
        )
    if arguments.threshold is not None and ranking.captions[0][1] < arguments.threshold:
        print("none of these")
    for caption, similarity in ranking.captions:
        print(f"{similarity:+.3f}  {caption}")
    if arguments.csv:
        similarity_of = dict(ranking.captions)
        row = [similarity_of[caption] for caption in arguments.captions]
        _write(arguments.csv, ["file", *arguments.captions], [[arguments.sound, *row]])


def _when(arguments: argparse.Namespace, encoder: "Encoder") -> None:
    from teminal_hf.evaluation.ranking import when

    found = when(encoder, arguments.sound, arguments.captions, arguments.hop)
    rows = [[*span, *row] for span, row in zip(found.spans, found.similarity.tolist(), strict=True)]
    print(f"{'start':>8} {'end':>8}  " + "  ".join(arguments.captions))
    for start, end, *similarity in rows:
        cells = (f"{value:+.3f}".rjust(len(name)) for value, name in zip(similarity, arguments.captions, strict=True))
        print(f"{start:8.2f} {end:8.2f}  " + "  ".join(cells))
    for caption, (start, end), value in found.best():
        print(f"best for {caption}: {start:.2f} to {end:.2f} s ({value:+.3f})")
    if arguments.csv:
        _write(arguments.csv, ["start", "end", *arguments.captions], rows)


def _folder(arguments: argparse.Namespace, encoder: "Encoder") -> None:
    from teminal_hf.tools.collection import embedded

    found = embedded(encoder, arguments.sound)
    rows = []
    for path, ranking in found.rank(encoder, arguments.captions).items():
        caption, similarity = ranking.captions[0]
        if arguments.threshold is not None and similarity < arguments.threshold:
            caption = "none of these"
        print(f"{similarity:+.3f}  {path}  {caption}")
        rows.append([path, *(dict(ranking.captions)[each] for each in arguments.captions)])
    if arguments.csv:
        _write(arguments.csv, ["file", *arguments.captions], rows)


def _write(path: Path, head: list[str], rows: list[list[object]]) -> None:
    from teminal_hf.storage.atomic import written_whole

    with written_whole(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])

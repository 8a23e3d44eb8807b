"""`teminal rank`."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sound", help="an audio file: wav, flac, ogg or mp3")
    parser.add_argument("captions", nargs="+", metavar="CAPTION", help="such as 'dog before rain' 'rain before dog'")
    parser.add_argument("--model", default="clap-mini", help="checkpoint folder, Hub id, or clap-mini (default)")
    parser.set_defaults(run_command=_rank)


def _rank(arguments: argparse.Namespace) -> None:
    from teminal_hf.errors import ConfigError
    from teminal_hf.evaluation.ranking import rank
    from teminal_hf.integrations.encoders import load_encoder

    for caption in arguments.captions:
        if Path(caption).is_file():
            raise ConfigError(
                f"{caption} is a file, and stands where a caption is meant: rank hears one sound, "
                f"teminal rank {arguments.sound} CAPTION [CAPTION ...]; call it once for each"
            )
    encoder = load_encoder(arguments.model)
    ranking = rank(encoder, arguments.sound, arguments.captions)
    if ranking.windows > 1:
        print(f"longer than {encoder.max_seconds:g} s: heard through {ranking.windows} evenly spaced windows, averaged")
    for caption, similarity in ranking.captions:
        print(f"{similarity:+.3f}  {caption}")

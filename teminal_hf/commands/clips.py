"""The flags that say where labelled clips come from, for all subcommands that need clips."""

import argparse
from dataclasses import MISSING, fields

from teminal_hf.clips.sources import ClipSource


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clips")
    for field in fields(ClipSource):
        assert field.default is not MISSING
        kind = int if isinstance(field.default, int) else str
        group.add_argument(f"--{field.name}", type=kind, default=field.default, help=field.metadata["help"])

"""The flags that say where labelled clips come from, shared by all subcommands that need clips."""

import argparse

from teminal_hf.clips.sources import ClipTable, load_clips


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_dir", help="ESC-50 folder, with audio/ and meta/")
    parser.add_argument("--source", help='"soundbank" (default without --data_dir), or a Hub or local data set')
    parser.add_argument("--audio_column", default="audio")
    parser.add_argument("--label_column", default="category")
    parser.add_argument("--fold_column", default="fold")
    parser.add_argument("--clips_per_class", type=int, default=12, help="of the sound bank, per fold")


def clip_arguments(arguments: argparse.Namespace) -> dict[str, object]:
    """As keyword arguments of `load_clips` and of `load_dataset("teminal/esc50-temporal")`."""
    names = ("source", "data_dir", "audio_column", "label_column", "fold_column", "clips_per_class")
    return {name: getattr(arguments, name) for name in names}


def clips_of(arguments: argparse.Namespace) -> ClipTable:
    """The clips that these flags name."""
    return load_clips(**clip_arguments(arguments))  # type: ignore[arg-type]

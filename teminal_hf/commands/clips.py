"""The flags that say where labelled clips come from, for all subcommands that need clips."""

import argparse
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from teminal_hf.clips.sources import ClipSource
from teminal_hf.data.bounds import CLIPS, check_bounds, check_distinct
from teminal_hf.errors import ConfigError

_LISTS = ("folds", "train_folds", "validation_folds", "test_folds", "tasks")


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clips")
    for field in fields(ClipSource):
        assert field.default is not MISSING
        kind = int if isinstance(field.default, int) else str
        group.add_argument(f"--{field.name}", type=kind, default=field.default, help=field.metadata["help"])


def clip_source(arguments: argparse.Namespace) -> ClipSource:
    """The source that the flags name.

    Raises:
        ConfigError: numbers, folds or tasks among the command's flags that make no sense.
    """
    values: Mapping[str, Any] = vars(arguments)
    check_bounds(values, CLIPS)
    check_distinct(values, _LISTS)
    source = ClipSource.of(arguments)
    if source.data_dir is not None and source.source is not None:
        raise ConfigError(f"give either --data_dir ({source.data_dir}) or --source ({source.source}), not both")
    return source

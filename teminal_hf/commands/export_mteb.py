"""`teminal data export-mteb`."""

import argparse
from pathlib import Path
from typing import Any

from teminal_hf.clips.sources import SOUND_BANK
from teminal_hf.commands.clips import add_clip_arguments, clips_of
from teminal_hf.data.builder import split_folds
from teminal_hf.data.manifest_audio import licence_of_clips
from teminal_hf.data.publishing import ATTRIBUTION
from teminal_hf.hub.cards import public_name
from teminal_hf.integrations.mteb_export import export
from teminal_hf.runs.run_folder import check_free


def register(actions: Any) -> None:
    exporting = actions.add_parser("export-mteb", help="write ZSTE tasks 1 and 3 to 5 as a folder for mteb")
    exporting.add_argument("--output_dir", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    add_clip_arguments(exporting)
    exporting.add_argument("--folds", type=int, nargs="+", help="default: the last; never evaluate on folds trained on")
    exporting.add_argument("--groups", type=int, help="default: one per clip")
    exporting.add_argument("--seed", type=int, default=0)
    exporting.add_argument("--sampling_rate", type=int, default=48_000, help="of the recordings, in Hz; the model's")
    exporting.set_defaults(run_command=_export)


def _export(arguments: argparse.Namespace) -> None:
    folder = arguments.output_dir
    check_free(folder)
    clips = clips_of(arguments)
    place = arguments.data_dir or arguments.source or SOUND_BANK
    folds = arguments.folds or split_folds(clips)["test"]
    clips = clips.in_folds(folds).usable(arguments.sampling_rate)
    export(
        clips,
        folder,
        source="the sound bank of teminal_hf" if place == SOUND_BANK else public_name(place),
        licence=licence_of_clips(clips.ids),
        sampling_rate=arguments.sampling_rate,
        n_groups=arguments.groups,
        seed=arguments.seed,
        notices=[] if arguments.data_dir is None else _notices(Path(arguments.data_dir)),
    )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(
        f"{arguments.groups or len(clips)} groups, {size / 2**20:.1f} MiB in {folder}; its README.md says how to use it"
    )


def _notices(data_dir: Path) -> list[Path]:
    """Where a copy of ESC-50 names the clips' authors."""
    return [path for name in ATTRIBUTION if (path := data_dir / name).is_file()]

"""`teminal data push | preview | export-mteb`."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import load_dataset

from teminal_hf.commands.clips import add_clip_arguments, clip_source
from teminal_hf.data.builder import STAGES
from teminal_hf.data.publishing import check_name, push_manifests, write_manifests
from teminal_hf.errors import ConfigError
from teminal_hf.hub.cards import DATASET
from teminal_hf.integrations.mteb_export import export_source
from teminal_hf.runs.run_folder import open_folder
from teminal_hf.tools.preview import write_preview

_FOLDS = ("train_folds", "validation_folds", "test_folds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    push = actions.add_parser("push", help="publish the manifests as a data set of the Hub")
    push.add_argument("--to", required=True, metavar="OWNER/NAME", help="the data set on the Hub")
    push.add_argument("--private", action="store_true", help="if it is made by this push")
    push.add_argument("--with_clips", action="store_true", help="publish ESC-50's clips as well (most CC BY-NC 3.0)")
    push.add_argument(
        "--from", dest="written", type=Path, metavar="FOLDER", help="push what an earlier push wrote here"
    )
    push.add_argument("--output_dir", help="write it here first (default: runs/data-NNN)")
    add_clip_arguments(push)
    push.add_argument("--seed", type=int, default=0)
    push.add_argument("--n_groups", type=int, default=2000, help="of the train split; of each in zste")
    for name in _FOLDS:
        push.add_argument(f"--{name}", type=int, nargs="*")
    push.set_defaults(run_command=_push)

    preview = actions.add_parser("preview", help="a group's views as WAV files and spectrograms")
    preview.add_argument("--stage", choices=STAGES, default="stage_b")
    preview.add_argument("--index", type=int, default=0, help="which row of the train split")
    add_clip_arguments(preview)
    preview.add_argument("--seed", type=int, default=0)
    preview.add_argument("--sampling_rate", type=int, default=48_000, help="Hz")
    preview.add_argument("--output_dir", help="default: runs/preview-NNN")
    preview.set_defaults(run_command=_preview)

    export = actions.add_parser("export-mteb", help="write ZSTE tasks 1, 3 to 5, N and D as a folder for mteb")
    export.add_argument("--output_dir", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    add_clip_arguments(export)
    export.add_argument("--folds", type=int, nargs="+", help="default: the last; never evaluate on folds trained on")
    export.add_argument("--groups", type=int, help="default: one per clip")
    export.add_argument("--seed", type=int, default=0)
    export.add_argument("--sampling_rate", type=int, default=48_000, help="of the recordings, in Hz; the model's")
    export.set_defaults(run_command=_export)


def _push(arguments: argparse.Namespace) -> None:
    check_name(arguments.to)
    if arguments.written and (arguments.output_dir or arguments.data_dir or arguments.source):
        raise ConfigError("--from pushes what is written already; leave out --output_dir, --data_dir and --source")
    folder = arguments.written or _write(arguments)
    url = push_manifests(folder, arguments.to, with_clips=arguments.with_clips, private=arguments.private or None)
    print(f"pushed to {url}")


def _write(arguments: argparse.Namespace) -> Path:
    folds = {name: getattr(arguments, name) for name in _FOLDS}
    options: dict[str, Any] = {name: None if chosen is None else tuple(chosen) for name, chosen in folds.items()}
    options |= {"seed": arguments.seed, "n_groups": arguments.n_groups, **asdict(clip_source(arguments))}
    folder = open_folder("data", arguments.output_dir)
    write_manifests(folder, arguments.to, with_clips=arguments.with_clips, **options)
    print(f"written to {folder}")
    return folder


def _preview(arguments: argparse.Namespace) -> None:
    index, options = arguments.index, asdict(clip_source(arguments))
    options |= {"seed": arguments.seed, "n_groups": index + 1, "sampling_rate": arguments.sampling_rate}
    rows = load_dataset(DATASET, arguments.stage, split="train", **options)
    if index >= len(rows):
        raise ConfigError(f"there is no row {index}: these clips give {len(rows)} of {arguments.stage}")
    for path, says in write_preview(rows[index], arguments.stage, open_folder("preview", arguments.output_dir)):
        print(f"{path}: {says}")


def _export(arguments: argparse.Namespace) -> None:
    folder = arguments.output_dir
    n_groups = export_source(
        clip_source(arguments),
        folder,
        folds=arguments.folds,
        sampling_rate=arguments.sampling_rate,
        n_groups=arguments.groups,
        seed=arguments.seed,
    )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{n_groups} groups, {size / 2**20:.1f} MiB in {folder}; its README.md says how to use it")

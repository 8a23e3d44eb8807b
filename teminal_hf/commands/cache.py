"""`teminal cache info | clear`."""

import argparse

from teminal_hf.storage import cache


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    info = actions.add_parser("info", help="what is there, where, and how much it takes")
    info.set_defaults(run_command=_info)
    clear = actions.add_parser("clear", help="remove it")
    clear.add_argument("kind", nargs="?", choices=cache.KINDS, help="only these (default: all)")
    clear.set_defaults(run_command=_clear)


def _info(arguments: argparse.Namespace) -> None:
    entries = cache.entries()
    for entry in entries:
        print(f"{entry.n_bytes / 2**20:9.1f} MiB  {entry.kind:6}  {entry.key}  {entry.what}")
    print(f"{sum(entry.n_bytes for entry in entries) / 2**20:9.1f} MiB in {len(entries)} entries, {cache.cache_root()}")


def _clear(arguments: argparse.Namespace) -> None:
    freed = cache.clear((arguments.kind,) if arguments.kind else cache.KINDS)
    print(f"freed {freed / 2**20:.1f} MiB in {cache.cache_root()}")

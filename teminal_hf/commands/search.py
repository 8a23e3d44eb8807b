"""`teminal search`."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="of wav, flac, ogg or mp3 files; folders in it are searched too")
    parser.add_argument("caption", help="such as 'dog before rain'")
    parser.add_argument("--model", default="clap-mini", help="checkpoint folder, Hub id, or clap-mini (default)")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many files (10)")
    parser.add_argument(
        "--index", type=Path, metavar="FILE", help="parquet file of the embeddings (default: one in the cache)"
    )
    parser.set_defaults(run_command=_search)


def _search(arguments: argparse.Namespace) -> None:
    from teminal_hf.errors import ConfigError
    from teminal_hf.evaluation.ranking import check_captions
    from teminal_hf.integrations.encoders import load_encoder
    from teminal_hf.tools.collection import embedded

    check_captions([arguments.caption])
    if arguments.top < 1:
        raise ConfigError(f"top must be at least 1, got {arguments.top}")
    encoder = load_encoder(arguments.model)
    found = embedded(encoder, arguments.folder, arguments.index)
    for file, start, end, similarity in found.search(encoder, arguments.caption, arguments.top):
        several = found.files.count(file.relative_to(found.folder).as_posix()) > 1
        print(f"{similarity:+.3f}  {file}" + (f"  {start:.2f} to {end:.2f} s" if several else ""))

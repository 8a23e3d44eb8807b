"""`teminal embed`."""

import argparse
from pathlib import Path

_ABOUT = (
    "Writes the embedding of every row as parquet files. The same command goes on with what is missing, with any "
    "number of processes (accelerate launch -m teminal_hf embed ...), and never writes a row twice."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = _ABOUT
    parser.add_argument("source", help="a folder of sounds, a table of them, or a data set of the Hub or on disk")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="of the parquet files")
    parser.add_argument("--model", default="clap-mini", help="checkpoint folder, Hub id, or clap-mini (default)")
    parser.add_argument("--audio_column", default="audio", metavar="NAME", help="of a data set (audio)")
    parser.add_argument("--text_column", metavar="NAME", help="of captions, to embed too (default: none)")
    parser.add_argument(
        "--id_column", metavar="NAME", help="what to call rows (default: id, filename or file_name, else their number)"
    )
    parser.add_argument("--batch_size", type=int, default=32, metavar="N", help="rows read at a time (32)")
    parser.add_argument("--shard_rows", type=int, metavar="N", help="rows of a file (1000)")
    parser.set_defaults(run_command=_embed)


def _embed(arguments: argparse.Namespace) -> None:
    from teminal_hf.tools.embedding import embed_source

    found = embed_source(
        arguments.source,
        arguments.to,
        arguments.model,
        audio_column=arguments.audio_column,
        text_column=arguments.text_column,
        id_column=arguments.id_column,
        batch_size=arguments.batch_size,
        shard_rows=arguments.shard_rows,
    )
    if found is None:
        return  # the main process says it
    names = "; ".join(f"{name}: {reason}" for name, reason in found.first_bad)
    more = " ..." if found.bad > len(found.first_bad) else ""
    bad = f", {found.bad} with nothing to embed ({names}{more})" if found.bad else ""
    rate = f", {found.done / found.seconds:.1f} rows/s" if found.done else ", all there already"
    print(f"{arguments.to}: {found.rows} rows in {found.files} file(s){bad}{rate}")

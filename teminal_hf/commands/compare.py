"""`teminal compare`."""

import argparse
from pathlib import Path

from teminal_hf.evaluation.tables import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of finished runs")
    parser.add_argument("--format", choices=FORMATS, default="markdown", help="of the table; csv: fractions, no legend")
    parser.add_argument("--json", type=Path, help="write methods, rows, differences and verdicts here")
    parser.set_defaults(run_command=_compare)


def _compare(arguments: argparse.Namespace) -> None:
    from teminal_hf.runs.methods import compare_runs
    from teminal_hf.storage.atomic import check_writable, write_json

    if arguments.json:
        check_writable(arguments.json)
    table, methods = compare_runs(arguments.runs)
    print(table.written(arguments.format))
    if arguments.json:
        write_json(arguments.json, methods)

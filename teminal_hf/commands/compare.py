"""`teminal compare`."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of finished runs")
    parser.add_argument("--json", type=Path, help="write the table here")
    parser.set_defaults(run_command=_compare)


def _compare(arguments: argparse.Namespace) -> None:
    import json

    from teminal_hf.errors import DataError, NotFoundError
    from teminal_hf.evaluation.report import compare_reports, format_table
    from teminal_hf.storage.atomic import write_json

    reports = []
    for run in arguments.runs:
        path = run / "zste.json"
        if not path.is_file():
            raise NotFoundError(f"{run} holds no zste.json; name folders of finished runs")
        reports.append(json.loads(path.read_text(encoding="utf-8")))
    if any(report["before"]["items"] != reports[0]["before"]["items"] for report in reports):
        raise DataError("the runs have different bases, or were judged on different items")
    rows = compare_reports(reports[0]["before"], [report["after"] for report in reports])
    print(format_table(rows))
    if arguments.json:
        write_json(arguments.json, rows)

"""`teminal export`."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="checkpoint folder, Hub id, or clap-mini")
    parser.add_argument("--output_dir", type=Path, required=True, metavar="DIR", help="a free folder for all of it")
    parser.set_defaults(run_command=_export)


def _export(arguments: argparse.Namespace) -> None:
    from teminal_hf.integrations.onnx_export import export_onnx

    record = export_onnx(arguments.model, arguments.output_dir)
    for file, difference in record["difference"].items():
        print(f"{arguments.output_dir / file}: differs from torch by {difference:.1e} at most")

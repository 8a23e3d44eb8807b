"""`teminal doctor`."""

import argparse
import sys

_ABOUT = (
    "Says whether a checkpoint is a CLAP, whole and unfused, whether its text tower has collapsed, what its stored "
    "processor would do in plain transformers to short and long clips, and to yours, and how it scores on a short "
    "order check (a synthetic sound bank; about ten seconds for a checkpoint of laion's size). Of PE-Audio, and what "
    "sentence-transformers has saved, what any encoder can be asked. Exit status 1 if a "
    "problem was found, 0 if not; a warning is no problem."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = _ABOUT
    parser.add_argument("model", help="checkpoint folder, Hub id, or clap-mini")
    parser.add_argument("sounds", nargs="*", metavar="SOUND", help="audio files that it is to hear")
    parser.set_defaults(run_command=_doctor)


def _doctor(arguments: argparse.Namespace) -> None:
    from teminal_hf.tools.doctor import diagnose

    findings = diagnose(arguments.model, arguments.sounds)
    for finding in findings:
        print(f"{finding.level:8} {finding.what}")
        if finding.fix:
            print(f"{'':8} -> {finding.fix}")
    problems, warnings = (sum(f.level == level for f in findings) for level in ("problem", "warning"))
    print(f"{problems} problem(s), {warnings} warning(s)")
    if problems:
        sys.exit(1)

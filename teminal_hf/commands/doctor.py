"""`teminal doctor`."""

import argparse
import sys
from typing import Any

from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.tools.doctor import diagnose

_ABOUT = (
    "Says whether a checkpoint is a CLAP, whole and unfused, whether its text tower has collapsed, what its stored "
    "processor would do in plain transformers to short and long clips, and to yours, and how it scores on a short "
    "order check (a synthetic sound bank; about ten seconds for a checkpoint of laion's size). Exit status 1 if a "
    "problem was found, 0 if not; a warning is no problem."
)


def register(commands: Any) -> None:
    doctor = commands.add_parser("doctor", help="is a checkpoint fit to hear order, in your clips?", description=_ABOUT)
    doctor.add_argument("model", help=f"checkpoint folder, Hub id, or {CLAP_MINI}")
    doctor.add_argument("sounds", nargs="*", metavar="SOUND", help="audio files that it is to hear")
    doctor.set_defaults(run_command=_doctor)


def _doctor(arguments: argparse.Namespace) -> None:
    findings = diagnose(arguments.model, arguments.sounds)
    for finding in findings:
        print(f"{finding.level:8} {finding.what}")
        if finding.fix:
            print(f"{'':8} -> {finding.fix}")
    problems, warnings = (sum(f.level == level for f in findings) for level in ("problem", "warning"))
    print(f"{problems} problem(s), {warnings} warning(s)")
    if problems:
        sys.exit(1)

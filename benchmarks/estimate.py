"""Does `teminal estimate` say what a training takes? Each case is estimated, then run, each in a process of its own.

    python benchmarks/estimate.py --checkpoint BASE --data_dir ESC50 --threads 1

Time is CPU time, which other users of the machine disturb less than the wall's; with more than one thread it is of all
of them. `--constants` writes what was measured into the package, for `teminal estimate --hardware NAME`.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import HERE, MIB, WORK, Measured, Results, arguments, hardware, measure

HARDWARE = HERE.parent / "teminal_hf" / "costs" / "hardware.json"
FOLDER = WORK / "estimate"
MINI = ["--n_groups=128", "--num_train_epochs=5", "--report_groups=30", "--start_from=base"]
SMOKE = ["--n_groups=8", "--num_train_epochs=2", "--per_device_train_batch_size=4", "--clips_per_class=2"]
SMOKE += ["--report_groups=4", "--report_tasks=3O", "--reference_size=8", "--start_from=base"]
SHORT = ["--num_train_epochs=4", "--report_groups=20", "--reference_size=60", "--train_folds=1", "--test_folds=4"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--checkpoint", help="a further model: a folder or Hub id")
    parser.add_argument("--data_dir", help="and clips for it: an ESC-50 folder")
    parser.add_argument("--constants", action="store_true", help="write the measured constants into the package")
    args = parser.parse_args(argv)
    cases = {"clap-mini, cached": MINI}
    if args.checkpoint:
        of_base = ["esc50_base/quick.yaml", f"--model={args.checkpoint}", f"--data_dir={args.data_dir}", *SHORT]
        cases["quick.yaml, 64 groups"] = [*of_base, "--n_groups=64"]
    cases["clap-mini, recomputed"] = [*MINI, "--cache_prefix=false", "--n_groups=64"]
    if args.smoke:
        cases = {"smoke": SMOKE}
    results = Results(args.threads)
    constants = []
    for name, flags in cases.items():
        said, done = (one(what, flags, args.threads) for what in ("estimate", "train"))
        found, real = said.report, done.report
        results.add(f"estimate/{name}/time", found["seconds"], "s CPU", real["seconds"])
        results.add(
            f"estimate/{name}/frozen layers on disk", found["cache_bytes"] / MIB, "MiB", real["cache_bytes"] / MIB
        )
        if done.peak_anon:
            results.add(f"estimate/{name}/memory", found["memory"] / MIB, "MiB", done.peak_anon / MIB)
        constants.append(found["constants"])
        if not args.smoke:
            results.save()
        if args.constants:
            keep(constants, hardware(args.threads))


def one(what: str, flags: Sequence[str], threads: int) -> Measured:
    """Estimate, or train on an empty cache."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    return measure([sys.executable, str(Path(__file__).resolve()), "--one", what, *flags], threads)


def keep(constants: Sequence[dict[str, Any]], where: str) -> None:
    """Constants by machine and size of the model, the newest of each."""
    rows = json.loads(HARDWARE.read_text(encoding="utf-8")) if HARDWARE.is_file() else []
    rows = {(row["hardware"], row["parameters"]): row for row in rows}
    for row in reversed(constants):  # the first of a size is that of a plain, cached training
        rows[where, row["parameters"]] = row | {"hardware": where}
    HARDWARE.write_text(json.dumps([rows[key] for key in sorted(rows)], indent=1) + "\n", encoding="utf-8")


def in_this_process(what: str, flags: Sequence[str]) -> dict[str, Any]:
    from teminal_hf.costs.estimate import estimated
    from teminal_hf.costs.measuring import Clock
    from teminal_hf.storage.cache import entries
    from teminal_hf.storage.packaged import recipes_folder

    os.environ["TEMINAL_CACHE"] = str(FOLDER / "cache")
    defaults = recipes_folder() / "stage_b.yaml"
    if what == "estimate":
        constants, [(_, counts, bill)] = estimated("stage_b", flags, defaults, clock=Clock.cpu())
        bytes_kept = counts.report_bytes + sum(part.cache_bytes for part in counts.parts)
        facts = {"constants": asdict(constants), "rows": bill.seconds}
        return facts | {"seconds": bill.total_seconds, "memory": bill.memory, "cache_bytes": bytes_kept}
    from teminal_hf.commands.cli import main as teminal

    teminal(["train", "stage_b", *flags, f"--output_dir={FOLDER / 'run'}"])
    bytes_kept = sum(entry.n_bytes for entry in entries() if entry.kind == "prefix")
    return {"seconds": time.process_time(), "cache_bytes": bytes_kept}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(in_this_process(sys.argv[2], sys.argv[3:])))
    else:
        main()

"""CPU time of the command line before it does anything, and of importing the package.

    python benchmarks/startup.py

The import is compared with that of `datasets` and `evaluate` alone, which the package extends without importing them.
"""

import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence

from harness import Results, arguments, spread

COMMANDS = ("--help", "--version", "cache info", "doctor --help", "rank --help")
LIBRARIES = "import datasets, evaluate"


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args(argv)
    if args.smoke:
        args.repeats = 1
    results = Results(args.threads)
    for command in COMMANDS[: 1 if args.smoke else None]:
        seconds = [cpu_seconds("-m", "teminal_hf", *command.split()) for _ in range(args.repeats)]
        results.add(f"startup/teminal {command}", statistics.median(seconds), "s CPU")
        results.add(f"startup/teminal {command}/spread", spread(seconds), "%")
    imports = {"theirs": LIBRARIES, "ours": f"import teminal_hf; {LIBRARIES}"}
    seconds_of: dict[str, list[float]] = {name: [] for name in imports}
    for _ in range(args.repeats):
        for name, code in imports.items():
            seconds_of[name].append(cpu_seconds("-c", code))
    theirs, ours = (statistics.median(seconds_of[name]) for name in imports)
    results.add("startup/import teminal_hf, datasets, evaluate", ours, "s CPU", theirs)
    if not args.smoke:
        results.save()


def cpu_seconds(*words: str) -> float:
    """User and system time of `python *words`, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()

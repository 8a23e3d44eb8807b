"""Experiments: every variant of a suite is run as an ordinary recipe, and the report is made of what is kept of them.

    python recipes/experiments.py SUITE [--only NAME ...] [--seeds 1 2 3] [--jobs 2] [--model M] [--data_dir D]
                                        [--known FOLDER ... --known_names NAME ...]
    python recipes/experiments.py --report

SUITE is a YAML file of named variants, each the differences from a base recipe; `core` and `extended` are those of
`recipes/esc50_base/suites/`. Runs lie in `runs/experiments/SUITE/NAME/seed-N`, their log beside them; the same command
again goes on with what was cut and skips what is finished. What the report needs of a run is one small file in
`reports/esc50/results/`; `--report` reads these alone, without model or sound.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from teminal_hf.commands.door import door
from teminal_hf.errors import ConfigError, TeminalError
from teminal_hf.evaluation.evaluator import accuracies
from teminal_hf.evaluation.tables import Figure
from teminal_hf.experiments.report import RESULTS, write_report
from teminal_hf.experiments.results import read_results, write_result
from teminal_hf.experiments.running import is_done, run_all
from teminal_hf.experiments.suite import Job, plan, read_suite
from teminal_hf.runs.run_folder import ROOT

SUITES = Path(__file__).parent / "esc50_base" / "suites"
_SAID = ("1", "3O", "temporal_average")


def main(argv: Sequence[str]) -> None:
    """Run a suite, or write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", help="core, extended, or a YAML file")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these variants, and what they start from"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[], metavar="N", help="in the place of the suite's")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at a time, which share the cores (2)")
    parser.add_argument("--model", help="base checkpoint")
    parser.add_argument("--data_dir", help="folder of ESC-50")
    parser.add_argument("--known", nargs="+", metavar="FOLDER", help="further sounds, which R0 asks about too")
    parser.add_argument("--known_names", nargs="+", metavar="NAME", help="candidate names for these")
    parser.add_argument("--report", action="store_true", help="run nothing; write the report of all that is kept")
    parser.add_argument("--reports", type=Path, default=Path("reports/esc50"), help="folder of results and report")
    arguments = parser.parse_args(argv)
    if arguments.report:
        write_report(arguments.reports)
        print(f"written: {arguments.reports / 'README.md'}")
        return
    if arguments.suite is None:
        parser.error("name a suite, or --report")
    if arguments.jobs < 1:
        raise ConfigError(f"jobs must be at least 1, got {arguments.jobs}")
    run_suite(arguments)


def run_suite(arguments: argparse.Namespace) -> None:
    """Run what is not done yet, keep what the report needs of each run, and name those that failed."""
    named = Path(arguments.suite)
    path = named if named.suffix else SUITES / f"{named}.yaml"
    places = {name: getattr(arguments, name) for name in ("model", "data_dir", "known", "known_names")}
    chosen = {"only": arguments.only, "seeds": arguments.seeds, "places": places}
    jobs = plan(read_suite(path), ROOT / "experiments", **chosen)
    for job in jobs:
        job.write_config()
    results = arguments.reports / RESULTS
    left = {job: hours for job, hours in _hours(jobs, results).items() if not is_done(job)}
    print(
        f"{path.stem}: {len(jobs)} runs, {len(jobs) - len(left)} finished; {_budget(left, arguments.jobs)}", flush=True
    )
    n_done = len(jobs) - len(left)

    def done(job: Job) -> None:
        nonlocal n_done
        result = write_result(job, results)
        if left.pop(job, None) is not None:
            n_done += 1
            said = f"{_figures(result)}; {60 * result['hours']:.1f} minutes; {_budget(left, arguments.jobs)}"
            print(f"[{n_done}/{len(jobs)}] {job.name}: {said}", flush=True)

    failed = run_all(jobs, arguments.jobs, done)
    if failed:
        raise TeminalError(
            "\n".join(["these runs failed:", *(f"  {j.name}: {why}; see {j.log}" for j, why in failed.items())])
        )


def _hours(jobs: Sequence[Job], results: Path) -> dict[Job, float]:
    """What each takes: as its variant's runs that are kept did, or as the suite says."""
    kept: dict[tuple[str, str], list[float]] = {}
    for result in read_results(results):
        kept.setdefault((result["suite"], result["name"]), []).append(result["hours"])
    known = {name: sum(hours) / len(hours) for name, hours in kept.items()}
    return {job: known.get((job.variant.suite, job.variant.name), job.variant.hours) for job in jobs}


def _budget(left: dict[Job, float], at_once: int) -> str:
    if not left:
        return "nothing is left"
    hours = sum(left.values())
    return f"{len(left)} left, about {hours:.2f} hours of work, {max(hours / at_once, *left.values()):.2f} on the clock"


def _figures(result: dict[str, Any]) -> str:
    before, after = (accuracies(result[side]["results"]) for side in ("before", "after"))
    return ", ".join(f"{task} {Figure(before[task])} -> {Figure(after[task])}" for task in _SAID if task in before)


if __name__ == "__main__":
    with door():
        main(sys.argv[1:])

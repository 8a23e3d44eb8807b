"""The campaign: which faults are tried, what came of each, and the table."""

import argparse
import fnmatch
import json
import multiprocessing
import random
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module
from pathlib import Path

from faults.fault import OUTCOMES, SURVIVED, Fault, Outcome
from faults.ground import Ground

KINDS = ("kills", "caches", "inputs", "hub", "ranks")  # each is a module beside this one, with `plan` and `attempt`
RESULTS = "results.jsonl"

Result = dict[str, str | float]


def main(argv: Sequence[str] | None = None) -> None:
    """Try the faults that are asked for and were not tried yet, and print the table of all of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn: where kills fall, which file is damaged")
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at the same time")
    parser.add_argument(
        "--only", nargs="+", metavar="PATTERN", default=["*"], help="faults whose name one matches, such as '*.pt*'"
    )
    parser.add_argument("--number", type=int, help="so many of each kind, drawn by the seed")
    parser.add_argument("--folder", type=Path, default=Path("runs/faults"), help="results; what is there is not tried")
    parser.add_argument("--again", action="store_true", help="try what is there once more")
    parser.add_argument("--minutes", type=float, help="begin no fault after so many")
    arguments = parser.parse_args(argv)
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    tried = {} if arguments.again else read_results(folder)
    until = time.monotonic() + 60 * arguments.minutes if arguments.minutes else None
    chosen: list[Fault] = []
    with ProcessPoolExecutor(
        arguments.jobs, multiprocessing.get_context("fork"), initializer=_prepare, initargs=(folder, arguments.seed)
    ) as pool:
        for kind in arguments.kind:
            faults = [f for f in pool.submit(_plan, kind).result() if _matches(f, arguments.only)]
            if arguments.number is not None and arguments.number < len(faults):
                faults = random.Random(f"{arguments.seed} {kind}").sample(faults, arguments.number)
            chosen += faults
        todo = [fault for fault in chosen if (fault.kind, fault.name) not in tried]
        print(f"{len(chosen)} faults, {len(chosen) - len(todo)} of them tried before, in {folder}", flush=True)
        waiting = [pool.submit(_attempt, fault, until) for fault in todo]
        for n, future in enumerate(as_completed(waiting), start=1):
            result = future.result()
            if result is None:
                continue
            with (folder / RESULTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            if sys.stdout.isatty() or result["outcome"] != SURVIVED:
                print(f"{n}/{len(todo)} {result['kind']} {result['name']}: {result['outcome']}", flush=True)
    tried = read_results(folder)
    results = [tried[key] for fault in chosen if (key := (fault.kind, fault.name)) in tried]
    print(f"\n{report(results, arguments.seed)}")
    if len(results) < len(chosen):
        print(f"\n{len(chosen) - len(results)} more were not tried for want of time; the same command goes on")
    sys.exit(any(result["outcome"] != SURVIVED for result in results))


def _matches(fault: Fault, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(fault.name, pattern) for pattern in patterns)


def read_results(folder: Path) -> dict[tuple[str, str], Result]:
    """What came of the faults that were tried, the last time that they were, by kind and name."""
    path = folder / RESULTS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    results = [json.loads(line) for line in lines if line.endswith("}")]  # the last line may have been cut
    return {(result["kind"], result["name"]): result for result in results}


def report(results: Iterable[Result], seed: int) -> str:
    """The table by kind, and below it each fault that did not survive, with the command that repeats it alone."""
    results = list(results)
    lines = ["| kind | tried | survived | lost | silently wrong | tracebacks |", "|---|---|---|---|---|---|"]
    for kind in KINDS:
        outcomes = [result["outcome"] for result in results if result["kind"] == kind]
        if outcomes:
            counts = [outcomes.count(outcome) for outcome in OUTCOMES[:4]]
            lines.append(f"| {kind} | {len(outcomes)} | {' | '.join(map(str, counts))} |")
    for result in results:
        if result["outcome"] != SURVIVED:
            command = ["python", "-m", "tests.faults", "--kind", str(result["kind"]), "--seed", str(seed), "--again"]
            command += ["--only", str(result["name"])]
            lines += ["", f"- {result['outcome']}: {result['name']}: {result['what']}", f"  {shlex.join(command)}"]
    return "\n".join(lines)


_ground: Ground


def _prepare(folder: Path, seed: int) -> None:
    global _ground
    _ground = Ground(folder, seed)


def _plan(kind: str) -> list[Fault]:
    faults: list[Fault] = import_module(f"faults.{kind}").plan(_ground)
    assert len({fault.name for fault in faults}) == len(faults), "two faults of one name"
    return faults


def _attempt(fault: Fault, until: float | None) -> Result | None:
    """What came of it; None where the time is up. What it left on the disk is kept unless it survived."""
    if until is not None and time.monotonic() > until:
        return None
    folder = _ground.folder / fault.kind / "".join(c if c.isalnum() or c in "-.=" else "_" for c in fault.name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    outcome: Outcome = import_module(f"faults.{fault.kind}").attempt(_ground, fault, folder)
    if outcome.how == SURVIVED:
        shutil.rmtree(folder)
    seconds = round(time.monotonic() - began, 1)
    return {"kind": fault.kind, "name": fault.name, "outcome": outcome.how, "what": outcome.what, "seconds": seconds}

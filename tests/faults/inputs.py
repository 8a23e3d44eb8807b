"""Bad inputs to all commands and to YAML files."""

import os
import shlex
import shutil
from functools import cache as once
from pathlib import Path

from faults.bad_inputs import INPUTS
from faults.fault import SURVIVED, Bad, Fault, Outcome
from faults.given import MESSAGE, PROBLEM, WORKS
from faults.ground import Ground, cache
from faults.programs import teminal


def plan(ground: Ground) -> list[Fault]:
    """All of the table."""
    return [Fault("inputs", name) for name in INPUTS]


def attempt(ground: Ground, fault: Fault, folder: Path) -> Outcome:
    """Give it to the program, and see whether what was expected came of it."""
    entry = INPUTS[fault.name]
    entry.prepare(folder, ground.undisturbed / "run")
    try:
        ended = teminal(*shlex.split(entry.command), cwd=folder, env=cache(_with_cache(ground))).checked()
        output = f"{ended.last}{ended.stdout if entry.expected == PROBLEM else ''}"
        if ended.status == 0 and entry.expected in (MESSAGE, PROBLEM):
            raise Bad("silently wrong", f"teminal {entry.command}: was taken")
        if ended.status == 0:
            return Outcome(SURVIVED)
        if entry.expected == WORKS:
            raise Bad("unclear", f"teminal {entry.command}: was refused: {ended.last}")
        if entry.expected == PROBLEM and "problem" not in ended.stdout:
            raise Bad("unclear", f"teminal {entry.command}: no problem in {ended.stdout[:200]!r}")
        if entry.expected != PROBLEM and not ended.has_message:
            raise Bad("unclear", f"teminal {entry.command}: status {ended.status}, no message: {ended.last}")
        if entry.word not in output:
            raise Bad("unclear", f"teminal {entry.command}: the message does not name {entry.word!r}: {ended.last}")
    except Bad as bad:
        return bad.outcome
    return Outcome(SURVIVED)


@once
def _with_cache(ground: Ground) -> Path:
    """A folder with a copy of the undisturbed run's cache, for all inputs of a worker: none damages it."""
    folder = ground.folder / "inputs" / f"cache-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ground.undisturbed / "cache", folder / "cache")
    return folder

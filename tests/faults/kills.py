"""Runs ended by a signal while they write: at any write to the cache, to a checkpoint, or to the run's folder."""

import json
import random
import shlex
import signal
from pathlib import Path

from faults.fault import SURVIVED, Bad, Fault, Outcome
from faults.ground import RESUME, RUN, Ground, cache, go_on, watch
from faults.interruptions import Write, read_log
from faults.programs import Ended, teminal

# How many points of each part of a run; those that there are, if fewer.
PARTS = {"clips": 8, "prefix": 14, "begin": 4, "checkpoint": 24, "finish": 22}
STOPS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def plan(ground: Ground) -> list[Fault]:
    """Points drawn from the writes of the undisturbed run, with the signal that comes there."""
    rng = random.Random(f"{ground.seed} kills")
    faults = []
    for part, number in PARTS.items():
        points = [(write, half) for write in _part(ground, part) for half in (False, True)[: 1 + _can_be_half(write)]]
        for write, half in sorted(rng.sample(points, min(number, len(points))), key=lambda point: point[0].number):
            stop = signal.SIGKILL if half else rng.choice(STOPS)  # a save is not interrupted by other signals
            name = f"{part} {write}{' half' * half} {stop.name}"
            how = {"at": write.number, "half": half, "number": int(stop), "write": str(write)}
            faults.append(Fault("kills", name, how))
    return faults


def _part(ground: Ground, part: str) -> list[Write]:
    writes = ground.writes
    if part in ("clips", "prefix"):
        return [write for write in writes if write.path.startswith(f"cache/{part}/")]
    if part == "checkpoint":
        return [write for write in writes if write.path.startswith("run/checkpoint-")]
    first = next(write.number for write in writes if write.path.startswith("run/checkpoint-"))
    rest = [write for write in writes if write.path.startswith("run/") and not write.path.startswith("run/checkpoint-")]
    return [write for write in rest if (write.number < first) == (part == "begin")]


def _can_be_half(write: Write) -> bool:
    return write.what in ("open", "save")


def attempt(ground: Ground, fault: Fault, folder: Path) -> Outcome:
    """End a run, go on with it, compare."""
    end = {name: fault.how[name] for name in ("at", "half", "number")}
    ended = teminal(*RUN, cwd=folder, env=cache(folder), first=lambda: watch(folder, **end))
    try:
        number = fault.how["number"]
        if (written := str(read_log(folder / "writes.txt")[fault.how["at"] - 1])) != fault.how["write"]:
            raise Bad("unclear", f"ended at another write than was planned: {written}")
        ended.checked()
        before = _saved(folder / "run")
        if number == signal.SIGKILL:
            if ended.status != -signal.SIGKILL:
                raise Bad("unclear", f"was to be killed, and ended with {ended.status}: {ended.last}")
            resume = RESUME
        else:
            resume = _way_out(ended, number)
        go_on(folder, resume)
        lost = [str(path) for path, written_at in before.items() if path.stat().st_mtime_ns != written_at]
        if lost:
            raise Bad("lost", f"computed once more: {', '.join(lost)}")
        ground.check_result(folder)
    except Bad as bad:
        return bad.outcome
    return Outcome(SURVIVED)


def _way_out(ended: Ended, number: int) -> list[str]:
    """The command that a stopped run names."""
    if ended.status != 128 + number or not ended.last.startswith("stopped"):
        raise Bad("unclear", f"stopped by {signal.Signals(number).name}: status {ended.status}, {ended.last!r}")
    _, found, command = ended.last.partition("teminal ")
    return shlex.split(command) if found else RUN


def _saved(run: Path) -> dict[Path, int]:
    """What need not be computed again: the state of whole checkpoints, and weights that are noted as done."""
    from teminal_hf.training.checkpoints import checkpoints, is_whole

    files = [checkpoint / "optimizer.pt" for checkpoint in checkpoints(run) if is_whole(checkpoint)]
    record = run / "run.json"
    if record.is_file() and "weights" in json.loads(record.read_text(encoding="utf-8")).get("finished", ()):
        files.append(run / "model.safetensors")
    return {path: path.stat().st_mtime_ns for path in files}

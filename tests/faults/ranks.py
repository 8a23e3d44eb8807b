"""Runs of two processes of which one is ended by a signal: the other ends too, and the run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache as once
from pathlib import Path
from typing import Any

from faults.fault import SURVIVED, Bad, Fault, Outcome
from faults.ground import RESUME, RUN, Ground, cache, check_clean, check_same
from faults.programs import TRACEBACK, Ended

END_WITHIN = 60  # seconds after the signal, for all processes
SECONDS = 240
_LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
_TESTS = Path(__file__).parents[1]

# Which rank, where, and how.
POINTS: dict[str, Mapping[str, Any]] = {
    "first rank, in the prefix": {"rank": 0, "at": "fsync cache/prefix/*/00000.safetensors*"},
    "second rank, in a checkpoint": {"rank": 1, "at": "save run/checkpoint-2/rng_state_1.pth"},
    "first rank, half an optimizer": {"rank": 0, "at": "save run/checkpoint-4/optimizer.pt", "half": True},
    "second rank, half a random state": {"rank": 1, "at": "save run/checkpoint-4/rng_state_1.pth", "half": True},
    "first rank, before the marker": {"rank": 0, "at": "rename run/checkpoint-6/whole.json"},
    "first rank, half the weights": {"rank": 0, "at": "save run/model.safetensors", "half": True},
    "first rank, in the report": {"rank": 0, "at": "open run/zste.json*"},
    "second rank, stopped": {"rank": 1, "at": "save run/checkpoint-4/rng_state_1.pth", "number": int(signal.SIGTERM)},
}


def plan(ground: Ground) -> list[Fault]:
    """All of `POINTS`."""
    return [Fault("ranks", name, how) for name, how in POINTS.items()]


def attempt(ground: Ground, fault: Fault, folder: Path) -> Outcome:
    """End one rank, wait for the other, go on with two, compare with two that were not disturbed."""
    try:
        truth = _undisturbed(ground)
        status = _launch(RUN, folder, fault.how)
        if status == 0:
            raise Bad("unclear", "the launcher ended with status 0 although a rank was ended")
        signalled = (folder / f"writes-{fault.how['rank']}.txt").stat().st_mtime
        if (seconds := time.time() - signalled) > END_WITHIN:
            raise Bad("unclear", f"all had ended only {seconds:.0f} s after the signal")
        _check_output(folder)
        command = RESUME if (folder / "run" / "run.json").is_file() else RUN
        status = _launch(command, folder, {})
        _check_output(folder)
        if status != 0:
            raise Bad("lost", f"cannot go on: {_last(folder)}")
        check_same(truth / "run", folder / "run")
        check_clean(folder)
    except Bad as bad:
        return bad.outcome
    return Outcome(SURVIVED)


@once
def _undisturbed(ground: Ground) -> Path:
    folder = ground.undisturbed / f"ranks-{os.getpid()}"
    folder.mkdir()
    assert _launch(RUN, folder, {}) == 0, _last(folder)
    return folder


def _launch(arguments: list[str], folder: Path, end: Mapping[str, Any]) -> int:
    """The launcher's exit status, once it and both ranks have ended."""
    for old in folder.glob("pid-*"):
        old.unlink()
    env = os.environ | cache(folder) | {"FAULT": json.dumps(dict(end)), "PYTHONPATH": os.pathsep.join(sys.path)}
    with (folder / "launcher.txt").open("w") as output:
        launcher = subprocess.Popen(
            [sys.executable, *_LAUNCH, str(_TESTS / "faults" / "one_rank.py"), *arguments],
            **{"cwd": folder, "env": env, "stdin": subprocess.DEVNULL, "stdout": output, "stderr": output},
        )
    try:
        status = launcher.wait(SECONDS)
        deadline = time.monotonic() + END_WITHIN
        while _living(folder) and time.monotonic() < deadline:
            time.sleep(0.1)
        if living := _living(folder):
            raise Bad("unclear", f"{len(living)} rank(s) lived on after the launcher had ended")
        return status
    except subprocess.TimeoutExpired:
        raise Bad("unclear", f"had not ended after {SECONDS} s") from None
    finally:
        for pid in _living(folder):
            os.kill(pid, signal.SIGKILL)
        if launcher.poll() is None:
            launcher.kill()
            launcher.wait()


def _living(folder: Path) -> list[int]:
    """The ranks' processes that have not ended."""
    living = []
    for path in folder.glob("pid-*"):
        status = Path(f"/proc/{path.read_text()}/cmdline")
        if status.is_file() and b"one_rank.py" in status.read_bytes():
            living.append(int(path.read_text()))
    return living


def _check_output(folder: Path) -> None:
    for rank, ended in enumerate(_ended(folder)):
        if TRACEBACK in ended.stderr:
            raise Bad("traceback", f"of rank {rank}: {ended.raised}")


def _last(folder: Path) -> str:
    return " | ".join(ended.last for ended in _ended(folder))


def _ended(folder: Path) -> list[Ended]:
    """What each rank wrote; the launcher alone knows how each ended."""
    paths = sorted(folder.glob("stderr-*.txt"))
    return [Ended(None, "", path.read_text(encoding="utf-8", errors="replace")) for path in paths]

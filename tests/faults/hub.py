"""Pushes that fail at one of their requests, once or until it is mended."""

import random
import re
import shlex
import shutil
from functools import cache as once
from pathlib import Path

from faults.fault import SURVIVED, Bad, Fault, Outcome
from faults.ground import Ground, cache
from faults.programs import Ended, teminal

# Each push with the repository that it makes, and the requests that it sends.
PUSHES = {
    "run": (["push", "run", "--to", "tester/mine"], "models/tester/mine"),
    "data": (
        ["data", "push", "--to", "tester/data", "--clips_per_class", "2", "--n_groups", "4", "--output_dir", "data"],
        "datasets/tester/data",
    ),
    "metric": (["metric", "push", "--to", "teminal/zste"], "spaces/teminal/zste"),
    "page": (["demo", "--push", "tester/page", "--model", "tester/mine", "--base", "clap-mini"], "spaces/tester/page"),
}
REQUESTS = {
    "create": ("POST", "/api/repos/create"),
    "list": ("GET", "/tree/"),
    "preupload": ("POST", "/preupload/"),
    "card": ("POST", "/api/validate-yaml"),
    "batch": ("POST", "/objects/batch"),
    "upload": ("PUT", "/lfs/"),
    "commit": ("POST", "/commit/"),
}
WITHOUT_LARGE_FILES = ("metric",)  # neither batch nor upload
FAILURES: dict[str, int | None] = {"cut": None, "401": 401, "403": 403, "404": 404, "409": 409, "413": 413, "500": 500}
# The clients try these again for half a minute before they give up, so they come once.
REPEATED = ("upload", "batch", "preupload", "list")
DRAWN = 44


def plan(ground: Ground) -> list[Fault]:
    """A seeded choice of every push, request and failure."""
    faults = [
        Fault("hub", f"{push} {request} {failure}", {"push": push, "request": request, "failure": failure})
        for push in PUSHES
        for request in REQUESTS
        for failure in FAILURES
        if not (push in WITHOUT_LARGE_FILES and request in ("batch", "upload"))
    ]
    return random.Random(f"{ground.seed} hub").sample(faults, DRAWN)


def attempt(ground: Ground, fault: Fault, folder: Path) -> Outcome:
    """Push while the Hub fails; then take the way out that the message names."""
    push, request, failure = (fault.how[name] for name in ("push", "request", "failure"))
    truth = _undisturbed(ground, push)
    command, address = PUSHES[push]
    ground.tell_hub(empty=True)
    _bring_run(ground, push, folder)
    method, path = REQUESTS[request]
    passing = request in REPEATED and failure in ("cut", "500")
    ground.tell_hub(method=method, path=path, status=FAILURES[failure], times=1 if passing else 99)
    try:
        ended = _teminal(command, folder)
        if not all(ground.tell_hub(calm=True)):
            raise Bad("unclear", f"sent no request {method} {path}: {ended.last}")
        if ended.status != 0:
            retry = re.search(r"[Tt]ry again with: (teminal .*)$", ended.last)
            if not ended.has_message or not retry:
                raise Bad("unclear", f"status {ended.status}, and no command that tries again: {ended.last}")
            again = _teminal(shlex.split(retry[1])[1:], folder)
            if again.status != 0:
                raise Bad("lost", f"{retry[1]}: {again.last}")
        if ground.on_hub(address) != truth:
            raise Bad("silently wrong", f"other files on the Hub: {sorted(ground.on_hub(address))}")
    except Bad as bad:
        return bad.outcome
    return Outcome(SURVIVED)


def _teminal(command: list[str], folder: Path) -> Ended:
    return teminal(*command, cwd=folder, env=cache(folder)).checked()


def _bring_run(ground: Ground, push: str, folder: Path) -> None:
    if push == "run":
        leave = shutil.ignore_patterns("checkpoint-*")
        shutil.copytree(ground.undisturbed / "run", folder / "run", ignore=leave)


@once
def _undisturbed(ground: Ground, push: str) -> dict[str, str]:
    """What is on the Hub after this push when nothing fails."""
    folder = ground.folder / "hub" / f"undisturbed-{push}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ground.tell_hub(empty=True)
    _bring_run(ground, push, folder)
    command, address = PUSHES[push]
    ended = _teminal(command, folder)
    assert ended.status == 0, ended.stderr
    shutil.rmtree(folder)
    return ground.on_hub(address)

"""Programs that a campaign runs and looks at: the `teminal` command in a process of its own, without its imports.

Importing takes several times longer than the runs that are tried here. A worker of the campaign imports once; each
command is then a fork of it, which ends, or is ended, as any process.
"""

import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from faults.fault import Bad

TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, minus a signal's number, or None for one that did not in time."""

    status: int | None
    stdout: str
    stderr: str

    @property
    def last(self) -> str:
        """The message, or the last line that it wrote to standard error."""
        lines = [line for line in self.stderr.replace("\r", "\n").splitlines() if line.strip()]
        begin = max((i for i, line in enumerate(lines) if re.match(r"(teminal.*: )?error: ", line)), default=-1)
        return " ".join(" ".join(lines[begin:]).split())

    @property
    def has_message(self) -> bool:
        """Whether it ended as what a person can mend does; arguments that cannot be parsed have status 2."""
        return self.status in (1, 2) and re.match(r"(teminal.*: )?error: ", self.last) is not None

    @property
    def raised(self) -> str:
        """The exception of the last traceback."""
        lines = self.stderr.rpartition(TRACEBACK)[2].splitlines()[1:]
        return next((line for line in lines if line.strip() and not line.startswith(" ")), "")[:300]

    def checked(self) -> "Ended":
        """Itself, unless it hung or showed a traceback."""
        if self.status is None:
            raise Bad("unclear", "did not end in time")
        if TRACEBACK in self.stderr:
            raise Bad("traceback", self.raised)
        return self


def teminal(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    first: Callable[[], object] = lambda: None,
    seconds: float = 120,
) -> Ended:
    """Run `teminal *arguments` in `cwd`; `first` is called in its process before."""

    def call() -> None:
        from teminal_hf.commands.cli import main

        first()
        main(arguments)

    return run(call, cwd=cwd, env=env or {}, seconds=seconds)


def run(call: Callable[[], None], *, cwd: Path, env: Mapping[str, str], seconds: float) -> Ended:
    """Call it in a process of its own, as Python would run it."""
    outputs = [cwd / "stdout.txt", cwd / "stderr.txt"]
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os._exit(_status_of(call, cwd, env, outputs))
    deadline = time.monotonic() + seconds
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what it has left running
    if ended == (0, 0):
        os.waitpid(pid, 0)
    status = None if ended == (0, 0) else os.waitstatus_to_exitcode(ended[1])
    return Ended(status, *(path.read_text(encoding="utf-8", errors="replace") for path in outputs))


def _status_of(call: Callable[[], None], cwd: Path, env: Mapping[str, str], outputs: list[Path]) -> int:
    status = 1
    try:
        os.setsid()
        os.chdir(cwd)
        os.environ.update(env)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in enumerate(outputs, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644), number)
        call()
        status = 0
    except SystemExit as stopped:
        if stopped.code is None or isinstance(stopped.code, int):
            status = stopped.code or 0
        else:
            print(stopped.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return status

"""The runs of a suite, several at a time, each a process of its own that a later call resumes or skips."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

from teminal_hf.errors import TakenError, TeminalError
from teminal_hf.experiments.suite import Job
from teminal_hf.runs.run_folder import read_record

try:
    import fcntl
except ImportError:  # Windows, where nothing tells that a run's process outlived the program that started it
    fcntl = None  # type: ignore[assignment]

_TOOK = "this part took {:.1f} s\n"


def is_done(job: Job) -> bool:
    return bool(read_record(job.folder).get("complete"))


def seconds_of(job: Job) -> float:
    """How long the parts of a run took together, as its log says; the final table is among them."""
    parts = re.findall(_TOOK.format(0).replace("0.0", r"([\d.]+)"), job.log.read_text("utf-8", "replace"))
    return sum(map(float, parts))


def run_all(jobs: Sequence[Job], at_once: int, done: Callable[[Job], None]) -> dict[Job, str]:
    """Run what is not done, `at_once` processes at a time, and call `done` for each run as it ends well.

    Returns:
        Of those that failed, why.
    """
    env = {**os.environ, "OMP_NUM_THREADS": str(max(1, _cores() // at_once))}
    children = _Children()
    failed: dict[Job, str] = {}
    with ThreadPoolExecutor(at_once) as pool:
        futures: dict[tuple[str, int], Future[None]] = {}
        of: dict[Future[None], Job] = {}
        for job in jobs:
            # It was handed over before, so it has begun by the time that this one waits for it.
            start = futures.get((job.variant.after or "", job.seed))
            future = futures[job.variant.name, job.seed] = pool.submit(_run, job, start, env, children)
            of[future] = job
        try:
            for future in as_completed(of):
                try:
                    future.result()
                except (TeminalError, OSError) as error:
                    failed[of[future]] = str(error)
                else:
                    done(of[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children.stop()
            raise
    return {job: failed[job] for job in jobs if job in failed}


class _Children:
    """The processes that run; once stopped, one that begins is asked to stop at once."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def add(self, process: "subprocess.Popen[bytes]") -> None:
        self._running.add(process)
        if self._stopped:
            process.terminate()

    def remove(self, process: "subprocess.Popen[bytes]") -> None:
        self._running.discard(process)

    def stop(self) -> None:
        self._stopped = True
        for process in list(self._running):
            process.terminate()


def _run(job: Job, start: "Future[None] | None", env: Mapping[str, str], children: _Children) -> None:
    if start is not None and start.exception() is not None:
        raise TeminalError(f"it goes on from {job.variant.after}, which failed")
    if is_done(job):
        return
    arguments = ["--resume"] if read_record(job.folder) else [str(job.config)]
    command = [sys.executable, "-m", "teminal_hf", "train", job.variant.recipe, *arguments]
    with job.log.open("ab", buffering=0) as log:
        _lock(log.fileno(), job.log)
        began = time.monotonic()
        # In a session of its own: Ctrl-C is for this program, which then asks each to stop, once.
        process = subprocess.Popen(
            [*command, "--output_dir", str(job.folder)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        children.add(process)
        try:
            status = process.wait()
        finally:
            children.remove(process)
            log.write(_TOOK.format(time.monotonic() - began).encode())
    if status:
        *_, last, _ = ["nothing", *job.log.read_text("utf-8", "replace").splitlines()]
        raise TeminalError(f"it ended with status {status}, saying {last!r}")


def _lock(descriptor: int, path: Path) -> None:
    """Lock the log until this program's and the run's own process have closed it.

    Raises:
        TakenError: a run that another call has started still writes it.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TakenError("another process still runs it") from error
    except OSError:
        return  # a file system without locks


def _cores() -> int:
    with suppress(AttributeError):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

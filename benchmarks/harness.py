"""What every benchmark shares: rows of `results.json`, the table in `README.md`, hardware, versions, peak memory.

    python benchmarks/harness.py

writes the table in README.md anew from results.json; `headline.py` what other pages quote of it.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WORK = Path("runs") / "benchmarks"  # random checkpoints and decoded clips; everything else is removed again
BEGIN, END = "<!-- results.json as a table: begin -->", "<!-- results.json as a table: end -->"
PACKAGES = ("torch", "transformers", "accelerate", "peft", "sentence-transformers", "numpy")
# Idle threads that spin make every step of a busy machine slower: the same for all contestants. What an earlier run
# compiled is compiled again.
QUIET = {"GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
QUIET |= {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
GIB = 2**30
MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One figure. A row is known by `name` and `hardware`: measuring it again replaces it.

    Args:
        value: what was measured, in `unit`.
        baseline: what it is compared with, in the same unit, measured in the same run; None if with nothing.
        ratio: how many times better than the baseline (baseline / value; for rates value / baseline).
        n: runs that `value`, and `baseline`, are the medians of; the smaller number, None where it was not counted.
        min, max: of these runs' values; where there is a ratio, the worst and the best that any two of them give.
        command: measures it again, from the root of the repository.
    """

    name: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    n: int | None
    min: float | None
    max: float | None
    hardware: str
    versions: dict[str, str]
    command: str


class Results:
    """Rows of one run of one benchmark, merged into `results.json` by `save`."""

    def __init__(self, threads: int, *, gpu: bool = False) -> None:
        self.rows: list[Row] = []
        self._facts = hardware(threads, gpu), versions(), command()

    def add(
        self,
        name: str,
        value: float | Sequence[float],
        unit: str,
        baseline: float | Sequence[float] | None = None,
        *,
        rate: bool = False,
    ) -> None:
        """One figure, or those of several runs; `rate`: more is better."""
        where, with_what, how = self._facts
        ours, theirs = ([one] if isinstance(one, float | int) else list(one or ()) for one in (value, baseline))
        middle, other = statistics.median(ours), statistics.median(theirs) if theirs else None
        ratio = None if other is None else middle / other if rate else other / middle
        counted = not isinstance(value, float | int)
        runs = [y / x if not rate else x / y for x in ours for y in theirs] or ours
        ends = (min(runs), max(runs)) if counted else (None, None)
        n = min(len(ours), len(theirs) or len(ours)) if counted else None
        shown = [None if x is None else float(f"{x:.4g}") for x in (middle, other, ratio, *ends)]
        self.rows.append(
            Row(name, shown[0] or 0.0, unit, shown[1], shown[2], n, shown[3], shown[4], where, with_what, how)
        )
        compared = "" if other is None else f"   baseline {other:.4g} {unit}, {ratio:.2f} x"
        print(f"{name}: {middle:.4g} {unit}{compared}", flush=True)

    def save(self, path: Path = HERE / "results.json") -> None:
        new = {(row.name, row.hardware): asdict(row) for row in self.rows}
        merged = {(row["name"], row["hardware"]): row for row in read(path)} | new
        rows = sorted(merged.values(), key=lambda row: (row["hardware"], row["name"]))
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        write_table(path, path.with_name("README.md"))


def read(path: Path = HERE / "results.json") -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown: one table for each machine and set of versions."""
    places: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        with_what = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
        places.setdefault((row["hardware"], with_what), []).append(row)
    parts = []
    for (where, with_what), there in places.items():
        lines = [f"**{where}**; {with_what or 'versions were not written down'}", ""]
        lines += [
            "| measurement | value | unit | baseline | ratio | min to max | n | command |",
            "| --- | ---: | --- | ---: | ---: | ---: | ---: | --- |",
        ]
        for row in there:
            compared = ("", "") if row["ratio"] is None else (f"{row['baseline']:g}", f"{row['ratio']:.2f} x")
            ends = "" if row["min"] is None else f"{row['min']:g} to {row['max']:g}"
            n = "" if row["n"] is None else str(row["n"])
            cells = [row["name"], f"{row['value']:g}", row["unit"], *compared, ends, n, f"`{row['command']}`"]
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or "Nothing measured yet."


def write_table(results: Path, readme: Path) -> None:
    """Put the table between the two markers of `readme`."""
    put(readme, BEGIN, END, f"\n\n{table(read(results))}\n\n")


def put(path: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two markers of a file."""
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{path.name} must hold the two lines {begin!r} and {end!r}: the table goes between them")
    path.write_text(f"{before}{begin}{text}{end}{after}", encoding="utf-8")


def hardware(threads: int, gpu: bool = False) -> str:
    """In words, without a host's name."""
    facts = _cpu_facts()
    name = facts.get("model name", platform.processor() or platform.machine())
    if "model" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    words = f"{name}, {os.cpu_count()} cores, {threads} threads, {_ram_gib():.0f} GiB"
    if gpu:
        import torch

        words = (
            f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / GIB:.0f} GiB; {words}"
        )
    return words


def _cpu_facts() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if path.is_file() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _ram_gib() -> float:
    import psutil

    return psutil.virtual_memory().total / GIB


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def command() -> str:
    """How this process was started, without any machine's folders."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


@dataclass(frozen=True)
class Measured:
    """What a command reported (the JSON of the last line it printed) and the peak of its whole process tree, in bytes:
    anonymous memory, and pages of mapped files (libraries, caches) apart. None where the system does not tell."""

    report: dict[str, Any]
    peak_anon: int | None
    peak_file: int | None

    @property
    def peak(self) -> int | None:
        """The device's peak where there is one, else anonymous memory."""
        return self.report.get("cuda_peak_bytes") or self.peak_anon


def measure(words: Sequence[str], threads: int = 2) -> Measured:
    """Run a command in its own process and watch the memory of the process and all its children.

    Pages that several processes share count once (`Pss_Anon`, `Pss_File` of /proc/PID/smaps_rollup). They are looked at
    every 0.1 s, or more seldom where looking takes so long that it would cost more than 5 % of a core.

    Raises:
        RuntimeError: the command failed; the message ends with what it said.
    """
    environment = {**os.environ, **QUIET, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as said:
        peaks = [0, 0]
        with subprocess.Popen(list(words), stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as process:
            watcher = threading.Thread(target=_watch, args=(process, peaks))
            watcher.start()
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
        watcher.join()
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{shlex.join(words)} ended with {process.returncode}:\n{said.read()[-3000:]}")
    return Measured(json.loads(lines[-1]), peaks[0] or None, peaks[1] or None)


def _watch(process: subprocess.Popen[str], peaks: list[int]) -> None:
    import psutil

    while process.poll() is None:
        began = time.perf_counter()
        try:
            root = psutil.Process(process.pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        seen = [memory(one.pid) for one in tree]
        for i in range(2):
            peaks[i] = max(peaks[i], sum(one[i] for one in seen))
        time.sleep(max(0.1, 20 * (time.perf_counter() - began)))


def memory(pid: int) -> tuple[int, int]:
    """(`Pss_Anon`, `Pss_File`) of a process in bytes; zeros where the system does not tell (not Linux, or it ended)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0, 0
    facts = dict(line.split(":", 1) for line in lines if line.startswith(("Pss_Anon", "Pss_File")))
    anon, file = (1024 * int(facts.get(name, "0 kB").split()[0]) for name in ("Pss_Anon", "Pss_File"))
    return anon, file


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The flags that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of every contestant (OMP_NUM_THREADS)")
    parser.add_argument("--smoke", action="store_true", help="seconds, on tiny settings; writes nothing down")
    return parser


def in_quiet_environment(threads: int) -> None:
    """Start this script again with `threads` quiet threads: numpy and torch read that when they are imported."""
    wanted = {**QUIET, "OMP_NUM_THREADS": str(threads)}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})


def spread(values: Sequence[float]) -> float:
    """(largest - smallest) / median, in percent."""
    return 100 * (max(values) - min(values)) / statistics.median(values)


if __name__ == "__main__":
    write_table(HERE / "results.json", HERE / "README.md")

"""`estimate`: the bill of a recipe as a table, for this machine or one that was measured before."""

import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from teminal_hf.costs.bill import GIB, Bill, Constants, Counts, bill
from teminal_hf.costs.counting import Planned, count, nothing_kept, plan_recipe
from teminal_hf.costs.measuring import Clock, measure
from teminal_hf.errors import ConfigError
from teminal_hf.runs.cached_prefix import disk_seconds
from teminal_hf.storage.cache import cache_root
from teminal_hf.training.estimate import duration

HERE = "here"
MEASURED = Path(__file__).with_name("hardware.json")
ALIKE = 0.05  # of the number of parameters, within which a model costs what another was measured to


def estimate(stage: str, argv: Sequence[str], defaults: Path, groups: Sequence[int] = (), hardware: str = HERE) -> str:
    """A Markdown table with one column for each of `groups` (default: as configured), and what it assumes.

    Raises:
        ConfigError: a machine, or a model on it, that was not measured; otherwise as the recipe itself.
    """
    found = estimated(stage, argv, defaults, groups, hardware)
    return render(*found)


def estimated(
    stage: str,
    argv: Sequence[str],
    defaults: Path,
    groups: Sequence[int] = (),
    hardware: str = HERE,
    clock: Clock | None = None,
) -> tuple[Constants, list[tuple[str, Counts, Bill]]]:
    """Constants, and of each column its head, counts and bill."""
    constants = None
    columns = []
    free = _free(cache_root())
    for n in groups or (None,):
        with nothing_kept() as folder:
            planned = plan_recipe(stage, [*argv, *([] if n is None else ["--n_groups", str(n)])], defaults)
            if constants is None:
                constants = constants_of(planned, hardware, folder, clock)
            counts = count(planned, constants, free, disk_seconds)
        columns.append((f"{len(planned.trials[0].data.train):,} groups", counts, bill(counts, constants)))
    assert constants is not None
    return constants, columns


def constants_of(planned: Planned, hardware: str, folder: Path, clock: Clock | None = None) -> Constants:
    """Measured here, or before on a machine of that name."""
    if hardware == HERE:
        name = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        return measure(planned, name, folder / "run", clock)
    rows = known()
    there = [row for row in rows if row.hardware.startswith(hardware)]
    if not there:
        names = "; ".join(dict.fromkeys(row.hardware for row in rows)) or "none"
        raise ConfigError(
            f"no machine {hardware!r} has been measured; there are: {names}. `--hardware here` measures this one"
        )
    total = planned.trainable.total
    nearest = min(there, key=lambda row: abs(row.parameters - total))
    if abs(nearest.parameters - total) > ALIKE * total:
        sizes = ", ".join(f"{row.parameters / 1e6:.1f} M" for row in there)
        raise ConfigError(
            f"on {nearest.hardware} models of {sizes} parameters were measured, and this one has {total / 1e6:.1f} M; "
            "`--hardware here` measures this machine with it"
        )
    return nearest


def known(path: Path = MEASURED) -> list[Constants]:
    """The machines and models that were measured (`benchmarks/estimate.py`)."""
    names = [field.name for field in fields(Constants)]
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [Constants(**{name: row[name] for name in names}) for row in rows]


def render(constants: Constants, columns: Sequence[tuple[str, Counts, Bill]]) -> str:
    """The table, and below it what was decided and assumed."""
    names = list(dict.fromkeys(name for _, _, each in columns for name in each.seconds))
    rows = [["time", *(head for head, *_ in columns)]]
    if len(columns) > 1:  # their numbers of steps differ
        names = list(dict.fromkeys(_without_number(name) for name in names))
    for name in names:
        amounts = ({_without_number(n): s for n, s in each.seconds.items()} | each.seconds for _, _, each in columns)
        rows.append([name, *(duration(amount.get(name, 0.0)) for amount in amounts)])
    rows.append(["**all**", *(f"**{duration(each.total_seconds)}**" for *_, each in columns)])
    rows.append(["**memory, at the peak**", *(f"**{_size(each.memory)}**" for *_, each in columns)])
    for name in columns[0][2].disk:
        rows.append([f"disk: {name}", *(_size(each.disk.get(name, 0)) for *_, each in columns)])
    rows.append(["**disk, all**", *(f"**{_size(each.total_disk)}**" for *_, each in columns)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"| --- |{' ---: |' * len(columns)}")
    said = []
    for head, counts, _ in columns:
        for part in counts.parts:
            how = "cached" if part.cached else "recomputed in every epoch"
            at = ", ".join(filter(None, (head, part.name)))
            said.append(f"- {at}: frozen layers {how}: {part.why}; {part.steps} steps of {part.batch} groups")
    assumed = (
        f"- {constants.hardware}; {constants.parameters / 1e6:.2f} M parameters; one process that has the machine for "
        "itself, an empty cache, no worker\n- memory without mapped files, which the system takes back when others "
        "need it"
    )
    return "\n".join([*lines, "", *said, assumed])


def _without_number(name: str) -> str:
    first, _, rest = name.partition(" ")
    return rest if first.isdigit() else name


def _size(n_bytes: float) -> str:
    return f"{n_bytes / GIB:.2f} GiB" if n_bytes >= GIB else f"{n_bytes / 2**20:.0f} MiB"


def _free(folder: Path) -> int:
    """Bytes on the disk where a folder is, or would be."""
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    return shutil.disk_usage(there).free

"""The bill of a training: seconds, memory and disk, of what is counted and what is measured."""

from collections.abc import Sequence
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Constants:
    """What a model of `parameters` costs on a machine, by measurement: seconds of one recording or caption through
    features and frozen layers (`recording`, `caption`), through the trained layers without gradients (`heard`, `read`),
    of a step of `batch` groups from the cache (`step`), of decoding a clip, and from the process's start until all is
    loaded; bytes in memory at the peak, mapped files left out, and of a decoded clip.

    Args:
        hardware: in words.
    """

    hardware: str
    parameters: int
    batch: int
    start: float
    clip: float
    clip_bytes: float
    recording: float
    caption: float
    heard: float
    read: float
    step: float
    memory: int


@dataclass(frozen=True)
class Part:
    """What one phase of a training does, counted.

    Args:
        name: of the phase; "" where there is one alone.
        recordings: that the first pass computes, the reference set's among them; `captions` alike.
        cached: whether those of the groups are kept.
        cache_bytes: of all that the first pass writes.
        steps: optimizer steps of `batch` groups, all processes together.
        step_recordings: views of one step that go through the frozen layers where nothing is kept; `step_captions`
            alike.
        evaluated: recordings and captions of each evaluation on the way, and how many evaluations there are.
        epochs: how often each recording is heard.
        checkpoint_bytes: of those that lie on disk at once.
    """

    name: str
    recordings: int
    captions: int
    cached: bool
    why: str
    cache_bytes: int
    steps: int
    batch: int
    step_recordings: int
    step_captions: int
    evaluations: int
    evaluated: tuple[int, int]
    epochs: float
    checkpoint_bytes: int


@dataclass(frozen=True)
class Counts:
    """What a recipe does, counted: `report` are recordings and captions of the final table, of base and result each,
    `report_bytes` what the cache keeps of them, `model_bytes` the weights that are saved in the end; `kept` says
    whether evaluations read the cache."""

    clips: int
    parts: Sequence[Part]
    report: tuple[int, int]
    report_bytes: int
    model_bytes: int
    kept: bool = True


@dataclass(frozen=True)
class Bill:
    """Rows of (what, amount), and their sums: `seconds`, `disk` in bytes that stay, `memory` in bytes at the peak."""

    seconds: dict[str, float]
    disk: dict[str, int]
    memory: int

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def total_disk(self) -> int:
        return sum(self.disk.values())


def bill(counts: Counts, constants: Constants) -> Bill:
    """Time, disk and memory of a run that finds nothing in the cache, by one process."""
    c = constants
    seconds = {"start": c.start, "decoding clips": counts.clips * c.clip}
    disk = {"decoded clips": round(counts.clips * c.clip_bytes), "frozen layers' output": 0, "checkpoints": 0}
    for part in counts.parts:
        said = f" ({part.name})" if part.name else ""
        seconds[f"first pass{said}"] = _frozen((part.recordings, part.captions), c)
        seconds[f"{part.steps} steps{said}"] = part.steps * step_seconds(part, c)
        if part.evaluations:
            anew = 0.0 if counts.kept else _frozen(part.evaluated, c)
            seconds[f"evaluations{said}"] = part.evaluations * (anew + _trained(part.evaluated, c))
        disk["frozen layers' output"] += part.cache_bytes
        disk["checkpoints"] += part.checkpoint_bytes
    if any(counts.report):
        passes = 1 if counts.kept else 2  # base and result share their frozen layers
        seconds["final table"] = passes * _frozen(counts.report, c) + 2 * _trained(counts.report, c)
    disk["frozen layers' output"] += counts.report_bytes
    disk["the model"] = counts.model_bytes
    return Bill(seconds, disk, c.memory)


def step_seconds(part: Part, constants: Constants) -> float:
    """Of one step; what is measured of another batch is taken as proportional."""
    frozen = 0.0 if part.cached else _frozen((part.step_recordings, part.step_captions), constants)
    return constants.step * part.batch / constants.batch + frozen


def _frozen(amounts: tuple[int, int], constants: Constants) -> float:
    """Seconds of recordings and captions through features and frozen layers."""
    recordings, captions = amounts
    return recordings * constants.recording + captions * constants.caption


def _trained(amounts: tuple[int, int], constants: Constants) -> float:
    """And through the trained ones."""
    recordings, captions = amounts
    return recordings * constants.heard + captions * constants.read

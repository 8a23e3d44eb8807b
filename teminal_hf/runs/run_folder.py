"""Folders of runs, such as `runs/stage_b-001`, and the record that each holds of what it came from."""

import logging
import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from teminal_hf.errors import DataError, NotFoundError, TakenError
from teminal_hf.storage.atomic import write_json
from teminal_hf.storage.records import NUMBER, read_json
from teminal_hf.training.checkpoints import checkpoints, is_whole

logger = logging.getLogger(__name__)

ROOT = Path("runs")
RECORD = "run.json"
CONFIG = "config.yaml"
FINISHED = "finished"  # the steps after the training that were done
CACHED = "cached_prefix"  # by phase, what `cache_prefix: auto` decided
_PACKAGES = (
    "teminal_hf",
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "peft",
    "evaluate",
    "numpy",
    "soundfile",
    "soxr",
)
_STAGE: dict[str, Any] = {
    "stage": str,
    "source": str,
    "source_name": str,
    "pairs_name": str,
    "licence": str | None,
    "folds": {"*": [int]},
    "seed": int,
    "settings": {},
    "trained": {"count": int, "total": int, "share": NUMBER},
    "trained_tensors": [str],
    "steps": int,
    "train_seconds": NUMBER,
}
_RUN = _STAGE | {
    "base": str,
    "base_name": str,
    "base_on_hub": str | None,
    "started_from": str,
    "history": [_STAGE],
    "processes": int,
    "versions": {"*": str},
    "complete": bool,
    FINISHED: [str],
    CACHED: {"*": bool},
}


def check_folder(stage: str, output_dir: str | None, resume: bool) -> None:
    """Before anything is loaded: may a run be kept in `output_dir` (None: a folder of its own)?

    A run that was cut before its first checkpoint has nothing to lose, and its folder is used again.

    Raises:
        TakenError: the folder holds a run and `resume` is not set, or a finished run, or one of another stage, or
            things that are no run.
        NotFoundError: `resume` is set and there is no run.
    """
    if output_dir is None:
        if resume:
            raise NotFoundError("--resume needs the run to go on with: --output_dir RUN")
        return
    folder = Path(output_dir)
    if file := next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None):
        raise TakenError(f"{file} is a file, and no folder for a run; name another --output_dir")
    record = read_record(folder)
    if resume and record.get("complete"):
        raise TakenError(f"the run in {folder} is finished: nothing to resume; name another --output_dir")
    if resume and record and record["stage"] != stage:
        raise TakenError(f"{folder} holds a run of {record['stage']}, not of {stage}; name another --output_dir")
    if not record and not resume and folder.is_dir() and (strange := _strangers(folder)):
        raise TakenError(f"{folder} holds other things ({', '.join(strange)}); name another --output_dir for the run")
    begun = record.get(FINISHED) or any(is_whole(c) for f in (folder, *folder.glob("*/")) for c in checkpoints(f))
    if record and not resume and (has_weights(folder) or begun):
        raise TakenError(f"{folder} already holds a run; name another --output_dir, or go on with it by --resume")
    if resume and not record:
        found = "no such folder" if not folder.is_dir() else f"no {RECORD} in it"
        raise NotFoundError(f"nothing to resume in {folder}: {found}; leave --resume out to start there")


def _strangers(folder: Path) -> list[str]:
    """A few names of what is in a folder that holds no run; what a run may have left before its record is none."""
    left = {CONFIG, *(path.name for path in folder.glob("*.draft"))}
    return sorted(path.name for path in folder.iterdir() if path.name not in left)[:4]


def open_folder(kind: str, output_dir: str | None) -> Path:
    """Make the folder (`runs/<kind>-NNN` if none is named); the same for all processes."""
    state = PartialState()
    chosen: list[Any] = [_make(kind, output_dir) if state.is_main_process else None]
    return Path(broadcast_object_list(chosen)[0]) if state.num_processes > 1 else Path(chosen[0])


def _make(kind: str, output_dir: str | None) -> str:
    if output_dir is not None:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        return output_dir
    number = 1
    while True:
        folder = ROOT / f"{kind}-{number:03d}"
        try:
            folder.mkdir(parents=True)
            return str(folder)
        except FileExistsError:
            number += 1


def write_record(folder: Path, **facts: Any) -> None:
    """Add facts to `run.json`, which also says with what versions and on what machine."""
    record = read_record(folder)
    record |= {"versions": {p: version(p) for p in _PACKAGES}, "python": platform.python_version()}
    record |= {"machine": platform.machine(), "system": platform.system(), **facts}
    write_json(folder / RECORD, record)


def read_record(folder: str | Path) -> dict[str, Any]:
    """`run.json`, or {} where there is none.

    Raises:
        DataError: it is damaged, or none of ours.
    """
    path = Path(folder) / RECORD
    return read_json(path, _RUN) if path.is_file() else {}


def _readable(folders: Iterable[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders with their record; one whose record is damaged is passed over, said."""
    for folder in folders:
        try:
            yield folder, read_record(folder)
        except DataError as error:
            logger.warning("%s is passed over: %s", folder, error)


def as_complete(record: dict[str, Any]) -> dict[str, Any]:
    """The record of a run with nothing left to do."""
    return {name: value for name, value in record.items() if name != FINISHED} | {"complete": True}


def has_weights(folder: Path) -> bool:
    """Whether the training in `folder` has ended and its model is there; figures, card or push may be missing yet."""
    record = read_record(folder)
    trained = record.get("complete") or "weights" in record.get(FINISHED, ())
    return bool(trained) and (folder / "model.safetensors").is_file()


def find_stage_a(
    output_dir: str | None, base: str, source: str, unseen_folds: Iterable[int], unseen_classes: Iterable[str] = ()
) -> Path | None:
    """The stage A run that a stage B in `output_dir` goes on from: its sibling `stage_a`, or the newest numbered one.
    It must be complete, of the same base and clips, and not have trained on `unseen_folds` or `unseen_classes`. None if
    there is none."""
    siblings = [] if output_dir is None else [Path(output_dir).parent / "stage_a"]
    numbered = sorted(ROOT.glob("stage_a-[0-9]*"), key=lambda folder: (len(folder.name), folder.name), reverse=True)
    for folder, record in _readable((*siblings, *numbered)):
        same = (record.get("base"), record.get("source")) == (base, source)
        if not (same and has_weights(folder)):
            continue
        if not set(record["folds"]["train"]) & set(unseen_folds) and left_out(record) >= set(unseen_classes):
            return folder
    return None


def left_out(record: Mapping[str, Any]) -> set[str]:
    """The classes that a run's record says were kept out of its training."""
    return set(record.get("settings", {}).get("left_out_classes", ()))


def newest_run() -> Path:
    """The run under `runs/` that was finished last.

    Raises:
        NotFoundError: there is none.
    """
    folders = [record.parent for record in ROOT.glob(f"**/{RECORD}")]
    found = [folder for folder, _ in _readable(folders)]
    finished = [folder for folder in found if has_weights(folder)]
    if not finished:
        damaged = [str(folder / RECORD) for folder in folders if folder not in found]
        but = f" (damaged: {', '.join(damaged[:3])}; put a whole copy in its place)" if damaged else ""
        raise NotFoundError(
            f"no finished run in {ROOT}/{but}, and a post-trained checkpoint is needed: name one with --model, or "
            "train one in a few minutes with `make demo`"
        )
    return max(finished, key=lambda folder: (folder / RECORD).stat().st_mtime)

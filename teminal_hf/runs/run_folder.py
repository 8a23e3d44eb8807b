"""Run folders: `runs/stage_b-001` holds one run and everything it came from."""

import json
import platform
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers.trainer_utils import get_last_checkpoint

from teminal_hf.storage.cache import written_whole

ROOT = Path("runs")
RECORD = "run.json"
CONFIG = "config.yaml"
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


def check_folder(stage: str, output_dir: str | None, resume: bool) -> None:
    """Before anything is loaded: may a run be kept in `output_dir` (None: a folder of its own)?

    A run that was cut before its first checkpoint has nothing to lose, and its folder is used again.

    Raises:
        FileExistsError: the folder holds a run and `resume` is not set, or a finished run, or one of another stage.
        FileNotFoundError: `resume` is set and there is no run.
    """
    if output_dir is None:
        if resume:
            raise FileNotFoundError("--resume needs the run to go on with: --output_dir RUN")
        return
    folder = Path(output_dir)
    record = read_record(folder)
    if resume and record.get("complete"):
        raise FileExistsError(f"the run in {folder} is finished: nothing to resume; name another --output_dir")
    if resume and record and record["stage"] != stage:
        raise FileExistsError(f"{folder} holds a run of {record['stage']}, not of {stage}; name another --output_dir")
    if record and not resume and (record["complete"] or get_last_checkpoint(str(folder))):
        raise FileExistsError(f"{folder} already holds a run; name another --output_dir, or go on with it by --resume")
    if resume and not record:
        found = "no such folder" if not folder.is_dir() else f"no {RECORD} in it"
        raise FileNotFoundError(f"nothing to resume in {folder}: {found}; leave --resume out to start there")


def open_run(stage: str, output_dir: str | None) -> Path:
    """Make the run's folder (`runs/<stage>-NNN` if none is named); the same for all processes."""
    state = PartialState()
    chosen: list[Any] = [_make(stage, output_dir) if state.is_main_process else None]
    return Path(broadcast_object_list(chosen)[0]) if state.num_processes > 1 else Path(chosen[0])


def _make(stage: str, output_dir: str | None) -> str:
    if output_dir is not None:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        return output_dir
    number = 1
    while True:
        folder = ROOT / f"{stage}-{number:03d}"
        try:
            folder.mkdir(parents=True)
            return str(folder)
        except FileExistsError:
            number += 1


def write_record(folder: Path, **facts: Any) -> None:
    """Add facts to `run.json`, which also says with what versions and on what machine."""
    path = folder / RECORD
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    record |= {"versions": {p: version(p) for p in _PACKAGES}, "python": platform.python_version()}
    record |= {"machine": platform.machine(), "system": platform.system(), **facts}
    write_json(path, record)


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all: a reader never meets half a file."""
    with written_whole(path) as draft:
        draft.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")


def read_record(folder: str | Path) -> dict[str, Any]:
    """`run.json`, or {} where there is none."""
    path = Path(folder) / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def check_free(folder: Path, advice: str = "name another one") -> None:
    """Raise a FileExistsError, which ends with `advice`, unless `folder` can be written: not there, or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already and not an empty folder; {advice}")


@contextmanager
def folder_written_whole(folder: Path, advice: str = "name another one") -> Iterator[Path]:
    """A folder beside `folder`, which must be free, that takes its name once the block has ended well, and goes if it
    has not."""
    check_free(folder, advice)
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.draft")
    draft.mkdir(parents=True)
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft)
        raise
    finally:
        if folder.exists():
            folder.rmdir()  # it is empty
    draft.rename(folder)


def write_config(folder: Path, given: dict[str, Any]) -> None:
    """The configuration as run, as a YAML file that runs it again."""
    (folder / CONFIG).write_text(yaml.safe_dump(given, sort_keys=True), encoding="utf-8")


def is_complete(folder: Path) -> bool:
    return bool(read_record(folder).get("complete")) and (folder / "model.safetensors").is_file()


def find_stage_a(output_dir: str | None, base: str, source: str, unseen_folds: Iterable[int]) -> Path | None:
    """The stage A run that a stage B in `output_dir` goes on from: its sibling `stage_a`, or the newest numbered one.
    It must be complete, of the same base and clips, and not have trained on `unseen_folds`. None if there is none."""
    siblings = [] if output_dir is None else [Path(output_dir).parent / "stage_a"]
    numbered = sorted(ROOT.glob("stage_a-[0-9]*"), key=lambda folder: (len(folder.name), folder.name), reverse=True)
    for folder in (*siblings, *numbered):
        record = read_record(folder)
        same = (record.get("base"), record.get("source")) == (base, source)
        if same and is_complete(folder) and not set(record["folds"]["train"]) & set(unseen_folds):
            return folder
    return None

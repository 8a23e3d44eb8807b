"""Files and folders that exist whole or not at all."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from teminal_hf.errors import NotFoundError, StorageError, TakenError

WAYS_OUT = "`teminal cache clear` removes what earlier runs left, TEMINAL_CACHE=FOLDER takes another place"

try:
    import fcntl
except ImportError:  # Windows, where nobody can tell whose a draft is, and all are left
    fcntl = None  # type: ignore[assignment]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """The path of a draft that takes its name `path` once the block has ended well and it is on the disk, and is
    removed if it has not: a reader never meets half a file, whenever the writer dies, and two writers of the same, on
    one machine or on two, do no harm.

    The draft lies in a folder of its own, `*.draft`, which is locked meanwhile (see `remove_drafts`): a file's lock
    would not do, for safetensors puts another file in its place.
    """
    folder, lock = _draft_folder(path)
    try:
        draft = folder / path.name
        draft.touch()
        mode = draft.stat().st_mode  # as the umask says; safetensors writes for the owner alone
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.chmod(mode)
        draft.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_drafts(folder: Path) -> None:
    """Remove what writers that were killed have left in `folder`: the drafts that nobody holds."""
    for draft in folder.glob("*.draft"):
        with suppress(OSError):  # another process writes it, or has just removed it, or it is of another user
            lock = _locked(draft)
            if lock is not None:
                try:
                    shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
                finally:
                    os.close(lock)


def _draft_folder(path: Path) -> tuple[Path, int | None]:
    """A new folder beside `path` and its lock, or None where there are no locks."""
    while True:
        folder = path.with_name(f"{path.name}.{uuid.uuid4().hex}.draft")
        folder.mkdir()
        try:
            lock = _locked(folder)
        except (BlockingIOError, FileNotFoundError):  # `remove_drafts` came between
            continue
        if folder.exists():
            return folder, lock


def _locked(path: Path) -> int | None:
    """A descriptor that locks `path` until it is closed or the process ends; None where the system has no such locks.

    Raises:
        OSError: it is gone, or locked.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None  # a file system without them
    return descriptor


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all: a reader never meets half a file."""
    with written_whole(path) as draft:
        draft.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")


def check_writable(path: Path) -> None:
    """Raise a NotFoundError or a TakenError unless a file may be written here: asked before what it is to hold is
    computed."""
    if path.is_dir():
        raise TakenError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise NotFoundError(f"{path} cannot be written: there is no folder {path.parent}; make it first")


def check_free(folder: Path, advice: str = "name another one") -> None:
    """Raise a FileExistsError, which ends with `advice`, unless `folder` can be written: not there, or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TakenError(f"{folder} is there already and not an empty folder; {advice}")


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


def follow_umask(folder: Path) -> None:
    """safetensors writes files for their owner alone; let them be as open as what lies beside them."""
    config = folder / "config.json"
    for path in folder.glob("*.safetensors"):
        if config.is_file():
            shutil.copymode(config, path)


@contextmanager
def no_full_disk(folder: Path, how_far: Callable[[], str] = str) -> Iterator[None]:
    """What is written in this block goes to `folder`; a full disk is a message that says so, and `how_far` it came.

    Raises:
        StorageError: in the place of what the writing library raised.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # of Python, of torch.save, of safetensors
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
            text in str(error) for text in ("No space left", "os error 28", "Disk quota exceeded", "file write failed")
        )
        if not full or isinstance(error, StorageError):
            raise
        free = shutil.disk_usage(folder).free
        raise StorageError(
            f"the disk of {folder} is full ({free / 2**20:.0f} MiB free{how_far()}): make room and run again (a run "
            f"goes on by --resume); --save_total_limit 1 keeps one checkpoint, {WAYS_OUT}"
        ) from error

"""Writes of this process, counted, and an end to it at one of them.

Watched are files opened for writing, renamed, removed and brought to the disk, folders made and removed, and tensors
saved, below chosen folders. The n-th of them is the same in every run of one command on the same files.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

_DRAFT = re.compile(r"\.[0-9a-f]{32}\.draft")
_WRITING = os.O_WRONLY | os.O_RDWR
_PATHS = {"os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "shutil.rmtree": 0, "os.rename": 1}


@dataclass(frozen=True)
class Write:
    """The `number`-th write of a process: what is done to which file, by the name of the watched folder it lies in."""

    number: int
    what: str
    path: str

    def __str__(self) -> str:
        return f"{self.number:03d} {self.what} {self.path}"


class Watch:
    """Begins to watch when it is made, for the rest of the process.

    Args:
        folders: watched, by the names that they are to have in `Write.path`.
        log: gets a line for each write.
        at: the number of the write that the process is to end at, or a pattern of what and where the first such one
            is, as "save run/checkpoint-2/*" (none: never).
        number: the signal that it then sends to itself.
        half: after half of the bytes are written, not before.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        log: Path,
        at: int | str | None = None,
        number: int = signal.SIGKILL,
        half: bool = False,
    ) -> None:
        self._folders = {name: os.path.realpath(folder) + os.sep for name, folder in folders.items()}
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._at, self._signal, self._half = at, number, half
        self._seen, self._to_cut, self._pid = 0, "", os.getpid()
        self._wrap_saving()
        sys.addaudithook(self._heard)

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            if set("wax+") & set(mode) if isinstance(mode, str) else flags & _WRITING:
                self._count("open", path)
        elif event in _PATHS:
            self._count(event.split(".")[1], args[_PATHS[event]])

    def _wrap_saving(self) -> None:
        """What is written without Python's own files."""
        import safetensors.torch
        import torch

        fsync = os.fsync

        def watched_fsync(file: Any) -> None:
            descriptor = file if isinstance(file, int) else file.fileno()
            self._count("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(file)

        os.fsync = watched_fsync
        torch.save = self._saving(torch.save, 1, _cut)
        saving = self._saving(safetensors.torch.serialize_file, 1, _cut_before_rename)
        safetensors.torch.serialize_file = saving

    def _saving(self, save: Callable[..., Any], position: int, cut: Callable[[str], None]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            ends = self._count("save", args[position], saving=True)
            done = save(*args, **kwargs)
            if ends:
                cut(os.fspath(args[position]))
                os.kill(os.getpid(), self._signal)
            return done

        return watched

    def _count(self, what: str, path: Any, saving: bool = False) -> bool:
        """Note a write, and end the process if it is the one; True where it is to end after half of it."""
        if os.getpid() != self._pid or not isinstance(path, str | bytes | os.PathLike):
            return False
        absolute = os.path.realpath(os.fsdecode(path))
        name = next((n for n, folder in self._folders.items() if absolute.startswith(folder)), None)
        if name is None:
            return False
        if self._to_cut:
            _cut(self._to_cut)
            os.kill(os.getpid(), self._signal)
        self._seen += 1
        short = _DRAFT.sub(".draft", f"{name}/{absolute.removeprefix(self._folders[name])}")
        os.write(self._log, f"{Write(self._seen, what, short)}\n".encode())
        if not (fnmatchcase(f"{what} {short}", self._at) if isinstance(self._at, str) else self._at == self._seen):
            return False
        self._at = None
        if not self._half:
            os.kill(os.getpid(), self._signal)
        elif not saving:
            self._to_cut = absolute  # when the next write shows that this one is done
        return self._half


def read_log(log: Path) -> list[Write]:
    """The writes that a `Watch` has noted."""
    lines = (line.split(" ", 2) for line in log.read_text(encoding="utf-8").splitlines())
    return [Write(int(number), what, path) for number, what, path in lines]


def _cut(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def _cut_before_rename(path: str) -> None:
    """What safetensors leaves: half of another file beside it, which would have taken its name."""
    _cut(path)
    os.rename(path, os.path.join(os.path.dirname(path), ".tmpHaLf00"))

"""The cache of what is computed once: decoded clips and frozen prefixes, in `$TEMINAL_CACHE`, by default the folder
`teminal_hf` in `$HF_HOME`.

An *entry* is a folder `<kind>/<key>`. Its key is a hash of everything that its content depends on: nothing is ever
updated, and an entry whose inputs have changed is not found. (Those of the kind "sounds", embeddings of a user's
folder, follow the folder: they note of each file what it was.)
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from huggingface_hub import constants

from teminal_hf.errors import StorageError
from teminal_hf.storage.atomic import WAYS_OUT, remove_drafts, written_whole

Kind = Literal["clips", "prefix", "sounds"]
KINDS: tuple[Kind, ...] = ("clips", "prefix", "sounds")
_ABOUT = "about.json"


def cache_root() -> Path:
    """The folder of all entries."""
    return Path(os.environ.get("TEMINAL_CACHE") or Path(constants.HF_HOME) / "teminal_hf")


def digest(*parts: Any) -> str:
    """Hash of JSON values: equal parts, equal hash, on every machine."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def entry_folder(kind: Kind, key: str, what: str) -> Path:
    """The folder of an entry, made if it is new, and without what killed processes have left half written there; `what`
    tells a person what it holds (`teminal cache info`).

    Raises:
        StorageError: it cannot be written.
    """
    folder = cache_root() / kind / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_drafts(folder)
        if (folder / _ABOUT).is_dir():
            shutil.rmtree(folder / _ABOUT)  # nothing of ours
        if not (folder / _ABOUT).is_file():
            with written_whole(folder / _ABOUT) as draft:
                draft.write_text(json.dumps({"what": what}), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror or error}; {WAYS_OUT}") from error
    return folder


@dataclass(frozen=True)
class Entry:
    """One entry, as `teminal cache info` lists it."""

    kind: Kind
    key: str
    what: str
    n_bytes: int


def entries() -> list[Entry]:
    """All entries, the largest first."""
    found = []
    for kind in KINDS:
        for folder in sorted((cache_root() / kind).glob("*")):
            about = folder / _ABOUT
            what = _what(about)
            n_bytes = sum(_size(Path(at, name)) for at, _, names in os.walk(folder) for name in names)
            found.append(Entry(kind, folder.name, what, n_bytes))
    return sorted(found, key=lambda entry: -entry.n_bytes)


def _what(about: Path) -> str:
    try:
        return str(json.loads(about.read_text(encoding="utf-8"))["what"])
    except (OSError, ValueError, KeyError, TypeError):
        return "(its description is missing or damaged)"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # a draft that has meanwhile taken its name
        return 0


def clear(kinds: tuple[Kind, ...] = KINDS) -> int:
    """Remove the entries of these kinds; how many bytes that freed. Not while a run needs them."""
    before = sum(entry.n_bytes for entry in entries())
    for kind in kinds:
        shutil.rmtree(cache_root() / kind, ignore_errors=True)
    return before - sum(entry.n_bytes for entry in entries())


def code_id(*sources: ModuleType | Path) -> str:
    """Hash of the source of modules, or of files: for keys of what depends on how it was computed."""
    paths = [Path(str(source.__file__)) if isinstance(source, ModuleType) else source for source in sources]
    return digest(*(path.read_text(encoding="utf-8") for path in paths))


def need_space(n_bytes: int, what: str) -> int:
    """Free bytes on the cache's disk.

    Raises:
        StorageError: fewer than `n_bytes`.
    """
    cache_root().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache_root()).free
    if n_bytes > free:
        raise StorageError(
            f"{what}: {n_bytes / 2**30:.1f} GiB are to be written to {cache_root()}, where {free / 2**30:.1f} GiB are "
            f"free; {WAYS_OUT}"
        )
    return free

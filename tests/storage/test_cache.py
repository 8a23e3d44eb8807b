"""The cache folder: whole files only, keys, room on the disk, `teminal cache`."""

import os
import signal
import stat
import subprocess
import sys
import types
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from teminal_hf.audio import waveform as audio
from teminal_hf.commands.cli import main
from teminal_hf.data import groups as pairs
from teminal_hf.storage import atomic, cache
from teminal_hf.storage.tensor_store import TensorStore


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_place_is_in_the_hubs_own_folder_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEMINAL_CACHE")
    assert cache.cache_root() == Path(cache.constants.HF_HOME) / "teminal_hf"


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(KeyboardInterrupt), cache.written_whole(path) as draft:
        draft.write_text("half")
        assert not path.exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    for text in ("one", "two"):
        with cache.written_whole(path) as draft:
            draft.write_text(text)
        assert path.read_text() == text and len(list(tmp_path.iterdir())) == 1


WRITER = """
import os, signal, sys
from pathlib import Path
from teminal_hf.storage.atomic import written_whole
with written_whole(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    print("begun", flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def test_drafts_of_the_killed_are_removed_and_those_of_the_living_are_not(root: Path) -> None:
    folder = cache.entry_folder("prefix", "k", "")
    command = [sys.executable, "-c", WRITER, str(folder / "a")]
    with subprocess.Popen([*command, "living"], stdin=PIPE, stdout=PIPE, text=True) as living:
        assert living.stdin is not None and living.stdout is not None
        assert living.stdout.readline() == "begun\n"
        killed = subprocess.run([*command, "killed"], stdout=PIPE, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert len(list(folder.glob("a.*.draft"))) == 2
        (folder / "of-an-older-version.draft").write_bytes(b"half")
        cache.entry_folder("prefix", "k", "")
        assert len(list(folder.glob("*.draft"))) == 1
        living.stdin.close()
    assert living.returncode == 0
    assert {path.name for path in folder.iterdir()} == {"a", "about.json"} and (folder / "a").read_text() == "half"


def test_a_writer_whose_draft_is_removed_before_it_holds_it_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, tried = atomic._locked, []

    def late(path: Path) -> int | None:
        tried.append(path)
        if len(tried) == 1:
            atomic_remove(tmp_path)
        return locked(path)

    def atomic_remove(folder: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "_locked", locked)
            atomic.remove_drafts(folder)

    monkeypatch.setattr(atomic, "_locked", late)
    with cache.written_whole(tmp_path / "file") as draft:
        draft.write_text("whole")
    assert len(tried) == 2 and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_are_as_open_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with cache.written_whole(tmp_path / "file.safetensors") as draft:
            save_file({"tokens": torch.zeros(2)}, draft)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.safetensors").stat().st_mode) == 0o640


def test_without_locks_a_file_is_still_whole_and_no_draft_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "fcntl", None)
    with cache.written_whole(tmp_path / "file") as draft:
        draft.write_text("whole")
        atomic.remove_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "whole"


def test_keys_depend_on_every_part_and_on_code() -> None:
    keys = [cache.digest("a", 1), cache.digest("a", 2), cache.digest(["a", 1]), cache.digest({"a": 1}), cache.digest()]
    assert len(set(keys)) == 5 and cache.digest({"a": 1, "b": 2}) == cache.digest({"b": 2, "a": 1})
    assert len({cache.code_id(audio), cache.code_id(pairs), cache.code_id(audio, pairs)}) == 3


def test_code_that_is_edited_has_another_id(tmp_path: Path) -> None:
    module = types.ModuleType("m")
    module.__file__ = str(tmp_path / "m.py")
    ids = set()
    for text in ("x = 1", "x = 2"):
        (tmp_path / "m.py").write_text(text)
        ids.add(cache.code_id(module))
    assert len(ids) == 2


def test_info_lists_and_clear_removes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["cache", "info"])
    assert f"0.0 MiB in 0 entries, {root}" in capsys.readouterr().out
    (cache.entry_folder("clips", "k1", "clips of a fold") / "x.bin").write_bytes(bytes(3 << 20))
    (cache.entry_folder("prefix", "k2", "recordings") / "y.bin").write_bytes(bytes(1 << 20))
    main(["cache", "info"])
    first, second, total = capsys.readouterr().out.splitlines()
    assert first.split() == ["3.0", "MiB", "clips", "k1", "clips", "of", "a", "fold"]
    assert second.split() == ["1.0", "MiB", "prefix", "k2", "recordings"]
    assert total.strip() == f"4.0 MiB in 2 entries, {root}"
    main(["cache", "clear", "clips"])
    assert "freed 3.0 MiB" in capsys.readouterr().out
    assert [entry.kind for entry in cache.entries()] == ["prefix"]
    main(["cache", "clear"])
    assert cache.entries() == []


def test_a_full_disk_names_the_ways_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 30))
    assert cache.need_space(1 << 30, "it") == 1 << 30
    with pytest.raises(
        OSError, match=r"^it: 2\.0 GiB are to be written to .*, where 1\.0 GiB are free; `teminal cache cl"
    ):
        cache.need_space(2 << 30, "it")


def test_rows_of_a_store_are_mapped_and_come_back_as_written(root: Path) -> None:
    store = TensorStore(cache.entry_folder("prefix", "k", ""), 10, (2, 3), torch.float32, shard_rows=4)
    assert store.missing_bytes == store.n_bytes == 10 * 6 * 4
    inputs = torch.randn(10, 2, 3, generator=torch.Generator().manual_seed(0))
    sizes: list[int] = []

    def double(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return 2 * batch

    store.fill(inputs, double, batch_size=3, desc="")
    assert sizes == [3, 1, 3, 1, 2]  # none crosses a shard
    assert store.missing_bytes == 0 and len(store) == 10
    for row in (9, 0, 4, 3, -1):
        assert torch.equal(store[row], 2 * inputs[row])
    with pytest.raises(IndexError):
        store[10]
    whole = Path("/proc/self/maps")
    if whole.is_file():  # Linux: the rows are pages of the files, no memory of the process
        assert whole.read_text().count(str(root)) >= 3

"""Folders of embeddings: every row once, whoever writes it, however often the writers are killed."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile
from datasets import Dataset, DatasetDict, Features, List, Value, load_dataset

from support.clips import tone, write_esc50
from support.paths import ROOT
from teminal_hf import BatchEmbedder, load_encoder
from teminal_hf.commands.cli import main
from teminal_hf.errors import ConfigError, DataError, TakenError
from teminal_hf.models.encoder import identity
from teminal_hf.tools import embedding
from teminal_hf.tools.embedding import embed_source

ROWS = 23


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings, the third of which is none; in folders that tell nothing of classes."""
    folder = tmp_path_factory.mktemp("embedding") / "sounds"
    for n in range(ROWS):
        path = folder / f"part{n % 2}" / f"{n:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(200 + 40 * n, 0.3, 16_000), 16_000)
    (folder / "part0" / "02.wav").write_bytes(b"no audio")
    return folder


def assert_whole(folder: Path, source: Path) -> pd.DataFrame:
    """Each row once, in order, equal to its embedding alone; and nothing else that a reader would meet."""
    frame = pd.read_parquet(folder)
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.wav"))
    assert frame["row"].tolist() == list(range(len(files)))
    assert frame["id"].tolist() == files
    assert set(frame["model"]) == {identity(load_encoder("clap-mini"))}
    truth = BatchEmbedder("clap-mini", base=source)({"audio": files})
    for ours, theirs in zip(frame["embedding"], truth["embedding"], strict=True):
        if theirs is None:
            assert ours is None
        else:
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert frame["reason"].tolist() == truth["reason"]
    rows = load_dataset("parquet", data_dir=str(folder), split="train", cache_dir=str(folder.parent / "datasets"))
    assert rows["row"][:] == list(range(len(files))) and rows.features["embedding"].feature.dtype == "float32"
    assert not list(folder.rglob("*.draft"))
    return frame


def test_a_folder_of_sounds(source: Path, tmp_path: Path, capsys: Any) -> None:
    to = tmp_path / "out"
    main(["embed", str(source), "--to", str(to), "--shard_rows", "5", "--batch_size", "3"])
    said = capsys.readouterr().out
    assert f"{to}: 23 rows in 5 file(s), 1 with nothing to embed (part0/02.wav: audio cannot be decoded" in said
    assert said.count("\n") == 1 and said.rstrip().endswith(" rows/s")
    before = {path: path.stat().st_mtime_ns for path in to.glob("*.parquet")}
    frame = assert_whole(to, source)
    assert frame["embedding"].isna().sum() == 1
    main(["embed", str(source), "--to", str(to)])  # of 5 rows a file, as it was begun
    assert capsys.readouterr().out.rstrip().endswith("all there already")
    assert {path: path.stat().st_mtime_ns for path in to.glob("*.parquet")} == before


def test_what_is_missing_alone_is_made(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    to = tmp_path / "out"
    embed_source(str(source), to, "clap-mini", shard_rows=4, progress=False)
    kept = (to / "part-000000.parquet").stat().st_mtime_ns
    for name in ("part-000002.parquet", "part-000005.parquet"):
        (to / name).unlink()
    read: list[int] = []
    batches = embedding._batches
    monkeypatch.setattr(embedding, "_batches", lambda found, *given: read.append(given[0]) or batches(found, *given))
    found = embed_source(str(source), to, "clap-mini", progress=False)
    assert found is not None and (found.rows, found.done, read) == (23, 4 + 3, [8, 20])
    assert (to / "part-000000.parquet").stat().st_mtime_ns == kept
    assert_whole(to, source)


def launch(processes: int, *arguments: str, **env: str) -> subprocess.Popen:
    ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    command = [sys.executable, *ranks, "-m", "teminal_hf", "embed", *arguments]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | env
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def kill_in_the_middle(process: subprocess.Popen, to: Path, files: int) -> None:
    """By SIGKILL, all of its processes, once so many files are there."""
    end = time.monotonic() + 120
    while len(list(to.glob("part-*.parquet"))) < files and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    launcher = psutil.Process(process.pid)
    for each in [launcher, *launcher.children(recursive=True)]:  # ranks are no members of their launcher's group
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.communicate()


def test_killed_and_resumed_with_another_number_of_processes(tmp_path: Path) -> None:
    source, to, n = tmp_path / "sounds", tmp_path / "out", 14
    source.mkdir()
    for row in range(n):  # long enough for a kill to come between two of them
        soundfile.write(source / f"{row:02d}.wav", tone(200 + 40 * row, 20.0, 16_000), 16_000)
    given = [str(source), "--to", str(to), "--shard_rows", "1", "--batch_size", "1"]
    kill_in_the_middle(launch(2, *given), to, 3)
    first = {path.name: path.stat().st_mtime_ns for path in to.glob("part-*.parquet")}
    assert 3 <= len(first) < n
    kill_in_the_middle(launch(1, *given), to, len(first) + 2)
    second = {path.name: path.stat().st_mtime_ns for path in to.glob("part-*.parquet")}
    assert len(first) < len(second) < n and first.items() <= second.items()
    last = launch(2, *given)
    out, err = last.communicate(timeout=240)
    assert last.returncode == 0, err.decode()[-4000:]
    assert out.decode().count("14 rows in 14 file(s)") == 1  # said once
    assert second.items() <= {path.name: path.stat().st_mtime_ns for path in to.glob("part-*.parquet")}.items()
    assert_whole(to, source)


def test_two_processes_share_the_files(source: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    process = launch(2, str(source), "--to", str(to), "--shard_rows", "6")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err.decode()[-4000:]
    assert "/12 [" in err.decode()  # the main process had two files of four
    assert_whole(to, source)


def test_a_folder_begun_otherwise_is_refused(source: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    embed_source(str(source), to, "clap-mini", shard_rows=20, progress=False)
    with pytest.raises(TakenError, match="was begun with shard_rows 20, and this is 10; name another folder by --to"):
        embed_source(str(source), to, "clap-mini", shard_rows=10, progress=False)
    other = tmp_path / "sounds"
    for name in ("part0/00.wav", "part1/01.wav"):
        (other / name).parent.mkdir(parents=True)
        soundfile.write(other / name, tone(300, 0.3, 16_000), 16_000)
    with pytest.raises(TakenError, match=r"was begun with source .*embedding.*sounds, and this is "):
        embed_source(str(other), to, "clap-mini", progress=False)
    mine = tmp_path / "mine"
    embed_source(str(other), mine, "clap-mini", progress=False)
    assert embed_source(str(other), mine, "clap-mini", progress=False) is not None  # nothing has changed
    soundfile.write(other / "part0" / "00.wav", tone(500, 0.4, 16_000), 16_000)
    with pytest.raises(TakenError, match=r"was begun with sounds in the state .*, and this is in the state"):
        embed_source(str(other), mine, "clap-mini", progress=False)
    soundfile.write(other / "part0" / "00.wav", tone(300, 0.3, 16_000), 16_000)
    soundfile.write(other / "part0" / "new.wav", tone(300, 0.3, 16_000), 16_000)
    with pytest.raises(TakenError, match=r"was begun with rows 2 of fingerprint .*, and this is 3 of fingerprint"):
        embed_source(str(other), mine, "clap-mini", progress=False)


def test_another_model_is_refused(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    to = tmp_path / "out"
    embed_source(str(source), to, "clap-mini", progress=False)
    monkeypatch.setattr("teminal_hf.integrations.batch_embedder.identity", lambda encoder: "another")
    with pytest.raises(TakenError, match=r"was begun with model [0-9a-f]{32}, and this is another"):
        embed_source(str(source), to, "clap-mini", progress=False)


def test_folders_that_hold_other_things_are_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TakenError, match=r"holds other things \(notes\.txt\); name another folder by --to"):
        embed_source(str(source), tmp_path, "clap-mini")
    with pytest.raises(TakenError, match=r"notes\.txt is a file, and no folder for embeddings"):
        embed_source(str(source), tmp_path / "notes.txt", "clap-mini")
    for size in ({"batch_size": 0}, {"shard_rows": -1}):
        with pytest.raises(ConfigError, match=f"{next(iter(size))} must be at least 1"):
            embed_source(str(source), tmp_path / "new", "clap-mini", **size)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_data_set_with_captions_in_two_splits(tmp_path: Path) -> None:
    rate = 16_000
    cells = [
        {"array": (tone(300 * n, 0.3, rate) * 2**31).astype(int).tolist(), "sampling_rate": rate} for n in (1, 2, 3)
    ]
    rows = Dataset.from_dict({"sound": cells, "words": ["rain", "", "a dog"], "key": ["a", "b", None]})
    sound = {"array": List(Value("int32")), "sampling_rate": Value("int64")}
    rows = rows.cast(Features({**rows.features, "sound": sound}))
    DatasetDict(train=rows.select([0, 1]), test=rows.select([2])).save_to_disk(tmp_path / "saved")
    options: dict[str, Any] = {"audio_column": "sound", "text_column": "words", "id_column": "key", "progress": False}
    found = embed_source(str(tmp_path / "saved"), tmp_path / "out", "clap-mini", **options)
    assert found is not None and (found.rows, found.bad, found.first_bad) == (3, 1, (("b", "words is empty"),))
    again = embed_source(str(tmp_path / "saved"), tmp_path / "out", "clap-mini", **options)
    assert again is not None and again.done == 0
    frame = pd.read_parquet(tmp_path / "out")
    assert frame["id"].tolist() == ["a", "b", "000002"]
    truth = BatchEmbedder("clap-mini", text_column="text")(
        {"audio": [{"array": tone(300, 0.3, rate), "sampling_rate": rate}], "text": ["rain"]}
    )
    np.testing.assert_allclose(frame["embedding"][0], truth["embedding"][0], atol=1e-4)
    np.testing.assert_allclose(frame["text_embedding"][0], truth["text_embedding"][0], atol=1e-5)
    assert frame["text_embedding"][1] is None and frame["embedding"][1] is not None
    with pytest.raises(DataError, match=r"has no column audio; present: sound, words, key\. Name yours by --audio"):
        embed_source(str(tmp_path / "saved"), tmp_path / "other", "clap-mini", progress=False)


def test_esc50_and_sources_without_a_recording(tmp_path: Path) -> None:
    root = write_esc50(tmp_path)
    found = embed_source(str(root), tmp_path / "out", "clap-mini", progress=False)
    assert found is not None and (found.rows, found.bad, found.files) == (30, 0, 1)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.wav").write_bytes(b"no audio")
    with pytest.raises(DataError, match=r"none of the 1 rows of .*bad can be embedded; audio cannot be decoded"):
        embed_source(str(bad), tmp_path / "none", "clap-mini", progress=False)
